"""Derivatives as functions: `grad` and `value_and_grad`.

They nest freely. A gradient is itself recorded when, and only when, it depends on something else that is being differentiated: the
argument of an outer `grad`, or a Tensor that requires a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from tinytorch.tape import Leaf, Node, Owner, backpropagate, enable_grad, is_recording, reachable
from tinytorch.tensor import Tensor, wrap
from tinytorch.tree import list_tensors, map_tensors


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns both what ``function`` returns and its gradient.

    Args:
        function: returns a Tensor of one element; with ``has_aux`` a pair of that and anything else.
        argnums: which positional arguments to differentiate with respect to: Tensors, or nested lists, tuples and dictionaries of them.
        has_aux: whether ``function`` returns a pair.

    Returns:
        ``wrapped(*args, **kwargs) -> (value, gradient)``, or ``((value, aux), gradient)``; the gradient has the structure of the argument
        (a tuple of gradients where ``argnums`` is a sequence), and is zero where the value does not depend on it.

    Raises:
        TypeError: an argument to differentiate holds no floating-point Tensor, or the value is not a Tensor of one element.
    """
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        outer = is_recording()
        inputs: list[Tensor] = []
        leaves: list[Leaf] = []

        def as_input(tensor: Tensor) -> Tensor:
            if not tensor.dtype.is_floating:
                return tensor
            leaf = Leaf(tensor.node if outer else None)
            inputs.append(tensor)
            leaves.append(leaf)
            return wrap(tensor.raw, tensor.backend, leaf)

        called = list(args)
        for position in positions:
            if position >= len(args):
                raise TypeError(f"argnums asks for positional argument {position}, but only {len(args)} were passed")
            called[position] = map_tensors(as_input, args[position])
        if not leaves:
            kinds = ", ".join(type(args[p]).__name__ for p in positions)
            raise TypeError(f"there is nothing to differentiate with respect to: expected floating-point Tensors, got {kinds}")
        with enable_grad():
            result = function(*called, **kwargs)
        value, aux = result if has_aux else (result, None)
        if not isinstance(value, Tensor) or value.size != 1:
            what = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"the function to differentiate must return a Tensor of one element, it returned {what}")
        orders = {t.node: reachable(t.node, leaves[0].id) for t in list_tensors((value, aux)) if t.node is not None}
        # the results that depend on something else that is being differentiated stay on the tape
        kept = {node for node, order in orders.items() if outer and _depends_on_others(order, set(leaves))}
        found: dict[Node, Any] = {}
        if value.node is not None:
            one = value.backend.namespace.ones_like(value.detach())
            recorded = value.node in kept
            with enable_grad():
                found = backpropagate(orders[value.node], one if recorded else one.raw, set(leaves), recorded, release=not kept)
        gradients = [_gradient_of(tensor, found.get(leaf)) for tensor, leaf in zip(inputs, leaves, strict=True)]
        remaining = iter(gradients)
        trees = [map_tensors(lambda t: next(remaining) if t.dtype.is_floating else t, args[p]) for p in positions]
        value, aux = map_tensors(lambda t: t if t.node is None or t.node in kept else t.detach(), (value, aux))
        gradient = trees[0] if single else tuple(trees)
        return ((value, aux) if has_aux else value), gradient

    return wrapped


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``function``; with ``has_aux`` the pair of gradient and aux. See `value_and_grad`."""
    both = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def _depends_on_others(order: Sequence[Node], leaves: set[Leaf]) -> bool:
    """Whether the first of ``order`` was computed from nodes older than the leaves, or from a Tensor that requires a gradient.

    A younger leaf that is no such Tensor's belongs to a derivative that was taken, and finished, inside the function.
    """
    floor = min(leaf.id for leaf in leaves)
    return any(isinstance(node, Owner) or any(parent is not None and parent.id < floor for parent in node.parents) for node in order)


def _gradient_of(tensor: Tensor, g: Any) -> Tensor:
    """What the tape found for ``tensor``: a Tensor where it was recorded, a raw array where not, and nothing where it had no part."""
    if g is None:
        g = tensor.backend.xp.zeros_like(tensor.raw)
    return g if isinstance(g, Tensor) else wrap(g, tensor.backend)
