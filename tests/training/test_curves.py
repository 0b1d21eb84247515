"""Loss curves as text for any terminal, and as image files with matplotlib."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from tinytorch.training.curves import save_loss_plot, terminal_curve

STEPS = list(range(1, 2001))
LOSSES = [1.5 + 3 * math.exp(-step / 200) + 0.2 * (-1) ** step for step in STEPS]
VAL_STEPS = [500, 1000, 1500, 2000]
VAL_LOSSES = [2.0, 1.8, 1.7, 1.65]
RUN = (STEPS, LOSSES, VAL_STEPS, VAL_LOSSES)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_chart_fits_the_requested_size(width: int, encoding: str) -> None:
    lines = terminal_curve(*RUN, width=width, height=12, encoding=encoding).splitlines()
    assert len(lines) == 12
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
def test_an_encoding_without_braille_falls_back_to_ascii(encoding: str) -> None:
    assert terminal_curve(*RUN, encoding=encoding).isascii()


def test_the_complete_text_of_a_chart() -> None:
    chart = terminal_curve([1, 2, 3, 4, 5], [5.0, 4.0, 3.0, 2.0, 1.0], [3, 5], [4.0, 2.0], width=24, height=8, encoding="ascii")
    assert chart.splitlines() == [
        "  |***",
        "4 +   ***  o",
        "  |      ****",
        "2 +          ***  o",
        "  |             ***",
        "  +----+------+---- step",
        "       2      4",
        "   ** training loss   o validation loss   (nats per token)",
    ]


def test_axes_and_legend_are_labeled() -> None:
    lines = terminal_curve(*RUN, encoding="utf-8").splitlines()
    assert lines[-3].endswith(" step")
    assert lines[-2].split() == ["500", "1,000", "1,500", "2,000"]
    assert "training loss" in lines[-1]
    assert "validation loss" in lines[-1]
    assert "nats per token" in lines[-1]


def test_losses_in_one_column_are_averaged() -> None:
    noisy = [2.0 + (-1) ** step for step in STEPS]
    quiet = [2.0 for _ in STEPS]
    rows = [line for line in terminal_curve(STEPS, noisy, [1, 2000], [1.0, 3.0], encoding="ascii").splitlines() if "**" in line]
    assert len(rows) == 2  # the curve and the legend
    assert rows == [line for line in terminal_curve(STEPS, quiet, [1, 2000], [1.0, 3.0], encoding="ascii").splitlines() if "**" in line]


@pytest.mark.parametrize(
    "run",
    [
        ([1], [2.0], [], []),
        ([7, 8], [2.0, 2.0], [8], [2.0]),
        ([], [], [5], [1.0]),
        ([1, 2, 3], [math.nan, 2.0, math.inf], [3], [math.nan]),
        ([10**6, 2 * 10**6], [1e-9, 1e9], [], []),
    ],
)
def test_short_runs_and_values_that_are_not_finite_are_drawn(
    run: tuple[list[int], list[float], list[int], list[float]], tmp_path: Path
) -> None:
    assert len(terminal_curve(*run, width=40, height=8, encoding="ascii").splitlines()) == 8
    if save_loss_plot(tmp_path / "loss.svg", *run):
        assert (tmp_path / "loss.svg").is_file()


def test_a_chart_without_losses_is_a_message() -> None:
    assert terminal_curve([], [], [], []) == "no loss to draw yet"
    assert terminal_curve([1], [math.nan], [], []) == "no loss to draw yet"


def test_the_image_file_is_reproducible(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert save_loss_plot(tmp_path / "a.svg", *RUN)
    assert save_loss_plot(tmp_path / "b.svg", *RUN)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in drawn
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg"]


def test_drawing_does_not_import_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # makes its import raise
    assert save_loss_plot(tmp_path / "loss.svg", *RUN)


def test_without_matplotlib_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not save_loss_plot(tmp_path / "loss.svg", *RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_raises_oserror(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(OSError, match="missing"):
        save_loss_plot(tmp_path / "missing" / "loss.svg", *RUN)
