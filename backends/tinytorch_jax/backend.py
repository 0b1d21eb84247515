"""The `Backend` for JAX."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy

from tinytorch.backend.contract import Array, Backend, Capabilities, MemoryInfo, Step
from tinytorch.backend.dtypes import DTYPES
from tinytorch.backend.library_namespace import LibraryNamespace
from tinytorch_jax.namespace import OVERRIDES

_64_BIT = frozenset({"int64", "uint64", "float64", "complex128"})


class JaxBackend(Backend):
    """JAX on one device. Its arrays are concrete arrays, or tracers while a step is compiled."""

    def __init__(self, device: jax.Device) -> None:
        self._device = device
        x64_enabled = cast(Any, jax.config).jax_enable_x64
        super().__init__(
            name="jax",
            device=f"{device.platform}:{device.id}" if device.id else device.platform,
            xp=LibraryNamespace(jnp, None if device == jax.devices()[0] else device, OVERRIDES),
            capabilities=Capabilities(
                dtypes=frozenset(DTYPES) if x64_enabled else frozenset(DTYPES) - _64_BIT,
                host=device.platform == "cpu",
                inplace=False,
                deterministic_scatter=device.platform == "cpu",  # on a GPU, repeated indices are summed in any order
                graph=True,
                checks_indices=False,
            ),
        )

    def dtype(self, name: str) -> Any:
        if name in _64_BIT and name not in self.capabilities.dtypes:
            other = {"int64": "int32", "uint64": "uint32", "complex128": "complex64"}.get(name, "float32")
            raise TypeError(f"JAX has no {name} in its default mode; pass dtype={other!r}, or set JAX_ENABLE_X64=1 before JAX is imported")
        return super().dtype(name)

    def owns(self, array: object) -> bool:
        if isinstance(array, jax.core.Tracer):
            return True
        return isinstance(array, jax.Array) and array.devices() == {self._device}

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        # copy, because on the CPU device_put may share memory with its argument
        return jax.device_put(numpy.array(array, dtype=self.dtype(dtype or array.dtype.name), order="C", copy=True), self._device)

    def to_host(self, array: Array) -> numpy.ndarray:
        view = numpy.asarray(array).view()
        view.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", view)

    def out_of_bounds(self, indices: Array, length: int) -> int | None:
        if isinstance(indices, jax.core.Tracer) or not indices.size:
            return None
        host = self.to_host(indices)
        return next((int(i) for i in (host.min(), host.max()) if not -length <= i < length), None)

    def compile(self, step: Step, donate: bool = False) -> Step:
        compiled: Step = cast(Step, jax.jit(step, donate_argnums=(0,) if donate else ()))

        def checked(state: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
            try:
                return compiled(state, batch)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise MemoryError(str(error)) from None

        return checked

    def lacks_precision(self, name: str) -> str | None:
        if name == "tf32" and self._device.platform == "gpu":
            return None
        return super().lacks_precision(name)

    def matmul_precision(self, precision: str) -> AbstractContextManager[None]:
        # JAX's default precision of float32 matmuls is TF32 on GPUs that support it, and bfloat16 on TPUs
        chosen = {"float32": "float32", "tf32": "tensorfloat32"}.get(precision)
        return nullcontext() if chosen is None else jax.default_matmul_precision(chosen)

    def synchronize(self) -> None:
        jax.device_put(0, self._device).block_until_ready()  # a device runs its operations in order

    def memory_info(self) -> MemoryInfo | None:
        """Memory that this process uses on the GPU, and its limit; ``None`` for other devices."""
        stats = self._device.memory_stats()
        return MemoryInfo(used=stats["bytes_in_use"], total=stats["bytes_limit"]) if stats else None

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}
