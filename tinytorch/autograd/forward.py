"""Forward mode, from the rules of reverse mode: products with a Jacobian.

A pullback is linear in what it is given, ``u -> J^T u``, so its own pullback is ``v -> J v``, whatever u is. No second set of rules is
needed (Townsend 2017, *A new trick for calculating Jacobian vector products*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node, accumulate, topological_order
from tinytorch.autograd.pytrees import map_tensors
from tinytorch.autograd.reverse import grad
from tinytorch.autograd.traced import Traced, carry, matching, results_of, zeros_like
from tinytorch.tensor import Tensor, wrap

R = TypeVar("R")
S = TypeVar("S")


class Pushforward:
    """The linear map from changes of a traced function's inputs to changes of the Tensors in its results."""

    def __init__(self, traced: Traced, outputs: Sequence[Tensor]) -> None:
        self._traced = traced
        self._outputs = [output for output in outputs if output.node is not None]
        self._leaves = [Node() for _ in self._outputs]
        seeds: dict[Node, Tensor] = {}
        for output, leaf in zip(self._outputs, self._leaves, strict=True):
            assert output.node is not None
            accumulate(seeds, output.node, wrap(zeros_like(output).raw, output.backend, leaf))
        found = traced.pull(seeds, create_graph=True) if seeds else [None] * len(traced.inputs)
        self._nodes = [None if g is None else g.node for g in found]
        roots = [node for node in self._nodes if node is not None]
        self._order = topological_order(*roots, floor=self._leaves[0].id) if roots else []

    def __call__(self, tangents: Sequence[Tensor]) -> dict[Node, Tensor]:
        """The tangent of each result that depends on the inputs, by the node of that result."""
        seeds: dict[Node, Tensor] = {}
        for node, tangent in zip(self._nodes, tangents, strict=True):
            if node is not None:
                accumulate(seeds, node, tangent)
        create_graph = is_grad_enabled() and (bool(self._traced.kept) or any(tangent.node is not None for tangent in tangents))
        found = carry(self._order, seeds, self._leaves, self._outputs, create_graph, release=False)
        return {o.node: t for o, t in zip(self._outputs, found, strict=True) if o.node is not None and t is not None}


@overload
def jvp(function: Callable[..., R], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[False] = False) -> tuple[R, R]: ...
@overload
def jvp(
    function: Callable[..., tuple[R, S]], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[True]
) -> tuple[R, R, S]: ...
def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> tuple[Any, ...]:
    """Call a function, and get how its results change when its arguments move along ``tangents``.

    Args:
        function: takes the ``primals`` and returns Tensors in any structure; with ``has_aux`` a pair of these and anything else.
        primals: a tuple of arguments: Tensors, or structures of them.
        tangents: a tuple of the same structure, with a Tensor for each floating-point one; other places are not looked at.

    Returns:
        ``(results, tangents of the results)``, and aux behind them with ``has_aux``. The tangent of a result that does not depend on the
        arguments is zero, and ``None`` for whole numbers and truth values.

    Raises:
        TypeError: there are no floating-point Tensors, or tangents do not fit them.
        ValueError: the shape of a tangent differs.
    """
    traced = Traced(function, primals, range(len(primals)), {})
    given = matching("jvp", "tangent", list(tangents), traced.inputs)
    result, aux = traced.result if has_aux else (traced.result, None)
    moved = Pushforward(traced, results_of("jvp", result))(given)

    def tangent_of(output: Tensor) -> Tensor | None:
        if not output.dtype.is_floating:
            return None
        return zeros_like(output) if output.node is None or output.node not in moved else moved[output.node]

    results, changes = traced.released(result), map_tensors(tangent_of, result)
    return (results, changes, traced.released(aux)) if has_aux else (results, changes)


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, ...]:
    """The Hessian of a function of one number, multiplied with ``tangents``: the gradient's change along them (Pearlmutter 1994).

    Args and errors are those of `jvp`; the function returns a Tensor of one element.

    Returns:
        A tuple of the structure of ``primals``.
    """
    gradient = grad(function, argnums=tuple(range(len(primals))))
    return jvp(gradient, primals, tangents)[1]
