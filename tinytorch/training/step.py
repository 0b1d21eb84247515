"""One training step as a function of arrays: state and batch in, state and loss out. The host reads nothing in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from tinytorch.autograd.reverse import value_and_grad
from tinytorch.backend import Array, Step
from tinytorch.backend.shard import Shard
from tinytorch.nn.binding import bind
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Parameter, Slot
from tinytorch.nn.precision import Precision
from tinytorch.ops import random
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.scaling import select_unless, update_scaling
from tinytorch.training.sharding import Sums, add_sums, is_batch_independent, microbatches, shard_count
from tinytorch.training.state import METRICS_ROWS, Layout, StateSlots, TrainState

#: ``predict(model, batch) -> outputs``: the model's outputs for a batch, whose last Tensor holds the targets.
Predict: TypeAlias = Callable[[Module, Sequence[Tensor]], Tensor]

#: ``loss_and_gradient(state, batch, number) -> (loss, gradients, buffers)`` for the step with this number: the mean loss of the batch, its
#: gradient with respect to each trained parameter (``None`` where the loss does not depend on it), and the buffers after the forward pass.
LossAndGradient: TypeAlias = Callable[[TrainState, Sequence[Tensor], Array], tuple[Array, list[Array | None], list[Array]]]


def make_step(
    model: Module,
    slots: StateSlots,
    predict: Predict,
    loss_fn: Loss,
    optimizer: Optimizer,
    precision: Precision,
    layout: Layout,
    accumulate: int,
    unused: set[Parameter],
) -> Step:
    """The training step of a model, loss and optimizer: ``step(state, batch) -> (state, (loss,))`` on flat tuples of arrays.

    Args:
        slots: which parameters and buffers of the model the state's arrays belong to.
        precision: what the step computes in, and on which backend.
        layout: how to read the flat state; see `TrainState`.
        accumulate: number of microbatches, which divides the batch size.
        unused: receives the parameters that the loss does not depend on, when the step runs or is traced. They have no gradient and
            are not updated, by weight decay neither.

    In float16 the loss is scaled before it is differentiated, and a step whose gradient overflows updates nothing but the scale.
    """
    backend = precision.backend
    loss_and_gradient = make_loss_and_gradient(model, slots, predict, loss_fn, precision, accumulate)

    def step(flat: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        xp = backend.xp
        state = layout.unflatten(flat)
        number = state.step + 1
        loss, grads, buffers = loss_and_gradient(state, [wrap(array, backend) for array in batch], number)
        unused.update(parameter for parameter, grad in zip(slots.trained, grads, strict=True) if grad is None)
        state, row = apply_gradient(optimizer, precision, slots.trained, state, loss, grads, number)
        is_row = xp.arange(METRICS_ROWS, dtype=xp.int32) == number % METRICS_ROWS
        metrics = xp.where(is_row[:, None], row[None, :], state.metrics)
        return replace(state, buffers=buffers, step=number, metrics=metrics).flatten(), (row[0],)

    return step


def make_loss_and_gradient(
    model: Module, slots: StateSlots, predict: Predict, loss_fn: Loss, precision: Precision, accumulate: int
) -> LossAndGradient:
    """The loss and gradient of a batch, as sums over its shards.

    The batch is split into ``accumulate`` microbatches, which run one after another to save memory, and each microbatch into shards, which
    run in parallel. Every shard divides its loss by the same number, the count of loss terms in the whole batch, which is itself a sum over
    shards. So the batch's loss and gradient are the sums of the shards', wherever each of them is computed.
    """
    backend = precision.backend
    every_slot: list[Slot] = [*slots.trained, *slots.constants, *slots.buffers]
    parameters, can_shard = sum(parameter.size for parameter in slots.trained), is_batch_independent(model)

    def shard_loss(
        params: list[Tensor],
        constants: list[Tensor],
        buffers: list[Tensor],
        examples: Sequence[Tensor],
        shard: Shard,
        key: Tensor,
        count: Any,
    ) -> tuple[Tensor, list[Tensor]]:
        examples = [*precision.cast(examples[:-1]), examples[-1]]
        values = [*precision.cast(params), *precision.cast(constants), *buffers]
        with random.step_draws(key, shard), bind(every_slot, values) as bound:
            loss = loss_fn.total(predict(model, examples), examples[-1]) / count
            return loss, [bound[slot] for slot in slots.buffers]

    differentiate = value_and_grad(shard_loss, has_aux=True, materialize_grads=False)

    def loss_and_gradient(state: TrainState, batch: Sequence[Tensor], number: Array) -> tuple[Array, list[Array | None], list[Array]]:
        xp = backend.xp
        params, constants, buffers = (
            [wrap(array, backend) for array in arrays] for arrays in (state.parameters, state.constants, state.buffers)
        )
        count = loss_fn.count(batch[-1])  # of the whole batch: the one number that loss and gradient are divided by
        if precision.scaled:  # a smaller count: loss and gradient are scaled up
            count = wrap(1.0 / state.scaling[0], backend) * count
        key = wrap(xp.concat([state.key, xp.reshape(number, (1,))]), backend)  # with a shard's offset it determines its random bits
        sums: Sums = []
        for microbatch in microbatches(batch[0].shape[0], accumulate):
            shards = microbatch.split(shard_count(backend, microbatch, batch, parameters) if can_shard else 1)
            with precision.matmul_precision():
                results = backend.parallel(
                    [partial(differentiate, params, constants, buffers, shard.take(batch), shard, key, count) for shard in shards]
                )
            buffers = results[0][0][1]  # equal in all shards: a model that updates buffers is not sharded
            terms = [[loss.raw, *(None if grad is None else grad.raw for grad in grads)] for (loss, _), grads in results]
            sums = add_sums(backend, [sums, *terms] if sums else terms)
        loss, *grads = sums
        return loss, grads, [buffer.raw for buffer in buffers]

    return loss_and_gradient


def apply_gradient(
    optimizer: Optimizer,
    precision: Precision,
    trained: Sequence[Parameter],
    state: TrainState,
    loss: Array,
    grads: Sequence[Array | None],
    number: Array,
) -> tuple[TrainState, Array]:
    """Update parameters, optimizer arrays and loss scale by a gradient.

    A scaled gradient is unscaled first; where it has overflowed, only the scale is updated.

    Returns:
        The new state, and its row of metrics, see `TrainState.metrics`.

    Raises:
        RuntimeError: no parameter has a gradient.
    """
    backend = precision.backend
    xp = backend.xp
    used = [i for i, grad in enumerate(grads) if grad is not None]
    if not used:
        raise RuntimeError("the loss depends on no parameter that is trained; see that the model is called and its output is not detached")
    kept = [slot * len(trained) + i for slot in range(len(optimizer.slots())) for i in used]  # indices of the optimizer's arrays
    old_params, old_arrays, used_grads = [state.parameters[i] for i in used], [state.optimizer[i] for i in kept], [grads[i] for i in used]
    donated, scaling, skip = old_arrays, state.scaling, xp.zeros((), dtype=xp.bool)
    taken = number
    if precision.scaled:
        unscale = 1.0 / scaling[0]
        loss, used_grads = loss * unscale, [grad * unscale for grad in used_grads]
        donated = [xp.asarray(array, copy=True) for array in old_arrays]  # a skipped step keeps the old ones
        taken = number - xp.astype(scaling[2], xp.int32)  # without the steps that were skipped
    new_params, new_arrays, (rate, norm) = optimizer.update(
        backend, [trained[i] for i in used], old_params, used_grads, donated, state.learning_rate, taken, donate=not precision.scaled
    )
    if precision.scaled:
        scaling, skip = update_scaling(xp, scaling, xp.isfinite(norm))
        new_params = select_unless(xp, skip, new_params, old_params)
        new_arrays = select_unless(xp, skip, new_arrays, old_arrays)
    params, arrays = list(state.parameters), list(state.optimizer)
    for i, array in zip(used, new_params, strict=True):
        params[i] = array
    for i, array in zip(kept, new_arrays, strict=True):
        arrays[i] = array
    row = xp.stack([xp.astype(xp.asarray(value), xp.float32) for value in (loss, rate, norm, skip)])
    return replace(state, parameters=params, optimizer=arrays, scaling=scaling), row
