"""`tinytorch.save` and `tinytorch.load`: round trips, and files that are damaged, hostile or of another kind."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.io.files import array_names, save_arrays
from tinytorch.optim import AdamW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "saved.pt"


def same(a: Any, b: Any) -> bool:
    """Whether two structures are equal, including types, dtypes and values."""
    if isinstance(a, tt.Tensor):
        return isinstance(b, tt.Tensor) and a.dtype is b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tt.asarray([1.0, 2.0]),
        lambda: {"b": tt.ones(2), "a": tt.zeros((2, 3))},
        lambda: [tt.ones(1), (tt.asarray(2), "text", None), {"x": {"y": [True, 1.5, -3]}}],
        lambda: {0: tt.ones(1), "0": tt.zeros(1), 1: {}},
        lambda: {"a": {"b": tt.ones(1)}, "a.b": tt.zeros(1), "__metadata__": tt.ones(2), "": tt.zeros(2), "é\n": tt.ones(3)},
        lambda: [],
        lambda: ({"inf": float("inf")}, 10**30, ()),
        lambda: [tt.zeros((0, 3)), tt.asarray(True), tt.asarray([1, 2], dtype="uint8"), tt.asarray(1.5, dtype="float64")],
    ],
)
def test_structures_come_back_as_they_were_saved(backend: Backend, make: Any, path: Path) -> None:
    saved = make()
    tt.save(saved, path)
    assert same(tt.load(path), saved)


def test_the_state_dict_of_a_module_and_of_an_optimizer_can_be_saved(backend: Backend, path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = AdamW(model.parameters())
    tt.sum(model(tt.asarray([[1.0, 2.0, 3.0], [0.0, 1.0, 0.5]])) ** 2).backward()
    optimizer.step()
    tt.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    loaded = tt.load(path)
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    other.load_state_dict(loaded["model"])
    second = AdamW(other.parameters())
    second.load_state_dict(loaded["optimizer"])
    assert loaded["epoch"] == 3
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(a.detach(), b.detach())


def test_a_module_is_saved_as_its_state_dict_under_its_own_names(path: Path) -> None:
    model = nn.Linear(3, 2)
    tt.save(model, path)
    assert set(array_names(path)) == {"weight", "bias"}
    other = nn.Linear(3, 2)
    other.load_state_dict(tt.load(path))
    assert host(other.weight).tolist() == host(model.weight).tolist()


def test_other_programs_read_the_tensors(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="PyTorch is not installed")
    tt.save({"w": tt.ones((2, 2)), "half": tt.ones(2, dtype="bfloat16", device="torch:cpu")}, path)
    read = safetensors.load_file(path)
    assert read["w"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert str(read["half"].dtype) == "torch.bfloat16"


def test_a_file_of_another_program_is_a_dict(backend: Backend, path: Path) -> None:
    save_arrays(path, {"a": numpy.ones(2, "float32")}, {"format": "pt"})
    assert same(tt.load(path), {"a": tt.ones(2)})


def test_tensors_of_any_memory_layout_keep_their_values(backend: Backend, path: Path) -> None:
    x = tt.reshape(tt.arange(12), (3, 4))
    saved = [tt.matrix_transpose(x), x[:, ::2], tt.flip(x), tt.broadcast_to(tt.ones(1), (2, 2)), numpy.asfortranarray(numpy.eye(2, 3))]
    tt.save(saved, path)
    for read, expected in zip(tt.load(path), saved, strict=True):
        assert read.tolist() == expected.tolist()


def test_a_tensor_that_occurs_twice_is_stored_once_and_stays_one(path: Path) -> None:
    x = tt.ones(1000)
    tt.save({"a": x, "b": [x]}, path)
    assert len(array_names(path)) == 1
    loaded = tt.load(path)
    assert loaded["a"] is loaded["b"][0]


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_bfloat16_is_kept_where_the_backend_has_it(name: str, path: Path) -> None:
    try:
        backend = tt.get_backend(name)
    except tt.BackendUnavailableError as error:
        pytest.skip(str(error))
    x = tt.asarray([1.5, -2.25, 3e38, float("inf"), float("nan")], dtype="bfloat16", device=backend)
    tt.save([x, tt.asarray(2.0, dtype="bfloat16", device=backend)], path)
    (loaded, scalar), wide = tt.load(path, backend), tt.load(path, map_location="numpy")[0]
    assert (loaded.dtype, scalar.dtype, wide.dtype) == (tt.bfloat16, tt.bfloat16, tt.float32)
    expected = host(tt.astype(x, "float32"))
    for read in (tt.astype(loaded, "float32"), wide):
        numpy.testing.assert_array_equal(host(read), expected)


def test_map_location_selects_the_backend(path: Path) -> None:
    tt.save(tt.ones(2), path)
    assert tt.load(path, map_location="strict").backend is tt.get_backend("strict")
    with tt.use_backend("strict"):
        assert tt.load(path).backend is tt.get_backend("strict")


def test_loaded_tensors_require_no_gradient(path: Path) -> None:
    x = tt.tensor([1.0], requires_grad=True)
    tt.save([x, x * 2.0], path)
    assert [tensor.requires_grad for tensor in tt.load(path)] == [False, False]


def test_numpy_scalars_become_numbers(path: Path) -> None:
    tt.save([numpy.float32(1.5), numpy.int64(3), numpy.bool_(True)], path)
    assert same(tt.load(path), [1.5, 3, True])


class Recipe:
    """A class of the user."""


def test_what_cannot_be_stored_raises_and_says_where(path: Path) -> None:
    for value, message in [
        ({"a": [1, {2}]}, r"save: expected dicts, lists and tuples of Tensors.*, got set at the entry 'a\.1'; convert it, or leave it out"),
        (Recipe(), "got Recipe at the top"),
        ({(1, 2): 3}, r"a key of a dict must be a string or an integer, got \(1, 2\) at the top"),
        ([1j], "got complex at the entry '0'"),
        ({"z": tt.asarray([1j])}, "'z' has dtype complex64, which safetensors files cannot store; save its real and imaginary parts"),
        ({"s": numpy.asarray(["a"])}, "'s' has dtype str"),
    ]:
        with pytest.raises(TypeError, match=message):
            tt.save(value, path)
    assert not path.exists()


def test_a_structure_that_contains_itself_raises(path: Path) -> None:
    loop: list[Any] = []
    loop.append({"x": loop})
    with pytest.raises(ValueError, match=r"save: the structure contains itself, at the entry '0\.x'"):
        tt.save(loop, path)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="save: the structure is nested too deeply"):
        tt.save(deep, path)


def test_a_list_that_occurs_twice_is_no_loop(path: Path) -> None:
    part = [1]
    tt.save([part, part], path)
    assert tt.load(path) == [[1], [1]]


def test_files_must_be_paths() -> None:
    with open(os.devnull, "r+b") as file:
        for call in (lambda: tt.save(1, file), lambda: tt.load(file)):  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="expected the path of a file, got Buffered"):
                call()


def test_an_interrupted_save_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tt.save({"x": 1}, path)
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        tt.save({"x": 2}, path)
    assert tt.load(path) == {"x": 1}
    assert os.listdir(path.parent) == [path.name]


# ---- files of another kind, damaged and hostile files ----


def test_a_file_of_torch_save_is_not_loaded_and_the_error_says_how_to_convert_it(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(1))
    message = (
        r"is a pickle file, as torch\.save writes it, which can run code and is not loaded: convert it where PyTorch is installed with "
        r"`safetensors\.torch\.save_file\(torch\.load\('saved\.pt', weights_only=True\), 'saved\.safetensors'\)`"
    )
    with pytest.raises(InputError, match=message):
        tt.load(path)


def test_a_plain_pickle_is_not_loaded(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(InputError, match="is a pickle file"):
        tt.load(path)


def test_a_header_of_any_length_is_no_pickle(path: Path) -> None:
    """The first byte of a safetensors file is a part of that length, and of a pickle 128."""
    starts = set()
    for length in range(0, 600, 8):
        tt.save("x" * length, path)
        starts.add(path.read_bytes()[0])
        assert tt.load(path) == "x" * length
    assert 128 in starts


def test_the_file_stores_no_code() -> None:
    with pytest.raises(ValueError, match="the file stores no code, so `weights_only` must be True"):
        tt.load("any.pt", weights_only=False)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        tt.load(tmp_path / "none.pt")
    with pytest.raises(InputError, match="is not a regular file"):
        tt.load(tmp_path)


def test_every_truncation_is_one_sentence(path: Path) -> None:
    tt.save({"a": tt.ones(3), "b": [tt.zeros(2), 4]}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as raised:
            tt.load(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is nested too deeply|it is not JSON"),
        ('{"array": "b"}', "the array 'b' is missing"),
        ('{"array": 3}', "an entry of an unknown kind"),
        ('{"call": "os.system"}', "an entry of an unknown kind"),
        ('{"dict": [["a"]]}', "an entry of an unknown kind"),
        ('{"dict": [[["a"], 1]]}', "an entry of an unknown kind"),
        ('{"tuple": 1}', "an entry of an unknown kind"),
        ("{}", "an entry of an unknown kind"),
        ("9" * 5000, ""),
    ],
)
def test_a_damaged_description_is_one_sentence(structure: str, reason: str, path: Path) -> None:
    save_arrays(path, {"a": numpy.ones(1)}, {"tinytorch.structure": structure})
    with pytest.raises(InputError, match=rf"has a damaged description of its structure \(.*({reason}).*\): restore it from a copy"):
        tt.load(path)


def test_a_newer_version_is_refused(path: Path) -> None:
    save_arrays(path, {}, {"tinytorch.structure": "1", "tinytorch.version": "2"})
    with pytest.raises(InputError, match="was written by a newer version of tinytorch"):
        tt.load(path)


def test_a_header_with_wrong_offsets_is_one_sentence(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(InputError, match="is truncated or is not a safetensors file"):
        tt.load(path)
