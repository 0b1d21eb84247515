"""Runs that are killed, receive a signal, or are started twice lose no step, and resume bit-identically.

By default only a few trigger points are tried. ``TINYTORCH_TRIALS=20`` tries 20 of each signal and 20 pairs of processes, and
``TINYTORCH_TRIALS=all`` every file operation; `nox -s faults` does both. ``TINYTORCH_SEED`` selects other trigger points.
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

from tests.cli.runs import assert_same_run, losses, rows, saved_step, start, wait_for_checkpoint
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
INJECTOR = str(Path(__file__).with_name("signal_injector.py"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    (workdir / "play.txt").write_text(TEXT, encoding="utf-8")
    here = Path.cwd()
    os.chdir(workdir)
    try:
        assert main(["train", *RUN, "--backend", "numpy"]) == 0
    finally:
        os.chdir(here)
    return workdir / "run"


Report = list[tuple[str, int]]


def run_with_signal(workdir: Path, kind: str, trigger: int, signals: list[int], *words: str) -> tuple[int, str, str, Report]:
    """Run the command and send it signals at a trigger point. Returns exit code, standard output, standard error and report."""
    process = start(workdir, kind, str(trigger), ",".join(map(str, map(int, signals))), "report", *words, program=[INJECTOR])
    out, err = process.communicate(timeout=120)
    report = [line.split() for line in (workdir / "report").read_text(encoding="utf-8").splitlines()]
    return process.returncode, out, err, [(name, int(count)) for name, count in report]


def counted(uninterrupted: Path, kind: str) -> Report:
    """The report of an uninterrupted run."""
    code, _, _, report = run_with_signal(uninterrupted.parent, kind, 0, [0], "train", *RUN[:-1], f"counted-{kind}")
    assert code == 0
    return report


def finish(tinytorch: Command, workdir: Path) -> None:
    """Start again or resume, which is an error only if the run is finished."""
    started = (workdir / "run" / "config.json").exists()
    done = started and saved_step(workdir / "run") == 33 and "val_loss" in rows(workdir / "run")[-1]
    result = tinytorch("train", *(["--resume", "--out", "run"] if started else RUN))
    if done:
        assert result.code == 2
        assert result.err.startswith("error: run has already taken 33 steps; ")
    else:
        assert (result.code, result.err) == (0, ""), result


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


# ---- signals ----


@pytest.fixture(scope="module")
def calls(uninterrupted: Path) -> list[int]:
    """Random trigger points: a third before, a third during, and a third after the final evaluation."""
    report = counted(uninterrupted, "calls")
    first, last = dict(reversed(report)), dict(report)
    ranges = [(first["step"], last["evaluate"]), (last["evaluate"], last["report"]), (last["report"], last["end"])]
    draw = random.Random(SEED)
    return [draw.randrange(*ranges[i % 3]) for i in range(3 * COUNT)]


@pytest.mark.parametrize("trial", range(3 * COUNT))
def test_a_signal_at_any_moment_loses_no_step(tinytorch: Command, workdir: Path, uninterrupted: Path, calls: list[int], trial: int) -> None:
    signum = SIGNALS[(trial + trial // 3) % 3]  # each signal in each range
    code, out, err, report = run_with_signal(workdir, "calls", calls[trial], [signum], "train", *RUN)
    assert code == 128 + signum, f"seed {SEED}: {err}"
    # Python prints and ignores exceptions raised by a handler while a generator is closed; the run then stops a little later
    assert not err or err.startswith("Exception ignored in: <generator object"), f"seed {SEED}: {err}"
    started = sum(name == "step" for name, _ in report[: [name for name, _ in report].index("signal")])
    assert saved_step(workdir / "run") >= started - 1
    assert set(files(workdir / "run")) <= set(files(uninterrupted))
    if "resume with: tinytorch train --resume --out run" in out:
        finish(tinytorch, workdir)
    else:  # the signal came after the final evaluation
        assert "Generate text with" in out
    assert_same_run(uninterrupted, workdir / "run")


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_before_the_first_checkpoint_leaves_no_file(workdir: Path, signum: int) -> None:
    code, out, err, _ = run_with_signal(workdir, "files", 8, [signum], "train", *RUN)
    assert (code, out) == (128 + signum, "")
    assert err == f"error: {'interrupted' if signum == signal.SIGINT else f'ended by {signal.Signals(signum).name}'}\n"
    assert not (workdir / "run").exists()


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_does_not_interrupt_a_checkpoint(
    tinytorch: Command, workdir: Path, uninterrupted: Path, operations: Report, second: int
) -> None:
    saves = [count for name, count in operations if name == "save"]
    code, _, err, _ = run_with_signal(workdir, "files", saves[1] + 3, [signal.SIGTERM, second], "train", *RUN)
    assert (code, err) == (143, "")
    assert saved_step(workdir / "run") == 10
    finish(tinytorch, workdir)
    assert_same_run(uninterrupted, workdir / "run")


def test_a_second_ctrl_c_does_not_wait_for_the_step(workdir: Path) -> None:
    words = ["train", *RUN, "--steps", "1000000", "--eval-every", "1000000"]
    code, out, err, _ = run_with_signal(workdir, "calls", 20_000, [signal.SIGINT, signal.SIGINT], *words)
    assert (code, err) == (130, "error: interrupted\n")
    assert "Stopping after this step, then saving ...\n" in out


def test_an_ignored_signal_stays_ignored(workdir: Path, uninterrupted: Path) -> None:
    words = [sys.executable, INJECTOR, "calls", "9000", str(int(signal.SIGHUP)), "report", "train", *RUN]
    ended = subprocess.run(["nohup", *words], cwd=workdir, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ended.returncode == 0
    assert_same_run(uninterrupted, workdir / "run")


#: The command, with standard input as its controlling terminal.
IN_TERMINAL = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from tinytorch.cli import main; sys.exit(main())"


def test_a_closed_terminal_saves_and_exits_with_129(tinytorch: Command, workdir: Path, uninterrupted: Path) -> None:
    terminal, end = pty.openpty()
    words = ["train", *RUN, "--steps", "1000000"]
    process = start(workdir, *words, program=["-c", IN_TERMINAL], stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    wait_for_checkpoint(process, workdir / "run", 10)
    os.close(terminal)
    assert process.wait(timeout=120) == 129
    done = saved_step(workdir / "run")
    assert [row[0][1] for row in losses(workdir / "run")] == list(range(1, done + 1))
    assert set(files(workdir / "run")) <= set(files(uninterrupted))


# ---- kills ----


@pytest.fixture(scope="module")
def operations(uninterrupted: Path) -> Report:
    return counted(uninterrupted, "files")


def test_a_killed_run_resumes_bit_identically(tinytorch: Command, workdir: Path, uninterrupted: Path, operations: Report) -> None:
    draw, total = random.Random(SEED), operations[-1][1]
    for number in range(1, total + 1) if TRIALS == "all" else draw.sample(range(1, total + 1), 2 * COUNT):
        code, _, _, _ = run_with_signal(workdir, "files", number, [signal.SIGKILL], "train", *RUN)
        assert code == -signal.SIGKILL
        if (workdir / "run" / "config.json").exists():  # kill it again while it is resumed
            run_with_signal(workdir, "files", draw.randint(1, 40), [signal.SIGKILL], "train", "--resume", "--out", "run")
        finish(tinytorch, workdir)
        assert_same_run(uninterrupted, workdir / "run")
        assert files(workdir / "run") == files(uninterrupted), f"operation {number}, seed {SEED}"
        shutil.rmtree(workdir / "run")


# ---- two processes ----


@pytest.mark.parametrize("trial", range(COUNT))
def test_only_one_of_two_processes_trains(tinytorch: Command, workdir: Path, uninterrupted: Path, trial: int) -> None:
    words = ["train", *RUN, "--steps", "1000000"]
    pair = [start(workdir, *words), start(workdir, *words)]
    while all(process.poll() is None for process in pair):
        time.sleep(0.005)
    loser, winner = sorted(pair, key=lambda process: process.poll() is None)
    assert loser.returncode == 2
    assert loser.communicate()[1] in (
        f"error: run is in use by process {winner.pid} on {platform.node()}; wait until it ends, or stop it\n",
        "error: run is in use by another process; wait until it ends, or stop it\n",
        "error: run already contains a run; resume it with --resume, or choose another directory with --out\n",
    )
    wait_for_checkpoint(winner, workdir / "run", 10)
    result = tinytorch("train --resume --out run")
    assert result.code == 2
    assert f"run is in use by process {winner.pid} on" in result.err
    assert tinytorch("generate run --length 5").code == 0
    assert winner.poll() is None
    winner.kill()
    winner.communicate()
    done = saved_step(workdir / "run")
    assert tinytorch("train", "--resume", "--out", "run", "--steps", str(done + 3)).code == 0
    assert [row[0][1] for row in losses(workdir / "run")] == list(range(1, done + 4))
    if done + 3 <= 33:
        assert [row[:4] for row in losses(workdir / "run")][: done + 2] == [row[:4] for row in losses(uninterrupted)][: done + 2]
