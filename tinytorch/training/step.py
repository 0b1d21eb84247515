"""One training step as a function of arrays: state and batch in, state and loss out. Nothing in it is read by the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from tinytorch import random
from tinytorch.autograd import value_and_grad
from tinytorch.backend import Array, Backend, Step
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Slot, bind
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.pieces import cut, piece_count, summed
from tinytorch.training.state import RING, TrainState

#: ``predict(model, batch) -> outputs``: what the model makes of a batch. The batch's last Tensor holds the targets.
Predict: TypeAlias = Callable[[Module, Sequence[Tensor]], Tensor]


def make_step(
    model: Module, predict: Predict, loss_fn: Loss, optimizer: Optimizer, backend: Backend, layout: TrainState, accumulate: int
) -> Step:
    """The step for this model, loss and optimizer.

    The batch is cut into ``accumulate`` equal parts. Their losses and gradients are summed, each already divided by the number of terms in
    the whole batch, so the result is that of the whole batch with the memory of a part. A part may be cut into pieces in the same way, for
    the backend's threads, which draw the random bits that the part would have drawn.
    """
    slots: list[Slot] = list(model.slots().values())
    buffer_slots = slots[len(layout.parameters) :]

    def part_loss(
        params: list[Tensor], buffers: list[Tensor], part: Sequence[Tensor], key: Tensor, share: random.Share | None, count: Any
    ) -> Any:
        with random.step_draws(key, share), bind(slots, [*params, *buffers]) as bound:
            loss = loss_fn.total(predict(model, part), part[-1]) / count
            return loss, [bound[slot] for slot in buffer_slots]

    differentiated = value_and_grad(part_loss, has_aux=True)
    numbers = sum(math.prod(array.shape) for array in layout.parameters)

    def step(flat: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        xp = backend.xp
        state = layout.unflatten(flat)
        number = state.step + 1
        params = [wrap(array, backend) for array in state.parameters]
        buffers = [wrap(array, backend) for array in state.buffers]
        tensors = [wrap(array, backend) for array in batch]
        count = loss_fn.count(tensors[-1])
        loss: Array = 0.0
        grads: list[Array] = []
        for i, part in enumerate(_parts(tensors, accumulate)):
            key = wrap(xp.concat([state.key + i, xp.reshape(number, (1,))]), backend)
            pieces = cut(part, piece_count(backend, model, part, numbers))
            results = backend.parallel([partial(differentiated, params, buffers, piece, key, share, count) for piece, share in pieces])
            buffers = results[0][0][1]  # all pieces' are the same where there are several
            for (value, _), _ in results:
                loss = value.raw + loss
            terms = [[g.raw for g in gradient] for _, gradient in results]
            grads = summed(backend, [grads, *terms] if grads else terms)
        new_params, optimizer_state, (rate, norm) = optimizer.update(
            backend, state.parameters, grads, state.optimizer, state.learning_rate, number
        )
        row = xp.stack([xp.astype(xp.asarray(value), xp.float32) for value in (loss, rate, norm)])
        here = xp.arange(RING, dtype=xp.int32) == number % RING
        ring = xp.where(here[:, None], row[None, :], state.ring)
        new = TrainState(new_params, [b.raw for b in buffers], optimizer_state, number, state.learning_rate, state.key, ring)
        return new.flatten(), (loss,)

    return step


def _parts(tensors: Sequence[Tensor], n: int) -> list[tuple[Tensor, ...]]:
    """The batch cut into ``n`` equal parts along its first dimension. Raises ``ValueError`` where it cannot be."""
    size, rest = divmod(tensors[0].shape[0], n)
    if rest or not size:
        raise ValueError(f"accumulate must divide the batch size, and {n} does not divide {tensors[0].shape[0]}")
    return [tuple(t if n == 1 else t[i * size : (i + 1) * size, ...] for t in tensors) for i in range(n)]
