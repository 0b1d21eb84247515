"""The torch backend: PyTorch tensors as arrays, on the CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_torch.backend import TorchBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> TorchBackend:
    """Create the torch backend on one device. PyTorch's own autograd is not used.

    Args:
        device: a PyTorch device string (``"cpu"``, ``"cuda:1"``, ``"mps"``); ``None`` is CUDA if there is a GPU, otherwise the CPU.

    Raises:
        BackendUnavailableError: if PyTorch is not installed, or does not find the device.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise BackendUnavailableError("torch", "PyTorch is not installed", "type `pip install torch`") from error
    from tinytorch_torch.backend import TorchBackend

    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.empty(0, device=name).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # an unknown name, a build without CUDA, a missing GPU
        reason = f"PyTorch {torch.__version__} has no device {name!r} ({str(error).splitlines()[0]})"
        raise BackendUnavailableError("torch", reason, "type 'torch:cpu' for the CPU, or install a PyTorch for this device") from error
    return TorchBackend(found)
