"""Hypothesis strategies for functions beyond the standard, added to the table of `tests.array_api.strategies`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.array_api import strategies
from tests.array_api.cases import Case
from tests.array_api.strategies import PROPERTIES as PROPERTIES, Draw, axes_of, axis_of, call, matrices, shapes, strategy_for, values

_UNARY = {
    "digamma": (0.3, 4),
    "erf": (-2, 2),
    "erfc": (-2, 2),
    "lgamma": (0.3, 4),
    "logit": (0.1, 0.9),
    "nan_to_num": (-2, 2),
    "sigmoid": (-2, 2),
}

NOT_COMPLEX = {*strategies.NOT_COMPLEX, *_UNARY, "log_softmax", "logsumexp", "polygamma", "softmax", "topk", "xlogy"}


@strategy_for(*_UNARY)
def unary(draw: Draw, name: str) -> Case:
    return Case(name, call(name), (values(draw, draw(shapes()), *_UNARY[name]),))


@strategy_for("polygamma")
def polygamma(draw: Draw, name: str) -> Case:
    n = draw(st.integers(0, 3))
    low, high = draw(st.sampled_from([(1.0, 5.0), (-0.8, -0.2)]))  # the second by reflection
    return Case(name, lambda xp, x: xp.polygamma(n, x) / 100, (values(draw, draw(shapes()), low, high),))


@strategy_for("xlogy")
def xlogy(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3)).input_shapes
    return Case(name, call(name), (values(draw, pair[0]), values(draw, pair[1], 0.5, 2)))


@strategy_for("softmax", "log_softmax", "logsumexp")
def softmax(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    options: dict[str, Any] = {"axis": axes_of(draw, shape)}
    if name == "logsumexp":
        options["keepdims"] = draw(st.booleans())
    return Case(name, call(name, **options), (values(draw, shape),))


@strategy_for("einsum")
def einsum(draw: Draw, name: str) -> Case:
    """Up to three operands, whose axes are drawn from four letters, also with repeated ones."""
    sizes = {letter: draw(st.integers(1, 3)) for letter in "abcd"}
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    output = "".join(draw(st.permutations(sorted(set("".join(terms))))))[: draw(st.integers(0, 4))]
    equation = f"{','.join(terms)}->{output}"
    arrays = [values(draw, tuple(sizes[letter] for letter in term)) for term in terms]
    return Case(name, lambda xp, *operands: xp.einsum(equation, *operands) ** 2, tuple(arrays))


@strategy_for("pad")
def pad(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_side=1))
    widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in shape]
    mode = draw(st.sampled_from(["constant", "edge", "reflect", "wrap"]))
    return Case(name, call(name, pad_width=widths, mode=mode), (values(draw, shape),))


@strategy_for("split")
def split(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = axis_of(draw, shape)
    first = draw(st.integers(0, shape[axis]))
    return Case(name, call(name, sizes=draw(st.sampled_from([2, [first, shape[axis] - first]])), axis=axis), (values(draw, shape),))


@strategy_for("topk")
def topk(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = axis_of(draw, shape)
    k, largest = draw(st.integers(0, shape[axis])), draw(st.booleans())
    return Case(name, lambda xp, x: xp.topk(x, k, axis=axis, largest=largest).values ** 2, (values(draw, shape),))


@strategy_for("linalg.lstsq")
def lstsq(draw: Draw, name: str) -> Case:
    rows, columns, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(shapes(max_dims=1, max_side=2))
    x = matrices(draw, rows, columns, batch)
    right = values(draw, draw(st.sampled_from([(rows,), (*batch, rows, 2)])))

    def run(xp: Any, x: Any, y: Any) -> list[Any]:
        solution, residuals, _, singular_values = xp.linalg.lstsq(x, y)
        return [solution**2, residuals, singular_values]

    return Case(name, run, (x, right))
