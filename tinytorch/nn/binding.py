"""Binding: run modules with values other than their own parameters and buffers, as ``torch.func.functional_call`` does.

Bound values are stored in a context variable and not on the module, so that threads can run the same module with different values. A slot
is the key of a value that can be replaced: the parameter itself, or ``(module, name)`` for a buffer; see `tinytorch.nn.module.Slot`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from tinytorch.autograd.recompute import restore_on_recompute
from tinytorch.tensor import Tensor

#: The values that modules use instead of their own, by slot; ``None`` if nothing is bound.
bound_values: ContextVar[dict[Hashable, Tensor] | None] = ContextVar("tinytorch_bound_values", default=None)

#: One dict per active first run of a `checkpoint`: the values, by slot, that buffers had before that run changed them.
previous_buffers: ContextVar[tuple[dict[Hashable, Tensor], ...]] = ContextVar("tinytorch_previous_buffers", default=())


@contextmanager
def bind(slots: Sequence[Hashable], values: Sequence[Tensor]) -> Iterator[dict[Hashable, Tensor]]:
    """Run modules with ``values`` instead of their own parameters and buffers inside a ``with`` block, in this thread only.

    Blocks can be nested. Slots that the inner block does not bind keep the values of the outer block, and updates of such buffers are
    stored in the outer block.

    Args:
        slots: what to replace: parameters, or (module, name) for buffers; see `Module.slots`.
        values: a Tensor for each slot.

    Yields:
        The values by slot. A buffer that a module updates inside the block is updated here and not on the module.

    Raises:
        ValueError: the numbers of slots and values differ.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> with nn.bind([layer.weight], [tt.ones((1, 2))]):
        ...     print(layer(tt.asarray([[3.0, 4.0]])))
        Tensor([[7.]], dtype=float32, device='numpy:cpu')
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
def _restore_values() -> Iterator[Callable[[], object]]:
    """Let a recomputation see the same parameters and buffers as the first run; it does not update the buffers a second time."""
    bound = dict(bound_values.get() or {})
    previous: dict[Hashable, Tensor] = {}
    token = previous_buffers.set((*previous_buffers.get(), previous))
    try:
        yield lambda: bound_values.set({**previous, **bound})
    finally:
        previous_buffers.reset(token)
