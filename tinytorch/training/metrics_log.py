"""Reads and writes ``metrics.jsonl``, which has one JSON object per training step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tinytorch.io.errors import InputError
from tinytorch.io.files import atomic_write_text
from tinytorch.training.engine import StepRecord

#: Fields of a row that may be null.
_NULLABLE = {"gradient_norm", "tokens_per_second"}
#: The end of every line.
_LINE_END = b"}\n"


class MetricsLog:
    """The metrics of a run, one row per step.

    A row has ``step``, ``train_loss``, ``learning_rate``, ``gradient_norm`` and ``tokens_per_second``; rows with an evaluation also have
    ``val_loss``. Rows stay in memory until `flush`. An evaluation is added to the row of its step, even if that is on disk already.

    Args:
        path: the file; it may be missing.
        tokens_per_step: number of tokens in a batch, to compute ``tokens_per_second``.

    Raises:
        InputError: if the file cannot be read.
    """

    def __init__(self, path: Path, tokens_per_step: int) -> None:
        self.path = path
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Any]] = read_metrics(path)
        self._written = len(self.rows)

    def truncate(self, step: int) -> int:
        """Remove damaged lines and the rows after ``step``, which a resumed run writes again.

        Returns:
            The number of steps up to ``step`` without a row.

        Raises:
            InputError: if the file cannot be written.
        """
        by_step = {row["step"]: row for row in self.rows if 1 <= row["step"] <= step}
        self.rows = [by_step[number] for number in sorted(by_step)]
        self._written = len(self.rows)
        try:
            atomic_write_text(self.path, "".join(_line(row) for row in self.rows))
            self.path.open("a").close()  # raises if the file is read-only
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror or error}); check its permissions") from error
        return step - len(self.rows)

    def add(self, records: Sequence[StepRecord]) -> None:
        """Add a row for each record."""
        for record in records:
            self.rows.append(
                {
                    "step": record.step,
                    "train_loss": record.train_loss,
                    "learning_rate": record.learning_rate,
                    "gradient_norm": record.gradient_norm,
                    "tokens_per_second": self.tokens_per_step / record.seconds if record.seconds else None,
                }
            )

    def lacks_evaluation(self, step: int) -> bool:
        """Whether ``step`` is the last row and has no validation loss."""
        return bool(self.rows) and self.rows[-1]["step"] == step and "val_loss" not in self.rows[-1]

    def add_evaluation(self, values: Mapping[str, float]) -> None:
        """Add the metrics of an evaluation to the last row, with the prefix ``val_``."""
        if not self.rows:
            return
        on_disk = len(_line(self.rows[-1])) - len(_LINE_END)
        self.rows[-1].update({f"val_{name}": value for name, value in values.items()})
        if self._written == len(self.rows):  # the row is already on disk, without these values
            _extend(self.path, _line(self.rows[-1])[on_disk:].encode())

    def flush(self) -> None:
        """Write all new rows to disk."""
        with open(self.path, "a", encoding="utf-8") as file:
            for row in self.rows[self._written :]:
                file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
        self._written = len(self.rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"  # NaN is not valid JSON; the output is ASCII


def _extend(path: Path, tail: bytes) -> None:
    """Replace the line end of the last line by ``tail``, without rewriting the file."""
    with open(path, "r+b", buffering=0) as file:
        start = file.seek(-len(_LINE_END), os.SEEK_END)
        try:
            _write(file, tail)
            os.fsync(file.fileno())
        except OSError:  # such as a full disk
            with suppress(OSError):
                file.seek(start)
                _write(file, _LINE_END)
                file.truncate()
            raise


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of the data; an unbuffered file may accept only a part per call."""
    while data:
        data = data[file.write(data) :]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a metrics file, skipping damaged lines; empty if the file is missing. Raises `InputError` if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and its permissions") from error
    return [row for row in map(_parsed, text.split("\n")) if _is_row(row)]


def _parsed(line: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(line)


def _is_row(row: Any) -> bool:
    """Whether ``row`` is a dict of finite numbers that `_line` may have written."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("step"), int)
        and "train_loss" in row
        and all(_is_finite(value) or (value is None and name in _NULLABLE) for name, value in row.items())
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and -1e300 < value < 1e300
