"""Binding: run modules on other values than their own parameters and buffers.

Bound values live in the context, not on the module, so that threads can run the same module on values of their own. What a value is bound
to, its slot, is the parameter itself, or a buffer's module and name; see `tinytorch.nn.module.Slot`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from tinytorch.autograd.recompute import restore_on_recompute
from tinytorch.tensor import Tensor

#: The values that modules use in place of their own, by slot; ``None`` where nothing is bound.
bound_values: ContextVar[dict[Hashable, Tensor] | None] = ContextVar("tinytorch_bound_values", default=None)

#: For each function that `checkpoint` runs for the first time now: the former values of the buffers that modules have set meanwhile.
former_buffers: ContextVar[tuple[dict[Hashable, Tensor], ...]] = ContextVar("tinytorch_former_buffers", default=())


@contextmanager
def bind(slots: Sequence[Hashable], values: Sequence[Tensor]) -> Iterator[dict[Hashable, Tensor]]:
    """Run modules on ``values`` in place of their own inside a ``with`` block, in this thread only.

    Yields the values by slot; a buffer that the module sets meanwhile is replaced there, and not on the module. Blocks nest: the inner
    values count, and for the other slots those of the block outside, which sees their updates.
    """
    outer = bound_values.get() or {}
    own = dict(zip(slots, values, strict=True))
    current = {**outer, **own}
    token = bound_values.set(current)
    try:
        yield current
    finally:
        bound_values.reset(token)
        outer.update({slot: current[slot] for slot in outer if slot not in own})


@restore_on_recompute
def _same_values() -> Iterator[Callable[[], object]]:
    """A second run finds parameters and buffers as the first run did, and leaves the buffers that the first run set as they are."""
    bound = dict(bound_values.get() or {})
    former: dict[Hashable, Tensor] = {}
    token = former_buffers.set((*former_buffers.get(), former))
    try:
        yield lambda: bound_values.set({**former, **bound})
    finally:
        former_buffers.reset(token)
