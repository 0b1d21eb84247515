"""Forward mode: Jacobian-vector products, computed with the rules of reverse mode.

The vector-Jacobian product ``u -> J^T u`` is linear in u, so its own vector-Jacobian product is ``v -> J v``, for any u. Forward mode needs
no rules of its own (Townsend 2017, *A new trick for calculating Jacobian vector products*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node, accumulate, topological_order
from tinytorch.autograd.pytrees import map_tensors
from tinytorch.autograd.reverse import grad
from tinytorch.autograd.traced import Traced, backpropagate_tensors, flatten_like, floating_results, zeros_like
from tinytorch.tensor import Tensor, wrap

R = TypeVar("R")
S = TypeVar("S")


class JVPFunction:
    """The Jacobian-vector product ``v -> J v`` of a traced function: from tangents of its inputs to tangents of its results."""

    def __init__(self, traced: Traced, outputs: Sequence[Tensor]) -> None:
        self._traced = traced
        self._outputs = [output for output in outputs if output.node is not None]
        self._leaves = [Node() for _ in self._outputs]  # of the cotangents u; their values are zeros, since any u will do
        seeds: dict[Node, Tensor] = {}
        for output, leaf in zip(self._outputs, self._leaves, strict=True):
            assert output.node is not None
            accumulate(seeds, output.node, wrap(zeros_like(output).raw, output.backend, leaf))
        found = traced.backpropagate(seeds, create_graph=True) if seeds else [None] * len(traced.inputs)
        self._nodes = [None if g is None else g.node for g in found]
        roots = [node for node in self._nodes if node is not None]
        self._order = topological_order(*roots, floor=self._leaves[0].id) if roots else []

    def __call__(self, tangents: Sequence[Tensor]) -> dict[Node, Tensor]:
        """A dict from the node of each result that depends on the inputs to its tangent."""
        seeds: dict[Node, Tensor] = {}
        for node, tangent in zip(self._nodes, tangents, strict=True):
            if node is not None:
                accumulate(seeds, node, tangent)
        create_graph = is_grad_enabled() and (bool(self._traced.attached) or any(tangent.node is not None for tangent in tangents))
        found = backpropagate_tensors(self._order, seeds, self._leaves, self._outputs, create_graph, release=False)
        return {o.node: t for o, t in zip(self._outputs, found, strict=True) if o.node is not None and t is not None}


@overload
def jvp(function: Callable[..., R], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[False] = False) -> tuple[R, R]: ...
@overload
def jvp(
    function: Callable[..., tuple[R, S]], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[True]
) -> tuple[R, R, S]: ...
def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> tuple[Any, ...]:
    """Call a function and return its results and the Jacobian-vector product with ``tangents``, as ``torch.func.jvp`` and ``jax.jvp``.

    Args:
        function: takes the ``primals`` and returns a pytree of Tensors; with ``has_aux`` a pair of this pytree and any other value.
        primals: a tuple of arguments, as for `vjp`.
        tangents: a tuple with the structure of ``primals``; tangents of integer and boolean Tensors are ignored.
        has_aux: whether ``function`` returns a pair.

    Returns:
        ``(results, tangents of the results)``; with ``has_aux`` ``(results, tangents, aux)``. The tangent of a result that does not depend
        on the arguments is zero; it is ``None`` for integer and boolean Tensors.

    Raises:
        TypeError: there are no floating-point Tensors, or the tangents differ from the primals in number or dtype.
        ValueError: a tangent has another shape than its primal.

    Example:
        >>> tt.jvp(lambda x: x * x, (tt.asarray([1.0, 2.0]),), (tt.asarray([1.0, 10.0]),))[1]
        Tensor([ 2., 40.], dtype=float32, device='numpy:cpu')
    """
    traced = Traced(function, primals, range(len(primals)), {})
    given = flatten_like("jvp", "tangent", list(tangents), traced.inputs)
    result, aux = traced.result if has_aux else (traced.result, None)
    by_node = JVPFunction(traced, floating_results("jvp", result))(given)

    def tangent_of(output: Tensor) -> Tensor | None:
        if not output.dtype.is_floating:
            return None
        return zeros_like(output) if output.node is None or output.node not in by_node else by_node[output.node]

    results, out_tangents = traced.detach(result), map_tensors(tangent_of, result)
    return (results, out_tangents, traced.detach(aux)) if has_aux else (results, out_tangents)


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, ...]:
    """The Hessian-vector product of a scalar function, without computing the Hessian (Pearlmutter 1994).

    Args:
        function: takes the ``primals`` and returns a real floating-point Tensor with one element.
        primals: a tuple of arguments, as for `vjp`.
        tangents: the vector, a tuple with the structure of ``primals``.

    Returns:
        A tuple with the structure of ``primals``.

    Raises:
        TypeError, ValueError: as `jvp` and `grad`.

    Example:
        >>> x, v = tt.asarray([1.0, 2.0]), tt.asarray([1.0, 0.0])
        >>> tt.hvp(lambda x: tt.sum(x**3), (x,), (v,))
        (Tensor([6., 0.], dtype=float32, device='numpy:cpu'),)
    """
    gradient = grad(function, argnums=tuple(range(len(primals))))
    return jvp(gradient, primals, tangents)[1]
