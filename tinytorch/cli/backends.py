"""``tinytorch backends``: which array libraries can be used here, and what the others are waiting for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from tinytorch.backend import BackendError, BackendStatus, MemoryInfo, backend_status, current_backend
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.backend.tuning import ENVIRONMENT_VARIABLE as TUNING_VARIABLE, tune

if TYPE_CHECKING:
    from rich.table import Table

#: What `--json` prints of each backend, for scripts.
KEYS = ("name", "ready", "device", "reason", "hint")


def backends(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects for scripts: " + ", ".join(KEYS) + ".")] = False,
) -> None:
    """Show which array libraries can be used here.

    For each of the others it says what is missing and what to type.
    """
    rows = backend_status()
    if as_json:
        print(json.dumps([{key: getattr(row, key) for key in KEYS} for row in rows], indent=2))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    chosen, sentence = _choice()
    console = Console(highlight=False)
    console.print(_table(rows, chosen))
    for line in (sentence, *_tuning()):
        console.print(Padding(Text(line), (0, 1)))


def _choice() -> tuple[str, str]:
    """The name of the backend on which new arrays are made, and a sentence about it; where it cannot be used, why."""
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    try:
        backend = current_backend()
    except Exception as error:  # its row tells the same, and this report is for those who look for the mend
        return wanted.partition(":")[0], f"New arrays cannot be made: {error}."
    why = f"{ENVIRONMENT_VARIABLE} asks for it" if wanted else "the default"
    return (
        backend.name,
        f"* New arrays are made on {backend.spec} ({why}); choose another with --backend NAME or {ENVIRONMENT_VARIABLE}=NAME.",
    )


def _tuning() -> list[str]:
    """What the command sets up for speed on that backend, as one line."""
    try:
        sentences = tune()
    except BackendError:  # the line above says what is wrong with the backend
        return []
    return [f"Tuned: {'; '.join(sentences)}. {TUNING_VARIABLE}=off leaves everything alone."] if sentences else []


def _table(rows: list[BackendStatus], chosen: str) -> Table:
    """A row for each backend; what there is to say of one that is not ready takes the place of its device, memory and libraries."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    facts = [_facts(row) for row in rows]
    heads = ("device", "memory used", "libraries")
    widths = [max(map(len, column)) for column in zip(heads, *facts, strict=True)]

    def side_by_side(cells: tuple[str, ...], style: str = "") -> Table:
        grid = Table.grid(padding=(0, 3, 0, 0))
        for width in widths[:-1]:
            grid.add_column(min_width=width, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(*(Text(cell, style) for cell in cells))
        return grid

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("backend", no_wrap=True)
    table.add_column("ready", no_wrap=True)
    table.add_column(side_by_side(heads, "bold"))
    for row, cells in zip(rows, facts, strict=True):
        name = Text(f"{row.name} *" if row.name == chosen else row.name, "bold" if row.name == chosen else "")
        if row.ready:
            table.add_row(name, Text("yes", "green"), side_by_side(cells))
        else:
            table.add_row(name, Text("no", "red"), Text(f"{row.reason}\n{row.hint}"))
    return table


def _facts(row: BackendStatus) -> tuple[str, str, str]:
    """Device, memory and libraries of a backend as text, empty where it is not ready."""
    if not row.ready:
        return "", "", ""
    libraries = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    return row.device or "-", _memory(row.memory), libraries or "-"


def _memory(memory: MemoryInfo | None) -> str:
    return "-" if memory is None else f"{memory.used / 2**30:.2f} of {memory.total / 2**30:.1f} GiB"
