"""Compare a kernel with its portable version, which runs on numpy in float64 on the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tinytorch.backend import Kernel
from tinytorch.testing.kernel_cases import Case, Draw
from tinytorch.testing.kernel_check import OPERATIONS
from tinytorch_cupy.kernels import KERNELS

Array = Any

#: Kernels that must run calls with empty arrays, which the others may leave to the portable version.
SUPPORT_EMPTY = ("dropout", "embedding", "relu")

#: Kernels that run in the emulator. `linear` uses cuBLAS, and `put_row` is one line of cupy.
EMULATED = sorted(set(KERNELS) - {"linear", "put_row"})

DTYPES = ("float32", "float16", "bfloat16")
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


def every_second(x: Array) -> Array:
    strided = fake_cupy.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = strided[..., ::2] if x.ndim else strided[0:1].reshape(())
    view[...] = x
    return view


def unaligned(x: Array) -> Array:
    """Contiguous, but not aligned to 16 bytes."""
    longer = fake_cupy.empty((x.size + 1,), x.dtype)
    view = longer[1:].reshape(x.shape)
    view[...] = x
    return view


def reversed_axes(x: Array) -> Array:
    out = fake_cupy.empty(x.shape[::-1], x.dtype).transpose()
    out[...] = x
    return out


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "every_second": every_second,
    "unaligned": unaligned,
    "reversed_axes": reversed_axes,
}


def on_device(value: Any, dtype: str, layout: Callable[[Array], Array] = LAYOUTS["contiguous"]) -> Any:
    """Convert host arrays, also in lists, to arrays of the emulator; floats become ``dtype``."""
    if isinstance(value, list):
        return [on_device(item, dtype, layout) for item in value]
    if value is None:
        return None
    return layout(fake_cupy.asarray(value, dtype if value.dtype.kind == "f" else value.dtype))


def to_float64(value: Any) -> Any:
    """Convert arrays for the portable version; floats become float64."""
    if isinstance(value, list | tuple):
        return [to_float64(item) for item in value]
    if value is None:
        return None
    array = numpy.asarray(value)
    return array if array.dtype.kind in "iub" else array.astype(numpy.float64)


def assert_close(actual: Any, expected: Any, tolerance: float, dtype: str | None = None, least: float = 1e-3) -> None:
    """Assert equality within ``tolerance``, relative to each element and to the largest one, which counts as ``least`` at least."""
    if expected is None:
        assert actual is None
        return
    if isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, tolerance, dtype, least)
        return
    assert isinstance(actual, fake_cupy.ndarray)
    assert dtype is None or actual.dtype.name == dtype
    assert actual.shape == expected.shape
    size = float(numpy.max(numpy.abs(expected), initial=least, where=numpy.isfinite(expected)))
    numpy.testing.assert_allclose(to_float64(actual), expected, rtol=tolerance, atol=tolerance * size)


def in_every_order(run: Callable[[], Any], orders: Sequence[int] = fake_cupy.ORDERS) -> Any:
    """Return the result of ``run``, which must be bitwise equal for every order of threads, and must not read values on the host."""
    results = []
    for order in orders:
        fake_cupy.state.order, fake_cupy.state.launching = order, True
        try:
            results.append(run())
        finally:
            fake_cupy.state.order, fake_cupy.state.launching = 0, False
    for other in results[1:]:
        _assert_same(results[0], other)
    return results[0]


def _assert_same(one: Any, other: Any) -> None:
    if isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            _assert_same(a, b)
    elif one is not None:
        assert one.tobytes() == other.tobytes(), "race: the result depends on the order of threads"


def skip_without(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on numpy needs ml_dtypes")


def check(name: str, case: Case, dtype: str, layout: str = "contiguous", tolerance: float | None = None, least: float = 1e-3) -> None:
    """Compare values and gradients of a call with the portable version."""
    portable, kernel = OPERATIONS[name], KERNELS[name]
    tolerance = tolerance or TOLERANCE[dtype]
    arrays = on_device(case.arrays, dtype, LAYOUTS[layout])
    exact = to_float64(arrays)
    expected, residuals = portable.forward(numpy, *exact, **case.settings)
    g = on_device(Draw()(*expected.shape), dtype if name != "cross_entropy" else "float32", LAYOUTS[layout])
    needs = [i < case.gradients for i in range(len(arrays))]

    is_empty = any(isinstance(x, numpy.ndarray) and x.size == 0 for x in case.arrays)
    if is_empty and name not in SUPPORT_EMPTY and kernel.forward(*arrays, **case.settings) is NotImplemented:
        return

    def run() -> Any:
        result = kernel.forward(*arrays, **case.settings)
        assert result is not NotImplemented
        out, own_residuals = result
        assert kernel.backward is not None
        return out, list(kernel.backward(g, own_residuals, arrays, needs, **case.settings))

    before = [None if x is None else x.copy() for x in arrays]
    out, grads = in_every_order(run, fake_cupy.ORDERS if dtype != "bfloat16" else (1,))  # the code is the same as for float16
    _assert_same(arrays, before)
    assert_close(out, expected, tolerance, "float32" if name == "cross_entropy" else dtype, least)
    expected_grads = portable.joint_rule(numpy, to_float64(g), residuals, exact, needs, **case.settings)
    expected_grads = [grad if needed else None for grad, needed in zip(expected_grads, needs, strict=True)]
    assert_close(grads, expected_grads, tolerance, dtype, least)


# ---- kernels on arrays of numpy ----


def _arrays_on_device(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_arrays_on_device(item) for item in value]
    return fake_cupy.asarray(value) if isinstance(value, numpy.ndarray | numpy.generic) else value


def _on_host(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_on_host(item) for item in value]
    return numpy.asarray(value).view(numpy.ndarray) if isinstance(value, numpy.ndarray) else value


def emulated(kernel: Kernel) -> Kernel:
    """Wrap a kernel, so that it takes and returns arrays of numpy."""

    def forward(*arrays: Any, **settings: Any) -> Any:
        result = kernel.forward(*_arrays_on_device(arrays), **settings)
        return result if result is NotImplemented else (_on_host(result[0]), result[1])

    def backward(g: Any, residuals: Any, inputs: Any, needs: Any, **settings: Any) -> Any:
        assert kernel.backward is not None
        return _on_host(kernel.backward(_arrays_on_device(g), residuals, _arrays_on_device(inputs), needs, **settings))

    return Kernel(forward, None if kernel.backward is None else backward)
