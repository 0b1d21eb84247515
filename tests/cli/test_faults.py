"""Runs that are killed, get a signal, or are started twice: no step is lost, and a resumed run is bit-identical to an uninterrupted one.

A few moments are tried. ``TINYTORCH_TRIALS=20`` tries 20 of each signal and 20 pairs, and ``all`` every file operation; `nox -s faults`
does both. ``TINYTORCH_SEED`` chooses other moments.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.runs import losses, rows, same_run, saved_step, start, wait_for_step
from tests.cli.tiny import TEXT, TINY, Command
from tinytorch.cli import main

if os.name == "nt":
    pytest.skip("Windows has no such signals", allow_module_level=True)

import pty

#: Signals that ask a process to end.
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]

TRIALS = os.environ.get("TINYTORCH_TRIALS", "1")
COUNT = 1 if TRIALS == "all" else int(TRIALS)
SEED = int(os.environ.get("TINYTORCH_SEED", "0"))
RUN = ["play.txt", *TINY, "--steps", "33", "--decay-steps", "500", "--eval-every", "10", "--out", "run"]
MOMENTS = str(Path(__file__).with_name("moments.py"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    place = tmp_path_factory.mktemp("straight")
    (place / "play.txt").write_text(TEXT, encoding="utf-8")
    here = Path.cwd()
    os.chdir(place)
    try:
        assert main(["train", *RUN, "--backend", "numpy"]) == 0
    finally:
        os.chdir(here)
    return place / "run"


Report = list[tuple[str, int]]


def signalled(place: Path, kind: str, moment: int, signals: list[int], *words: str) -> tuple[int, str, str, Report]:
    """Run the command and send it signals at a moment; returns its exit code, what it wrote, and what it reported."""
    process = start(place, kind, str(moment), ",".join(map(str, map(int, signals))), "report", *words, program=[MOMENTS])
    out, err = process.communicate(timeout=120)
    report = [line.split() for line in (place / "report").read_text().splitlines()]
    return process.returncode, out, err, [(name, int(count)) for name, count in report]


def counted(straight: Path, kind: str) -> Report:
    """The report of an uninterrupted run."""
    code, _, _, report = signalled(straight.parent, kind, 0, [0], "train", *RUN[:-1], f"counted-{kind}")
    assert code == 0
    return report


def finish(tinytorch: Command, place: Path) -> None:
    """Start again or resume, which is refused only if everything was done."""
    begun = (place / "run" / "config.json").exists()
    done = begun and saved_step(place / "run") == 33 and "val_loss" in rows(place / "run")[-1]
    result = tinytorch("train", *(["--resume", "--out", "run"] if begun else RUN))
    if done:
        assert result.code == 2, result
        assert "run has taken 33 steps already" in result.err
    else:
        assert (result.code, result.err) == (0, ""), result


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


# ---- signals ----


@pytest.fixture(scope="module")
def calls(straight: Path) -> list[int]:
    """Random moments of a run: a third before, a third during, and a third after the final evaluation."""
    report = counted(straight, "calls")
    first, last = dict(reversed(report)), dict(report)
    ranges = [(first["step"], last["evaluate"]), (last["evaluate"], last["report"]), (last["report"], last["end"])]
    draw = random.Random(SEED)
    return [draw.randrange(*ranges[i % 3]) for i in range(3 * COUNT)]


@pytest.mark.parametrize("trial", range(3 * COUNT))
def test_a_signal_at_any_moment_loses_no_step(tinytorch: Command, place: Path, straight: Path, calls: list[int], trial: int) -> None:
    signum = SIGNALS[(trial + trial // 3) % 3]  # each signal in each range
    code, out, err, report = signalled(place, "calls", calls[trial], [signum], "train", *RUN)
    assert (code, err) == (128 + signum, ""), f"seed {SEED}"
    begun = sum(name == "step" for name, _ in report[: [name for name, _ in report].index("signal")])
    assert saved_step(place / "run") >= begun - 1
    assert set(files(place / "run")) <= set(files(straight))
    if "go on with: tinytorch train --resume --out run" in out:
        finish(tinytorch, place)
    else:  # it came after the final evaluation
        assert "Write more with" in out
    same_run(straight, place / "run")


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_before_the_first_checkpoint_leaves_no_file(place: Path, signum: int) -> None:
    code, out, err, _ = signalled(place, "files", 8, [signum], "train", *RUN)
    assert (code, out) == (128 + signum, "")
    assert err == f"error: {'interrupted' if signum == signal.SIGINT else f'ended by {signal.Signals(signum).name}'}\n"
    assert not (place / "run").exists()


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_does_not_interrupt_a_checkpoint(
    tinytorch: Command, place: Path, straight: Path, operations: Report, second: int
) -> None:
    saves = [count for name, count in operations if name == "save"]
    code, _, err, _ = signalled(place, "files", saves[1] + 3, [signal.SIGTERM, second], "train", *RUN)
    assert (code, err) == (143, "")
    assert saved_step(place / "run") == 10
    finish(tinytorch, place)
    same_run(straight, place / "run")


def test_a_second_ctrl_c_does_not_wait_for_the_step(place: Path) -> None:
    words = ["train", *RUN, "--steps", "1000000", "--eval-every", "1000000"]
    code, out, err, _ = signalled(place, "calls", 20_000, [signal.SIGINT, signal.SIGINT], *words)
    assert (code, err) == (130, "error: interrupted\n")
    assert "Stopping after this step, then saving ...\n" in out


def test_an_ignored_signal_stays_ignored(place: Path, straight: Path) -> None:
    words = [sys.executable, MOMENTS, "calls", "9000", str(int(signal.SIGHUP)), "report", "train", *RUN]
    ended = subprocess.run(["nohup", *words], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ended.returncode == 0
    same_run(straight, place / "run")


#: The command, with standard input as its controlling terminal.
IN_TERMINAL = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from tinytorch.cli import main; sys.exit(main())"


def test_a_closed_terminal_saves_and_exits_with_129(tinytorch: Command, place: Path, straight: Path) -> None:
    terminal, end = pty.openpty()
    words = ["train", *RUN, "--steps", "1000000"]
    process = start(place, *words, program=["-c", IN_TERMINAL], stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    wait_for_step(process, place / "run", 10)
    os.close(terminal)
    assert process.wait(timeout=120) == 129
    done = saved_step(place / "run")
    assert [row[0][1] for row in losses(place / "run")] == list(range(1, done + 1))
    assert set(files(place / "run")) <= set(files(straight))


# ---- kills ----


@pytest.fixture(scope="module")
def operations(straight: Path) -> Report:
    return counted(straight, "files")


def test_a_run_killed_at_any_file_operation_continues_with_the_same_bits(
    tinytorch: Command, place: Path, straight: Path, operations: Report
) -> None:
    draw, total = random.Random(SEED), operations[-1][1]
    for number in range(1, total + 1) if TRIALS == "all" else draw.sample(range(1, total + 1), 2 * COUNT):
        code, _, _, _ = signalled(place, "files", number, [signal.SIGKILL], "train", *RUN)
        assert code == -signal.SIGKILL
        if (place / "run" / "config.json").exists():  # kill it again while it is resumed
            signalled(place, "files", draw.randint(1, 40), [signal.SIGKILL], "train", "--resume", "--out", "run")
        finish(tinytorch, place)
        same_run(straight, place / "run")
        assert files(place / "run") == files(straight), f"operation {number}, seed {SEED}"
        shutil.rmtree(place / "run")


# ---- two processes ----


@pytest.mark.parametrize("trial", range(COUNT))
def test_of_two_processes_one_trains_and_the_other_is_refused(tinytorch: Command, place: Path, straight: Path, trial: int) -> None:
    words = ["train", *RUN, "--steps", "1000000"]
    pair = [start(place, *words), start(place, *words)]
    while all(process.poll() is None for process in pair):
        time.sleep(0.005)
    loser, winner = sorted(pair, key=lambda process: process.poll() is None)
    assert loser.returncode == 2
    assert loser.communicate()[1] in (
        f"error: run is in use by process {winner.pid} on {platform.node()}; wait until it ends, or stop it\n",
        "error: run is in use by another process; wait until it ends, or stop it\n",
        "error: run holds a run already; continue it with --resume, or choose another directory with --out\n",
    )
    wait_for_step(winner, place / "run", 10)
    refused = tinytorch("train --resume --out run")
    assert refused.code == 2
    assert f"run is in use by process {winner.pid} on" in refused.err
    assert tinytorch("generate run --length 5").code == 0
    assert winner.poll() is None
    winner.kill()
    winner.communicate()
    done = saved_step(place / "run")
    assert tinytorch("train", "--resume", "--out", "run", "--steps", str(done + 3)).code == 0
    assert [row[0][1] for row in losses(place / "run")] == list(range(1, done + 4))
    if done + 3 <= 33:
        assert [row[:4] for row in losses(place / "run")][: done + 2] == [row[:4] for row in losses(straight)][: done + 2]
