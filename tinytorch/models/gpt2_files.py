"""GPT-2 directories as Hugging Face keeps them: ``config.json`` and safetensors. A host module.

GPT-2 (Radford et al. 2019) is a `TinyGPT` with learned positions and tied weights. Its matrices lie there as (in, out), transposed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from tinytorch.errors import InputError
from tinytorch.files import HostArray, array_names, atomic_write_text, load_array, read_regular, refuse_run, save_arrays
from tinytorch.models.tiny_gpt import TinyGPT
from tinytorch.nn import init

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: GPT-2's names of activations, by ours; the first is the one to write.
_ACTIVATIONS = {"gelu_tanh": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu": ("gelu",), "relu": ("relu",), "tanh": ("tanh",)}

#: Our names in a block, GPT-2's, and whether the matrix is transposed.
_BLOCK = [
    ("norm1.weight", "ln_1.weight", False),
    ("norm1.bias", "ln_1.bias", False),
    ("attention.in_proj_weight", "attn.c_attn.weight", True),
    ("attention.in_proj_bias", "attn.c_attn.bias", False),
    ("attention.out_proj.weight", "attn.c_proj.weight", True),
    ("attention.out_proj.bias", "attn.c_proj.bias", False),
    ("norm2.weight", "ln_2.weight", False),
    ("norm2.bias", "ln_2.bias", False),
    ("linear1.weight", "mlp.c_fc.weight", True),
    ("linear1.bias", "mlp.c_fc.bias", False),
    ("linear2.weight", "mlp.c_proj.weight", True),
    ("linear2.bias", "mlp.c_proj.bias", False),
]


def _names(model: TinyGPT) -> Iterator[tuple[str, str, bool]]:
    """Our name of each parameter, GPT-2's, and whether the matrix is transposed."""
    yield "embedding.weight", "wte.weight", False
    yield "positions.weight", "wpe.weight", False
    for i in range(len(model.blocks)):
        yield from ((f"blocks.{i}.{ours}", f"h.{i}.{theirs}", transposed) for ours, theirs, transposed in _BLOCK)
    yield "norm.weight", "ln_f.weight", False
    yield "norm.bias", "ln_f.bias", False
    if model.head is not None:
        yield "head.weight", "lm_head.weight", False


# ---- reading ----


def is_pretrained(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is one of `transformers`, by its settings; of a GPT-2, if `load_gpt2` is to read it."""
    try:
        return "model_type" in _read_json(Path(path) / CONFIG)
    except InputError:
        return False


def load_gpt2(path: str | os.PathLike[str], **changes: Any) -> TinyGPT:
    """The model in a GPT-2 directory, on the chosen backend, in evaluation mode.

    Weights are read one after another, the largest first, so that little more than the model is in memory at any time, and converted to
    float32 once. Pickles are never read.

    Args:
        path: the directory.
        changes: settings of `TinyGPT` that change no weight, such as ``dropout=0.0``.

    Raises:
        InputError: a file is missing or broken, a setting is not supported, or weights are missing, unknown or of another shape.
    """
    directory = Path(path)
    config = _read_json(directory / CONFIG)
    settings = {**_settings(directory / CONFIG, config), **changes}
    try:
        with init.blank():
            model = TinyGPT(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{directory / CONFIG} does not describe a GPT-2 ({error}); restore it from a copy") from error
    found: dict[str, tuple[Path, str]] = {}
    for file in _weight_files(directory):
        for name in array_names(file):
            other = found.setdefault(_plain(name), (file, name))
            if other != (file, name):
                raise InputError(f"{directory} holds {_plain(name)} twice, in {other[0].name} and {file.name}; remove one of them")
    wanted = {theirs: (ours, transposed) for ours, theirs, transposed in _names(model)}
    ignored = {name for name in found if name.endswith((".attn.bias", ".attn.masked_bias"))}  # masks that older versions kept
    if model.head is None:
        ignored.add("lm_head.weight")  # the embedding once more
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys() - ignored)
    if missing or unknown:
        raise InputError(
            f"{directory} does not hold the weights of a GPT-2 of this shape: missing {_listed(missing)}, unknown {_listed(unknown)}"
        )
    parameters = dict(model.named_parameters())
    for theirs in sorted(wanted, key=lambda name: -parameters[wanted[name][0]].size):
        ours, transposed = wanted[theirs]
        file, name = found[theirs]
        array = load_array(file, name)
        parameter = parameters[ours]
        shape = tuple(reversed(array.shape)) if transposed else array.shape
        if shape != tuple(parameter.shape):
            wanted_shape = tuple(reversed(parameter.shape)) if transposed else tuple(parameter.shape)
            raise InputError(f"{directory}: {name} has shape {array.shape}, and {CONFIG} asks for {wanted_shape}")
        array = array.astype(parameter.dtype.name, copy=False)
        _rescale_queries(array, theirs, config)
        parameter.raw = parameter.backend.from_host(array.T if transposed else array)
    return model.eval()


def _plain(name: str) -> str:
    """A weight's name without the prefix that transformers writes and the hub's GPT-2 has not."""
    return name.removeprefix("transformer.")


def _listed(names: list[str]) -> str:
    """Some names, and how many more."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "nothing"


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


def save_gpt2(model: TinyGPT, path: str | os.PathLike[str]) -> None:
    """Write a model as a GPT-2 directory, which `transformers` loads as ``GPT2LMHeadModel``; a sinusoidal table becomes ``wpe``.

    Raises:
        InputError: the directory holds a run, whose weights and settings that would replace.
        OSError: it cannot be written.
    """
    directory = Path(path)
    refuse_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    if "positions.weight" not in state:
        state["positions.weight"] = model.positions.pe.numpy()
    arrays = {theirs: state[ours].T if transposed else state[ours] for ours, theirs, transposed in _names(model)}
    settings = model.settings
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": settings["vocab_size"],
        "n_embd": settings["d_model"],
        "n_head": settings["num_heads"],
        "n_layer": settings["num_layers"],
        "n_inner": settings["d_ff"],
        "n_positions": settings["max_length"],
        "activation_function": _ACTIVATIONS[settings["activation"]][0],
        "layer_norm_epsilon": settings["norm_eps"],
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), settings["dropout"]),
        "tie_word_embeddings": settings["tie_weights"],
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }
    save_arrays(directory / WEIGHTS, arrays, {"format": "pt"})
    atomic_write_text(directory / CONFIG, json.dumps(config, indent=2) + "\n")
