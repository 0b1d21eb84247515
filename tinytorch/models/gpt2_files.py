"""Reading and writing GPT-2 directories in the Hugging Face format: ``config.json`` and safetensors files. Runs on the CPU.

GPT-2 (Radford et al. 2019) is a `TinyGPT` with learned positions and tied weights. Its files store weight matrices as (in, out), the
transpose of `Linear`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray, array_shapes, atomic_write_text, load_array, read_regular, refuse_run, save_arrays, sole_writer
from tinytorch.models.gpt_config import GPTConfig
from tinytorch.models.shapes import Shape, compare_shapes

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: GPT-2's names of each activation; the first one is written.
_ACTIVATIONS = {"gelu_tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu": ("gelu",), "relu": ("relu",), "tanh": ("tanh",)}

#: Parameter names outside of the blocks: TinyGPT's and GPT-2's.
_OUTER = {
    "embedding.weight": "wte.weight",
    "positions.weight": "wpe.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
}
#: Parameter names in a block: TinyGPT's and GPT-2's.
_BLOCK = {
    "norm1.weight": "ln_1.weight",
    "norm1.bias": "ln_1.bias",
    "attention.in_proj_weight": "attn.c_attn.weight",
    "attention.in_proj_bias": "attn.c_attn.bias",
    "attention.out_proj.weight": "attn.c_proj.weight",
    "attention.out_proj.bias": "attn.c_proj.bias",
    "norm2.weight": "ln_2.weight",
    "norm2.bias": "ln_2.bias",
    "linear1.weight": "mlp.c_fc.weight",
    "linear1.bias": "mlp.c_fc.bias",
    "linear2.weight": "mlp.c_proj.weight",
    "linear2.bias": "mlp.c_proj.bias",
}
_FROM_GPT2 = {theirs: ours for names in (_OUTER, _BLOCK) for ours, theirs in names.items()}


def _to_gpt2(name: str) -> str:
    """Convert a parameter name of TinyGPT to GPT-2's."""
    if not name.startswith("blocks."):
        return _OUTER[name]
    _, layer, rest = name.split(".", 2)
    return f"h.{layer}.{_BLOCK[rest]}"


def _from_gpt2(name: str) -> str:
    """Convert a parameter name of GPT-2 to TinyGPT's; unknown names are returned unchanged."""
    prefix, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".") if prefix == "h" else ("", "", name)
    ours = _FROM_GPT2.get(rest, rest)
    return f"blocks.{layer}.{ours}" if prefix == "h" else ours


def _is_transposed(name: str) -> bool:
    """Return whether GPT-2 stores a parameter as (in, out)."""
    return name.startswith("h.") and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))


# ---- reading ----


def is_pretrained(path: str | os.PathLike[str]) -> bool:
    """Return whether a directory has a ``config.json`` of `transformers`. `GPT2Files` checks whether the model is a GPT-2."""
    try:
        return "model_type" in _read_json(Path(path) / CONFIG)
    except InputError:
        return False


class GPT2Files:
    """A GPT-2 directory whose settings and weights were checked. Weights are loaded one at a time. Pickle files are never loaded.

    Args:
        path: the directory.
        changes: settings of `TinyGPT` to override that do not change the weights, such as ``dropout=0.0``.

    Attributes:
        config: the settings of the model.

    Raises:
        InputError: a file is missing or damaged, a setting is not supported, or weights are missing, unknown or of another shape.
    """

    def __init__(self, path: str | os.PathLike[str], **changes: Any) -> None:
        directory = Path(path)
        self._config = _read_json(directory / CONFIG)
        settings = {**_settings(directory / CONFIG, self._config), **changes}
        self._locations = _find_weights(directory)
        ignored = {
            name for name in self._locations if name.endswith((".attn.bias", ".attn.masked_bias"))
        }  # masks in files of older versions
        if settings["tie_weights"]:
            ignored.add("lm_head.weight")  # a copy of the embedding
        try:
            self.config = GPTConfig(**settings)
            _check_weights(directory, settings, {name: shape for name, (_, _, shape) in self._locations.items() if name not in ignored})
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"{directory / CONFIG} does not describe a GPT-2 ({error}); restore it from a copy") from error

    def weight(self, name: str) -> HostArray:
        """Load the parameter ``name`` of `TinyGPT` as a float32 array in the layout of `TinyGPT`. Nothing is cached."""
        theirs = _to_gpt2(name)
        file, stored_name, _ = self._locations[theirs]
        array = load_array(file, stored_name).astype(numpy.float32, copy=False)
        _rescale_queries(array, theirs, self._config)
        return array.T if _is_transposed(theirs) else array


def _find_weights(directory: Path) -> dict[str, tuple[Path, str, Shape]]:
    """Return the file, the name in the file and the shape of each weight by GPT-2's name; raises `InputError` for duplicates."""
    locations: dict[str, tuple[Path, str, Shape]] = {}
    for file in _weight_files(directory):
        for name, shape in array_shapes(file).items():
            other_file, other_name, _ = locations.setdefault(_without_prefix(name), (file, name, shape))
            if (other_file, other_name) != (file, name):
                raise InputError(
                    f"{directory} contains {_without_prefix(name)} twice, in {other_file.name} and {file.name}; remove one of them"
                )
    return locations


def _check_weights(directory: Path, settings: dict[str, Any], shapes: dict[str, Shape]) -> None:
    """Raise `InputError` if names or shapes of weights (GPT-2's) do not match the settings, before a model is created."""
    stored = {_from_gpt2(name): shape[::-1] if _is_transposed(name) else shape for name, shape in shapes.items()}
    difference = compare_shapes(settings, stored)
    if difference.missing or difference.unknown:
        missing = sorted(map(_to_gpt2, difference.missing))
        unknown = sorted(name for name in shapes if _from_gpt2(name) in difference.unknown)
        raise InputError(
            f"the weights in {directory} do not match {CONFIG}: "
            f"missing {_join_names(missing, difference.more_missing)}, unknown {_join_names(unknown)}"
        )
    for name, shape, expected in difference.shapes:
        theirs = _to_gpt2(name)
        shape, expected = (shape[::-1], expected[::-1]) if _is_transposed(theirs) else (shape, expected)
        raise InputError(f"{directory}: {theirs} has shape {shape}, but {CONFIG} specifies {expected}")


def _without_prefix(name: str) -> str:
    """Remove the prefix that transformers writes; the files on the Hugging Face hub do not have it."""
    return name.removeprefix("transformer.")


def _join_names(names: list[str], more: int = 0) -> str:
    """Return up to 4 names and the number of the others, to which ``more`` is added."""
    more += max(0, len(names) - 4)
    return ", ".join(names[:4]) + (f" and {more:,} more" if more else "") if names else "none"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; pass a GPT-2 directory that contains {CONFIG} and {WEIGHTS}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON; restore it from a copy") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must contain a JSON object with the settings of a model; restore it from a copy")
    return content


def _weight_files(directory: Path) -> list[Path]:
    """Return the file of weights, or the files that are listed in an index."""
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    if not (directory / INDEX).exists():
        pickles = sorted(path.name for path in directory.glob("*.bin"))
        if pickles:
            raise InputError(
                f"the weights in {directory} are a pickle file, {pickles[0]}, which can run arbitrary code and is not loaded; "
                f"convert it to {WEIGHTS} with transformers: GPT2LMHeadModel.from_pretrained(PATH).save_pretrained(NEW)"
            )
        return [directory / WEIGHTS]
    weight_map = _read_json(directory / INDEX).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(f"{directory / INDEX} must list file names in the same directory in weight_map; restore it from a copy")
    return [directory / name for name in sorted(set(names))]


def _settings(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Convert GPT-2's settings to those of `TinyGPT`; raises `InputError` if one is missing or not supported."""
    kind = config.get("model_type", "gpt2")
    if kind != "gpt2":
        raise InputError(f"{path} has settings that TinyGPT does not support: model_type={kind!r}")
    missing = [name for name in ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions") if not isinstance(config.get(name), int)]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; pass the {CONFIG} of a GPT-2")
    activation = config.get("activation_function", "gelu_new")
    ours = [name for name, theirs in _ACTIVATIONS.items() if activation in theirs]
    dropouts = [config.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
    epsilon = config.get("layer_norm_epsilon", 1e-5)
    unsupported = [
        *([f"activation_function={activation!r}"] if not ours else []),
        *(["different resid_pdrop, embd_pdrop and attn_pdrop"] if dropouts != dropouts[:1] * 3 else []),
        *([f"layer_norm_epsilon={epsilon!r}"] if not isinstance(epsilon, int | float) else []),
        *(name for name in ("add_cross_attention", "pruned_heads", "quantization_config") if config.get(name)),
    ]
    if unsupported:
        raise InputError(f"{path} has settings that TinyGPT does not support: {', '.join(unsupported)}")
    return {
        "vocab_size": config["vocab_size"],
        "d_model": config["n_embd"],
        "num_heads": config["n_head"],
        "num_layers": config["n_layer"],
        "d_ff": config.get("n_inner"),
        "max_length": config["n_positions"],
        "dropout": dropouts[0],
        "positional": "learned",
        "tie_weights": config.get("tie_word_embeddings", True),
        "activation": ours[0],
        "norm_eps": epsilon,
    }


def _rescale_queries(array: HostArray, name: str, config: dict[str, Any]) -> None:
    """Scale the query weights if the model does not scale attention scores by 1 / sqrt(head width), as TinyGPT does."""
    layer, _, part = name.removeprefix("h.").partition(".")
    if not part.startswith("attn.c_attn."):
        return
    width = config["n_embd"]
    factor = 1.0 if config.get("scale_attn_weights", True) else math.sqrt(width // config["n_head"])
    if config.get("scale_attn_by_inverse_layer_idx"):
        factor /= int(layer) + 1
    if factor != 1.0:
        array[..., :width] *= numpy.asarray(factor, dtype=array.dtype)


# ---- writing ----


def write_gpt2(path: str | os.PathLike[str], settings: GPTConfig, state: Mapping[str, HostArray]) -> None:
    """Write a GPT-2 directory, which `transformers` loads as ``GPT2LMHeadModel``.

    Args:
        path: the directory.
        settings: the settings of the model.
        state: the parameters by name; ``positions.weight`` is the positional table, learned or sinusoidal.

    Raises:
        InputError: the directory contains a training run, or another process is writing to it.
        OSError: the directory cannot be written.
    """
    directory = Path(path)
    refuse_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        theirs: state[ours].T if _is_transposed(theirs) else state[ours] for ours, theirs in zip(state, map(_to_gpt2, state), strict=True)
    }
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": settings.vocab_size,
        "n_embd": settings.d_model,
        "n_head": settings.num_heads,
        "n_layer": settings.num_layers,
        "n_inner": settings.d_ff,
        "n_positions": settings.max_length,
        "activation_function": _ACTIVATIONS[settings.activation][0],
        "layer_norm_epsilon": settings.norm_eps,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), settings.dropout),
        "tie_word_embeddings": settings.tie_weights,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }
    with sole_writer(directory / WEIGHTS), sole_writer(directory / CONFIG):
        save_arrays(directory / WEIGHTS, arrays, {"format": "pt"})
        atomic_write_text(directory / CONFIG, json.dumps(config, indent=2) + "\n")
