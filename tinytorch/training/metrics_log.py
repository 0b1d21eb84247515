"""``metrics.jsonl``: a JSON object for every step of a run."""

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

#: The fields of a row that may be null.
_MAY_LACK = {"gradient_norm", "tokens_per_second"}
#: How every line ends.
_END = b"}\n"


class MetricsLog:
    """A row holds ``step``, ``train_loss``, ``learning_rate``, ``gradient_norm``, ``tokens_per_second``, and where measured ``val_loss``.

    Rows are kept in memory until `flush`. An evaluation joins the row of its step, whether that is on the disk or not.

    Raises:
        InputError: the file cannot be read.
    """

    def __init__(self, path: Path, tokens_per_step: int) -> None:
        self.path = path
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Any]] = read_metrics(path)
        self._written = len(self.rows)

    def truncate(self, step: int) -> int:
        """Remove rows after ``step``, which a resumed run writes again, and damaged lines.

        Returns:
            How many of the steps up to ``step`` have lost their row to damage.

        Raises:
            InputError: the file cannot be written.
        """
        by_step = {row["step"]: row for row in self.rows if 1 <= row["step"] <= step}
        self.rows = [by_step[number] for number in sorted(by_step)]
        self._written = len(self.rows)
        try:
            atomic_write_text(self.path, "".join(_line(row) for row in self.rows))
            self.path.open("a").close()  # it has kept its permissions
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror or error}); check its permissions") from error
        return step - len(self.rows)

    def add(self, records: Sequence[StepRecord]) -> None:
        """A row for each finished step."""
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
        """Whether the last row is that of ``step`` and has no validation loss."""
        return bool(self.rows) and self.rows[-1]["step"] == step and "val_loss" not in self.rows[-1]

    def measured(self, values: Mapping[str, float]) -> None:
        """Add what was measured on held-out data to the last step's row."""
        if not self.rows:
            return
        on_disk = len(_line(self.rows[-1])) - len(_END)
        self.rows[-1].update({f"val_{name}": value for name, value in values.items()})
        if self._written == len(self.rows):  # the row is on disk already, without these
            _extend(self.path, _line(self.rows[-1])[on_disk:].encode())

    def flush(self) -> None:
        """Have all rows on the disk."""
        with open(self.path, "a", encoding="utf-8") as file:
            for row in self.rows[self._written :]:
                file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
        self._written = len(self.rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"  # NaN is not JSON; all characters are ASCII


def _extend(path: Path, tail: bytes) -> None:
    """Replace the end of the last line by ``tail``, without rewriting the file."""
    with open(path, "r+b", buffering=0) as file:
        start = file.seek(-len(_END), os.SEEK_END)
        try:
            _write(file, tail)
            os.fsync(file.fileno())
        except OSError:  # such as a full disk
            with suppress(OSError):
                file.seek(start)
                _write(file, _END)
                file.truncate()
            raise


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of the data: an unbuffered file may accept less at once."""
    while data:
        data = data[file.write(data) :]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file without damaged lines; empty if there is no file. Raises `InputError` if it cannot be read."""
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
    """Whether it is an object that `_line` may have written: finite numbers by name."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("step"), int)
        and "train_loss" in row
        and all(_is_finite(value) or (value is None and name in _MAY_LACK) for name, value in row.items())
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and -1e300 < value < 1e300
