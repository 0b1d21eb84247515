"""How much memory a training run will need, so that an absurd size is refused before it takes the machine down."""

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
    """A low estimate of a step's memory: parameters, gradient, two moments, activations of a microbatch, and the batch."""
    assert config.block_size is not None  # it is complete
    width, length, layers = model["d_model"], config.block_size, model["num_layers"]
    inner = model["d_ff"] or 4 * width
    block = 8 * width + 2 * inner
    kept = (layers * width + block if config.checkpoint_activations else layers * block) + 2 * model["vocab_size"]
    microbatch, tokens = config.batch_size // config.accumulate * length, config.batch_size * (length + 1)
    return int(4 * (4 * parameter_count(model) + microbatch * kept) + 8 * tokens)


def check_memory(model: dict[str, Any], config: TrainingConfig, backend: Backend) -> None:
    """Raise `InputError` where a step cannot fit the machine or the device; where it is not known how large that is, do nothing.

    Args:
        model: the settings of `TinyGPT`.
        config: the run's settings, complete.
        backend: where it is to run.
    """
    needed, total = training_bytes(model, config), _total_memory(backend)
    if total is not None and needed > total:
        raise InputError(
            f"this needs at least {needed / 2**30:,.1f} GiB of memory, and {backend.spec} has {total / 2**30:,.1f}; "
            "choose a smaller `batch_size`, `block_size`, `d_model` or `num_layers`"
        )


def does_not_fit(trainer: Trainer, batch: Sequence[Any], block_size: int) -> InputError:
    """The error for a step that ran out of memory, after trying what fits: the batch in ever more microbatches."""
    backend, size = trainer.optimizer.parameters[0].backend, len(batch[0])
    total = _total_memory(backend)
    where = backend.spec if total is None else f"the {total / 2**30:,.1f} GiB of {backend.spec}"
    head = f"a step on `batch_size={size}` with `block_size={block_size}` does not fit in {where}"
    parts = trainer.accumulate
    for divisor in range(trainer.accumulate + 1, size + 1):
        if size % divisor or divisor < min(2 * parts, size):  # twice as many at least: a try takes a step's time
            continue
        parts = divisor
        if trainer.fits(batch, parts):
            at_once = size // parts
            return InputError(f"{head}; `accumulate={parts}` does, with {at_once} windows at a time, and so does `batch_size={at_once}`")
    return InputError(f"{head}, not even one window at a time; choose a smaller `block_size`, `d_model` or `num_layers`")


def _total_memory(backend: Backend) -> int | None:
    """Bytes of the device's memory; where the backend cannot tell, of the host's."""
    info = backend.memory_info()
    if info is not None:
        return info.total
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # Windows has no such question
        return None
