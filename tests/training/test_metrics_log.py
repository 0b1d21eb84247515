"""`metrics.jsonl`: a row for every step, whatever happened on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinytorch.errors import InputError
from tinytorch.training import StepRecord
from tinytorch.training.metrics_log import MetricsLog, read_metrics


def records(first: int, last: int) -> list[StepRecord]:
    return [StepRecord(step, 4.0 / step, 1e-3, 0.5, 0.1) for step in range(first, last + 1)]


def written(path: Path, last: int) -> MetricsLog:
    log = MetricsLog(path, tokens_per_step=64)
    log.add(records(1, last))
    log.flush()
    return log


def test_a_row_is_a_json_object(tmp_path: Path) -> None:
    written(tmp_path / "m", 2)
    lines = (tmp_path / "m").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1]) == {
        "step": 2,
        "train_loss": 2.0,
        "learning_rate": 1e-3,
        "gradient_norm": 0.5,
        "tokens_per_second": pytest.approx(640),
    }


def test_rows_are_written_once_and_in_order(tmp_path: Path) -> None:
    log = written(tmp_path / "m", 3)
    log.flush()
    log.add(records(4, 5))
    log.flush()
    assert [row["step"] for row in read_metrics(tmp_path / "m")] == [1, 2, 3, 4, 5]


def test_what_is_measured_joins_the_last_row_on_disk_or_not(tmp_path: Path) -> None:
    log = written(tmp_path / "m", 2)
    log.measured({"loss": 1.5})
    log.add(records(3, 3))
    log.measured({"loss": 1.0, "accuracy": 0.5})
    log.flush()
    rows = read_metrics(tmp_path / "m")
    assert [row.get("val_loss") for row in rows] == [None, 1.5, 1.0]
    assert rows[2]["val_accuracy"] == 0.5


def test_a_line_that_a_crash_cut_short_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "m"
    written(path, 5)
    path.write_bytes(path.read_bytes()[:-20])
    log = MetricsLog(path, 64)
    log.truncate(3)
    log.add(records(4, 4))
    log.flush()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4]


@pytest.mark.parametrize("line", ["", "{", "[]", '{"step": "2"}', '{"step": 7}', "\udcff"])
def test_damage_in_the_middle_is_told_and_the_file_left_as_it_is(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m"
    written(path, 5)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    before = path.read_bytes()
    with pytest.raises(InputError, match="is damaged at step 2 of 4; restore it from a copy"):
        MetricsLog(path, 64).truncate(4)
    assert path.read_bytes() == before


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none") == []


def test_what_is_not_json_is_never_written(tmp_path: Path) -> None:
    log = written(tmp_path / "m", 1)
    log.add([StepRecord(2, float("nan"), 1e-3, 0.5, 0.1)])
    with pytest.raises(ValueError, match="JSON"):
        log.flush()
    assert len(read_metrics(tmp_path / "m")) == 1
