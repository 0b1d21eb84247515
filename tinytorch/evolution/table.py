"""The comparison as a table."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from tinytorch.evolution.comparison import Comparison
from tinytorch.evolution.recipes import FLOORS

if TYPE_CHECKING:
    from rich.table import Table


def comparison_table(comparison: Comparison) -> Table:
    """One row per model: means over the seeds, the spread of the test accuracy, and the component reuse."""
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")  # fits 80 columns
    table.add_column("year")
    table.add_column("model", no_wrap=True)
    for title in ("params", "time", "train", "test", "course"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("layers", "ops", "lines"):
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    for name in dict.fromkeys(result.name for result in comparison.results):
        own = [result for result in comparison.results if result.name == name]
        floor = FLOORS.get((own[0].data, name))
        reuse = comparison.reuse[name]
        table.add_row(
            str(own[0].year),
            name,
            f"{own[0].parameters:,}",
            f"{mean(result.seconds for result in own):.0f} s",
            f"{100 * mean(result.train_accuracy for result in own):.1f}",
            _percent([result.test_accuracy for result in own]),
            "" if floor is None else f"{100 * floor:.1f}",
            *(f"{100 * fraction:.0f}%" for fraction in (reuse.layers, reuse.operations, reuse.lines)),
        )
    return table


def _percent(fractions: list[float]) -> str:
    """The mean in percent, and half the range from minimum to maximum."""
    spread = f" ±{50 * (max(fractions) - min(fractions)):.1f}" if len(fractions) > 1 else ""
    return f"{100 * mean(fractions):.1f}{spread}"
