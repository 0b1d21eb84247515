"""What a run shows at its end: the curve of its losses, on the terminal and as a picture, and a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tinytorch.training.curves import save_loss_plot, terminal_curve

if TYPE_CHECKING:
    from rich.console import Console


class Curve(NamedTuple):
    """The arguments of `terminal_curve` and `save_loss_plot`."""

    steps: list[int]
    train_losses: list[float]
    val_steps: list[int]
    val_losses: list[float]


def curve_of(rows: Sequence[Mapping[str, Any]], step: int, val_loss: float) -> Curve:
    """The curve of a run's metrics and its final validation loss, at ``step``."""
    validation = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row} | {step: val_loss}
    return Curve([row["step"] for row in rows], [row["train_loss"] for row in rows], list(validation), list(validation.values()))


def draw(picture: Path, curve: Curve) -> str:
    """Save the curve as a picture; returns a sentence that says where."""
    try:
        drawn = save_loss_plot(picture, *curve)
    except OSError as error:  # the run is complete without it
        return f"The curve could not be written to {picture} ({error.strerror or error})"
    return f"The curve is in {picture}" if drawn else "Install matplotlib to get the curve as a picture too"


def print_report(console: Console, curve: Curve, measured: Mapping[str, float], drawn: str, sample: str) -> None:
    """Print the curve, the final evaluation, where the picture is, and a sample."""
    show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    show(terminal_curve(*curve, width=min(console.width, 100), height=12))
    show(f"Validation loss {measured['loss']:.3f} nats a token, accuracy {measured['accuracy']:.1%}, over all held-out text")
    show(drawn)
    show(f"\n{sample}\n")
