"""The `Backend` for PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import array_api_compat.torch as xp
import numpy
import torch

from tinytorch.backend.contract import Array, Backend, Capabilities, MemoryInfo, Step
from tinytorch.backend.dtypes import DTYPES
from tinytorch.backend.library_namespace import LibraryNamespace
from tinytorch_torch.namespace import OVERRIDES


class TorchBackend(Backend):
    """PyTorch on one device. Its arrays are tensors with ``requires_grad=False``: tinytorch records the graph."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        super().__init__(
            name="torch",
            device=str(device),
            xp=LibraryNamespace(xp, device, OVERRIDES),
            # on a GPU, repeated indices are summed in any order
            capabilities=Capabilities(dtypes=frozenset(DTYPES), host=device.type == "cpu", deterministic_scatter=device.type == "cpu"),
        )

    def owns(self, array: object) -> bool:
        if not isinstance(array, torch.Tensor) or array.device != self._device:
            return False
        if array.requires_grad:
            raise TypeError("this torch.Tensor requires grad in PyTorch's autograd, which tinytorch does not continue; pass x.detach()")
        return True

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        raw = self.dtype(dtype or array.dtype.name)
        if array.dtype.name == "bfloat16":  # ml_dtypes.bfloat16, which torch does not support
            array = array.astype(numpy.float32)
        # from_numpy shares memory, so copy; it rejects read-only arrays, foreign byte order and aliases of dtypes
        copied = numpy.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True).view(array.dtype.name)
        tensor = torch.from_numpy(copied)
        return tensor.to(device=self._device, dtype=raw)

    def to_host(self, array: Array) -> numpy.ndarray:
        tensor = array.resolve_conj().resolve_neg().cpu()
        if tensor.dtype is torch.bfloat16:  # numpy has no bfloat16
            tensor = tensor.float()
        host = tensor.numpy().view()
        host.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", host)

    def compile(self, step: Step, donate: bool = False) -> Step:
        """The step itself; PyTorch's out-of-memory error is converted to ``MemoryError``."""

        def checked(state: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
            try:
                return step(state, batch)
            except torch.OutOfMemoryError as error:
                raise MemoryError(str(error)) from None

        return checked

    def lacks_precision(self, name: str) -> str | None:
        capability = torch.cuda.get_device_capability(self._device) if self._device.type == "cuda" else None
        if name in ("tf32", "bfloat16") and capability is not None and capability < (8, 0):
            return f"its compute capability is {capability[0]}.{capability[1]}, and {name} needs 8.0"
        if name == "tf32" and capability is not None:
            return None
        return super().lacks_precision(name)

    @contextmanager
    def matmul_precision(self, precision: str) -> Iterator[None]:
        flags = torch.backends.cuda.matmul
        before = flags.allow_tf32
        flags.allow_tf32 = precision == "tf32"
        try:
            yield
        finally:
            flags.allow_tf32 = before

    def synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def memory_info(self) -> MemoryInfo | None:
        """Memory that PyTorch has reserved on the GPU, and the GPU's total; ``None`` for other devices."""
        if self._device.type != "cuda":
            return None
        return MemoryInfo(used=torch.cuda.memory_reserved(self._device), total=torch.cuda.mem_get_info(self._device)[1])

    def versions(self) -> dict[str, str]:
        versions = {"torch": str(torch.__version__)}
        return versions | {"CUDA": torch.version.cuda} if torch.version.cuda else versions
