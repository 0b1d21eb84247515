"""GPT-2 directories as Hugging Face keeps them: ``config.json`` and safetensors. A host module.

GPT-2 (Radford et al. 2019) is a `TinyGPT` with learned positions and tied weights. Its matrices lie there as (in, out), transposed.
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
from tinytorch.models.shapes import Shape, differences

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: GPT-2's names of activations, by ours; the first is the one to write.
_ACTIVATIONS = {"gelu_tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu": ("gelu",), "relu": ("relu",), "tanh": ("tanh",)}

#: Our names outside of blocks, and GPT-2's.
_OUTER = {
    "embedding.weight": "wte.weight",
    "positions.weight": "wpe.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
}
#: Our names in a block, and GPT-2's.
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
_OURS = {theirs: ours for names in (_OUTER, _BLOCK) for ours, theirs in names.items()}


def _theirs(name: str) -> str:
    """GPT-2's name of a parameter."""
    if not name.startswith("blocks."):
        return _OUTER[name]
    _, layer, rest = name.split(".", 2)
    return f"h.{layer}.{_BLOCK[rest]}"


def _ours(name: str) -> str:
    """Our name of GPT-2's parameter; another name as it is."""
    place, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".") if place == "h" else ("", "", name)
    ours = _OURS.get(rest, rest)
    return f"blocks.{layer}.{ours}" if place == "h" else ours


def _is_transposed(name: str) -> bool:
    """Whether GPT-2 keeps a parameter as (in, out)."""
    return name.startswith("h.") and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))


# ---- reading ----


def is_pretrained(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is one of `transformers`, by its settings; of a GPT-2, if `GPT2Files` is to read it."""
    try:
        return "model_type" in _read_json(Path(path) / CONFIG)
    except InputError:
        return False


class GPT2Files:
    """A GPT-2 directory whose files were checked against each other. Weights are read one at a time. Pickles are never read.

    Args:
        path: the directory.
        changes: settings of `TinyGPT` that change no weight, such as ``dropout=0.0``.

    Attributes:
        config: the settings of the model.

    Raises:
        InputError: a file is missing or broken, a setting is not supported, or weights are missing, unknown or of another shape.
    """

    def __init__(self, path: str | os.PathLike[str], **changes: Any) -> None:
        directory = Path(path)
        self._config = _read_json(directory / CONFIG)
        settings = {**_settings(directory / CONFIG, self._config), **changes}
        self._found = _find_weights(directory)
        ignored = {name for name in self._found if name.endswith((".attn.bias", ".attn.masked_bias"))}  # masks that older versions kept
        if settings["tie_weights"]:
            ignored.add("lm_head.weight")  # the embedding once more
        try:
            self.config = GPTConfig(**settings)
            _check_weights(directory, settings, {name: shape for name, (_, _, shape) in self._found.items() if name not in ignored})
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"{directory / CONFIG} does not describe a GPT-2 ({error}); restore it from a copy") from error

    def weight(self, name: str) -> HostArray:
        """Read the float32 array of a parameter of `TinyGPT`, in its layout. Nothing is kept."""
        theirs = _theirs(name)
        file, stored_name, _ = self._found[theirs]
        array = load_array(file, stored_name).astype(numpy.float32, copy=False)
        _rescale_queries(array, theirs, self._config)
        return array.T if _is_transposed(theirs) else array


def _find_weights(directory: Path) -> dict[str, tuple[Path, str, Shape]]:
    """Where each weight is, by GPT-2's name: the file, the name there, and its shape. Raises `InputError` where one comes twice."""
    found: dict[str, tuple[Path, str, Shape]] = {}
    for file in _weight_files(directory):
        for name, shape in array_shapes(file).items():
            other, as_what, _ = found.setdefault(_plain(name), (file, name, shape))
            if (other, as_what) != (file, name):
                raise InputError(f"{directory} holds {_plain(name)} twice, in {other.name} and {file.name}; remove one of them")
    return found


def _check_weights(directory: Path, settings: dict[str, Any], shapes: dict[str, Shape]) -> None:
    """Raise `InputError` where weights, of GPT-2's names, are not those of a model, before one of any size is made."""
    stored = {_ours(name): shape[::-1] if _is_transposed(name) else shape for name, shape in shapes.items()}
    found = differences(settings, stored)
    if found.missing or found.unknown:
        missing, unknown = sorted(map(_theirs, found.missing)), sorted(name for name in shapes if _ours(name) in found.unknown)
        raise InputError(
            f"{directory} does not hold the weights of a GPT-2 of this shape: "
            f"missing {_listed(missing, found.further)}, unknown {_listed(unknown)}"
        )
    for name, shape, wanted in found.shapes:
        theirs = _theirs(name)
        shape, wanted = (shape[::-1], wanted[::-1]) if _is_transposed(theirs) else (shape, wanted)
        raise InputError(f"{directory}: {theirs} has shape {shape}, and {CONFIG} asks for {wanted}")


def _plain(name: str) -> str:
    """A weight's name without the prefix that transformers writes and the hub's GPT-2 has not."""
    return name.removeprefix("transformer.")


def _listed(names: list[str], further: int = 0) -> str:
    """Some names, and how many more, besides ``further``."""
    further += max(0, len(names) - 4)
    return ", ".join(names[:4]) + (f" and {further:,} more" if further else "") if names else "nothing"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; name a directory that holds a GPT-2, with {CONFIG} and {WEIGHTS}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON; restore it from a copy") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a model's settings; restore it from a copy")
    return content


def _weight_files(directory: Path) -> list[Path]:
    """The one file of weights, or the several that an index names."""
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    if not (directory / INDEX).exists():
        pickles = sorted(path.name for path in directory.glob("*.bin"))
        if pickles:
            raise InputError(
                f"{directory} keeps its weights as a pickle, {pickles[0]}, which may run any code and is not read; "
                f"have transformers write {WEIGHTS}: GPT2LMHeadModel.from_pretrained(PATH).save_pretrained(NEW)"
            )
        return [directory / WEIGHTS]
    weight_map = _read_json(directory / INDEX).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(f"{directory / INDEX} names no files beside it; restore it from a copy")
    return [directory / name for name in sorted(set(names))]


def _settings(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """TinyGPT's settings from GPT-2's. Raises `InputError` naming what is missing or not supported."""
    kind = config.get("model_type", "gpt2")
    if kind != "gpt2":
        raise InputError(f"{path} asks for what TinyGPT has not: model_type={kind!r}")
    missing = [name for name in ("vocab_size", "n_embd", "n_head", "n_layer", "n_positions") if not isinstance(config.get(name), int)]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; is it a GPT-2's?")
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
        raise InputError(f"{path} asks for what TinyGPT has not: {', '.join(unsupported)}")
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
    """Write other scales of the scores than ours, 1 / sqrt(width of a head), into the weights that make the queries."""
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
        settings: those of the model.
        state: its parameters by name; ``positions.weight`` is the table of positions, learned or not.

    Raises:
        InputError: the directory holds a run, whose weights and settings that would replace, or another process writes there.
        OSError: it cannot be written.
    """
    directory = Path(path)
    refuse_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        theirs: state[ours].T if _is_transposed(theirs) else state[ours] for ours, theirs in zip(state, map(_theirs, state), strict=True)
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
