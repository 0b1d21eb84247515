"""``tinytorch backends``: list the available backends, and what the others need; with ``--check``, check their kernels."""

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

#: Keys of each object that `--json` prints.
KEYS = ("name", "ready", "device", "reason", "hint")


def backends(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="With --check: backends, such as cupy or cupy:1.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare the kernels with the portable code; exit with 1 if one differs.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help=f"Print a JSON list of objects with the keys {', '.join(KEYS)}; with --check also checks."),
    ] = False,
) -> None:
    """List the backends and whether they can run here.

    For those that cannot, show what is missing and how to install it.
    """
    if names and not check:
        raise typer.BadParameter(f"backends are named only with --check; type `tinytorch backends --check {' '.join(names)}`")
    if check:
        _check(names or [], as_json)
        return
    rows = backend_status()
    if as_json:
        print(json.dumps([{key: getattr(row, key) for key in KEYS} for row in rows], indent=2))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    current, message = _current()
    console = Console(highlight=False)
    console.print(_table(rows, current))
    for line in (message, *_tuning()):
        console.print(Padding(Text(line), (0, 1)))


def _check(names: list[str], as_json: bool) -> None:
    """Check the kernels of backends and print the results; exits with 1 if a check failed."""
    from tinytorch.cli.kernel_checks import as_objects, check_backends, is_failure, remarks, table

    reports = check_backends(names)
    if as_json:
        print(json.dumps(as_objects(reports), indent=2))
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        console.print(table(reports))
        for line in (*remarks(reports), "The error is the largest one, relative to the tolerance of the data type."):
            console.print(Text(line))
    if any(is_failure(report) for report in reports):
        raise typer.Exit(1)


def _current() -> tuple[str, str]:
    """The name of the current backend, and a message about it or about why it cannot be used."""
    requested = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    try:
        backend = current_backend()
    except Exception as error:  # report it instead of ending with it, since the table helps to fix it
        return requested.partition(":")[0], f"The current backend cannot be used: {error}."
    reason = f"set by {ENVIRONMENT_VARIABLE}" if requested else "the default"
    return (
        backend.name,
        f"* Current backend: {backend.spec} ({reason}). Select another with --backend NAME or {ENVIRONMENT_VARIABLE}=NAME.",
    )


def _tuning() -> list[str]:
    """The performance settings that the command applies for the current backend, as one line."""
    try:
        settings = tune()
    except BackendError:  # reported by `_current`
        return []
    return [f"Tuned: {'; '.join(settings)}. Set {TUNING_VARIABLE}=off to disable tuning."] if settings else []


def _table(rows: list[BackendStatus], current: str) -> Table:
    """One row per backend: device, memory and libraries, or the reason and the hint if it is not ready."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    details = [_details(row) for row in rows]
    headings = ("device", "memory used", "libraries")
    widths = [max(map(len, column)) for column in zip(headings, *details, strict=True)]

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
    table.add_column(side_by_side(headings, "bold"))
    for row, cells in zip(rows, details, strict=True):
        name = Text(f"{row.name} *" if row.name == current else row.name, "bold" if row.name == current else "")
        if row.ready:
            table.add_row(name, Text("yes", "green"), side_by_side(cells))
        else:
            table.add_row(name, Text("no", "red"), Text(f"{row.reason}\n{row.hint}"))
    return table


def _details(row: BackendStatus) -> tuple[str, str, str]:
    """Device, memory and libraries of a backend as text; empty strings if it is not ready."""
    if not row.ready:
        return "", "", ""
    libraries = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    return row.device or "-", _memory(row.memory), libraries or "-"


def _memory(memory: MemoryInfo | None) -> str:
    return "-" if memory is None else f"{memory.used / 2**30:.2f} of {memory.total / 2**30:.1f} GiB"
