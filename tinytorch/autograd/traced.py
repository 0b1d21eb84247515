"""A recorded call of a function, from its arguments to its results: the common first step of all transformations.

Unlike tracing in JAX, this runs the function on its actual arguments and records a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinytorch.autograd.grad_mode import enable_grad, is_grad_enabled
from tinytorch.autograd.graph import AccumulateGrad, Gradient, Node, backpropagate, topological_order
from tinytorch.autograd.host_input import tensor_from_host, tensors_from_host
from tinytorch.autograd.pytrees import list_leaves, list_tensors, map_tensors
from tinytorch.tensor import Tensor, check_same_backend, wrap


class Traced:
    """A recorded call ``function(*args, **kwargs)``, differentiable with respect to the floating-point Tensors at ``positions``.

    NumPy arrays and Python floats there are converted to Tensors (`tinytorch.autograd.host_input`).

    Attributes:
        differentiated: the arguments at ``positions``, with Tensors in place of host input.
        inputs: the floating-point Tensors in them, in order.
        leaves: the leaf node of each input.
        result: the recorded result of the function.
        attached: the nodes of results that depend on another differentiated value (an argument of an outer transformation, or a Tensor
            that requires a gradient). They stay attached to the graph; other results are detached.

    Raises:
        TypeError: a position is out of range, or the arguments there contain no floating-point Tensor.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], positions: Sequence[int], kwargs: Mapping[str, Any]) -> None:
        outer = is_grad_enabled()
        self.inputs: list[Tensor] = []
        self.leaves: list[Node] = []
        for position in positions:
            if not -len(args) <= position < len(args):
                raise TypeError(f"`argnums` contains {position}, but the number of positional arguments is {len(args)}")
        called = tensors_from_host("the differentiated function", args, positions)
        self.differentiated = [called[position] for position in positions]
        for position in positions:
            called[position] = map_tensors(lambda tensor: self._as_input(tensor, outer), called[position])
        if not self.leaves:
            types = ", ".join(type(args[p]).__name__ for p in positions)
            raise TypeError(f"the arguments to differentiate must contain floating-point Tensors, got {types}{_hint(args, positions)}")
        with enable_grad():
            self.result = function(*called, **kwargs)
        nodes = [tensor.node for tensor in list_tensors(self.result) if tensor.node is not None]
        self._orders = {node: topological_order(node, floor=self.leaves[0].id) for node in nodes}
        self.attached = {node for node, order in self._orders.items() if outer and self._depends_on_others(order)}

    def _as_input(self, tensor: Tensor, outer: bool) -> Tensor:
        if not tensor.dtype.is_floating:
            return tensor
        leaf = Node((tensor.node if outer else None,))
        self.inputs.append(tensor)
        self.leaves.append(leaf)
        return wrap(tensor.raw, tensor.backend, leaf)

    def _depends_on_others(self, order: Sequence[Node]) -> bool:
        """Whether a result depends on a differentiated value other than the inputs. ``order`` is the ancestors of its node.

        Such a value has a node created before the leaves, or is a Tensor that requires a gradient. Leaves that transformations inside the
        function created do not count, since these transformations have ended.
        """
        floor = self.leaves[0].id
        return any(
            isinstance(node, AccumulateGrad) or any(parent is not None and parent.id < floor for parent in node.parents) for node in order
        )

    def detach(self, tree: Any) -> Any:
        """Detach the Tensors of a pytree from the graph, except those that stay attached."""
        return map_tensors(lambda t: t if t.node is None or t.node in self.attached else t.detach(), tree)

    def backpropagate(self, seeds: Mapping[Node, Tensor], create_graph: bool, release: bool = False) -> list[Tensor | None]:
        """The gradients of the inputs from gradients of results; ``None`` for an input that the results do not depend on."""
        if len(seeds) == 1:
            order = self._orders[next(iter(seeds))]
        else:
            order = topological_order(*seeds, floor=self.leaves[0].id)
        return backpropagate_tensors(order, seeds, self.leaves, self.inputs, create_graph, release)

    def unflatten(self, gradients: Sequence[Tensor | None], materialize: bool = True) -> list[Any]:
        """Gradients in the structure of the differentiated arguments, with ``None`` for integer and boolean Tensors.

        A missing gradient becomes zero, or stays ``None`` without ``materialize``.
        """
        remaining = iter(gradients)

        def gradient_of(tensor: Tensor) -> Tensor | None:
            if not tensor.dtype.is_floating:
                return None
            g = next(remaining)
            return zeros_like(tensor) if g is None and materialize else g

        return [map_tensors(gradient_of, arg) for arg in self.differentiated]


def _hint(args: Sequence[Any], positions: Sequence[int]) -> str:
    """How to pass an integer as a floating-point number."""
    return "; write 3.0 instead of 3" if any(type(args[position]) is int for position in positions) else ""


def backpropagate_tensors(
    order: Sequence[Node], seeds: Mapping[Node, Tensor], leaves: Sequence[Node], inputs: Sequence[Tensor], create_graph: bool, release: bool
) -> list[Tensor | None]:
    """`backpropagate` with Tensors as gradients. Returns the gradient of each leaf, or ``None``."""
    raw: Mapping[Node, Gradient] = seeds if create_graph else {node: seed.raw for node, seed in seeds.items()}
    with enable_grad():
        found = backpropagate(order, raw, set(leaves), create_graph, release)
    gradients: list[Tensor | None] = []
    for tensor, leaf in zip(inputs, leaves, strict=True):
        g = found.get(leaf)
        gradients.append(g if g is None or isinstance(g, Tensor) else wrap(g, tensor.backend))
    return gradients


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros that are not recorded."""
    return wrap(tensor.backend.xp.zeros_like(tensor.raw), tensor.backend)


def floating_results(name: str, tree: Any) -> list[Tensor]:
    """The floating-point Tensors in the result of a function; raises ``TypeError`` if there are none."""
    tensors = [tensor for tensor in list_tensors(tree) if tensor.dtype.is_floating]
    if not tensors:
        raise TypeError(f"{name}: the function must return floating-point Tensors, got {type(tree).__name__}")
    return tensors


def flatten_like(name: str, what: str, tree: Any, references: Sequence[Tensor]) -> list[Tensor]:
    """The floating-point Tensors in a pytree, checked to have the shape, dtype and backend of the corresponding reference.

    Args:
        name: the function to name in errors.
        what: "tangent" or "cotangent", for errors.
        tree: a pytree of Tensors, NumPy arrays and Python floats.
        references: the Tensors to compare with.

    Raises:
        TypeError: the number of Tensors or a dtype differs.
        ValueError: a shape differs.
        BackendMismatchError: a backend or device differs.
    """
    tensors: list[Tensor] = []
    for leaf in list_leaves(tree):
        tensor = leaf if isinstance(leaf, Tensor) else tensor_from_host(name, leaf, references[min(len(tensors), len(references) - 1)])
        if isinstance(tensor, Tensor) and tensor.dtype.is_floating:
            tensors.append(tensor)
    if len(tensors) != len(references):
        raise TypeError(f"{name} expected a {what} for each of {len(references)} floating-point Tensors, got {len(tensors)}")
    for tensor, like in zip(tensors, references, strict=True):
        check_same_backend(name, like.backend, tensor)
        if tensor.shape != like.shape:
            raise ValueError(f"{name} expected a {what} of shape {tuple(like.shape)}, got shape {tuple(tensor.shape)}")
        if tensor.dtype is not like.dtype:
            raise TypeError(
                f"{name} expected a {what} of dtype {like.dtype.name}, got {tensor.dtype.name}; convert it with tinytorch.astype"
            )
    return tensors
