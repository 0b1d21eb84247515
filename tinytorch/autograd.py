"""Derivatives as functions: `grad` and `value_and_grad`.

They nest freely. A gradient is itself recorded when, and only when, it depends on something else that is being differentiated: the
argument of an outer `grad`, or a Tensor that requires a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from tinytorch.tape import Leaf, backpropagate, enable_grad, is_recording, reachable
from tinytorch.tensor import Tensor, wrap
from tinytorch.tree import map_tensors


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
        gradients, recorded = _gradients(value, inputs, leaves, outer)
        remaining = iter(gradients)
        trees = [map_tensors(lambda t: next(remaining) if t.dtype.is_floating else t, args[p]) for p in positions]
        if not recorded:  # what was saved is freed, so nothing that is returned may point at it
            value, aux = map_tensors(Tensor.detach, (value, aux))
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


def _gradients(value: Tensor, inputs: list[Tensor], leaves: list[Leaf], outer: bool) -> tuple[list[Tensor], bool]:
    """The gradient of ``value`` with respect to each input, and whether it was recorded."""
    found: dict[Any, Any] = {}
    recorded = False
    if value.node is not None:
        targets = set(leaves)
        floor = leaves[0].id
        order = reachable(value.node, floor)
        # nodes older than the leaves, and leaves that are not ours, belong to somebody who may differentiate this gradient
        recorded = outer and any(
            (isinstance(node, Leaf) and not node.parents and node not in targets)
            or any(parent is not None and parent.id < floor for parent in node.parents)
            for node in order
        )
        one = value.backend.namespace.ones_like(value.detach())
        with enable_grad():
            found = backpropagate(order, one if recorded else one.raw, targets, recorded, release=not recorded)
    gradients = []
    for tensor, leaf in zip(inputs, leaves, strict=True):
        g = found.get(leaf)
        if g is None:
            gradients.append(tensor.backend.namespace.zeros_like(tensor.detach()))
        else:
            gradients.append(g if recorded else wrap(g, tensor.backend))
    return gradients, recorded
