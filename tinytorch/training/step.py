"""The training step as a pure function of arrays, ``(state, batch) -> (new state, loss)``. It copies nothing to the CPU."""

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

#: ``predict(model, batch) -> outputs``: the forward pass of the model on a batch. The last Tensor of the batch holds the targets.
Predict: TypeAlias = Callable[[Module, Sequence[Tensor]], Tensor]

#: ``loss_and_gradient(state, batch, number) -> (loss, gradients, buffers)``, where ``number`` is the step number. Returns the mean loss of
#: the batch, its gradient for each trained parameter (``None`` if the loss does not depend on it), and the buffers after the forward pass.
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
    """Create the training step ``step(state, batch) -> (state, (loss,))``, a function of flat tuples of arrays.

    Args:
        model: the model, in training mode.
        slots: the parameters and buffers of the model that the state's arrays belong to.
        predict: computes the model's outputs for a batch.
        loss_fn: compares outputs with targets.
        optimizer: computes the updates.
        precision: precision and backend of the computations.
        layout: the layout of the flat state, see `TrainState`.
        accumulate: number of microbatches; must divide the batch size.
        unused: a set to which the step adds the parameters that the loss does not depend on, when it runs or is traced. They have no
            gradient and are not updated, not even by weight decay.

    In float16 the loss is scaled before the backward pass, and a step whose gradient overflows updates only the scale.
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
    """Create the function that computes loss and gradient of a batch as sums over shards.

    The batch is split into ``accumulate`` microbatches, which run one after another to save memory. Each microbatch is split into shards,
    which run in parallel. Every shard divides its loss by the same number, the count of loss terms in the whole batch. So the loss and the
    gradient of the batch are the sums of the shards' losses and gradients.
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
        count = loss_fn.count(batch[-1])  # number of loss terms in the whole batch
        if precision.scaled:  # dividing by a smaller count scales loss and gradient up
            count = wrap(1.0 / state.scaling[0], backend) * count
        key = wrap(xp.concat([state.key, xp.reshape(number, (1,))]), backend)  # key and shard offset determine the random bits
        sums: Sums = []
        for microbatch in microbatches(batch[0].shape[0], accumulate):
            shards = microbatch.split(shard_count(backend, microbatch, batch, parameters) if can_shard else 1)
            with precision.matmul_precision():
                results = backend.parallel(
                    [partial(differentiate, params, constants, buffers, shard.take(batch), shard, key, count) for shard in shards]
                )
            buffers = results[0][0][1]  # a model that updates buffers is not sharded, so all shards return equal buffers
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
    """Apply a gradient: update parameters, optimizer arrays and loss scale.

    A scaled gradient is unscaled first. If it has overflowed, only the scale is updated.

    Returns:
        The new state, and the row of the step in `TrainState.metrics`.

    Raises:
        RuntimeError: if no parameter has a gradient.
    """
    backend = precision.backend
    xp = backend.xp
    used = [i for i, grad in enumerate(grads) if grad is not None]
    if not used:
        raise RuntimeError(
            "the loss does not depend on any trained parameter; check that the model is called and its output is not detached"
        )
    kept = [slot * len(trained) + i for slot in range(len(optimizer.slots())) for i in used]  # indices of the optimizer's arrays
    old_params, old_arrays, used_grads = [state.parameters[i] for i in used], [state.optimizer[i] for i in kept], [grads[i] for i in used]
    donated, scaling, skip = old_arrays, state.scaling, xp.zeros((), dtype=xp.bool)
    updates = number - xp.astype(scaling[2], xp.int32)  # skipped steps do not count
    if precision.scaled:
        unscale = 1.0 / scaling[0]
        loss, used_grads = loss * unscale, [grad * unscale for grad in used_grads]
        donated = [xp.asarray(array, copy=True) for array in old_arrays]  # a skipped step keeps the old ones
    new_params, new_arrays, (rate, norm) = optimizer.update(
        backend, [trained[i] for i in used], old_params, used_grads, donated, state.learning_rate, updates, donate=not precision.scaled
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
