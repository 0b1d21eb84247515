"""Plot the loss curve of a run: as text in the terminal, and as an image file if matplotlib is installed.

Works on lists of numbers.
"""

from __future__ import annotations

import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tinytorch.io.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Style:
    """Characters of a chart. A character cell has ``across`` x ``down`` dots; ``dots`` maps a bit set of dots to its character."""

    across: int
    down: int
    dots: str
    sample: str
    point: str
    corner: str
    side: str
    side_tick: str
    bottom: str
    bottom_tick: str


# Braille: 2 x 4 dots per cell. Bit 4 * column + row stands for one dot; Unicode numbers the dots of the bottom row last.
_BITS = (0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80)
_BRAILLE = "".join(chr(0x2800 + sum(bit for i, bit in enumerate(_BITS) if number >> i & 1)) for number in range(256))
_UNICODE = _Style(2, 4, _BRAILLE, sample="⠒⠒", point="●", corner="└", side="│", side_tick="┤", bottom="─", bottom_tick="┬")
_ASCII = _Style(1, 1, " *", sample="**", point="o", corner="+", side="|", side_tick="+", bottom="-", bottom_tick="+")
_STEP = " step"  # label at the end of the x axis


def terminal_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    val_steps: Sequence[int],
    val_losses: Sequence[float],
    width: int = 80,
    height: int = 12,
    encoding: str | None = None,
) -> str:
    """Draw training and validation loss over the steps, as lines of text.

    The training loss is averaged over the steps that share a column of dots. Losses that are not finite are left out.

    Args:
        steps: steps of the training losses, in ascending order.
        losses: training loss of each of ``steps``.
        val_steps: steps of the validation losses.
        val_losses: validation loss of each of ``val_steps``.
        width: total width in characters.
        height: total height in lines.
        encoding: encoding of the output; defaults to that of standard output. The chart is ASCII if the encoding lacks Braille.
    """
    training = _finite(steps, losses)
    validation = _finite(val_steps, val_losses)
    if not training and not validation:
        return "no loss to draw yet"
    style = _style(encoding or getattr(sys.stdout, "encoding", None) or "ascii")
    every = [step for step, _ in training + validation]
    first, last = min(every), max(every)
    rows = max(height - 3, 2)  # without the x axis, its labels and the legend

    # the width of the y labels depends on the drawn values, which depend on the number of columns: assume 12 characters of labels
    line = _average(training, first, last, max(width - 12, 8) * style.across)
    drawn = [loss for _, loss in line + validation]
    low, high = min(drawn), max(drawn)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    ticks = _ticks(low, high, max(rows // 2, 2))
    margin = max((len(text) for _, text in ticks), default=0)
    columns = max(width - margin - 2 - len(_STEP), 8)

    def place(step: float, loss: float) -> tuple[int, int]:
        """Column and row of the dot of a point, counted from the top left."""
        x = (step - first) / (last - first or 1) * (columns * style.across - 1)
        y = (high - loss) / (high - low) * (rows * style.down - 1)
        return round(x), round(y)

    dots: dict[tuple[int, int], int] = defaultdict(int)  # bit set of dots by cell
    for x, y in _connect([place(step, loss) for step, loss in line]):
        dots[x // style.across, y // style.down] |= 1 << (x % style.across * style.down + y % style.down)
    cells = {cell: style.dots[bits] for cell, bits in dots.items()}
    for step, loss in validation:
        x, y = place(step, loss)
        cells[x // style.across, y // style.down] = style.point
    sides = {place(first, value)[1] // style.down: text for value, text in ticks}

    lines = []
    for row in range(rows):
        side = style.side_tick if row in sides else style.side
        lines.append(f"{sides.get(row, ''):>{margin}} {side}" + "".join(cells.get((column, row), " ") for column in range(columns)))
    lines += _bottom(first, last, columns, margin + 2, style)
    legend = [f"{style.sample} training loss"] * bool(training) + [f"{style.point} validation loss"] * bool(validation)
    lines.append(" " * (margin + 2) + "   ".join([*legend, "(nats per token)"]))
    return "\n".join(text.rstrip() for text in lines)


def _finite(steps: Sequence[int], losses: Sequence[float]) -> list[tuple[float, float]]:
    return [(step, loss) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]


def _style(encoding: str) -> _Style:
    try:
        "".join([_BRAILLE, _UNICODE.point, _UNICODE.side_tick, _UNICODE.bottom_tick]).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _UNICODE


def _average(points: list[tuple[float, float]], first: float, last: float, columns: int) -> list[tuple[float, float]]:
    """The mean of the points in each of ``columns`` columns of equal width; empty columns are left out."""
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for step, loss in points:
        groups[round((step - first) / (last - first or 1) * (columns - 1))].append((step, loss))
    return [(sum(s for s, _ in group) / len(group), sum(y for _, y in group) / len(group)) for _, group in sorted(groups.items())]


def _connect(places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """All dots on the straight lines that connect consecutive places."""
    yield from places[:1]
    for (x0, y0), (x1, y1) in pairwise(places):
        length = max(abs(x1 - x0), abs(y1 - y0))
        for i in range(1, length + 1):
            yield round(x0 + (x1 - x0) * i / length), round(y0 + (y1 - y0) * i / length)


def _ticks(low: float, high: float, most: int, least_gap: float = 0.0) -> list[tuple[float, str]]:
    """Up to about ``most`` round numbers from ``low`` to ``high``, each with its label."""
    rough = max((high - low) / most, least_gap)
    power = 10.0 ** math.floor(math.log10(rough))
    gap = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
    values = [i * gap for i in range(math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9) + 1)]
    return [(value, f"{value:,.{decimals}f}") for value in values]


def _bottom(first: float, last: float, columns: int, margin: int, style: _Style) -> list[str]:
    """The x axis and the line of its labels."""
    axis = [style.bottom] * columns
    labels = [" "] * (margin + columns + len(_STEP))
    free = 0  # first column where the next label may begin
    for value, text in _ticks(first, last, max(columns // 16, 2), least_gap=1):
        column = round((value - first) / (last - first or 1) * (columns - 1))
        begin = max(margin + column - len(text) // 2, 0)
        if begin >= free and begin + len(text) <= len(labels):
            axis[column] = style.bottom_tick
            labels[begin : begin + len(text)] = text
            free = begin + len(text) + 2
    return [" " * (margin - 1) + style.corner + "".join(axis) + _STEP, "".join(labels)]


def save_loss_plot(
    path: str | os.PathLike[str],
    steps: Sequence[int],
    losses: Sequence[float],
    val_steps: Sequence[int],
    val_losses: Sequence[float],
) -> bool:
    """Plot training and validation loss over the steps to an image file. The file is written atomically and is reproducible.

    Args:
        path: the file; its suffix determines the format, such as ``.svg``.
        steps: steps of the training losses, in ascending order.
        losses: training loss of each of ``steps``.
        val_steps: steps of the validation losses.
        val_losses: validation loss of each of ``val_steps``.

    Returns:
        True if the file was written, False if matplotlib is not installed.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    # a fixed salt and no date make the svg file reproducible
    with matplotlib.rc_context({"svg.hashsalt": "tinytorch"}), atomic_path(path) as temporary:
        figure = _figure(_finite(steps, losses), _finite(val_steps, val_losses))
        figure.savefig(temporary, metadata={"Date": None} if temporary.suffix == ".svg" else None)
    return True


def _figure(training: list[tuple[float, float]], validation: list[tuple[float, float]]) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: it keeps every figure in memory and may open a window
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if training:
        steps, losses = zip(*training, strict=True)
        if len(training) < 20:  # too few to smooth
            axes.plot(steps, losses, color="#4c78a8", linewidth=1.8, marker=".", label="training")
        else:
            axes.plot(steps, losses, color="#4c78a8", linewidth=0.6, alpha=0.35)
            axes.plot(steps, _running_mean(losses, len(losses) // 100 + 2), color="#4c78a8", linewidth=1.8, label="training, smoothed")
    if validation:
        steps, losses = zip(*validation, strict=True)
        axes.plot(steps, losses, color="#e4572e", linewidth=1.2, marker="o", markersize=4, label="validation")
        axes.annotate(f"{losses[-1]:.3f}", (steps[-1], losses[-1]), xytext=(0, 8), textcoords="offset points", ha="center", color="#e4572e")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # steps are integers
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value == round(value) else "")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if training or validation:
        axes.legend(frameon=False)
    return figure


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Centered moving average over up to ``reach`` neighbors on each side."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    means = []
    for i in range(len(values)):
        near = min(reach, i, len(values) - 1 - i)
        means.append((sums[i + near + 1] - sums[i - near]) / (2 * near + 1))
    return means
