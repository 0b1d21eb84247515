"""The report at the end of a run: loss curve (in the terminal and as an image), final evaluation, and a sample."""

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


def make_curve(rows: Sequence[Mapping[str, Any]], step: int, val_loss: float) -> Curve:
    """Collect the loss curve from the rows of a metrics file, and the final validation loss at ``step``."""
    validation = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row} | {step: val_loss}
    return Curve([row["step"] for row in rows], [row["train_loss"] for row in rows], list(validation), list(validation.values()))


def save_curve(path: Path, curve: Curve) -> str:
    """Save the curve as an image. Returns a message for the user."""
    try:
        saved = save_loss_plot(path, *curve)
    except OSError as error:  # the run is complete without the image
        return f"The loss curve could not be written to {path} ({error.strerror or error})"
    return f"Loss curve saved to {path}" if saved else "Install matplotlib to save the loss curve as an image"


def print_report(console: Console, curve: Curve, measured: Mapping[str, float], curve_message: str, sample: str) -> None:
    """Print the curve, the final evaluation, the message of `save_curve`, and a sample."""
    show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    show(terminal_curve(*curve, width=min(console.width, 100), height=12))
    show(f"Validation loss {measured['loss']:.3f} nats per token, accuracy {measured['accuracy']:.1%} (whole validation split)")
    show(curve_message)
    show(f"\n{sample}\n")
