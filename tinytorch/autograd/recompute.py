"""Activation checkpointing (rematerialization): save memory by computing intermediate values again in the backward pass."""

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

#: A context manager around the first run of a function. It yields a function that restores some state before the second run.
SaveState = Callable[[], AbstractContextManager[Callable[[], object]]]

_save_states: list[SaveState] = []


def restore_on_recompute(save: Callable[[], Iterator[Callable[[], object]]]) -> SaveState:
    """Register state that `checkpoint` restores before it runs a function again.

    A decorator, used like `contextmanager`: the generator yields once, a function that restores the state.
    """
    manager = contextmanager(save)
    _save_states.append(manager)
    return manager


def checkpoint(function: Callable[P, R]) -> Callable[P, R]:
    """Activation checkpointing: create a function that saves only its arguments and runs again in the backward pass, as ``jax.checkpoint``.

    Gradients also reach Tensors that are not arguments, such as the parameters of a module. Both runs draw the same random bits (dropout).
    Buffers of a module (running statistics) are updated by the first run only; the second run sees the values from before the first run.
    All other state that the function reads must be the same in both runs.

    Source: Chen et al. 2016, arXiv:1604.06174.

    Args:
        function: takes and returns pytrees of Tensors.

    Returns:
        A function with the same arguments and results.

    Example:
        >>> tt.grad(tt.checkpoint(lambda x: tt.sum(x**3)))(tt.asarray([1.0, 2.0]))
        Tensor([ 3., 12.], dtype=float32, device='numpy:cpu')
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_grad_enabled():
            return function(*args, **kwargs)
        context = contextvars.copy_context()
        restores: list[Callable[[], object]] = []

        def replay(inputs: Sequence[Tensor]) -> Any:
            """Run the function again with these Tensors as arguments, in the context and with the state of the first run."""

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
        floor = leaves[0].id if leaves else Node().id  # nodes with a smaller id were created outside the function
        tracked = iter([wrap(t.raw, t.backend, None if t.node is None else leaf) for t, leaf in zip(arguments, leaves, strict=True)])
        called = map_tensors(lambda _: next(tracked), (args, kwargs))
        with ExitStack() as stack:
            restores += [stack.enter_context(save()) for save in _save_states]
            result = function(*called[0], **called[1])
        outputs = list_tensors(result)
        roots = [output.node for output in outputs if output.node is not None]
        if not roots:
            return result
        node = _replay_node(replay, arguments, _captured(roots, floor))
        indices = iter(range(len(outputs)))

        def with_node(output: Tensor) -> Tensor:
            i = next(indices)
            return output if output.node is None else wrap(output.raw, output.backend, output_node(node, i))

        return map_tensors(with_node, result)  # type: ignore[no-any-return]

    return wrapped


def _captured(roots: Sequence[Node], floor: int) -> list[Node]:
    """The nodes of values that the function closes over: nearest ancestors of ``roots`` with an id below ``floor``, newest first."""
    found = {root for root in roots if root.id < floor}
    for node in topological_order(*roots, floor=floor):
        found.update(parent for parent in node.parents if parent is not None and parent.id < floor)
    return sorted(found, key=lambda node: node.id, reverse=True)


def _replay_node(replay: Callable[[Sequence[Tensor]], Any], arguments: Sequence[Tensor], captured: Sequence[Node]) -> Node:
    """The node of a checkpointed call; its parents are the nodes of its arguments and the captured nodes."""
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
        targets = [node if needed else None for node, needed in zip([*leaves, *captured], needs, strict=True)]
        order = [*topological_order(*seeds, floor=floor), *captured]
        with enable_grad():
            found = backpropagate(order, seeds, {node for node in targets if node is not None}, create_graph, release=not create_graph)
        return [None if node is None else found.get(node) for node in targets]

    return FunctionNode((*own, *captured), vjp)
