"""Test cases for every numpy kernel, memory layouts of their inputs, and the comparison of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import numpy
import pytest

from tinytorch.testing.kernel_cases import CASES, KEY, Case, Draw
from tinytorch_numpy import compiled
from tinytorch_numpy.kernels import KERNELS
from tinytorch_numpy.kernels.support import CHUNK

Array = Any
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DIFFERENTIABLE = sorted(name for name, kernel in KERNELS.items() if kernel.backward is not None)

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: pip install 'tinytorch-xp[fast]'")


def numpy_and_compiled(names: Iterable[str]) -> list[Any]:
    """Parameters (name, kernel): numpy's kernel of each operation, and the compiled one if there is one."""
    plain = [pytest.param(name, KERNELS[name], id=name) for name in names]
    return plain + [
        pytest.param(name, compiled.KERNELS[name], id=f"{name}-compiled", marks=needs_numba) for name in names if name in compiled.KERNELS
    ]


def large_cases(name: str, draw: Draw) -> list[Case]:
    """Calls of more than one chunk, numbers that overflow in a careless implementation, and means so far from zero that sums cancel."""
    if name == "cross_entropy":
        settings = {"ignore_index": -100, "label_smoothing": 0.0}
        long = Case([draw(CHUNK // 65 + 3, 65), draw.ids(65, CHUNK // 65 + 3)], settings)
        return [long, Case([1000.0 * draw(4, 5), draw.ids(5, 4).astype(numpy.int32)], settings)]
    if name == "layer_norm":
        shapes = [(2, 3, 7), (1, 1), (5,), (0, 5), (1, 33), (CHUNK // 64 + 3, 64)]
        cases = [Case([draw(*shape), draw(shape[-1]), draw(shape[-1])], {"eps": 1e-5}, 3) for shape in shapes]
        return [*cases, Case([100.0 + draw(4, 65), draw(65), draw(65)], {"eps": 1e-5}, 3)]
    if name == "dropout":
        offset = Case([draw(2, 3, 5), KEY], {"p": 0.3, "site": 1, "first": CHUNK - 7})
        ends = ((0.0, 0), (0.1, 3), (0.9, 2**31 - 1))
        arrays = (draw(CHUNK + 5), draw(2, CHUNK // 2, 3))
        return [offset, *[Case([x, KEY], {"p": p, "site": site}) for x in arrays for p, site in ends]]
    if name in ("adam", "sgd"):
        shapes, cases = [(3, 5), (CHUNK + 3,)], CASES[name](draw)
        for case in cases:
            case.arrays = [[numpy.abs(draw(*shape)) for shape in shapes] if isinstance(x, list) and x else x for x in case.arrays]
            case.settings = case.settings | {"weight_decays": [0.1, 0.0]}
        return cases
    if name == "gelu":
        forms = ["tanh", "none"] if draw.dtype == "float32" else ["tanh"]
        return [Case([x], {"approximate": form}) for form in forms for x in (20.0 * draw(40), draw(CHUNK + 3))]
    if name == "attention":
        arrays = [10.0 * draw(2, 9, 6), 10.0 * draw(2, 9, 6), draw(2, 9, 6), None, None]
        return [Case(arrays, {"num_heads": 2, "causal": causal, "p": 0.0, "site": 0}, 3) for causal in (False, True)]
    if name == "packed_attention":
        return [Case([6.0 * draw(2, 140, 12), None, None], {"num_heads": 2, "causal": True, "p": 0.0, "site": 0})]
    return []


def groups_of(name: str, dtype: str) -> list[tuple[Draw, list[Case]]]:
    """The calls of `tinytorch.testing`, and those that only this backend needs, each with the generator that drew them."""
    groups = []
    for cases in (CASES[name], lambda draw: large_cases(name, draw)):
        draw = Draw(dtype)
        groups.append((draw, cases(draw)))
    return groups


def cases_of(name: str, dtype: str) -> list[Case]:
    """The calls of `groups_of`."""
    return [case for _, cases in groups_of(name, dtype) for case in cases]


def every_second(x: Array) -> Array:
    strided = numpy.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = strided[..., ::2] if x.ndim else strided[0:1].reshape(())
    view[...] = x
    return view


def fortran_order(x: Array) -> Array:
    return numpy.asfortranarray(x) if x.ndim else x  # asfortranarray makes a 0-d array 1-d


def read_only(x: Array) -> Array:
    x = x.copy()
    x.setflags(write=False)
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "every_second": every_second,
    "fortran_order": fortran_order,
    "read_only": read_only,
}


def map_arrays(value: Any, change: Callable[[Array], Array]) -> Any:
    """Apply ``change`` to every array, including those in lists."""
    if isinstance(value, list):
        return [map_arrays(item, change) for item in value]
    return value if value is None else change(value)


def assert_equal(actual: Any, expected: Any, tolerance: float) -> None:
    if expected is None:
        return
    if isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_equal(a, e, tolerance)
        return
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    size = float(numpy.max(numpy.abs(expected), initial=1e-3))
    numpy.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)
