"""Invalid input prints one line with the problem and the solution, sets the exit code, and changes no file."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.tiny import TINY, Command, Result
from tinytorch.backend import backend_status
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE

CUPY = next(status for status in backend_status() if status.name == "cupy")
without_gpu = pytest.mark.skipif(CUPY.ready, reason="cupy can run on this machine")


def tree(workdir: Path) -> dict[str, bytes | None]:
    """The content of every file by path; None for directories."""
    return {str(path.relative_to(workdir)): path.read_bytes() if path.is_file() else None for path in sorted(workdir.rglob("*"))}


def assert_error(result: Result, *named: str, code: int = 2) -> None:
    """The error is one line that contains all of ``named``."""
    assert result.code == code, result
    assert result.err.startswith("error: "), result.err
    assert result.err.endswith("\n")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    for words in named:
        assert words in result.err


# ---- texts ----


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, ["there is no file", "check the path"]),
        (b"", ["holds no text", "pass a file"]),
        (b" \n\n ", ["holds no text"]),
        (b"\x7fELF\0\0\0", ["is a binary file", "pass a plain text file"]),
        (b"caf\xe9 au lait", ["is not UTF-8", "iconv"]),
        ("to be".encode("utf-16"), ["is UTF-16", "iconv"]),
        (b"a", ["the validation split has 1 tokens", "use a text of at least 81 tokens"]),
        (b"to be or not to be", ["the validation split has 2 tokens", "use a --block-size of at most 1 or a text of at least 81 tokens"]),
    ],
)
def test_invalid_texts(tinytorch: Command, workdir: Path, content: bytes | None, named: list[str]) -> None:
    if content is not None:
        (workdir / "odd.txt").write_bytes(content)
    before = tree(workdir)
    assert_error(tinytorch("train", "odd.txt", *TINY, "--steps", "1"), *named)
    assert tree(workdir) == before


def test_the_length_in_the_error_is_sufficient(tinytorch: Command, workdir: Path) -> None:
    for length, code in ((80, 2), (81, 0)):
        (workdir / "short.txt").write_text("ab" * (length // 2) + "a" * (length % 2), encoding="utf-8")
        assert tinytorch("train", "short.txt", *TINY, "--steps", "1").code == code


def test_a_directory_is_not_a_text(tinytorch: Command, workdir: Path) -> None:
    assert_error(tinytorch("train", ".", "--steps", "1"), "is a directory")
    assert not (workdir / "runs").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "words",
    [
        "train pipe",
        "train pipe --init-from none",
        "train pipe --tokenizer bpe",
        "prepare pipe --out a.tokens --tokenizer none",
        "evaluate none pipe",
        "evaluate pipe/run play.txt",
        "generate piped",
        "train --resume --out piped",
        "train play.txt --init-from piped",
        "prepare play.txt --out a.tokens --tokenizer piped",
    ],
)
def test_named_pipes_are_rejected(tinytorch: Command, workdir: Path, words: str) -> None:
    os.mkfifo(workdir / "pipe")
    (workdir / "piped").mkdir()
    os.mkfifo(workdir / "piped" / "config.json")
    names = sorted(workdir.rglob("*"))
    result = tinytorch(words)
    assert_error(result, "pipe is not a regular file" if "pipe" in words.split() else "pipe")
    assert sorted(workdir.rglob("*")) == names


# ---- numbers ----


@pytest.mark.parametrize(
    "option",
    ["steps", "decay-steps", "batch-size", "block-size", "d-model", "num-heads", "num-layers", "accumulate", "eval-every"],
)
@pytest.mark.parametrize("value", ["0", "-3", str(10**12)])
def test_integers_out_of_range(tinytorch: Command, workdir: Path, option: str, value: str) -> None:
    before = tree(workdir)
    assert_error(tinytorch("train", "play.txt", f"--{option}", value), f"--{option} must be an integer from 1 to", f"got {value}")
    assert tree(workdir) == before


@pytest.mark.parametrize(
    "options",
    [
        "--batch-size 1000000000",
        "--batch-size 2000000000 --accumulate 2000000000",
        "--d-model 1000000000",
        "--block-size 2000000000",
        "--num-layers 1000000000",
    ],
)
def test_sizes_that_do_not_fit_in_memory_are_rejected_before_anything_is_written(tinytorch: Command, workdir: Path, options: str) -> None:
    before = tree(workdir)
    result = tinytorch("train", "play.txt", *options.split())
    assert_error(
        result, "this run needs at least", "GiB of memory", "choose a smaller --batch-size, --block-size, --d-model or --num-layers"
    )
    assert tree(workdir) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--num-heads 3 --d-model 32", ["--num-heads must divide --d-model", "3 does not divide 32", "try 2"]),
        ("--num-heads 64 --d-model 32", ["64 does not divide 32", "try 32"]),
        ("--accumulate 5", ["--accumulate must divide --batch-size", "5 does not divide 12"]),
        ("--dropout 1", ["--dropout must be at least 0 and less than 1"]),
        ("--dropout nan", ["--dropout"]),
        ("--learning-rate 0", ["--learning-rate must be a positive number"]),
        ("--learning-rate -1e-3", ["--learning-rate"]),
        ("--learning-rate inf", ["--learning-rate"]),
        ("--seed -1", ["--seed must be an integer of 0 or more"]),
        ("--preset huge", ["there is no preset 'huge'", "nano, baby, gpt2"]),
        ("--steps many", ["--steps", "tinytorch train --help"]),
        ("--steps 1.5", ["--steps"]),
        ("--step 5", ["--step"]),
        ("other.txt", ["tinytorch train --help"]),
    ],
)
def test_invalid_options(tinytorch: Command, workdir: Path, options: str, named: list[str]) -> None:
    before = tree(workdir)
    assert_error(tinytorch("train", "play.txt", *options.split()), *named)
    assert tree(workdir) == before


# ---- backends ----


@pytest.mark.parametrize("words", [["train", "play.txt"], ["generate"]])
def test_an_unknown_backend(tinytorch: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    before = tree(workdir)
    assert_error(tinytorch(*words, "--backend", "numpi"), "unknown backend 'numpi'", "did you mean 'numpy'?")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "numpi")
    assert_error(tinytorch(*words), f"{ENVIRONMENT_VARIABLE}=numpi")
    assert tree(workdir) == before


@without_gpu
@pytest.mark.parametrize("words", [["train", "play.txt"], ["generate"]])
def test_cupy_without_a_gpu(tinytorch: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    before = tree(workdir)
    assert_error(tinytorch(*words, "--backend", "cupy"), "cupy")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "cupy")
    assert_error(tinytorch(*words), "cupy", f"unset {ENVIRONMENT_VARIABLE}")
    assert tree(workdir) == before


# ---- output directories ----


@pytest.mark.parametrize(
    "words",
    [
        ["train", "play.txt", "--out", ""],
        ["train", "--resume", "--out", ""],
        ["train", "--init-from", ""],
        ["train", ""],
        ["prepare", "play.txt", "--out", ""],
        ["prepare", "", "--out", "a.tokens"],
        ["evaluate", "", "play.txt"],
        ["evaluate", "run", ""],
        ["generate", ""],
        ["chat", ""],
        ["evolution", "--out", ""],
        ["evolution", "--data", "mnist", "--data-dir", ""],
        ["train", "--tokenizer", ""],
    ],
)
def test_an_empty_path_is_an_error(tinytorch: Command, workdir: Path, run: Path, words: list[str]) -> None:
    before = tree(workdir)
    assert_error(tinytorch(*words), "got ''" if "--tokenizer" in words else "the path is empty; pass a path, or leave it out")
    assert tree(workdir) == before


def refuse_to_write(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """Simulate a read-only directory, since the superuser, who may run these tests, can always write."""
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: access(path, mode) and Path(path) != workdir)


@pytest.mark.parametrize(
    "words",
    ["train none.txt --out deep/down/run", "train none.txt", "prepare none.txt --out deep/down/a.tokens", "evolution --out deep/run"],
)
def test_an_unwritable_directory_is_reported_before_any_work(
    tinytorch: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    refuse_to_write(monkeypatch, workdir)
    before = tree(workdir)
    assert_error(tinytorch(words), "cannot be written (Permission denied); choose another", "with --out")
    assert tree(workdir) == before


def test_missing_parent_directories_are_created(tinytorch: Command, workdir: Path) -> None:
    assert tinytorch("train", "play.txt", *TINY, "--steps", "1", "--out", "deep/down/run").code == 0
    assert tinytorch("prepare play.txt --out far/down/a.tokens").code == 0
    assert (workdir / "far" / "down" / "a.tokens").is_file()
    assert_error(tinytorch("prepare none.txt --out away/a.tokens"), "there is no file none.txt")
    assert not (workdir / "away").exists()
    assert_error(tinytorch("prepare play.txt --out play.txt/a.tokens"), "play.txt/a.tokens cannot be written (Not a directory)")


def test_out_is_a_file(train: Command, workdir: Path) -> None:
    before = tree(workdir)
    assert_error(train("--steps 1 --out play.txt"), "play.txt is a file", "--out")
    assert_error(train("--steps 1 --out play.txt/run"), "play.txt/run cannot be written", "--out")
    assert tree(workdir) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc, which nobody can write to")
def test_out_cannot_be_written(train: Command, workdir: Path) -> None:
    before = tree(workdir)
    assert_error(train("--steps 1 --out /proc/run"), "/proc/run cannot be written", "choose another directory with --out")
    assert tree(workdir) == before


def test_runs_cannot_be_created(train: Command, workdir: Path) -> None:
    (workdir / "runs").write_text("a file", encoding="utf-8")
    assert_error(train("--steps 1"), "runs cannot be written", "--out")
    assert (workdir / "runs").read_text(encoding="utf-8") == "a file"


def test_out_contains_a_run(train: Command, workdir: Path) -> None:
    train("--steps 2 --out run")
    before = tree(workdir)
    assert_error(train("--steps 3 --out run"), "run already contains a run", "--resume", "--out")
    assert tree(workdir) == before


# ---- resuming ----


@pytest.fixture
def run(train: Command, workdir: Path) -> Path:
    assert train("--steps 3 --out run").code == 0
    return workdir / "run"


def test_resume_without_a_run(tinytorch: Command, workdir: Path) -> None:
    before = tree(workdir)
    assert_error(tinytorch("train --resume"), "there is no run in runs", "tinytorch train")
    assert_error(tinytorch("train --resume --out nowhere"), "nowhere does not exist")
    assert_error(tinytorch("generate"), "there is no run in runs", "tinytorch train")
    assert_error(tinytorch("generate nowhere"), "nowhere does not exist")
    assert_error(tinytorch("generate play.txt"), "play.txt is a file")
    (workdir / "empty").mkdir()
    assert_error(tinytorch("generate empty"), "empty is not a run directory")
    (workdir / "empty").rmdir()
    assert tree(workdir) == before


def test_resume_with_changed_options_names_each(tinytorch: Command, workdir: Path, run: Path) -> None:
    before = tree(workdir)
    result = tinytorch("train --resume --out run --steps 9 --d-model 32 --seed 7 --learning-rate 0.5 --preset baby --num-heads 2")
    assert_error(
        result, "--d-model 32 (the run has 16)", "--seed 7 (the run has 0)", "--learning-rate 0.5 (the run has 0.003)", "--preset baby"
    )
    assert "--num-heads" not in result.err
    assert "--steps" not in result.err
    assert tree(workdir) == before


def test_resume_with_another_text(tinytorch: Command, workdir: Path, run: Path) -> None:
    (workdir / "other.txt").write_text("Another text. " * 100, encoding="utf-8")
    before = tree(workdir)
    assert_error(
        tinytorch("train other.txt --resume --out run --steps 9"),
        "other.txt is not the text of run",
        "pass the text that the run was started with",
    )
    (workdir / "play.txt").write_text("Changed since. " * 100, encoding="utf-8")
    assert_error(tinytorch("train --resume --out run --steps 9"), "play.txt is not the text of run")
    (workdir / "play.txt").write_bytes(before["play.txt"] or b"")
    assert tree(workdir) == before


def test_resume_with_another_version_of_python(tinytorch: Command, workdir: Path) -> None:
    tinytorch("train", *TINY, "--steps", "1", "--out", "run")
    path = workdir / "run" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text"].update(python="3.99.0", sha256="0")
    path.write_text(json.dumps(config), encoding="utf-8")
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run --steps 9"), "the Python language reference is not the text of run; use Python 3.99.0")
    assert tree(workdir) == before


def test_resume_of_a_finished_run(tinytorch: Command, workdir: Path, run: Path) -> None:
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run"), "run has already taken 3 steps", "set --steps to more than 3")
    assert_error(tinytorch("train --resume --out run --steps 2"), "run has already taken 3 steps")
    assert_error(tinytorch("train --resume --out run --steps 0"), "--steps must be an integer from 1 to")
    assert tree(workdir) == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def fill_with_text(path: Path) -> None:
    path.write_text("not the expected format", encoding="utf-8")


@pytest.mark.parametrize("harm", [truncate, fill_with_text, Path.unlink])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"])
def test_a_damaged_file(tinytorch: Command, workdir: Path, run: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(run / name)
    before = tree(workdir)
    named = "run" if harm is Path.unlink and name == "config.json" else f"run/{name}"
    results = [tinytorch("train --resume --out run --steps 9")]
    if name != "optimizer.safetensors":
        results.append(tinytorch("generate run"))
    for result in results:
        assert_error(result, named)
    assert tree(workdir) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "optimizer.safetensors"])
def test_a_file_of_another_run(tinytorch: Command, train: Command, workdir: Path, run: Path, name: str) -> None:
    (workdir / "other.txt").write_text("Another text, with a Z. " * 100, encoding="utf-8")
    options = [word if word != "16" else "32" for word in TINY]
    assert tinytorch("train", "other.txt", *options, "--steps", "3", "--out", "other").code == 0
    shutil.copy(workdir / "other" / name, run / name)
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run --steps 9"), f"run/{name}", "restore it from a copy")
    if name != "optimizer.safetensors":
        assert_error(tinytorch("generate run"), f"run/{name}", "restore it from a copy")
    assert tree(workdir) == before


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("training", {"batch_size": "4"}, "run/config.json is damaged: batch_size must be an integer from 1 to 2147483647, got '4'"),
        ("training", {"beta2": None}, "run/config.json is damaged: beta2 is missing"),
        ("training", {"batch_size": 0}, "run/config.json is damaged: batch_size must be an integer"),
        ("model", {"num_heads": 3}, "does not describe a model"),
        ("model", {"num_layers": 10**9}, "model.safetensors is not the model that config.json describes"),
        ("model", {"d_model": 10**9}, "model.safetensors is not the model that config.json describes"),
        ("model", {"d_ff": 10**9}, "model.safetensors is not the model that config.json describes"),
        ("model", {"max_length": 10**9}, "model.safetensors is not the model that config.json describes"),
        ("model", {"max_length": 10**9, "positional": "sinusoidal"}, "needs a sinusoidal table of"),
        ("training", {"batch_size": 10**9}, "this run needs at least"),
        ("model", {"vocab_size": 3}, "tokenizer.json has"),
    ],
)
def test_a_modified_config(tinytorch: Command, workdir: Path, run: Path, section: str, change: dict[str, object], named: str) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config[section].update(change)
    path.write_text(json.dumps(config), encoding="utf-8")
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run --steps 9"), named)
    assert tree(workdir) == before


def test_missing_rows_of_metrics_print_a_warning(tinytorch: Command, workdir: Path, run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + "\0\0\0\n" + lines[2], encoding="utf-8")
    result = tinytorch("train --resume --out run --steps 9")
    assert result.code == 0
    assert (
        result.err
        == "warning: run/metrics.jsonl is damaged: the rows of 1 of 3 steps are lost; the others are kept and the run continues\n"
    )
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in found] == [1, 3, 4, 5, 6, 7, 8, 9]


def test_unreadable_metrics(tinytorch: Command, workdir: Path, run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run --steps 9"), "run/metrics.jsonl cannot be read (Is a directory)")
    assert tree(workdir) == before


def test_a_start_on_a_full_disk_can_be_repeated(train: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(workdir)
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", no_space)
        assert_error(train("--steps 1 --out run"), "run cannot be written (No space left on device); choose another directory with --out")
    assert tree(workdir) == before
    assert train("--steps 1 --out run").code == 0


def test_a_full_disk_during_training_prints_the_command_to_resume(train: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--steps 2 --out run")
    with monkeypatch.context() as full:
        full.setattr("tinytorch.training.run.save_checkpoint", no_space)
        result = train("--resume --steps 4 --out run")
    assert_error(result, "run: No space left on device; fix this, then resume with: tinytorch train --resume --out run --steps 4", code=1)
    assert train("--resume --steps 4 --out run").code == 0


def no_space(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# ---- failures ----


@pytest.mark.parametrize("rate", ["1e30", "1e300"])
def test_a_loss_that_is_not_finite_keeps_the_checkpoint(train: Command, tinytorch: Command, workdir: Path, rate: str) -> None:
    assert_error(train(f"--steps 30 --learning-rate {rate} --out run"), "not finite; use a learning rate smaller than 1e+30", code=1)
    for line in (workdir / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tinytorch("generate run --length 5").code == 0
    before = tree(workdir)
    assert_error(tinytorch("train --resume --out run"), "not finite", code=1)
    after = tree(workdir)
    assert {name for name in after if after[name] != before.get(name)} <= {"run/metrics.jsonl"}  # the time of a step differs


def test_a_run_that_diverges_later_keeps_its_last_checkpoint(
    train: Command, tinytorch: Command, workdir: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinytorch.training import engine

    kept = {name: (run / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}
    monkeypatch.setattr(engine, "_first_not_finite", lambda loss, rate, norm: "loss")
    assert_error(tinytorch("train --resume --out run --steps 20"), "the loss of step 4 is not finite", code=1)
    assert {name: (run / name).read_bytes() for name in kept} == kept
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    assert tinytorch("train --resume --out run --steps 20").code == 0


def test_debug_shows_the_traceback(tinytorch: Command) -> None:
    result = tinytorch("train nothing.txt --debug")
    assert result.code == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("error: there is no file nothing.txt")
