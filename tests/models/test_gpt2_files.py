"""GPT-2 directories: saving, loading and errors. `test_gpt2_transformers.py` compares them with transformers."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.io.files import load_arrays, save_arrays
from tinytorch.models import TinyGPT

IDS = numpy.random.default_rng(0).integers(0, 50, (2, 9))


def test_a_saved_model_loads_with_the_same_config_and_logits(tmp_path: Path, backend: Backend) -> None:
    tt.seed(0)
    model = TinyGPT(50, d_model=12, num_heads=2, num_layers=2, max_length=16, positional="learned", tie_weights=True).eval()
    model.save_pretrained(tmp_path)
    loaded = TinyGPT.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert host(loaded(IDS)).tolist() == host(model(IDS)).tolist()


def test_dropout_can_be_overridden_when_loading(tmp_path: Path) -> None:
    with tt.use_backend("numpy"):
        TinyGPT(50, d_model=12, num_heads=2, num_layers=1, max_length=16, dropout=0.3).save_pretrained(tmp_path)
        assert TinyGPT.from_pretrained(tmp_path).config.dropout == 0.3
        assert TinyGPT.from_pretrained(tmp_path, dropout=0.0).config.dropout == 0.0


def test_loading_needs_little_more_memory_than_the_model(tmp_path: Path) -> None:
    with tt.use_backend("numpy"):
        model = TinyGPT(64, d_model=128, num_heads=4, num_layers=8, max_length=16, positional="learned", tie_weights=True)
        model.save_pretrained(tmp_path)
        TinyGPT.from_pretrained(tmp_path)  # imports modules
        tracemalloc.start()
        loaded = TinyGPT.from_pretrained(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.3 * 4 * loaded.count_parameters()


def test_bfloat16_weights_are_loaded_as_float32(directory: Path) -> None:
    with tt.use_backend("numpy"):
        arrays = {name: value.astype("float32") for name, value in load_arrays(directory / "model.safetensors")[0].items()}
        halves = {name: (numpy.ascontiguousarray(value).view("uint32") >> 16).astype("uint16") for name, value in arrays.items()}
        save_arrays(directory / "model.safetensors", halves)
        data = (directory / "model.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + length].replace(b'"U16"', b'"BF16"')
        header += b" " * (-len(header) % 8)
        (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
        model = TinyGPT.from_pretrained(directory)
        expected = (halves["wte.weight"].astype("uint32") << 16).view("float32")
        assert host(model.embedding.weight).tolist() == expected.tolist()


# ---- errors ----


def test_saving_into_a_run_directory_raises(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"format": "tinytorch-run"}), encoding="utf-8")
    with (
        tt.use_backend("numpy"),
        pytest.raises(InputError, match="contains a training run, which would be overwritten; choose another directory"),
    ):
        TinyGPT(50, d_model=12, num_heads=2, num_layers=1, max_length=16).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_saving_removes_temporary_files_of_a_killed_save(tmp_path: Path) -> None:
    for name in (".model-0123abcd.safetensors", ".config-0123abcd.json"):
        (tmp_path / name).write_bytes(b"half")
    with tt.use_backend("numpy"):
        TinyGPT(50, d_model=12, num_heads=2, num_layers=1, max_length=16).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with tt.use_backend("numpy"):
        TinyGPT(50, d_model=12, num_heads=2, num_layers=1, max_length=16, positional="learned", tie_weights=True).save_pretrained(tmp_path)
    return tmp_path


def change_config(directory: Path, **settings: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **settings}), encoding="utf-8")


def change_weights(directory: Path, **arrays: Any) -> None:
    file = directory / "model.safetensors"
    new = {**load_arrays(file)[0], **{name.replace("__", "."): value for name, value in arrays.items()}}
    save_arrays(file, {name: value for name, value in new.items() if value is not None})


def loading_error(directory: Path) -> str:
    with tt.use_backend("numpy"), pytest.raises(InputError) as caught:
        TinyGPT.from_pretrained(directory)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_function": "mish"}, "has settings that TinyGPT does not support: activation_function='mish'"),
        ({"model_type": "llama"}, "model_type='llama'"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"quantization_config": {"bits": 4}, "pruned_heads": {"0": [1]}}, "does not support: pruned_heads, quantization_config"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon='small'"),
        ({"n_head": 5}, "does not describe a GPT-2 (d_model must be a multiple of num_heads, got 12 and 5)"),
        ({"n_layer": 0}, "does not describe a GPT-2 (TinyGPT: num_layers must be at least 1"),
        ({"n_inner": "wide"}, "does not describe a GPT-2"),
        ({"resid_pdrop": 2, "embd_pdrop": 2, "attn_pdrop": 2}, "does not describe a GPT-2 (dropout"),
        ({"attn_pdrop": [0.1]}, "different resid_pdrop"),
        ({"attn_pdrop": 0.5}, "different resid_pdrop, embd_pdrop and attn_pdrop"),
        ({"n_embd": None, "n_head": None}, "lacks n_embd, n_head"),
        ({"n_layer": 2}, "missing h.1.attn.c_attn.bias, h.1.attn.c_attn.weight, h.1.attn.c_proj.bias, h.1.attn.c_proj.weight and 8 more"),
        (
            {"n_layer": 10**9},
            "missing h.1.attn.c_attn.bias, h.1.attn.c_attn.weight, h.1.attn.c_proj.bias, h.1.attn.c_proj.weight and 11,999",
        ),
        ({"n_embd": 10**9}, "has shape (50, 12), but config.json specifies (50, 1000000000)"),
        ({"vocab_size": 10**9}, "wte.weight has shape (50, 12), but config.json specifies (1000000000, 12)"),
        ({"n_inner": 10**9}, "h.0.mlp.c_fc.weight has shape (12, 48), but config.json specifies (12, 1000000000)"),
        ({"n_head": 10**9}, "does not describe a GPT-2 (d_model must be a multiple of num_heads"),
        ({"n_positions": 10**9}, "wpe.weight has shape (16, 12), but config.json specifies (1000000000, 12)"),
        ({"n_positions": 8}, "wpe.weight has shape (16, 12), but config.json specifies (8, 12)"),
    ],
)
def test_bad_settings_raise(directory: Path, settings: dict[str, Any], message: str) -> None:
    change_config(directory, **settings)
    assert message in loading_error(directory)


def test_unknown_weights_raise(directory: Path) -> None:
    change_weights(directory, h__0__attn__rotary=numpy.zeros(3, dtype=numpy.float32))
    assert "missing none, unknown h.0.attn.rotary" in loading_error(directory)


def test_masks_and_the_name_prefix_of_older_files_are_ignored(directory: Path) -> None:
    file = directory / "model.safetensors"
    arrays = {f"transformer.{name}": value for name, value in load_arrays(file)[0].items()}
    save_arrays(file, {**arrays, "transformer.h.0.attn.bias": numpy.ones((1, 1, 16, 16), dtype=numpy.float32)})
    with tt.use_backend("numpy"):
        TinyGPT.from_pretrained(directory)


def test_missing_and_damaged_files_raise(directory: Path) -> None:
    assert "does not exist; pass a GPT-2 directory" in loading_error(directory / "nowhere")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "is truncated or is not a safetensors file" in loading_error(directory)
    weights.unlink()
    assert f"there is no file {weights}" in loading_error(directory)
    shutil.copy(directory / "config.json", weights.with_name("model.safetensors.index.json"))
    assert "must list file names" in loading_error(directory)


def test_duplicate_weights_raise(directory: Path) -> None:
    change_weights(directory, transformer__wte__weight=numpy.zeros((50, 12), dtype=numpy.float32))
    assert "contains wte.weight twice, in model.safetensors and model.safetensors" in loading_error(directory)


def test_a_pickle_file_is_never_loaded(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    assert "are a pickle file, pytorch_model.bin, which can run arbitrary code and is not loaded; convert it" in loading_error(directory)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_named_pipe_instead_of_a_file_raises_and_does_not_block(directory: Path, name: str) -> None:
    (directory / ("model.safetensors" if "index" in name else name)).unlink()
    os.mkfifo(directory / name)
    assert name in loading_error(directory)


def test_an_index_with_paths_outside_of_the_directory_raises(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    index = directory / "model.safetensors.index.json"
    for names in ({"wte.weight": "../model.safetensors"}, {"wte.weight": 3}, {}):
        index.write_text(json.dumps({"weight_map": names}), encoding="utf-8")
        assert "must list file names in the same directory" in loading_error(directory)
