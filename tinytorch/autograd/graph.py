"""The computation graph, and the backward pass over it.

Reverse-mode differentiation (Griewank and Walther, *Evaluating Derivatives*, 2nd ed., chapter 3). A Tensor refers to the node that computed
it, and a node refers to its parents. There is no global tape: each thread builds its own graphs, and Python frees unreachable nodes.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

#: A gradient: a raw array of a backend; a Tensor if the backward pass is itself recorded; a dict for a node with several outputs.
Gradient: TypeAlias = Any

#: ``vjp(g, needs, create_graph)``, as `Node.vjp`.
VJP: TypeAlias = Callable[[Gradient, Sequence[bool], bool], Sequence[Gradient | None]]

#: The ``id`` of the next node.
next_id: Callable[[], int] = itertools.count().__next__


class Node:
    """A node of the graph. Subclasses are computations; an instance of this class itself is a leaf.

    A leaf stands for an argument of a differentiated function. If that argument is itself recorded, its node is the parent of the leaf, so
    that outer transformations can differentiate through it.

    Attributes:
        id: number of the node, increasing in order of creation. Parents have smaller ids than children, so sorting by id is a topological
            order.
        parents: the node of each input, ``None`` for an input that needs no gradient.
    """

    __slots__ = ("__weakref__", "id", "parents")

    def __init__(self, parents: tuple[Node | None, ...] = ()) -> None:
        self.id = next_id()
        self.parents = parents

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        """The vector-Jacobian product: the gradients of the inputs, given the gradient ``g`` of the output.

        Args:
            g: an array, or a Tensor with ``create_graph``.
            needs: for each parent whether its gradient is needed; if not, the result may be ``None``.
            create_graph: record the computation of the gradients, so that they can be differentiated again.
        """
        return (g,)

    def release(self) -> None:
        """Free the values saved for `vjp`."""


class AccumulateGrad(Node):
    """The leaf node of a Tensor that requires a gradient; `Tensor.backward` adds the gradient to its ``.grad``."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        super().__init__()
        self.tensor = weakref.ref(tensor)


class FunctionNode(Node):
    """A node whose vector-Jacobian product is passed as a function."""

    __slots__ = ("function",)

    def __init__(self, parents: tuple[Node | None, ...], function: VJP) -> None:
        super().__init__(parents)
        self.function: VJP | None = function

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        return unpack_saved(self.function)(g, needs, create_graph)

    def release(self) -> None:
        self.function = None


def output_node(node: Node, index: int) -> Node:
    """The node of output number ``index`` of a ``node`` with several outputs; it passes its gradient on as ``{index: gradient}``."""
    return FunctionNode((node,), lambda g, needs, create_graph: ({index: g},))


def unpack_saved(saved: T | None) -> T:
    """The value that a node saved for `Node.vjp`; raises ``RuntimeError`` if an earlier backward pass has freed it."""
    if saved is None:
        raise RuntimeError("the graph was freed by an earlier backward(); pass retain_graph=True to the earlier one")
    return saved


def topological_order(*roots: Node, floor: int = 0) -> list[Node]:
    """The ancestors of ``roots``, including ``roots``, with an ``id`` of at least ``floor`` (no older nodes); children before parents."""
    seen = {root for root in roots if root.id >= floor}
    stack = list(seen)
    while stack:  # a loop, since a recursion would exceed the recursion limit of Python
        for parent in stack.pop().parents:
            if parent is not None and parent.id >= floor and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.id, reverse=True)


def backpropagate(
    order: Sequence[Node], seeds: Mapping[Node, Gradient], targets: Collection[Node], create_graph: bool, release: bool
) -> dict[Node, Gradient]:
    """Propagate gradients backward from the nodes in ``seeds`` to the ``targets``.

    Args:
        order: nodes in topological order, children before parents (`topological_order`).
        seeds: the cotangents to start from, by node, each with the shape of the output of its node.
        targets: nodes at which propagation stops.
        create_graph: apply derivative rules to Tensors, so that the result can be differentiated again; otherwise to raw arrays.
        release: free the saved values of each node as soon as its rule has run.

    Returns:
        The gradient of each target that a node in ``seeds`` depends on.
    """
    useful = set()  # nodes with a path to a target; the rules of other nodes need not run
    for node in reversed(order):
        if node in targets or any(parent in useful for parent in node.parents):
            useful.add(node)
    gradients = dict(seeds)
    for node in order:
        if node in targets or node not in gradients:
            continue
        needs = [parent in useful for parent in node.parents]
        if any(needs):
            for parent, needed, g in zip(node.parents, needs, node.vjp(gradients[node], needs, create_graph), strict=True):
                if parent is not None and needed and g is not None:
                    accumulate(gradients, parent, g)
        del gradients[node]
        if release:
            node.release()
    return gradients


def leaf_gradients(root: Node, gradient: Gradient, retain_graph: bool) -> list[tuple[Any, Gradient]]:
    """Each Tensor that requires a gradient and that ``root`` depends on, with its gradient; ``None`` for a Tensor that was freed."""
    order = topological_order(root)
    leaves = [node for node in order if isinstance(node, AccumulateGrad)]
    found = backpropagate(order, {root: gradient}, set(leaves), create_graph=False, release=not retain_graph)
    return [(leaf.tensor(), found[leaf]) for leaf in leaves if leaf in found]


def accumulate(gradients: dict[Node, Gradient], node: Node, g: Gradient) -> None:
    """Add ``g`` to the gradient of a node."""
    gradients[node] = _add(gradients[node], g) if node in gradients else g


def _add(a: Gradient, b: Gradient) -> Gradient:
    if isinstance(a, dict):
        return {i: _add(a[i], b[i]) if i in a and i in b else a.get(i, b.get(i)) for i in a.keys() | b.keys()}
    return a + b  # not in place: either array may also be the gradient of another node
