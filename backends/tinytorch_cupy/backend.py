"""cupy behind the contract."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, cast

import numpy

from tinytorch.backend.contract import Array, Backend, Capabilities, Kernel, MemoryInfo, Step
from tinytorch.backend.dtypes import DTYPES
from tinytorch_cupy import gemm
from tinytorch_cupy.diagnosis import cuda_version
from tinytorch_cupy.graph import CapturedStep
from tinytorch_cupy.kernels import KERNELS
from tinytorch_cupy.namespace import CupyNamespace, on_gpu, own_functions


class CupyBackend(Backend):
    """cupy on one CUDA GPU.

    Args:
        cupy: the module, already found to work here (`checked_cupy`); this package never imports it at the top of a file.
        xp: ``array_api_compat.cupy``.
        number: which GPU, counted from 0.
    """

    def __init__(self, cupy: ModuleType, xp: ModuleType, number: int) -> None:
        self._cupy = cupy
        self._number = number
        self._gpu = cupy.cuda.Device(number)
        self._several = cupy.cuda.runtime.getDeviceCount() > 1
        self._lacks = _missing_precisions(cupy, int(self._gpu.compute_capability))
        super().__init__(
            name="cupy",
            device=str(number),
            xp=CupyNamespace(xp, self._gpu if self._several else None, own_functions(cupy, xp)),
            # scatter-adds are atomic, so repeated indices are summed in any order
            capabilities=Capabilities(
                dtypes=frozenset(DTYPES) - ({"bfloat16"} & set(self._lacks)),
                deterministic_scatter=False,
                graph=True,
                checks_indices=False,  # cupy takes indices modulo the length
            ),
            kernels={name: self._here(kernel) for name, kernel in KERNELS.items()} if self._several else KERNELS,
        )

    @property
    def xp(self) -> Any:
        """cupy's namespace. Taking it makes this GPU the current one, as what follows may be operators on its arrays, which run there."""
        if self._several:
            self._gpu.use()
        return self._namespace

    @xp.setter
    def xp(self, namespace: Any) -> None:
        self._namespace = namespace

    def _here(self, kernel: Kernel) -> Kernel:
        """A kernel that runs on this GPU."""
        forward, backward = kernel.forward, kernel.backward
        return Kernel(on_gpu(self._gpu, forward), None if backward is None else on_gpu(self._gpu, backward))

    def _find_dtype(self, name: str) -> Any:
        return bfloat16() if name == "bfloat16" else super()._find_dtype(name)

    def owns(self, array: object) -> bool:
        # .data.device_id is a plain number, .device makes an object at each call; the isinstance below narrows the type for mypy only
        return type(array) is self._cupy.ndarray and cast(Any, array).data.device_id == self._number

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        raw = self.dtype(dtype or array.dtype.name)
        self._gpu.use()  # not `with`: operators on the result run on the current GPU (see CupyNamespace)
        return self._cupy.array(numpy.asarray(array, dtype=raw, order="C"), order="C", copy=True)

    def to_host(self, array: Array) -> numpy.ndarray:
        with self._gpu:
            host = self._cupy.asnumpy(array)  # waits for the array to be computed
        host.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", host)

    def out_of_bounds(self, indices: Array, length: int) -> int | None:
        """As the contract has it. Raises ``NotImplementedError`` while a graph is captured, so that the step is run launch by launch."""
        if self._cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError("indices in an array cannot be checked while a CUDA graph is captured")
        if not indices.size:
            return None
        ends = self.to_host(self.xp.stack([indices.min(), indices.max()]))
        return next((int(i) for i in ends if not -length <= i < length), None)

    def synchronize(self) -> None:
        self._gpu.synchronize()

    def compile(self, step: Step, donate: bool = False) -> Step:
        return CapturedStep(self._cupy, self._gpu, step, donate)

    def lacks_precision(self, name: str) -> str | None:
        return self._lacks.get(name)

    def matmul_precision(self, precision: str) -> AbstractContextManager[None]:
        return gemm.tf32() if precision == "tf32" else nullcontext()

    def memory_info(self) -> MemoryInfo:
        """What the GPU has in use, by every process on it: CUDA does not tell them apart."""
        free, total = self._gpu.mem_info
        return MemoryInfo(used=total - free, total=total)

    def versions(self) -> dict[str, str]:
        runtime = self._cupy.cuda.runtime
        return {
            "cupy": self._cupy.__version__,
            "CUDA runtime": cuda_version(runtime.runtimeGetVersion()),
            "CUDA driver": cuda_version(runtime.driverGetVersion()),
        }


def bfloat16() -> Any:
    """numpy's type of that name, which cupy's arrays share. Raises ``ModuleNotFoundError`` without ml_dtypes."""
    import ml_dtypes

    return ml_dtypes.bfloat16


def _missing_precisions(cupy: ModuleType, capability: int) -> dict[str, str]:
    """What this GPU cannot compute in, and why: half a sentence each."""
    lacks = {}
    if capability < 80:
        chip = f"the GPU's compute capability is {capability // 10}.{capability % 10}"
        lacks = {name: f"{chip}, and {name} needs 8.0" for name in ("tf32", "bfloat16")}
    elif _toolkit(cupy) < 12020:
        lacks["bfloat16"] = "it needs CUDA 12.2 or newer"
    elif numpy.lib.NumpyVersion(numpy.__version__) < "2.1.2":  # cupy leaves the type out then
        lacks["bfloat16"] = "it needs numpy 2.1.2 or newer"
    else:
        try:
            bfloat16()
        except ModuleNotFoundError:
            lacks["bfloat16"] = "ml_dtypes is not installed (type `pip install ml_dtypes`)"
    return lacks


def _toolkit(cupy: ModuleType) -> int:
    """The version of the CUDA toolkit whose headers and libraries cupy uses, 12020 for 12.2."""
    local = getattr(cupy.cuda, "get_local_runtime_version", None)
    return int(cupy.cuda.runtime.runtimeGetVersion() if local is None else local())
