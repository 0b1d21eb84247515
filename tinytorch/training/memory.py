"""How much memory a training run will need, so that an absurd size is refused before it takes the machine down."""

from __future__ import annotations

import os
from typing import Any

from tinytorch.backend import Backend
from tinytorch.errors import InputError


def parameter_count(model: dict[str, Any]) -> int:
    """How many parameters a `TinyGPT` of these settings has, without making it."""
    width, vocabulary = model["d_model"], model["vocab_size"]
    inner = model["d_ff"] or 4 * width
    block = 4 * width * width + 2 * width * inner + 9 * width + inner
    positions = model["max_length"] * width if model["positional"] == "learned" else 0
    head = 0 if model["tie_weights"] else vocabulary * width
    return int(vocabulary * width + positions + model["num_layers"] * block + 2 * width + head)


def training_bytes(model: dict[str, Any], windows: int) -> int:
    """A low estimate of a step's memory: parameters, gradient and two moments, and what the backward pass keeps, all in float32."""
    width, length = model["d_model"], model["max_length"]
    inner = model["d_ff"] or 4 * width
    kept = model["num_layers"] * (8 * width + 2 * inner) + 2 * model["vocab_size"]
    return 4 * (4 * parameter_count(model) + windows * length * kept)


def check_memory(model: dict[str, Any], windows: int, backend: Backend) -> None:
    """Raise `InputError` where a step on ``windows`` windows cannot fit the machine or the device."""
    needed = training_bytes(model, windows)
    info = backend.memory_info()
    total = info.total if info is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > total:
        raise InputError(
            f"this would need at least {needed / 2**30:,.0f} GiB and {backend.spec} has {total / 2**30:,.0f}; "
            f"choose a smaller --batch-size, --block-size or --d-model"
        )
