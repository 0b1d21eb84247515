"""Memory for time: forget what a part of a computation saved, and compute it again in the backward pass."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tinytorch.autograd.grad_mode import enable_grad, is_grad_enabled
from tinytorch.autograd.graph import FunctionNode, Gradient, Node, accumulate, backpropagate, output_node, topological_order
from tinytorch.autograd.pytrees import list_tensors, map_tensors
from tinytorch.tensor import Tensor, wrap

P = ParamSpec("P")
R = TypeVar("R")

#: A ``with`` block around a function's first run; what it yields is called before the second run, and restores what it would find changed.
Save = Callable[[], AbstractContextManager[Callable[[], object]]]

_saves: list[Save] = []


def restored_on_replay(save: Callable[[], Iterator[Callable[[], object]]]) -> Save:
    """Have `checkpoint` keep this state for a function's second run: a decorator of a generator that yields once, as `contextmanager`."""
    manager = contextmanager(save)
    _saves.append(manager)
    return manager


def checkpoint(function: Callable[P, R]) -> Callable[P, R]:
    """A function that computes the same and saves only its arguments for the backward pass, which runs it again.

    Chen et al. 2016 (arXiv:1604.06174). Arguments and results are Tensors in any structure. Gradients also reach Tensors that the function
    uses without being given them, such as a module's parameters. Random bits (dropout) are the same in both runs, and buffers that a module
    updates (running statistics) are updated by the first run only, while the second finds them as the first did; anything else that the
    function looks at must be the same, too.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_grad_enabled():
            return function(*args, **kwargs)
        context = contextvars.copy_context()
        restores: list[Callable[[], object]] = []

        def replay(inputs: Sequence[Tensor]) -> Any:
            """Run the function on other Tensors, in the surroundings that it ran in."""

            def run() -> Any:
                for restore in restores:
                    restore()
                remaining = iter(inputs)
                called = map_tensors(lambda _: next(remaining), (args, kwargs))
                with enable_grad():
                    return function(*called[0], **called[1])

            return context.copy().run(run)

        arguments = list_tensors((args, kwargs))
        leaves = [Node() for _ in arguments]
        floor = leaves[0].id if leaves else Node().id
        marked = iter([wrap(t.raw, t.backend, None if t.node is None else leaf) for t, leaf in zip(arguments, leaves, strict=True)])
        called = map_tensors(lambda _: next(marked), (args, kwargs))
        with ExitStack() as stack:
            restores += [stack.enter_context(save()) for save in _saves]
            result = function(*called[0], **called[1])
        outputs = list_tensors(result)
        roots = [output.node for output in outputs if output.node is not None]
        if not roots:
            return result
        node = _replay_node(replay, arguments, _captured(roots, floor))
        places = iter(range(len(outputs)))

        def with_node(output: Tensor) -> Tensor:
            i = next(places)
            return output if output.node is None else wrap(output.raw, output.backend, output_node(node, i))

        return map_tensors(with_node, result)  # type: ignore[no-any-return]

    return wrapped


def _captured(roots: Sequence[Node], floor: int) -> list[Node]:
    """The nodes from before ``floor`` that ``roots`` were computed from, by way of no other such node; the newest first."""
    found = {root for root in roots if root.id < floor}
    for node in topological_order(*roots, floor=floor):
        found.update(parent for parent in node.parents if parent is not None and parent.id < floor)
    return sorted(found, key=lambda node: node.id, reverse=True)


def _replay_node(replay: Callable[[Sequence[Tensor]], Any], arguments: Sequence[Tensor], captured: Sequence[Node]) -> Node:
    """The node of a function whose graph was dropped; its parents are the nodes of its arguments, then those it captured."""
    own = [tensor.node for tensor in arguments]
    values = [(tensor.raw, tensor.backend) for tensor in arguments]

    def vjp(g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        leaves = [Node((parent if create_graph else None,)) for parent in own]
        floor = leaves[0].id if leaves else Node().id
        inputs = [
            wrap(raw, backend, None if parent is None else leaf) for (raw, backend), leaf, parent in zip(values, leaves, own, strict=True)
        ]
        seeds: dict[Node, Gradient] = {}
        for i, output in enumerate(list_tensors(replay(inputs))):
            if output.node is not None and i in g:
                accumulate(seeds, output.node, g[i])
        ends = [node if needed else None for node, needed in zip([*leaves, *captured], needs, strict=True)]
        order = [*topological_order(*seeds, floor=floor), *captured]
        with enable_grad():
            found = backpropagate(order, seeds, {node for node in ends if node is not None}, create_graph, release=not create_graph)
        return [None if node is None else found.get(node) for node in ends]

    return FunctionNode((*own, *captured), vjp)
