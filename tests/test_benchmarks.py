"""The command for a GPU machine runs on any other too, at tiny sizes, so that a mistake in it is found before there is a GPU."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu import command
from benchmarks.gpu.parts import PARTS


@pytest.mark.parametrize("part", ["nano", "decode"])
def test_a_comparison_is_rehearsed_and_written_down(part: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    file = tmp_path / "gpu.json"
    assert command.main(["--rehearse", "--only", part, "--json", str(file)]) == 0, capfd.readouterr().err
    found = json.loads(file.read_text())["parts"][part]
    assert found["ended"] == "well"
    assert found["machine"]["rehearsal"] is True
    (row,) = found["rows"]
    assert row["peer"] == "torch"
    if part == "decode":
        assert row["same_tokens"] == row["tokens"]
    else:
        assert row["first_loss_ours"] == pytest.approx(row["first_loss_peer"], abs=1e-4)


def test_parts_that_were_not_run_again_stay(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps({"parts": {"checks": {"ended": "well", "rows": []}}}))
    assert command.main(["--rehearse", "--only", "shakespeare", "--json", str(file)]) == 1  # no text was given
    parts = json.loads(file.read_text())["parts"]
    assert parts["checks"] == {"ended": "well", "rows": []}
    assert "--text" in parts["shakespeare"]["rows"][0]["refused"]


def test_a_part_that_takes_too_long_is_ended_and_what_it_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIMIT", 0.2)
    file = tmp_path / "gpu.json"
    assert command.main(["--rehearse", "--only", "nano", "--json", str(file)]) == 1
    assert json.loads(file.read_text())["parts"]["nano"]["ended"] == "its 0.2 seconds were up"


def test_every_folder_of_tests_is_a_part() -> None:
    tests = Path(__file__).parent
    folders = {path.name for path in tests.iterdir() if path.is_dir() and list(path.rglob("test_*.py"))}
    assert {f"tests-{name}" for name in (*folders, "top")} <= set(PARTS)


def test_wheels_are_unpacked_and_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "brought-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("brought.py", "print('brought along', file=__import__('sys').stderr)")
        wheel.writestr("sitecustomize.py", "import brought")
    assert command.main(["--rehearse", "--only", "shakespeare", "--wheels", str(tmp_path)]) == 1
    assert "brought along" in capfd.readouterr().err
