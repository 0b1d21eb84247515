"""The tape: a graph of nodes that remembers how Tensors were computed, and the walk that turns it into gradients.

Reverse-mode differentiation (Griewank and Walther, *Evaluating Derivatives*, 2nd ed., chapter 3). There is no global list: a Tensor points
at the node that made it and nodes point at their parents, so every thread has its own tape without doing anything for it, and what nobody
can reach is freed.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: A gradient: a backend's raw array, a Tensor where the backward pass is itself recorded, a dictionary for a node with several outputs.
Gradient: TypeAlias = Any

#: The next node's ``id``.
next_id: Callable[[], int] = itertools.count().__next__

_recording: ContextVar[bool] = ContextVar("tinytorch_recording", default=True)
_outside: ContextVar[tuple[bool, ...]] = ContextVar("tinytorch_recording_outside", default=())  # of each open `with` block

#: Whether operations are being recorded in this thread (and context).
is_recording: Callable[[], bool] = _recording.get


class Node:
    """One recorded computation.

    ``id`` counts up as nodes are made, so a parent's is smaller than its child's and sorting by ``id`` is a topological order.
    ``parents`` has an entry for each operand: its node, or ``None`` where no gradient is asked for.
    """

    __slots__ = ("__weakref__", "id", "parents")

    def __init__(self, parents: tuple[Node | None, ...]) -> None:
        self.id = next_id()
        self.parents = parents

    def pullback(self, g: Gradient, needs: Sequence[bool], recorded: bool) -> Sequence[Gradient | None]:
        """The gradient for each parent where ``needs`` is true, given the gradient ``g`` of this node's output."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of the values saved for `pullback`."""


class Leaf(Node):
    """Where a gradient ends: a Tensor that requires one, or an argument of a differentiated function.

    An argument that was itself being recorded keeps that node as its parent, which is what makes nested derivatives see through it.
    """

    __slots__ = ()

    def __init__(self, parent: Node | None = None) -> None:
        super().__init__(() if parent is None else (parent,))

    def pullback(self, g: Gradient, needs: Sequence[bool], recorded: bool) -> Sequence[Gradient | None]:
        return (g,)


class Owner(Leaf):
    """The leaf of a Tensor that requires a gradient; `Tensor.backward` stores the gradient there."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        super().__init__()
        self.tensor = weakref.ref(tensor)


class Output(Node):
    """One output of a node that has several; its gradient reaches that node under its index."""

    __slots__ = ("index",)

    def __init__(self, parent: Node, index: int) -> None:
        super().__init__((parent,))
        self.index = index

    def pullback(self, g: Gradient, needs: Sequence[bool], recorded: bool) -> Sequence[Gradient | None]:
        return ({self.index: g},)


class _Recording:
    """Turns recording on or off for a ``with`` block or a decorated function."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __enter__(self) -> None:
        _outside.set((*_outside.get(), _recording.get()))  # not kept in this object, which threads may share
        _recording.set(self._on)

    def __exit__(self, *exc_info: object) -> None:
        *rest, before = _outside.get()
        _outside.set(tuple(rest))
        _recording.set(before)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__name__} does its work after it has returned; use a with block inside, between its pauses")

        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Recording(self._on):
                return function(*args, **kwargs)

        return wrapped


def no_grad() -> _Recording:
    """Record nothing inside: ``with tt.no_grad(): ...``, or ``@tt.no_grad()`` above a function."""
    return _Recording(False)


def enable_grad() -> _Recording:
    """Record again inside a `no_grad` block."""
    return _Recording(True)


def reachable(*roots: Node, floor: int = 0) -> list[Node]:
    """The nodes that ``roots`` were computed from, themselves included, with an ``id`` of ``floor`` or more; children before parents."""
    seen = {root for root in roots if root.id >= floor}
    stack = list(seen)
    while stack:  # a loop, not a recursion: graphs are deeper than Python's stack
        for parent in stack.pop().parents:
            if parent is not None and parent.id >= floor and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.id, reverse=True)


def backpropagate(
    order: Sequence[Node], seeds: Mapping[Node, Gradient], targets: Collection[Node], recorded: bool, release: bool
) -> dict[Node, Gradient]:
    """Carry gradients of some nodes to the ``targets``.

    Args:
        order: nodes, children before parents, from `reachable`.
        seeds: gradients to begin with, each of the shape of its node's output.
        targets: nodes to stop at.
        recorded: run the rules on Tensors, so that the result can be differentiated again; otherwise on raw arrays.
        release: free each node's saved values as soon as it is done.

    Returns:
        The gradient of each target that a node of ``seeds`` depends on.
    """
    useful = set()  # the nodes that lead to a target; the others' rules need not run
    for node in reversed(order):
        if node in targets or any(parent in useful for parent in node.parents):
            useful.add(node)
    gradients = dict(seeds)
    for node in order:
        if node in targets or node not in gradients:
            continue
        needs = [parent in useful for parent in node.parents]
        if any(needs):
            contributions = node.pullback(gradients[node], needs, recorded)
            for parent, needed, contribution in zip(node.parents, needs, contributions, strict=True):
                if parent is not None and needed and contribution is not None:
                    accumulate(gradients, parent, contribution)
        del gradients[node]
        if release:
            node.release()
    return gradients


def accumulate(gradients: dict[Node, Gradient], node: Node, g: Gradient) -> None:
    """Add ``g`` to what is known of a node's gradient."""
    gradients[node] = _add(gradients[node], g) if node in gradients else g


def _add(a: Gradient, b: Gradient) -> Gradient:
    if isinstance(a, dict):
        return {i: _add(a[i], b[i]) if i in a and i in b else a.get(i, b.get(i)) for i in a.keys() | b.keys()}
    return a + b  # a new array: either may be the gradient of another node too
