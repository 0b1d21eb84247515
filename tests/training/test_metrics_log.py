"""`metrics.jsonl` has one row per step, also after crashes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from tinytorch.io.errors import InputError
from tinytorch.training import StepRecord, metrics_log
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


def test_an_evaluation_is_added_to_the_last_row_on_disk_or_in_memory(tmp_path: Path) -> None:
    log = written(tmp_path / "m", 2)
    log.add_evaluation({"loss": 1.5})
    log.add(records(3, 3))
    log.add_evaluation({"loss": 1.0, "accuracy": 0.5})
    log.flush()
    rows = read_metrics(tmp_path / "m")
    assert [row.get("val_loss") for row in rows] == [None, 1.5, 1.0]
    assert rows[2]["val_accuracy"] == 0.5


def test_a_truncated_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "m"
    written(path, 5)
    path.write_bytes(path.read_bytes()[:-20])
    log = MetricsLog(path, 64)
    log.truncate(3)
    log.add(records(4, 4))
    log.flush()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        '{"step": "2"}',
        '{"step": 7, "train_loss": 1.0}',
        '{"step": 2}',
        '{"step": 2, "train_loss": NaN}',
        '{"step": 2, "train_loss": 1e999}',
        '{"step": 2, "train_loss": null}',
        '{"step": 2, "train_loss": {}}',
        '{"step": 2, "train_loss": 1' + "0" * 5000 + "}",
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_damaged_line_loses_only_its_own_row(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m"
    written(path, 5)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    log = MetricsLog(path, 64)
    assert log.truncate(4) == 1
    log.add(records(5, 5))
    log.flush()
    assert [row["step"] for row in read_metrics(path)] == [1, 3, 4, 5]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_duplicate_rows_are_dropped_and_the_rest_is_sorted(tmp_path: Path) -> None:
    path = tmp_path / "m"
    written(path, 5)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[i] for i in (0, 0, 3, 1, 2, 1, 4, 3)), encoding="utf-8")
    assert MetricsLog(path, 64).truncate(4) == 0
    assert path.read_text(encoding="utf-8") == "".join(lines[:4])


def test_a_read_only_file_raises_an_error_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path / "m", 2)

    def forbidden(*args: object, **kwargs: object) -> None:  # simulates `chmod 400`, which does not affect root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(InputError, match=r"m cannot be written \(Permission denied\)"):
        log.truncate(2)


def test_lost_rows_are_counted(tmp_path: Path) -> None:
    assert MetricsLog(tmp_path / "none", 64).truncate(3) == 3
    written(tmp_path / "m", 2)
    assert MetricsLog(tmp_path / "m", 64).truncate(3) == 1
    assert MetricsLog(tmp_path / "m", 64).truncate(2) == 0


def test_a_missing_file_has_no_rows_and_an_unreadable_one_raises_an_error(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none") == []
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_metrics(tmp_path)


def test_adding_an_evaluation_does_not_rewrite_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    log = written(path, 3)
    before = path.read_bytes()
    node = path.stat().st_ino
    assert log.lacks_evaluation(3)
    log.add_evaluation({"loss": 1.5})
    assert not log.lacks_evaluation(3)
    assert path.stat().st_ino == node
    assert path.read_bytes() == before[:-2] + b', "val_loss": 1.5}\n'
    assert MetricsLog(path, 64).rows == log.rows


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_full_disk_while_adding_an_evaluation_keeps_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    path = tmp_path / "m"
    log = written(path, 3)
    before = path.read_bytes()
    write, calls = metrics_log._write, 0

    def full(file: BinaryIO, data: bytes) -> None:
        nonlocal calls
        calls += 1
        write(file, data[:taken] if calls == 1 else data)
        if calls == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(metrics_log, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        log.add_evaluation({"loss": 1.5})
    assert path.read_bytes() == before


def test_nan_is_not_written(tmp_path: Path) -> None:
    log = written(tmp_path / "m", 1)
    log.add([StepRecord(2, float("nan"), 1e-3, 0.5, 0.1)])
    with pytest.raises(ValueError, match="JSON"):
        log.flush()
    assert len(read_metrics(tmp_path / "m")) == 1
