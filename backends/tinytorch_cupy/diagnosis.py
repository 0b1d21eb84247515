"""Check whether cupy can run here. If not, report one cause and how to fix it.

The checks are in the order in which a user has to fix problems: the package, the driver, the GPU, the CUDA libraries. Only the last check,
which needs a GPU, takes noticeable time.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Final, NoReturn

from tinytorch.backend.errors import BackendUnavailableError

#: distributions that all install the same package, ``cupy``, and overwrite each other
_CUPY_DISTRIBUTIONS: Final = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0", "cupy-rocm-7-1")
_WHEELS: Final = {12: "cupy-cuda12x", 13: "cupy-cuda13x"}  # by CUDA's major version
_USUAL_WHEEL: Final = _WHEELS[12]  # the one that Colab has; newer drivers support it too
_COLAB_GPU: Final = "choose Runtime, Change runtime type, GPU in Colab's menu"
_INSUFFICIENT_DRIVER: Final = 35  # cudaErrorInsufficientDriver, the `status` of cupy's CUDARuntimeError


def checked_cupy(device: str | None) -> tuple[ModuleType, int]:
    """Import cupy and check that it computes on the requested GPU.

    Args:
        device: the GPU's number as text; ``None`` is GPU 0.

    Returns:
        The module ``cupy`` and the GPU's number.

    Raises:
        BackendUnavailableError: if it does not, with the reason and how to fix it.
    """
    installed = _installed_distributions()
    if len(installed) > 1:
        _fail_several_packages(installed)
    cupy = _import_cupy(installed)
    _check_driver(cupy, installed)
    number = _check_number(device, _count_gpus(cupy))
    _check_computes(cupy, number, installed)
    return cupy, number


def driver_version() -> int:
    """The newest CUDA version that the NVIDIA driver supports; 12040 is 12.4, and 0 means no driver. Works without cupy."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int(0)
        return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else 0
    except (OSError, AttributeError):
        return 0


def cuda_version(number: int) -> str:
    """Format a CUDA version number: 12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def on_colab() -> bool:
    """Whether this process runs on Google Colab, where a GPU can be selected in a menu."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return True
    try:
        return find_spec("google.colab") is not None
    except ModuleNotFoundError:  # there is no package `google`
        return False


def _fail(reason: str, hint: str, cause: BaseException | None = None) -> NoReturn:
    raise BackendUnavailableError("cupy", reason, hint) from cause


def _installed_distributions() -> dict[str, str]:
    """Versions of the installed cupy distributions, by name."""
    found = {}
    for name in _CUPY_DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fail_several_packages(installed: dict[str, str]) -> NoReturn:
    listed = " and ".join(f"{name} {version}" for name, version in installed.items())
    _fail(
        f"{len(installed)} cupy packages are installed over each other ({listed})",
        f"type `pip uninstall -y {' '.join(installed)}`, then `pip install {_USUAL_WHEEL}`",
    )


def _import_cupy(installed: dict[str, str]) -> ModuleType:
    try:
        cupy = import_module("cupy")
    except Exception as error:  # importing cupy loads native libraries: any exception is possible
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            _fail_missing()
        # cupy wraps the original error in several lines of advice, and chains it
        _fail(f"cupy is installed but does not import ({_one_line(error.__cause__ or error)})", _reinstall(installed), error)
    if not hasattr(cupy, "cuda"):  # uninstalling one of two wheels leaves an empty package
        _fail("the installation of cupy is incomplete", _reinstall(installed))
    return cupy


def _fail_missing() -> NoReturn:
    if driver_version() > 0:
        _fail("cupy is not installed", f"type `pip install {_USUAL_WHEEL}`")
    if on_colab():
        _fail("this Colab runtime has no GPU, and cupy is not installed", _COLAB_GPU)
    _fail(
        "cupy is not installed, and there is no NVIDIA driver either",
        f"on a machine with an NVIDIA GPU and its driver, type `pip install {_USUAL_WHEEL}`",
    )


def _check_driver(cupy: ModuleType, installed: dict[str, str]) -> None:
    driver = int(cupy.cuda.runtime.driverGetVersion())
    if driver == 0:
        _fail("there is no NVIDIA driver", _COLAB_GPU if on_colab() else "use a machine with an NVIDIA GPU, and install its driver")
    built_for = int(cupy.cuda.runtime.runtimeGetVersion())
    if driver // 1000 < built_for // 1000:  # CUDA guarantees compatibility within a major version
        _fail_old_driver(driver, built_for, installed)


def _fail_old_driver(driver: int, built_for: int, installed: dict[str, str]) -> NoReturn:
    reason = f"the NVIDIA driver supports CUDA {cuda_version(driver)}, but this cupy is built for CUDA {cuda_version(built_for)}"
    wheel = _WHEELS.get(driver // 1000)
    if wheel is None:
        _fail(reason, f"update the driver to one for CUDA {built_for // 1000} or newer")
    _fail(reason, f"update the driver, or type `pip uninstall -y {' '.join(installed) or 'cupy'}`, then `pip install {wheel}`")


def _count_gpus(cupy: ModuleType) -> int:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # CUDARuntimeError, also if there is no device
        if getattr(error, "status", None) == _INSUFFICIENT_DRIVER:
            _fail("the NVIDIA driver is too old for this cupy", "update the driver", error)
        _fail(f"CUDA finds no GPU ({_one_line(error)})", _no_gpu_hint(), error)
    if count == 0:
        _fail("CUDA finds no GPU", _no_gpu_hint())
    return count


def _no_gpu_hint() -> str:
    visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible_devices is not None:
        return f"unset CUDA_VISIBLE_DEVICES, which is {visible_devices!r} and may hide it"
    return _COLAB_GPU if on_colab() else "check whether `nvidia-smi` lists a GPU"


def _check_number(device: str | None, count: int) -> int:
    if device is None:
        return 0
    if not (device.isascii() and device.isdigit()):
        _fail(f"expected the number of a GPU, got {device!r}", "type 'cupy:0'")
    number = int(device)
    if number >= count:
        _fail(f"there is no GPU {number}: this machine has {count}, numbered from 0", f"type 'cupy:{count - 1}'")
    return number


def _check_computes(cupy: ModuleType, number: int, installed: dict[str, str]) -> None:
    """Load the libraries, then run a small computation. The very first time it compiles a kernel, which takes a second or two."""
    try:
        with cupy.cuda.Device(number):
            cupy.cuda.nvrtc.getVersion()
            ones = cupy.ones((2, 2), dtype="float32")
            total = float((ones @ ones + ones).sum())  # cuBLAS, two compiled kernels, and a copy to the host
    except Exception as error:
        missing = _missing_toolkit_part(error)
        if missing is not None:
            package = next(iter(installed), _USUAL_WHEEL)
            _fail(f"{missing} missing", f'type `pip install "{package}[ctk]"`', error)
        _fail(
            f"a test computation fails on GPU {number} ({_one_line(error)})",
            "check its memory and its errors with `nvidia-smi`",
            error,
        )
    if total != 12.0:
        _fail(f"a test computation on GPU {number} gives a wrong result (expected 12, got {total})", _reinstall(installed))


def _missing_toolkit_part(error: BaseException) -> str | None:
    """The part of the CUDA toolkit that ``error`` reports as missing, followed by its verb; ``None`` for other errors.

    cuda-pathfinder writes ``Failure finding "libnvrtc.so.12"``, the dynamic linker ``libcublas.so.12: cannot open shared object file``,
    cupy ``Failed to find CUDA headers`` and NVRTC ``cannot open source file "cuda_fp16.h"``.
    """
    text = str(error)
    if "CUDA headers" in text or "cannot open source file" in text:
        return "the CUDA headers, which cupy needs to compile kernels, are"
    if isinstance(error, (ImportError, OSError)) or type(error).__name__ == "DynamicLibNotFoundError":
        library = re.search(r"[\w.-]+\.(?:so[.\d]*|dll)", text)
        return f"the CUDA library {library.group()} is" if library else f"a CUDA library ({_one_line(error)}) is"
    return None


def _reinstall(installed: dict[str, str]) -> str:
    return f"type `pip install --force-reinstall {next(iter(installed), _USUAL_WHEEL)}`"


def _one_line(error: BaseException) -> str:
    """The first line of an error message that is not empty or a rule."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line.strip("=-")), type(error).__name__)
