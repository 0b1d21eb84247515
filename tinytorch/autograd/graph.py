"""The computation graph, and the backward pass over it.

Reverse-mode differentiation (Griewank and Walther, *Evaluating Derivatives*, 2nd ed., chapter 3). A Tensor points at the node that
computed it, and a node at its parents. There is no global list: every thread builds graphs of its own, and what nobody can reach any
more is freed.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

#: A gradient: a backend's raw array; a Tensor where the backward pass is itself recorded; a dict for a node with several outputs.
Gradient: TypeAlias = Any

#: ``vjp(g, needs, create_graph)``, as `Node.vjp`.
VJP: TypeAlias = Callable[[Gradient, Sequence[bool], bool], Sequence[Gradient | None]]

#: The ``id`` of the next node.
next_id: Callable[[], int] = itertools.count().__next__


class Node:
    """One computation in the graph; by itself a leaf, at which gradients end.

    A leaf is an argument of a differentiated function. If that argument is itself recorded, its node is the leaf's parent, through which
    an outer derivative goes on.

    Attributes:
        id: counts up as nodes are made, so a parent's is smaller than its child's, and sorting by it is a topological order.
        parents: the node of each input, ``None`` for an input that needs no gradient.
    """

    __slots__ = ("__weakref__", "id", "parents")

    def __init__(self, parents: tuple[Node | None, ...] = ()) -> None:
        self.id = next_id()
        self.parents = parents

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        """The vector-Jacobian product: gradients of the inputs, from the gradient ``g`` of the output.

        Args:
            g: an array, or a Tensor with ``create_graph``.
            needs: for each parent whether its gradient is wanted; where it is not, the result may be ``None``.
            create_graph: record the computation of the gradients, so that they can be differentiated again.
        """
        return (g,)

    def release(self) -> None:
        """Free the values that were saved for `vjp`."""


class AccumulateGrad(Node):
    """The leaf of a Tensor that requires a gradient; `Tensor.backward` adds the gradient to its ``.grad``."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        super().__init__()
        self.tensor = weakref.ref(tensor)


class FunctionNode(Node):
    """A node whose vector-Jacobian product is given as a function."""

    __slots__ = ("function",)

    def __init__(self, parents: tuple[Node | None, ...], function: VJP) -> None:
        super().__init__(parents)
        self.function: VJP | None = function

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        return kept(self.function)(g, needs, create_graph)

    def release(self) -> None:
        self.function = None


def output_node(node: Node, index: int) -> Node:
    """The node of one output of a ``node`` that has several; its gradient reaches ``node`` in a dict, under ``index``."""
    return FunctionNode((node,), lambda g, needs, create_graph: ({index: g},))


def kept(saved: T | None) -> T:
    """What a node saved for its `Node.vjp`; raises ``RuntimeError`` if an earlier backward pass has freed it."""
    if saved is None:
        raise RuntimeError("the graph was freed by an earlier backward(); pass retain_graph=True to the earlier one")
    return saved


def topological_order(*roots: Node, floor: int = 0) -> list[Node]:
    """The nodes that ``roots`` were computed from, themselves included, with an ``id`` of at least ``floor``; children before parents."""
    seen = {root for root in roots if root.id >= floor}
    stack = list(seen)
    while stack:  # a loop, not a recursion: graphs are deeper than Python's stack
        for parent in stack.pop().parents:
            if parent is not None and parent.id >= floor and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.id, reverse=True)


def backpropagate(
    order: Sequence[Node], seeds: Mapping[Node, Gradient], targets: Collection[Node], create_graph: bool, release: bool
) -> dict[Node, Gradient]:
    """Propagate gradients backward from some nodes to the ``targets``.

    Args:
        order: nodes, children before parents, from `topological_order`.
        seeds: the gradients to start with, each of the shape of its node's output.
        targets: nodes to stop at.
        create_graph: run derivative rules on Tensors, so that the result can be differentiated again; otherwise on raw arrays.
        release: free each node's saved values as soon as its rule has run.

    Returns:
        The gradient of each target that a node of ``seeds`` depends on.
    """
    useful = set()  # the nodes with a path to a target; the rules of the others need not run
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
    """Each Tensor that requires a gradient and that ``root`` was computed from, with its gradient; ``None`` for one that is gone."""
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
    return a + b  # a new array: either may be the gradient of another node too
