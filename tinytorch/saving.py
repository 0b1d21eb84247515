"""`save` and `load`: Tensors, state dicts and nested structures of them in safetensors files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tinytorch.array_api.creation import asarray
from tinytorch.backend import current_backend, get_backend
from tinytorch.backend.host import is_host_array
from tinytorch.io import structures
from tinytorch.io.errors import InputError
from tinytorch.tensor import Tensor

_VERSION = 1
_STRUCTURE = "tinytorch.structure"  #: the key of the description in the metadata of the file


def save(obj: Any, f: str | os.PathLike[str]) -> None:
    """Save Tensors to a safetensors file, under PyTorch's name. Unlike ``torch.save`` it stores data only, no code.

    The file is replaced only after the new one is complete. Programs that read safetensors files find the Tensors of a state dict by name.

    Args:
        obj: dicts, lists and tuples of Tensors, numpy arrays, numbers, strings, booleans and ``None``, in any nesting; or a module or
            another object with a ``state_dict`` method, of which the state dict is saved. Only values are saved, no gradients; a Tensor
            that occurs several times is stored once.
        f: the path of the file.

    Raises:
        TypeError: ``obj`` contains something else, or ``f`` is not a path.
        ValueError: ``obj`` contains itself.
        OSError: the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> tt.save({"model": nn.Linear(3, 2).state_dict(), "epoch": 4}, path)
        >>> tt.load(path)["epoch"]
        4
    """
    from tinytorch.io.files import save_arrays

    if not isinstance(f, str | os.PathLike):
        raise TypeError(f"save expected the path of a file, got {type(f).__name__}; write a file, and read its bytes if you need them")
    if not isinstance(obj, Tensor) and callable(getattr(obj, "state_dict", None)):
        obj = obj.state_dict()
    try:
        found, description = structures.flatten(obj, lambda value: isinstance(value, Tensor) or is_host_array(value))
    except (TypeError, ValueError) as error:
        raise type(error)(f"save: {error}") from None
    arrays = {name: value.backend.to_host(value.raw) if isinstance(value, Tensor) else value for name, value in found.items()}
    bfloat16_names = {name for name, value in found.items() if isinstance(value, Tensor) and value.dtype.name == "bfloat16"}
    for name, array in arrays.items():
        if name not in bfloat16_names and (array.dtype.kind not in "biuf" or array.dtype.itemsize > 8):
            hint = "; save its real and imaginary parts" if array.dtype.kind == "c" else ""
            raise TypeError(f"save: {name!r} has dtype {array.dtype.name}, which safetensors files cannot store{hint}")
    save_arrays(f, arrays, {"format": "pt", _STRUCTURE: description, "tinytorch.version": str(_VERSION)}, bfloat16=bfloat16_names)


def load(f: str | os.PathLike[str], map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Load what `save` saved, or any other safetensors file, under PyTorch's name.

    Args:
        f: the path of a safetensors file. A file of another program is loaded as a dict of Tensors.
        map_location: the backend or device of the Tensors; defaults to the current backend.
        weights_only: must be true, since the file stores no code.

    Returns:
        The structure that was saved, with new Tensors, which require no gradient. numpy arrays become Tensors. Values of dtype bfloat16
        become float32 on a backend without bfloat16.

    Raises:
        InputError: the file is missing, damaged, or not a safetensors file.
        TypeError: the backend lacks the dtype of a Tensor.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "values.safetensors"
        >>> tt.save([tt.asarray([1.0, 2.0]), "text"], path)
        >>> tt.load(path)
        [Tensor([1., 2.], dtype=float32, device='numpy:cpu'), 'text']
    """
    from tinytorch.io.files import StoredArrays, array_dtypes, read_metadata

    if not weights_only:
        raise ValueError("load: the file stores no code, so `weights_only` must be True")
    if not isinstance(f, str | os.PathLike):
        raise TypeError(f"load expected the path of a file, got {type(f).__name__}; write the bytes to a file first")
    _refuse_pickle(f)
    metadata = read_metadata(f)
    if metadata.get("tinytorch.version", str(_VERSION)) != str(_VERSION):
        raise InputError(f"{os.fspath(f)} was written by a newer version of tinytorch: install that version")
    backend = current_backend() if map_location is None else get_backend(map_location)
    keeps_bfloat16 = "bfloat16" in backend.capabilities.dtypes
    stored, kinds = StoredArrays(f), array_dtypes(f)
    tensors = {
        name: asarray(array, dtype="bfloat16" if kinds[name] == "BF16" and keeps_bfloat16 else None, device=backend)
        for name, array in stored.items()
    }
    if _STRUCTURE not in metadata:
        return tensors
    try:
        return structures.restore(metadata[_STRUCTURE], tensors)
    except ValueError as error:
        raise InputError(f"{os.fspath(f)} has a damaged description of its structure ({error}): restore it from a copy") from None


def _refuse_pickle(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` for files of ``torch.save`` and ``pickle``."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError:
        return  # reported by the reader of safetensors files
    if start.startswith((b"PK\x03\x04", b"\x80")) and start[8:] != b"{":  # a safetensors file starts with any 8 bytes and a brace
        name, new = Path(path).name, f"{Path(path).stem}.safetensors"
        raise InputError(
            f"{os.fspath(path)} is a pickle file, as torch.save writes it, which can run code and is not loaded: convert it where PyTorch "
            f"is installed with `safetensors.torch.save_file(torch.load({name!r}, weights_only=True), {new!r})`"
        )
