"""The story as a picture: curves, what the first layers learned to see, where the GPT looks, and what it writes. A host module."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from tinytorch import ops
from tinytorch.array_api import matmul, matrix_transpose, permute_dims, reshape, where
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.evolution.classifier import Outcome
from tinytorch.evolution.story import Story
from tinytorch.io.files import atomic_path
from tinytorch.nn import Conv2d, Linear, causal_mask
from tinytorch.tensor import Tensor

#: The files that `draw_story` writes.
PICTURES = ("evolution.svg", "evolution.png")
_FILTERS = 6
_LOOKS_AT = "The value of the expression is a list."


def draw_story(folder: Path, story: Story) -> bool:
    """Write `PICTURES`; returns false where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = list(dict.fromkeys(outcome.name for outcome in story.outcomes))
    first = story.outcomes[: len(names)]  # the first seed's
    figure = Figure(figsize=(14, 11), layout="constrained", facecolor="white")
    rows: Any = figure.subfigures(3, 1, height_ratios=(4, 5, 2))
    losses, accuracies = rows[0].subplots(1, 2)
    for outcome in first:
        label = f"{outcome.name}, {outcome.year}"
        smooth, ends = _smooth(outcome.train_losses)
        losses.plot([end / len(outcome.train_losses) for end in ends], smooth, label=label)
        steps = list(outcome.validation)
        accuracies.plot([s / steps[-1] for s in steps] if steps else [], [100 * v for v in outcome.validation.values()], label=label)
    losses.set(title="Training loss", xlabel="share of the run", ylabel="nats")
    accuracies.set(title="Accuracy on the validation part", xlabel="share of the run", ylabel="per cent")
    accuracies.legend(frameon=False)
    for axes in (losses, accuracies):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    filters, looks = rows[1].subfigures(1, 2)
    _draw_filters(filters, [outcome for outcome in first if outcome.name != "TinyGPT"])
    _draw_attention(looks, first[-1])
    page = rows[2].subplots()
    page.axis("off")
    page.set_title("What TinyGPT writes", loc="left")
    lines = [piece for line in story.sample.splitlines() for piece in textwrap.wrap(line, 150) or [""]]
    page.text(0, 1, "\n".join(lines[:14]), family="monospace", fontsize=9, va="top", parse_math=False)
    for name in PICTURES:
        with atomic_path(folder / name) as path:
            figure.savefig(path, dpi=110)
    return True


def _smooth(values: list[float], points: int = 80) -> tuple[list[float], list[int]]:
    """Means of neighbouring values, and where each group of them ends."""
    size = max(1, len(values) // points)
    ends = list(range(size, len(values) + 1, size))
    return [sum(values[end - size : end]) / size for end in ends], ends


def _draw_filters(figure: Any, outcomes: list[Outcome]) -> None:
    """The first layer's weights of each classifier as images, bright where it likes light."""
    figure.suptitle("What the first layer looks for")
    grid = figure.subplots(len(outcomes), _FILTERS, squeeze=False)
    for row, outcome in zip(grid, outcomes, strict=True):
        shown = _first_filters(outcome)
        row[0].set_ylabel(outcome.name, rotation=0, ha="right", va="center")
        for i, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if i < len(shown):
                image = shown[i]
                axes.imshow(image if image.shape[-1] == 3 else image[:, :, 0], cmap="gray")


def _first_filters(outcome: Outcome) -> NDArray[Any]:
    """(F, H, W, C) of values from 0 to 1."""
    layer = next(module for module in outcome.model.modules() if isinstance(module, Conv2d | Linear))
    weight = layer.weight.detach().numpy()[:_FILTERS]
    channels = outcome.model[0].mean.shape[0]
    if weight.ndim == 2:
        side = round((weight.shape[1] // channels) ** 0.5)
        weight = weight.reshape(-1, channels, side, side)
    low = weight.min(axis=(1, 2, 3), keepdims=True)
    high = weight.max(axis=(1, 2, 3), keepdims=True)
    scaled: NDArray[Any] = numpy.moveaxis((weight - low) / (high - low + 1e-12), 1, -1)
    return scaled


def _draw_attention(figure: Any, outcome: Outcome) -> None:
    """Where each character of a sentence looks, in every head of the first block."""
    maps = attention_maps(outcome, _LOOKS_AT)
    figure.suptitle("Where each character looks, in the heads of TinyGPT's first block")
    for axes, weights in zip(figure.subplots(2, -(-len(maps) // 2), squeeze=False).flat, maps, strict=False):
        axes.imshow(weights, cmap="viridis")
        axes.set_xticks(range(len(_LOOKS_AT)), list(_LOOKS_AT), fontsize=4, family="monospace")
        axes.set_yticks(range(len(_LOOKS_AT)), list(_LOOKS_AT), fontsize=4, family="monospace")


@no_grad()
def attention_maps(outcome: Outcome, text: str) -> NDArray[Any]:
    """The attention weights of the first block for a text of T characters: (heads, T, T), each row of sum 1."""
    model = outcome.model
    assert outcome.tokenizer is not None
    ids = model.prepare_input(outcome.tokenizer.encode_array(text)[None, :])
    block = model.blocks[0]
    x = block.norm1(model.positions(model.embedding(ids)))  # (1, T, C)
    attention = block.attention
    qkv = ops.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    length, heads = len(text), attention.num_heads
    width = x.shape[-1] // heads

    def split(i: int) -> Tensor:
        part = qkv[0, :, i * heads * width : (i + 1) * heads * width]
        return permute_dims(reshape(part, (length, heads, width)), (1, 0, 2))  # (H, T, d)

    scores = matmul(split(0), matrix_transpose(split(1))) / width**0.5
    scores = where(causal_mask(length, device=x.device), scores, -1e9)
    return ops.softmax(scores, axis=-1).numpy()
