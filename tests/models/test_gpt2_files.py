"""GPT-2 directories, held to `transformers`, which writes and reads them too. Weights are drawn at random, nothing is downloaded."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch.backend import Backend
from tinytorch.errors import InputError
from tinytorch.files import load_arrays, save_arrays
from tinytorch.models import TinyGPT

TINY = {"vocab_size": 50, "n_embd": 12, "n_head": 2, "n_layer": 2, "n_positions": 16}

#: Settings that differ from GPT-2's own.
UNUSUAL = {
    "odd width of a head": {"n_embd": 15, "n_head": 3},
    "n_inner": {"n_inner": 20},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "epsilon": {"layer_norm_epsilon": 1e-2},
    "scores scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "scores not scaled": {"scale_attn_weights": False},
    "untied": {"tie_word_embeddings": False},
    "all at once": {"n_embd": 15, "n_head": 3, "n_inner": 20, "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True},
}

IDS = numpy.random.default_rng(0).integers(0, 50, (2, 9))


def reference(**settings: Any) -> Any:
    """A GPT-2 of transformers with weights large enough to tell differences, in evaluation mode."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**TINY, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def logits_of(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(IDS)).logits.numpy()


@pytest.mark.parametrize("settings", [{}, *UNUSUAL.values()], ids=["as GPT-2", *UNUSUAL])
def test_the_logits_are_those_of_transformers(tmp_path: Path, backend: Backend, settings: dict[str, Any]) -> None:
    theirs = reference(**settings)
    theirs.save_pretrained(tmp_path)
    ours = TinyGPT.from_pretrained(tmp_path)
    assert not ours.training
    numpy.testing.assert_allclose(host(ours(IDS)), logits_of(theirs), atol=2e-4)


def test_greedy_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    theirs = reference(n_positions=96)
    theirs.save_pretrained(tmp_path)
    import torch

    start = torch.from_numpy(IDS[:1])
    settings = {"max_new_tokens": 64, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    expected = theirs.generate(start, attention_mask=torch.ones_like(start), **settings)[0, start.shape[1] :].tolist()
    with tt.use_backend("numpy"):
        assert TinyGPT.from_pretrained(tmp_path).generate(IDS[0], 64, temperature=0.0) == expected


def test_a_sharded_index_is_followed(tmp_path: Path) -> None:
    theirs = reference()
    theirs.save_pretrained(tmp_path, max_shard_size="5KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    with tt.use_backend("numpy"):
        numpy.testing.assert_allclose(host(TinyGPT.from_pretrained(tmp_path)(IDS)), logits_of(theirs), atol=2e-4)


@pytest.mark.parametrize("settings", [{"positional": "learned", "tie_weights": True}, {}, {"activation": "relu", "d_ff": 20}])
def test_transformers_loads_what_we_write_without_a_word(tmp_path: Path, settings: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    with tt.use_backend("numpy"):
        tt.seed(0)
        ours = TinyGPT(50, d_model=12, num_heads=2, num_layers=2, max_length=16, **settings).eval()
        ours.save_pretrained(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            theirs, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values())
        numpy.testing.assert_allclose(host(ours(IDS)), logits_of(theirs.eval()), atol=2e-4)


def test_it_comes_back_as_it_went(tmp_path: Path, backend: Backend) -> None:
    tt.seed(0)
    model = TinyGPT(50, d_model=12, num_heads=2, num_layers=2, max_length=16, positional="learned", tie_weights=True).eval()
    model.save_pretrained(tmp_path)
    again = TinyGPT.from_pretrained(tmp_path)
    assert again.settings == {**model.settings, "d_ff": None}
    assert host(again(IDS)).tolist() == host(model(IDS)).tolist()


# ---- what is refused ----


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with tt.use_backend("numpy"):
        TinyGPT(50, d_model=12, num_heads=2, num_layers=1, max_length=16, positional="learned", tie_weights=True).save_pretrained(tmp_path)
    return tmp_path


def change_config(directory: Path, **settings: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def change_weights(directory: Path, **arrays: Any) -> None:
    file = directory / "model.safetensors"
    new = {**load_arrays(file)[0], **{name.replace("__", "."): value for name, value in arrays.items()}}
    save_arrays(file, {name: value for name, value in new.items() if value is not None})


def refusal(directory: Path) -> str:
    with tt.use_backend("numpy"), pytest.raises(InputError) as caught:
        TinyGPT.from_pretrained(directory)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"activation_function": "mish"}, "asks for what TinyGPT has not: activation_function='mish'"),
        ({"model_type": "llama"}, "model_type='llama'"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"attn_pdrop": 0.5}, "different resid_pdrop, embd_pdrop and attn_pdrop"),
        ({"n_embd": None, "n_head": None}, "lacks n_embd, n_head"),
        ({"n_layer": 2}, "missing h.1.attn.c_attn.bias, h.1.attn.c_attn.weight, h.1.attn.c_proj.bias, h.1.attn.c_proj.weight and 8 more"),
        ({"n_positions": 8}, "wpe.weight has shape (16, 12), and config.json asks for (8, 12)"),
    ],
)
def test_settings_that_do_not_fit_are_named(directory: Path, settings: dict[str, Any], words: str) -> None:
    change_config(directory, **settings)
    assert words in refusal(directory)


def test_unknown_weights_are_named(directory: Path) -> None:
    change_weights(directory, h__0__attn__rotary=numpy.zeros(3, dtype=numpy.float32))
    assert "missing nothing, unknown h.0.attn.rotary" in refusal(directory)


def test_the_masks_of_older_files_and_their_prefix_are_no_matter(directory: Path) -> None:
    file = directory / "model.safetensors"
    arrays = {f"transformer.{name}": value for name, value in load_arrays(file)[0].items()}
    save_arrays(file, {**arrays, "transformer.h.0.attn.bias": numpy.ones((1, 1, 16, 16), dtype=numpy.float32)})
    with tt.use_backend("numpy"):
        TinyGPT.from_pretrained(directory)


def test_a_directory_that_is_none_and_a_broken_file_are_named(directory: Path) -> None:
    assert "there is no" in refusal(directory / "nowhere")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "is truncated or is not a safetensors file" in refusal(directory)
    weights.unlink()
    assert f"there is no file {weights}" in refusal(directory)
    shutil.copy(directory / "config.json", weights.with_name("model.safetensors.index.json"))
    assert "names no files" in refusal(directory)
