"""The story as a table."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from tinytorch.evolution.recipes import FLOORS
from tinytorch.evolution.story import Story

if TYPE_CHECKING:
    from rich.table import Table


def story_table(story: Story) -> Table:
    """A row for each model: means over the seeds, the test's with its spread, and what the model reused of those before it."""
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")  # 80 columns, no more
    table.add_column("year")
    table.add_column("model", no_wrap=True)
    for title in ("weights", "time", "train", "test", "course"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("layers", "ops", "lines"):
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    for name in dict.fromkeys(outcome.name for outcome in story.outcomes):
        own = [outcome for outcome in story.outcomes if outcome.name == name]
        floor = FLOORS.get((own[0].data, name))
        reuse = story.reuse[name]
        table.add_row(
            str(own[0].year),
            name,
            f"{own[0].parameters:,}",
            f"{mean(outcome.seconds for outcome in own):.0f} s",
            f"{100 * mean(outcome.train_accuracy for outcome in own):.1f}",
            _percent([outcome.test_accuracy for outcome in own]),
            "" if floor is None else f"{100 * floor:.1f}",
            *(f"{100 * share:.0f}%" for share in (reuse.layers, reuse.operations, reuse.lines)),
        )
    return table


def _percent(shares: list[float]) -> str:
    """The mean in per cent, and half the distance from the lowest to the highest."""
    spread = f" ±{50 * (max(shares) - min(shares)):.1f}" if len(shares) > 1 else ""
    return f"{100 * mean(shares):.1f}{spread}"
