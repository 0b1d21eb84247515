"""The `Backend` for cupy."""

from __future__ import annotations

from collections.abc import Container
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, cast

import numpy

from tinytorch.backend.contract import Array, Backend, Capabilities, Kernel, MemoryInfo, Step
from tinytorch.backend.dtypes import DTYPES
from tinytorch_cupy import gemm, self_check
from tinytorch_cupy.diagnosis import cuda_version
from tinytorch_cupy.graph import CapturedStep, is_enabled
from tinytorch_cupy.kernels import KERNELS
from tinytorch_cupy.namespace import CupyNamespace, on_gpu, override_functions


class CupyBackend(Backend):
    """cupy on one CUDA GPU.

    Args:
        cupy: the module, as returned by `checked_cupy`. No file of this package imports cupy at module level.
        xp: ``array_api_compat.cupy``.
        number: the GPU's number, from 0.
    """

    def __init__(self, cupy: ModuleType, xp: ModuleType, number: int) -> None:
        self._cupy = cupy
        self._module = xp
        self._number = number
        self._gpu = cupy.cuda.Device(number)
        self._has_several_gpus = cupy.cuda.runtime.getDeviceCount() > 1
        self._lacks = _missing_precisions(cupy, int(self._gpu.compute_capability))
        super().__init__(
            name="cupy",
            device=str(number),
            xp=self._new_namespace(),
            # rows of float64 are summed by atomic additions, so those with repeated indices are summed in any order
            capabilities=Capabilities(
                dtypes=frozenset(DTYPES) - ({"bfloat16"} & set(self._lacks)),
                deterministic_scatter=False,
                graph=is_enabled(),
                checks_indices=False,  # cupy wraps out-of-bounds indices
            ),
            kernels={name: self._on_this_gpu(kernel) for name, kernel in KERNELS.items()} if self._has_several_gpus else KERNELS,
        )

    def _new_namespace(self, without: Container[str] = ()) -> CupyNamespace:
        """The namespace, ``without`` some of this plugin's overrides."""
        overrides = {name: value for name, value in override_functions(self._cupy, self._module).items() if name not in without}
        return CupyNamespace(self._module, self._gpu if self._has_several_gpus else None, overrides)

    def avoid(self, failed: Container[str]) -> None:
        """Use cupy's functions instead of those that call kernels that failed their check, by name; ``"matmul"`` is `gemm`.

        cupy's matmul is slower, has no bfloat16, and cannot be captured in a graph.
        """
        users = {"matmul": "matmul", "add_rows": "embedding"}
        self.xp = self._new_namespace(without=[name for name, kernel in users.items() if kernel in failed])
        if "matmul" in failed:
            self.kernels = {name: kernel for name, kernel in self.kernels.items() if name not in ("conv2d", "linear")}

    @property
    def xp(self) -> Any:
        """cupy's namespace. Reading it makes this GPU the current one, because operators on its arrays run on the current GPU."""
        if self._has_several_gpus:
            self._gpu.use()
        return self._namespace

    @xp.setter
    def xp(self, namespace: Any) -> None:
        self._namespace = namespace

    def _on_this_gpu(self, kernel: Kernel) -> Kernel:
        """``kernel``, with this GPU made the current one before each call."""
        forward, backward = kernel.forward, kernel.backward
        return Kernel(on_gpu(self._gpu, forward), None if backward is None else on_gpu(self._gpu, backward))

    def _find_dtype(self, name: str) -> Any:
        return bfloat16() if name == "bfloat16" else super()._find_dtype(name)

    def owns(self, array: object) -> bool:
        # .data.device_id is an int; .device would create an object at each call
        return type(array) is self._cupy.ndarray and cast(Any, array).data.device_id == self._number

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        raw = self.dtype(dtype or array.dtype.name)
        self._gpu.use()  # not `with`: operators on the result run on the current GPU (see CupyNamespace)
        host = numpy.asarray(array, dtype=raw, order="C")
        # one axis at least: cupy fills a 0-d array from a number, which loses the sign of -0.0
        return self._cupy.array(numpy.atleast_1d(host), order="C", copy=True).reshape(host.shape)

    def to_host(self, array: Array) -> numpy.ndarray:
        with self._gpu:
            host = self._cupy.asnumpy(array)  # waits until the array is computed
        host.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", host)

    def out_of_bounds(self, indices: Array, length: int) -> int | None:
        """See `Backend.out_of_bounds`. Raises ``NotImplementedError`` during graph capture, so that the step runs without a graph."""
        if self._cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError("indices in an array cannot be checked while a CUDA graph is captured")
        if not indices.size:
            return None
        ends = self.to_host(self.xp.stack([indices.min(), indices.max()]))
        return next((int(i) for i in ends if not -length <= i < length), None)

    def synchronize(self) -> None:
        self._gpu.synchronize()

    def compile(self, step: Step, donate: bool = False) -> Step:
        if not self.capabilities.graph:
            return on_gpu(self._gpu, step)
        return CapturedStep(self._cupy, self._gpu, step, donate)

    def lacks_precision(self, name: str) -> str | None:
        return self._lacks.get(name)

    def matmul_precision(self, precision: str) -> AbstractContextManager[None]:
        return gemm.tf32() if precision == "tf32" else nullcontext()

    def memory_info(self) -> MemoryInfo:
        """Memory in use on the GPU, by all processes: CUDA does not report them separately."""
        free, total = self._gpu.mem_info
        return MemoryInfo(used=total - free, total=total)

    def self_check_key(self) -> dict[str, str]:
        return self_check.key(self._cupy, self._number)

    def versions(self) -> dict[str, str]:
        runtime = self._cupy.cuda.runtime
        return {
            "cupy": self._cupy.__version__,
            "CUDA runtime": cuda_version(runtime.runtimeGetVersion()),
            "CUDA driver": cuda_version(runtime.driverGetVersion()),
        }


def bfloat16() -> Any:
    """The bfloat16 dtype of ml_dtypes, which cupy uses. Raises ``ModuleNotFoundError`` if ml_dtypes is not installed."""
    import ml_dtypes

    return ml_dtypes.bfloat16


def _missing_precisions(cupy: ModuleType, capability: int) -> dict[str, str]:
    """Precisions that this GPU does not support, with the reason, a clause without a period."""
    lacks = {}
    if capability < 80:
        gpu = f"the GPU's compute capability is {capability // 10}.{capability % 10}"
        lacks = {name: f"{gpu}, and {name} needs 8.0" for name in ("tf32", "bfloat16")}
    elif _toolkit_version(cupy) < 12020:
        lacks["bfloat16"] = "it needs CUDA 12.2 or newer"
    elif numpy.lib.NumpyVersion(numpy.__version__) < "2.1.2":  # with older versions cupy has no bfloat16
        lacks["bfloat16"] = "it needs numpy 2.1.2 or newer"
    else:
        try:
            bfloat16()
        except ModuleNotFoundError:
            lacks["bfloat16"] = "ml_dtypes is not installed (type `pip install ml_dtypes`)"
    return lacks


def _toolkit_version(cupy: ModuleType) -> int:
    """Version of the CUDA toolkit whose headers and libraries cupy uses; 12020 is 12.2."""
    local_version = getattr(cupy.cuda, "get_local_runtime_version", None)
    return int(cupy.cuda.runtime.runtimeGetVersion() if local_version is None else local_version())
