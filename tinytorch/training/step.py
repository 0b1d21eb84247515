"""One training step as a function of arrays: state and batch in, state and loss out. Nothing in it is read by the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from tinytorch import random
from tinytorch.autograd import value_and_grad
from tinytorch.backend import Array, Backend, Step
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Slot, bind
from tinytorch.nn.precision import Precision
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.pieces import cut, is_entrywise, piece_count, summed
from tinytorch.training.scaling import after_step, unless
from tinytorch.training.state import RING, Layout, TrainState

#: ``predict(model, batch) -> outputs``: what the model makes of a batch. The batch's last Tensor holds the targets.
Predict: TypeAlias = Callable[[Module, Sequence[Tensor]], Tensor]


def make_step(
    model: Module, predict: Predict, loss_fn: Loss, optimizer: Optimizer, precision: Precision, layout: Layout, accumulate: int
) -> Step:
    """The step for this model, loss and optimizer, computed in ``precision`` on its backend.

    The batch is cut into ``accumulate`` equal parts. Their losses and gradients are summed, each already divided by the number of terms in
    the whole batch, so the result is that of the whole batch with the memory of a part. A part may be cut into pieces in the same way, for
    the backend's threads, which draw the random bits that the part would have drawn.

    In float16 the loss is scaled up before it is differentiated, and a step whose gradient overflows changes nothing but the scale.
    """
    backend = precision.backend
    slots: list[Slot] = list(model.slots().values())
    buffer_slots = slots[layout.parameters :]

    def part_loss(
        params: list[Tensor], buffers: list[Tensor], part: Sequence[Tensor], key: Tensor, share: random.Share | None, count: Any
    ) -> Any:
        part = [*precision.cast(part[:-1]), part[-1]]
        with random.step_draws(key, share), bind(slots, [*precision.cast(params), *buffers]) as bound:
            loss = loss_fn.total(predict(model, part), part[-1]) / count
            return loss, [bound[slot] for slot in buffer_slots]

    differentiated = value_and_grad(part_loss, has_aux=True)
    numbers, divisible = model.count_parameters(), is_entrywise(model)

    def step(flat: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        xp = backend.xp
        state = layout.unflatten(flat)
        number = state.step + 1
        params = [wrap(array, backend) for array in state.parameters]
        buffers = [wrap(array, backend) for array in state.buffers]
        tensors = [wrap(array, backend) for array in batch]
        count = loss_fn.count(tensors[-1])
        if precision.scaled:  # dividing by less, the loss and its gradient come out larger
            count = wrap(1.0 / state.scaling[0], backend) * count
        loss: Array = 0.0
        grads: list[Array] = []
        for i, part in enumerate(_parts(tensors, accumulate)):
            key = wrap(xp.concat([state.key + i, xp.reshape(number, (1,))]), backend)
            pieces = cut(part, piece_count(backend, part, numbers) if divisible else 1)
            with precision.products():
                results = backend.parallel([partial(differentiated, params, buffers, piece, key, share, count) for piece, share in pieces])
            buffers = results[0][0][1]  # all pieces' are the same where there are several
            for (value, _), _ in results:
                loss = value.raw + loss
            terms = [[g.raw for g in gradient] for _, gradient in results]
            grads = summed(backend, [grads, *terms] if grads else terms)
        moved = _update(optimizer, backend, state, loss, grads, number, precision.scaled)
        here = xp.arange(RING, dtype=xp.int32) == number % RING
        ring = xp.where(here[:, None], moved.row[None, :], state.ring)
        new_buffers = [b.raw for b in buffers]
        new = TrainState(moved.params, new_buffers, moved.optimizer, number, state.learning_rate, state.key, moved.scaling, ring)
        return new.flatten(), (moved.row[0],)

    return step


class _Moved(NamedTuple):
    """What an update leaves behind."""

    params: list[Array]
    optimizer: list[Array]
    scaling: Array
    row: Array  #: of the ring: loss, learning rate, gradient norm, and whether the step was skipped


def _update(
    optimizer: Optimizer, backend: Backend, state: TrainState, loss: Array, grads: list[Array], number: Array, scaled: bool
) -> _Moved:
    """Apply a gradient; one that was scaled up is scaled down again, and where it overflowed nothing moves but the scale."""
    xp = backend.xp
    before, scaling, skip = state.optimizer, state.scaling, xp.zeros((), dtype=xp.bool)
    if scaled:
        shrink = 1.0 / scaling[0]
        loss, grads = loss * shrink, [grad * shrink for grad in grads]
        before = [xp.asarray(array, copy=True) for array in before]  # the update may overwrite its own
        number = number - xp.astype(scaling[2], xp.int32)  # steps that were taken
    params, after, (rate, norm) = optimizer.update(
        backend, state.parameters, grads, state.optimizer, state.learning_rate, number, donate=not scaled
    )
    if scaled:
        scaling, skip = after_step(xp, scaling, xp.isfinite(norm))
        params, after = unless(xp, skip, params, state.parameters), unless(xp, skip, after, before)
    row = xp.stack([xp.astype(xp.asarray(value), xp.float32) for value in (loss, rate, norm, skip)])
    return _Moved(params, after, scaling, row)


def _parts(tensors: Sequence[Tensor], n: int) -> list[tuple[Tensor, ...]]:
    """The batch cut into ``n`` equal parts along its first dimension. Raises ``ValueError`` where it cannot be."""
    size, rest = divmod(tensors[0].shape[0], n)
    if rest or not size:
        raise ValueError(f"accumulate must divide the batch size, and {n} does not divide {tensors[0].shape[0]}")
    return [tuple(t if n == 1 else t[i * size : (i + 1) * size, ...] for t in tensors) for i in range(n)]
