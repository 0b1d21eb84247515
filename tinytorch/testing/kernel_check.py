"""Compare the kernels of a backend with the portable implementations, which run on the host in float64 on the same values."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy

from tinytorch import ops
from tinytorch.autograd.operation import Operation
from tinytorch.backend import Backend, Kernel
from tinytorch.testing.kernel_cases import CASES, DONATED, Case, Draw

#: The fused operations by name.
OPERATIONS: Final[dict[str, Operation[..., Any]]] = {v.__name__: v for v in vars(ops).values() if isinstance(v, Operation)}

#: Name of the matmul in results; it is checked like a kernel.
MATMUL: Final = "matmul"

#: Largest error by dtype, relative to each element and to the largest one of an array. Approximate exponentials of a GPU pass; a wrong
#: index or a missing barrier does not.
TOLERANCE: Final = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 6e-2}

#: The largest element of an array counts as this at least, because elements close to zero are sums of larger terms.
_LEAST_SIZE: Final = 0.1


Progress: TypeAlias = Callable[[int], None]  #: called with the number of calls that were compared


@dataclass(frozen=True)
class KernelCheck:
    """The result of `check_kernel` or `check_matmul`.

    Attributes:
        kernel: name of the operation; ``"matmul"`` for matmuls.
        dtype: dtype of the floating-point operands.
        calls: number of calls that the kernel supports, all of which were compared.
        error: the largest error, relative to the tolerance; ``None`` if there is none, because of an exception or a NaN.
        seconds: the time that it took, including compilation.
        failure: why the check failed; ``None`` if it passed.

    Example:
        >>> check = tt.testing.check_kernel(tt.get_backend("numpy"), "relu", "float32")
        >>> check.kernel, check.failure, check.error <= 1
        ('relu', None, True)
    """

    kernel: str
    dtype: str
    calls: int
    error: float | None
    seconds: float
    failure: str | None = None


def checks_of(backend: Backend) -> list[tuple[str, str]]:
    """The kernels of a backend and its matmul, each with every dtype: float32 first. Without kernels there is nothing to check."""
    if not backend.kernels:
        return []
    dtypes = [dtype for dtype in ("float32", "float16", "bfloat16", "float64") if dtype in backend.capabilities.dtypes]
    return [(name, dtype) for dtype in dtypes for name in (MATMUL, *sorted(backend.kernels))]


def check_kernel(backend: Backend, name: str, dtype: str, progress: Progress | None = None) -> KernelCheck:
    """Compare one kernel of a backend with the portable implementation: results, gradients, and that operands keep their values.

    Sizes are ragged, and some operands are transposed or strided. Calls that the kernel does not support are not compared.

    Args:
        backend: a backend that has the kernel.
        name: name of the fused operation.
        dtype: dtype of the floating-point operands: float32, float64, float16 or bfloat16.
        progress: called after each call with the number of calls.

    Returns:
        The result. An exception of the kernel is a failure, and so is a warning that it logs.

    Example:
        >>> tt.testing.check_kernel(tt.get_backend("numpy"), "gelu", "float32").failure is None
        True
    """
    kernel = backend.kernels[name]

    def compare() -> Iterator[float]:
        for i, case in enumerate(CASES[name](Draw("float64" if dtype == "float64" else "float32"))):
            for layout in LAYOUTS if i < 3 else ("contiguous",):
                error = _compare(backend, kernel, name, case, dtype, layout)
                if error is not None:
                    yield error

    # every kernel supports float32
    return timed_check(name, dtype, compare, progress, "the kernel supports no call" if dtype == "float32" else None)


def timed_check(
    name: str, dtype: str, compare: Callable[[], Iterator[float]], progress: Progress | None, if_none: str | None = None
) -> KernelCheck:
    """Consume the errors of a comparison, relative to the tolerance; ``if_none`` is the failure if there are none.

    Raises ``MemoryError`` if the device has not enough memory.
    """
    start = time.perf_counter()
    calls, largest, failure = 0, 0.0, None
    with _logged_warnings() as warnings:
        try:
            for error in compare():
                calls += 1
                if progress is not None:
                    progress(calls)
                largest = max(largest, error) if numpy.isfinite(error) else numpy.inf
                if not error <= 1.0:
                    failure = f"the largest error is {error:.3g} times the tolerance" if numpy.isfinite(error) else "NaN or infinity"
                    break
        except Mismatch as mismatch:
            failure, largest = str(mismatch), numpy.inf
        except MemoryError:  # not a property of the kernel
            raise
        except Exception as error:  # a kernel may raise anything
            failure, largest = " ".join(f"{type(error).__name__}: {error}".split())[:500], numpy.inf
    if warnings and failure is None:
        failure = warnings[0]
    if not calls and failure is None:
        failure = if_none
    return KernelCheck(name, dtype, calls, float(largest) if numpy.isfinite(largest) else None, time.perf_counter() - start, failure)


class Mismatch(Exception):
    """A result has the wrong shape or dtype, or an operand was overwritten."""


def _transposed(backend: Backend, array: Any, dtype: str | None) -> Any:
    """``array`` on the device, in the order of reversed axes."""
    return backend.xp.permute_dims(backend.from_host(numpy.ascontiguousarray(array.T), dtype), tuple(range(array.ndim))[::-1])


def _every_second(backend: Backend, array: Any, dtype: str | None) -> Any:
    """``array`` on the device, with a gap after each element of the last axis."""
    return backend.from_host(numpy.repeat(array, 2, axis=-1), dtype)[..., ::2]


#: Functions that copy a host array of at least one axis to the device.
LAYOUTS: Final[dict[str, Callable[[Backend, Any, str | None], Any]]] = {
    "contiguous": lambda backend, array, dtype: backend.from_host(array, dtype),
    "transposed": _transposed,
    "every_second": _every_second,
}


def _compare(backend: Backend, kernel: Kernel, name: str, case: Case, dtype: str, layout: str) -> float | None:
    """The largest error of one call, relative to the tolerance; ``None`` if the kernel does not support it."""

    def on_device(array: Any) -> Any:
        copy = LAYOUTS[layout if array.ndim else "contiguous"]
        return copy(backend, array, dtype if array.dtype.kind == "f" else None)

    arrays = _mapped(case.arrays, on_device)
    exact = _mapped(arrays, lambda array: to_float64(backend.to_host(array)))
    before = _mapped(exact, numpy.copy)
    result = kernel.forward(*arrays, **case.settings)
    if result is NotImplemented:
        return None
    out, residuals = result
    operation = OPERATIONS[name]
    expected, portable_residuals = operation.forward(numpy, *exact, **case.settings)
    errors = list(_errors(backend, out, expected, dtype))
    if kernel.backward is not None and operation.joint_rule is not None:
        g = backend.from_host(Draw("float64")(*expected.shape), backend.dtype_of(out).name)
        needs = [i < case.gradients for i in range(len(arrays))]
        grads = kernel.backward(g, residuals, arrays, needs, **case.settings)
        exact_g = to_float64(backend.to_host(g))
        expected_grads = operation.joint_rule(numpy, exact_g, portable_residuals, exact, needs, **case.settings)
        for array, grad, expected_grad, needed in zip(arrays, grads, expected_grads, needs, strict=True):
            if needed:
                if grad is None:
                    raise Mismatch("a gradient that is needed is None")
                if grad.dtype != array.dtype:
                    raise Mismatch(f"a gradient has dtype {grad.dtype}, expected {array.dtype}")
                errors += _errors(backend, grad, expected_grad, dtype)
    for i, (array, value) in enumerate(zip(arrays, before, strict=True)):
        if i not in DONATED.get(name, ()) and not _is_unchanged(backend, array, value):
            raise Mismatch(f"operand {i} was overwritten")
    return max(errors, default=0.0)


def to_float64(array: Any) -> Any:
    """A host array, in float64 if it holds floating-point numbers of any dtype; bfloat16 is not one of numpy's."""
    return array if array.dtype.kind in "iub" else array.astype(numpy.float64)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply ``change`` to every array, also in lists."""
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return None if value is None else change(value)


def _is_unchanged(backend: Backend, array: Any, value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_unchanged(backend, a, v) for a, v in zip(array, value, strict=True))
    return value is None or numpy.array_equal(to_float64(backend.to_host(array)), value)


def _errors(backend: Backend, actual: Any, expected: Any, dtype: str) -> Iterator[float]:
    """The error of each array, relative to the tolerance."""
    if isinstance(expected, Sequence):
        if len(actual) != len(expected):
            raise Mismatch(f"there are {len(actual)} results, expected {len(expected)}")
        for a, e in zip(actual, expected, strict=True):
            yield from _errors(backend, a, e, dtype)
    else:
        yield relative_error(to_float64(backend.to_host(actual)), numpy.asarray(expected), TOLERANCE[dtype])


def relative_error(actual: Any, expected: Any, tolerance: float) -> float:
    """The largest error of a host array, divided by the error that ``tolerance`` allows; infinite if one of them is NaN."""
    if actual.shape != expected.shape:
        raise Mismatch(f"a result has shape {actual.shape}, expected {expected.shape}")
    if not actual.size:
        return 0.0
    magnitude = numpy.abs(expected)
    allowed = tolerance * (magnitude + max(float(magnitude.max()), _LEAST_SIZE))
    error = float((numpy.abs(actual - expected) / allowed).max())
    return error if numpy.isfinite(error) else numpy.inf


@contextmanager
def _logged_warnings() -> Iterator[list[str]]:
    """Collect the warnings that are logged to ``tinytorch``, such as that a kernel cannot be compiled; they are not printed."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    log, handler = logging.getLogger("tinytorch"), Collect(logging.WARNING)
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield messages
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
