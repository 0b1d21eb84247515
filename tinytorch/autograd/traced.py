"""A function's call with the graph from its arguments to its results, which every transformation starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinytorch.autograd.grad_mode import enable_grad, is_grad_enabled
from tinytorch.autograd.graph import AccumulateGrad, Gradient, Node, backpropagate, topological_order
from tinytorch.autograd.pytrees import list_tensors, map_tensors
from tinytorch.tensor import Tensor, check_same_backend, wrap


class Traced:
    """``function(*args, **kwargs)``, create_graph from the floating-point Tensors in the arguments at ``positions``.

    Attributes:
        inputs: these Tensors, in order.
        leaves: where their gradients end.
        result: what the function returned, recorded.
        kept: the nodes of results that depend on something else that is being differentiated, so that they stay in the graph.

    Raises:
        TypeError: a position is not among the arguments, or there is no floating-point Tensor at any of them.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], positions: Sequence[int], kwargs: Mapping[str, Any]) -> None:
        outer = is_grad_enabled()
        self.inputs: list[Tensor] = []
        self.leaves: list[Node] = []
        called = list(args)
        for position in positions:
            if not -len(args) <= position < len(args):
                raise TypeError(f"argnums asks for positional argument {position}, but only {len(args)} were passed")
            called[position] = map_tensors(lambda tensor: self._as_input(tensor, outer), args[position])
        if not self.leaves:
            kinds = ", ".join(type(args[p]).__name__ for p in positions)
            raise TypeError(f"there is nothing to differentiate with respect to: expected floating-point Tensors, got {kinds}")
        with enable_grad():
            self.result = function(*called, **kwargs)
        nodes = [tensor.node for tensor in list_tensors(self.result) if tensor.node is not None]
        self._orders = {node: topological_order(node, floor=self.leaves[0].id) for node in nodes}
        self.kept = {node for node, order in self._orders.items() if outer and self._depends_on_others(order)}

    def _as_input(self, tensor: Tensor, outer: bool) -> Tensor:
        if not tensor.dtype.is_floating:
            return tensor
        leaf = Node((tensor.node if outer else None,))
        self.inputs.append(tensor)
        self.leaves.append(leaf)
        return wrap(tensor.raw, tensor.backend, leaf)

    def _depends_on_others(self, order: Sequence[Node]) -> bool:
        """Whether the first of ``order`` was computed from nodes older than the leaves, or from a Tensor that requires a gradient.

        A younger leaf that is no such Tensor's belongs to a derivative that was taken, and finished, inside the function.
        """
        floor = self.leaves[0].id
        return any(
            isinstance(node, AccumulateGrad) or any(parent is not None and parent.id < floor for parent in node.parents) for node in order
        )

    def released(self, tree: Any) -> Any:
        """``tree`` with its Tensors detached from the graph, except those that stay."""
        return map_tensors(lambda t: t if t.node is None or t.node in self.kept else t.detach(), tree)

    def pull(self, seeds: Mapping[Node, Tensor], create_graph: bool, release: bool = False) -> list[Tensor | None]:
        """Carry gradients of results back to the inputs; ``None`` for an input that they do not depend on."""
        if len(seeds) == 1:
            order = self._orders[next(iter(seeds))]
        else:
            order = topological_order(*seeds, floor=self.leaves[0].id)
        return carry(order, seeds, self.leaves, self.inputs, create_graph, release)

    def like_inputs(self, args: Sequence[Any], gradients: Sequence[Tensor | None], materialize: bool = True) -> list[Any]:
        """Gradients in the structure of the arguments: ``None`` for a Tensor that can have none, zero (or ``None``) for one without."""
        remaining = iter(gradients)

        def gradient_of(tensor: Tensor) -> Tensor | None:
            if not tensor.dtype.is_floating:
                return None
            g = next(remaining)
            return zeros_like(tensor) if g is None and materialize else g

        return [map_tensors(gradient_of, arg) for arg in args]


def carry(
    order: Sequence[Node], seeds: Mapping[Node, Tensor], leaves: Sequence[Node], inputs: Sequence[Tensor], create_graph: bool, release: bool
) -> list[Tensor | None]:
    """`backpropagate` from Tensors to Tensors: the gradient that each leaf, on the backend of its input, is given."""
    raw: Mapping[Node, Gradient] = seeds if create_graph else {node: seed.raw for node, seed in seeds.items()}
    with enable_grad():
        found = backpropagate(order, raw, set(leaves), create_graph, release)
    gradients: list[Tensor | None] = []
    for tensor, leaf in zip(inputs, leaves, strict=True):
        g = found.get(leaf)
        gradients.append(g if g is None or isinstance(g, Tensor) else wrap(g, tensor.backend))
    return gradients


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros that nothing is create_graph of."""
    return wrap(tensor.backend.xp.zeros_like(tensor.raw), tensor.backend)


def results_of(name: str, tree: Any) -> list[Tensor]:
    """The floating-point Tensors in what a function returned. Raises ``TypeError`` where there is none."""
    tensors = [tensor for tensor in list_tensors(tree) if tensor.dtype.is_floating]
    if not tensors:
        raise TypeError(f"{name}: the function must return floating-point Tensors, it returned {type(tree).__name__}")
    return tensors


def matching(name: str, what: str, given: Any, wanted: Sequence[Tensor]) -> list[Tensor]:
    """The floating-point Tensors in ``given``, each of the shape, type and backend of the one at its place in ``wanted``.

    Raises:
        TypeError: there are more or fewer of them, or the type of one differs.
        ValueError: the shape of one differs.
        BackendMismatchError: one lives elsewhere.
    """
    tensors = [tensor for tensor in list_tensors(given) if tensor.dtype.is_floating]
    if len(tensors) != len(wanted):
        raise TypeError(f"{name} takes a {what} for each of {len(wanted)} Tensors, in their structure, and got {len(tensors)}")
    for tensor, like in zip(tensors, wanted, strict=True):
        check_same_backend(name, like.backend, tensor)
        if tensor.shape != like.shape:
            raise ValueError(f"{name}: a {what} has shape {tuple(tensor.shape)}, expected {tuple(like.shape)}")
        if tensor.dtype is not like.dtype:
            raise TypeError(f"{name}: a {what} is {tensor.dtype.name}, expected {like.dtype.name}; convert it with tinytorch.astype")
    return tensors
