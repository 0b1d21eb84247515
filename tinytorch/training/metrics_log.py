"""``metrics.jsonl``: a JSON object for every step of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinytorch.errors import InputError
from tinytorch.files import atomic_write_text
from tinytorch.training.trainer import StepRecord


class MetricsLog:
    """A row holds ``step``, ``train_loss``, ``learning_rate``, ``gradient_norm``, ``tokens_per_second``, and where measured ``val_loss``.

    Rows are held until `flush`, so that what is measured after a step can still join its row.
    """

    def __init__(self, path: Path, tokens_per_step: int) -> None:
        self.path = path
        self.tokens_per_step = tokens_per_step
        self.rows: list[dict[str, Any]] = read_metrics(path)
        self._written = len(self.rows)

    def truncate(self, step: int) -> None:
        """Forget rows after ``step``, and a line that a crash cut short: a resumed run writes them again.

        Raises:
            InputError: rows up to ``step`` are missing, so that the file was damaged; it is left as it is.
        """
        kept = [row for row in self.rows if row["step"] <= step]
        if [row["step"] for row in kept] != list(range(1, step + 1)):
            lost = next((i for i, row in enumerate(kept, 1) if row["step"] != i), len(kept) + 1)
            raise InputError(f"{self.path} is damaged at step {lost} of {step}; restore it from a copy, or train in a new directory")
        self.rows = kept
        self._written = len(self.rows)
        atomic_write_text(self.path, "".join(_line(row) for row in self.rows))

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

    def measured(self, values: Mapping[str, float]) -> None:
        """Add what was measured on held-out data to the last step's row."""
        if self.rows:
            self.rows[-1].update({f"val_{name}": value for name, value in values.items()})
            if self._written == len(self.rows):  # the row is on disk already, without these
                self.truncate(self.rows[-1]["step"])

    def flush(self) -> None:
        """Have all rows on the disk."""
        with open(self.path, "a", encoding="utf-8") as file:
            for row in self.rows[self._written :]:
                file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
        self._written = len(self.rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"  # NaN is not JSON


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, up to the first that is not whole; none where there is no file."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                break
            rows.append(row)
    return rows
