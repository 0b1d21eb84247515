"""One training step as a function of arrays: state and batch in, state and loss out. Nothing in it is read by the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from tinytorch.autograd.reverse import value_and_grad
from tinytorch.backend import Array, Backend, Step
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Parameter, Slot, bind
from tinytorch.nn.precision import Precision
from tinytorch.ops import random
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.pieces import cut, is_batch_independent, piece_count, summed
from tinytorch.training.scaling import after_step, unless
from tinytorch.training.state import RING, Layout, TrainState

#: ``predict(model, batch) -> outputs``: what the model makes of a batch. The batch's last Tensor holds the targets.
Predict: TypeAlias = Callable[[Module, Sequence[Tensor]], Tensor]


def make_step(
    model: Module,
    trained: Sequence[Parameter],
    predict: Predict,
    loss_fn: Loss,
    optimizer: Optimizer,
    precision: Precision,
    layout: Layout,
    accumulate: int,
    unused: set[Parameter],
) -> Step:
    """The step for this model, loss and optimizer, computed in ``precision`` on its backend.

    Of the model's parameters ``trained`` are updated; the others are constants. A parameter that the loss does not depend on has no
    gradient and is left as it is, weight decay included; the step puts it into ``unused`` when it is run, or traced.

    The batch is cut into ``accumulate`` equal parts. Their losses and gradients are summed, each already divided by the number of terms in
    the whole batch, so the result is that of the whole batch with the memory of a part. A part may be cut into pieces in the same way, for
    the backend's threads, which draw the random bits that the part would have drawn.

    In float16 the loss is scaled up before it is differentiated, and a step whose gradient overflows changes nothing but the scale.
    """
    backend = precision.backend
    constant_slots, buffer_slots = untrained_slots(model, trained)
    slots: list[Slot] = [*trained, *constant_slots, *buffer_slots]

    def part_loss(
        params: list[Tensor],
        constants: list[Tensor],
        buffers: list[Tensor],
        part: Sequence[Tensor],
        key: Tensor,
        share: random.Share | None,
        count: Any,
    ) -> Any:
        part = [*precision.cast(part[:-1]), part[-1]]
        values = [*precision.cast(params), *precision.cast(constants), *buffers]
        with random.step_draws(key, share), bind(slots, values) as bound:
            loss = loss_fn.total(predict(model, part), part[-1]) / count
            return loss, [bound[slot] for slot in buffer_slots]

    differentiated = value_and_grad(part_loss, has_aux=True, materialize_grads=False)
    numbers, divisible = sum(parameter.size for parameter in trained), is_batch_independent(model)

    def step(flat: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        xp = backend.xp
        state = layout.unflatten(flat)
        number = state.step + 1
        params, constants, buffers, tensors = (
            [wrap(array, backend) for array in arrays] for arrays in (state.parameters, state.constants, state.buffers, batch)
        )
        count = loss_fn.count(tensors[-1])
        if precision.scaled:  # dividing by less, the loss and its gradient come out larger
            count = wrap(1.0 / state.scaling[0], backend) * count
        loss: Array = 0.0
        grads: list[Array | None] = []
        for i, part in enumerate(_parts(tensors, accumulate)):
            key = wrap(xp.concat([state.key + i, xp.reshape(number, (1,))]), backend)
            pieces = cut(part, piece_count(backend, part, numbers) if divisible else 1)
            with precision.products():
                results = backend.parallel(
                    [partial(differentiated, params, constants, buffers, piece, key, share, count) for piece, share in pieces]
                )
            buffers = results[0][0][1]  # all pieces' are the same where there are several
            for (value, _), _ in results:
                loss = value.raw + loss
            terms = [[None if g is None else g.raw for g in gradient] for _, gradient in results]
            grads = summed(backend, [grads, *terms] if grads else terms)
        unused.update(parameter for parameter, grad in zip(trained, grads, strict=True) if grad is None)
        moved = _update(optimizer, backend, trained, state, loss, grads, number, precision.scaled)
        here = xp.arange(RING, dtype=xp.int32) == number % RING
        ring = xp.where(here[:, None], moved.row[None, :], state.ring)
        new_buffers = [b.raw for b in buffers]
        new = replace(
            state, parameters=moved.params, buffers=new_buffers, optimizer=moved.optimizer, step=number, scaling=moved.scaling, ring=ring
        )
        return new.flatten(), (moved.row[0],)

    return step


class _Moved(NamedTuple):
    """What an update leaves behind."""

    params: list[Array]
    optimizer: list[Array]
    scaling: Array
    row: Array  #: of the ring: loss, learning rate, gradient norm, and whether the step was skipped


def untrained_slots(model: Module, trained: Sequence[Parameter]) -> tuple[list[Parameter], list[Slot]]:
    """The model's parameters other than ``trained``, and its buffers."""
    slots, updated = model.slots().values(), set(trained)
    constants = [slot for slot in slots if isinstance(slot, Parameter) and slot not in updated]
    return constants, [slot for slot in slots if not isinstance(slot, Parameter)]


def _update(
    optimizer: Optimizer,
    backend: Backend,
    trained: Sequence[Parameter],
    state: TrainState,
    loss: Array,
    grads: Sequence[Array | None],
    number: Array,
    scaled: bool,
) -> _Moved:
    """Apply a gradient; one that was scaled up is scaled down again, and where it overflowed nothing moves but the scale."""
    xp = backend.xp
    used = [i for i, grad in enumerate(grads) if grad is not None]
    if not used:
        raise RuntimeError("the loss depends on no parameter that is trained; see that the model is called and its output is not detached")
    kept = [slot * len(trained) + i for slot in range(len(optimizer.slots())) for i in used]  # places in the optimizer's arrays
    old, given, before = [state.parameters[i] for i in used], [grads[i] for i in used], [state.optimizer[i] for i in kept]
    scaling, skip = state.scaling, xp.zeros((), dtype=xp.bool)
    donated = before
    if scaled:
        shrink = 1.0 / scaling[0]
        loss, given = loss * shrink, [grad * shrink for grad in given]
        donated = [xp.asarray(array, copy=True) for array in before]
        number = number - xp.astype(scaling[2], xp.int32)  # steps that were taken
    parameters = [trained[i] for i in used]
    new, after, (rate, norm) = optimizer.update(backend, parameters, old, given, donated, state.learning_rate, number, donate=not scaled)
    if scaled:
        scaling, skip = after_step(xp, scaling, xp.isfinite(norm))
        new, after = unless(xp, skip, new, old), unless(xp, skip, after, before)
    params, arrays = list(state.parameters), list(state.optimizer)
    for i, array in zip(used, new, strict=True):
        params[i] = array
    for i, array in zip(kept, after, strict=True):
        arrays[i] = array
    row = xp.stack([xp.astype(xp.asarray(value), xp.float32) for value in (loss, rate, norm, skip)])
    return _Moved(params, arrays, scaling, row)


def _parts(tensors: Sequence[Tensor], n: int) -> list[tuple[Tensor, ...]]:
    """The batch cut into ``n`` equal parts along its first dimension. Raises ``ValueError`` where it cannot be."""
    size, rest = divmod(tensors[0].shape[0], n)
    if rest or not size:
        raise ValueError(f"accumulate must divide the batch size, and {n} does not divide {tensors[0].shape[0]}")
    return [tuple(t if n == 1 else t[i * size : (i + 1) * size, ...] for t in tensors) for i in range(n)]
