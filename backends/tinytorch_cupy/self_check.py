"""The check of the CUDA kernels on the first use of a GPU: on what its results depend, and what follows from them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tinytorch_cupy.diagnosis import cuda_version

if TYPE_CHECKING:
    from tinytorch_cupy.backend import CupyBackend

_PACKAGE: Final = Path(__file__).parent
_DRIVER: Final = Path("/proc/driver/nvidia/version")


def check_on_first_use(backend: CupyBackend) -> None:
    """Remove the kernels that fail their check on this GPU, and the functions that call them."""
    from tinytorch.testing.first_use import remove_failed_kernels  # loads the operations, which a plugin does not need otherwise

    failed = remove_failed_kernels(backend)
    if failed:
        backend.avoid(failed)


def key(cupy: Any, number: int) -> dict[str, str]:
    """GPU, versions and a hash of the kernels' sources; see `Backend.self_check_key`."""
    from tinytorch.testing.first_use import source_hash

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(number)["name"]
    capability = int(cupy.cuda.Device(number).compute_capability)
    sources = [path for pattern in ("*.cu", "*.cuh", "*.py") for path in (_PACKAGE / "kernels").glob(pattern)]
    return {
        "GPU": name.decode() if isinstance(name, bytes) else str(name),
        "compute capability": f"{capability // 10}.{capability % 10}",
        "driver": _driver_release(),
        "CUDA driver": cuda_version(runtime.driverGetVersion()),
        "CUDA runtime": cuda_version(runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
        "sources": source_hash([*sources, _PACKAGE / "gemm.py"]),
    }


def _driver_release() -> str:
    """The release of the NVIDIA driver, such as 550.54.15, where Linux tells it. CUDA reports only the CUDA version that it supports."""
    with suppress(OSError):
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)*", _DRIVER.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0]
    return "unknown"
