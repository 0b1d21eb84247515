"""Estimate the memory of a training run, so that sizes that cannot fit are rejected before the run starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.models.shapes import parameter_count
from tinytorch.training.config import TrainingConfig
from tinytorch.training.trainer import Trainer


def training_bytes(model: dict[str, Any], config: TrainingConfig) -> int:
    """A lower bound of the memory of a step: parameters, gradient, two moments, activations of a microbatch, and the batch."""
    assert config.block_size is not None  # the config is complete
    width, length, layers = model["d_model"], config.block_size, model["num_layers"]
    inner = model["d_ff"] or 4 * width
    block = 8 * width + 2 * inner
    activations = (layers * width + block if config.checkpoint_activations else layers * block) + 2 * model["vocab_size"]
    microbatch, tokens = config.batch_size // config.accumulate * length, config.batch_size * (length + 1)
    return int(4 * (4 * parameter_count(model) + microbatch * activations) + 8 * tokens)


def check_memory(model: dict[str, Any], config: TrainingConfig, backend: Backend) -> None:
    """Raise `InputError` if a step cannot fit in the memory of the device; do nothing if its size is unknown.

    Args:
        model: constructor arguments of `TinyGPT`.
        config: the run's settings, complete.
        backend: the backend of the run.
    """
    needed, total = training_bytes(model, config), _total_memory(backend)
    if total is not None and needed > total:
        raise InputError(
            f"this run needs at least {needed / 2**30:,.1f} GiB of memory, and {backend.spec} has {total / 2**30:,.1f}; "
            "choose a smaller `batch_size`, `block_size`, `d_model` or `num_layers`"
        )


def out_of_memory_error(trainer: Trainer, batch: Sequence[Any], block_size: int) -> InputError:
    """The error for a step that ran out of memory. Tries increasing numbers of microbatches and names the first that fits."""
    backend, size = trainer.optimizer.parameters[0].backend, len(batch[0])
    total = _total_memory(backend)
    where = f"the memory of {backend.spec}" if total is None else f"the {total / 2**30:,.1f} GiB of {backend.spec}"
    head = f"a step on `batch_size={size}` with `block_size={block_size}` does not fit in {where}"
    accumulate = trainer.accumulate
    for divisor in range(trainer.accumulate + 1, size + 1):
        if size % divisor or divisor < min(2 * accumulate, size):  # at least double it, since every try costs a step
            continue
        accumulate = divisor
        if trainer.fits_in_memory(batch, accumulate):
            windows = size // accumulate
            return InputError(f"{head}; use `accumulate={accumulate}` ({windows} windows per microbatch) or `batch_size={windows}`")
    return InputError(f"{head}, even with one window per microbatch; choose a smaller `block_size`, `d_model` or `num_layers`")


def _total_memory(backend: Backend) -> int | None:
    """Total memory of the device in bytes, or of the machine if the backend does not know it; None if both are unknown."""
    info = backend.memory_info()
    if info is not None:
        return info.total
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
