"""The torch backend: PyTorch's arrays, on the CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_torch.backend import TorchBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> TorchBackend:
    """The torch backend on one device. PyTorch's own autograd takes no part.

    Args:
        device: as PyTorch names it (``"cpu"``, ``"cuda:1"``, ``"mps"``); ``None`` for CUDA where there is a GPU, and the CPU otherwise.

    Raises:
        BackendUnavailableError: PyTorch is missing, or does not find the device.
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
        place = torch.empty(0, device=name).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a wrong name, a build without CUDA, a GPU that is not there
        reason = f"PyTorch {torch.__version__} has no device {name!r} ({str(error).splitlines()[0]})"
        raise BackendUnavailableError("torch", reason, "type 'torch:cpu' for the CPU, or install a PyTorch for this device") from error
    return TorchBackend(place)
