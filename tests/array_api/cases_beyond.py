"""The table of calls for functions beyond the standard, which numpy's namespace lacks; their expected values come from `EXPECTED`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from tests.array_api.cases import case, normal, uniform
from tests.array_api.cases_extensions import CASES as CASES
from tinytorch.tensor import Tensor


def _elementwise(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return numpy.vectorize(function, otypes=[float])


def _digamma(x: float) -> float:
    """Recurrence up to 30, then the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    total = 0.0
    while x < 30:
        total, x = total - 1 / x, x + 1
    return total + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def _polygamma(n: int, x: Any) -> Any:
    """The sum over k of ``(x + k)^-(n + 1)``, with the rest as an integral (midpoint rule, corrected once)."""
    k = numpy.arange(20000.0)
    s, end = n + 1, x + len(k) - 0.5
    total = numpy.sum((numpy.asarray(x)[..., None] + k) ** -s, axis=-1) + end ** (1 - s) / (s - 1) - s * end ** (-s - 1) / 24
    return (-1) ** (n + 1) * math.factorial(n) * total


def _log_softmax(x: Any, axis: Any = -1) -> Any:
    return x - numpy.log(numpy.sum(numpy.exp(x), axis=axis, keepdims=True)) if x.size else x


def _topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> Any:
    order = numpy.argsort(-x if largest else x, axis=axis, kind="stable")
    indices = numpy.take(order, range(k), axis=axis)
    return [numpy.take_along_axis(x, indices, axis=axis), indices]


def _split(x: Any, sections: Any = None, sizes: Any = None, axis: int = 0) -> Any:
    if isinstance(sizes, int):
        sizes = [min(sizes, x.shape[axis] - start) for start in range(0, x.shape[axis], sizes)]
    return numpy.split(x, sections if sections is not None else numpy.cumsum(sizes)[:-1], axis=axis)


def _lstsq(x1: Any, x2: Any) -> Any:
    solution, _, rank, values = numpy.linalg.lstsq(x1, x2, rcond=None)
    return [solution, numpy.sum((x1 @ solution - x2) ** 2, axis=0), numpy.int64(rank), values]


#: Independent versions in numpy and the math module.
EXPECTED: dict[str, Callable[..., Any]] = {
    "digamma": _elementwise(_digamma),
    "einsum": numpy.einsum,
    "erf": _elementwise(math.erf),
    "erfc": _elementwise(math.erfc),
    "lgamma": _elementwise(math.lgamma),
    "linalg.lstsq": _lstsq,
    "log_softmax": _log_softmax,
    "logit": lambda x: numpy.log(x / (1 - x)),
    "logsumexp": lambda x, axis=None, keepdims=False: numpy.log(numpy.sum(numpy.exp(x), axis=axis, keepdims=keepdims)),
    "nan_to_num": numpy.nan_to_num,
    "pad": numpy.pad,
    "polygamma": _polygamma,
    "sigmoid": lambda x: 1 / (1 + numpy.exp(-x)),
    "softmax": lambda x, axis=-1: numpy.exp(_log_softmax(x, axis)),
    "split": _split,
    "topk": _topk,
    "xlogy": lambda x, y: numpy.asarray(x) * numpy.log(y),
}


def beyond(name: str, *inputs: Any, before: tuple[Any, ...] = (), power: int = 1, **options: Any) -> None:
    """Add a call ``name(*before, *inputs, **options)``; the results are raised to ``power``, so that second derivatives are not 0."""

    def call(xp: Any, *arrays: Any) -> Any:
        extension, _, plain = name.rpartition(".")
        ours = any(isinstance(x, Tensor) for x in arrays)
        function = getattr(getattr(xp, extension) if extension else xp, plain) if ours else EXPECTED[name]
        out = function(*before, *arrays, **options)
        if not isinstance(out, tuple | list):
            return out**power
        return [xp.astype(part, xp.float64) ** power for part in out]  # indices too, since the derivatives are of sums of the results

    case(name, call, *inputs, tolerance=1e-11)


for _name, _low, _high in [
    ("digamma", 0.2, 20),
    ("erf", -3, 3),
    ("erfc", -3, 6),
    ("lgamma", 0.2, 20),
    ("logit", 0.1, 0.9),
    ("nan_to_num", -2, 2),
    ("sigmoid", -5, 5),
]:
    for _shape in [(2, 3), (), (0,)]:
        beyond(_name, uniform(_low, _high, *_shape), power=2)
for _n in (1, 2, 4):
    beyond("polygamma", uniform(0.5, 9, 2, 3), before=(_n,))
for _a, _b in [((3,), (2, 3)), ((2, 1), (3,)), ((), (2,))]:
    beyond("xlogy", normal(*_a), uniform(0.2, 3, *_b))
case("xlogy", lambda xp, x: _xlogy(xp, x, 2.0), normal(3))
case("xlogy", lambda xp, x: _xlogy(xp, 2.0, x), uniform(0.2, 3, 3))


def _xlogy(xp: Any, x: Any, y: Any) -> Any:
    return (xp.xlogy if isinstance(x, Tensor) or isinstance(y, Tensor) else EXPECTED["xlogy"])(x, y) ** 2


for _name in ("softmax", "log_softmax"):
    for _axis in (-1, 0, 1, (0, 2), None):
        beyond(_name, normal(2, 3, 4), power=2, axis=_axis)
    beyond(_name, normal(3), power=2)
    beyond(_name, normal(2, 0))
for _axis in (None, 0, -1, (0, 2), (0, 1, 2)):
    for _keep in (False, True):
        beyond("logsumexp", normal(2, 3, 4), power=2, axis=_axis, keepdims=_keep)
beyond("logsumexp", normal(), power=2)

for _equation, *_shapes in [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ba,ab", (2, 3), (3, 2)),  # implicit, a scalar
    ("ij->ji", (2, 3)),
    ("ij", (2, 3)),
    ("ji", (2, 3)),  # implicit output in alphabetical order: the transpose
    ("ij->", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("iji->ij", (3, 2, 3)),
    ("iii->i", (3, 3, 3)),
    ("i,j->ij", (2,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("i,i", (3,), (3,)),
    ("bhtd,bhsd->bhts", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("b...d,d...->b...", (2, 3, 4), (4, 3)),
    ("...ij,...jk->...ik", (5, 2, 3), (1, 3, 2)),
    ("...ij,...jk", (5, 2, 3), (3, 2)),
    ("...,...", (2, 3), (3,)),
    ("...i->i...", (2, 3)),
    ("i...->...", (2, 3)),
    ("ij,ij->i", (2, 3), (2, 1)),  # an axis of size 1 broadcasts
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i,ij,j,k->k", (2,), (2, 3), (3,), (2,)),
    ("ik,jk,k->ij", (2, 3), (4, 3), (3,)),
    ("ab,cd->", (2, 3), (3, 2)),
    (" i j , j -> i ", (2, 3), (3,)),
    (",i->i", (), (3,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("Ij,jK->KI", (2, 3), (3, 4)),
]:
    beyond("einsum", *[normal(*shape) for shape in _shapes], before=(_equation,), power=2)

for _width in (1, (1, 2), ((0, 1), (2, 0)), ((1, 1),), 0):
    for _mode in ("constant", "edge", "reflect", "wrap"):
        beyond("pad", normal(2, 3), power=2, **{"pad_width": _width, "mode": _mode})
beyond("pad", normal(3), pad_width=2, constant_values=1.5)
beyond("pad", normal(2), pad_width=(3, 4), mode="reflect")  # wider than the array
beyond("pad", normal(0, 2), pad_width=((1, 1), (0, 0)))
for _options in ({"sections": 2}, {"sizes": 3}, {"sizes": [1, 0, 3]}, {"sizes": 9}):
    beyond("split", normal(4, 2), power=2, axis=0, **_options)
beyond("split", normal(2, 4), sections=2, axis=-1)
for _k in (0, 1, 3):
    for _largest in (True, False):
        beyond("topk", normal(4, 3), power=2, before=(), **{"k": _k, "axis": 0, "largest": _largest})
beyond("linalg.lstsq", normal(4, 2), normal(4, 3))
beyond("linalg.lstsq", normal(4, 3), normal(4), power=2)
