"""What cannot be used ends with one sentence that names the mend, the right exit code, and no file harmed."""

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


def tree(place: Path) -> dict[str, bytes | None]:
    """Every file below with its content, and every directory."""
    return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))}


def refused(result: Result, *named: str, code: int = 2) -> None:
    """The error is one line that names all of these."""
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
        (b"", ["holds no text", "give a file"]),
        (b" \n\n ", ["holds no text"]),
        (b"\x7fELF\0\0\0", ["is a binary file", "give a plain text file"]),
        (b"caf\xe9 au lait", ["is not UTF-8", "iconv"]),
        ("to be".encode("utf-16"), ["is UTF-16", "iconv"]),
        (b"a", ["the validation split has 1 tokens", "use a text of at least 81 tokens"]),
        (b"to be or not to be", ["the validation split has 2 tokens", "use a --block-size of at most 1 or a text of at least 81 tokens"]),
    ],
)
def test_a_text_that_cannot_be_used(tinytorch: Command, place: Path, content: bytes | None, named: list[str]) -> None:
    if content is not None:
        (place / "odd.txt").write_bytes(content)
    before = tree(place)
    refused(tinytorch("train", "odd.txt", *TINY, "--steps", "1"), *named)
    assert tree(place) == before


def test_the_length_that_is_asked_for_is_enough(tinytorch: Command, place: Path) -> None:
    for length, code in ((80, 2), (81, 0)):
        (place / "short.txt").write_text("ab" * (length // 2) + "a" * (length % 2), encoding="utf-8")
        assert tinytorch("train", "short.txt", *TINY, "--steps", "1").code == code


def test_a_directory_is_no_text(tinytorch: Command, place: Path) -> None:
    refused(tinytorch("train", ".", "--steps", "1"), "is a directory")
    assert not (place / "runs").exists()


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
def test_a_pipe_is_refused_before_any_work(tinytorch: Command, place: Path, words: str) -> None:
    os.mkfifo(place / "pipe")
    (place / "piped").mkdir()
    os.mkfifo(place / "piped" / "config.json")
    names = sorted(place.rglob("*"))
    result = tinytorch(words)
    refused(result, "pipe is not a regular file" if "pipe" in words.split() else "pipe")
    assert sorted(place.rglob("*")) == names


# ---- numbers ----


@pytest.mark.parametrize(
    "option",
    ["steps", "decay-steps", "batch-size", "block-size", "d-model", "num-heads", "num-layers", "accumulate", "eval-every"],
)
@pytest.mark.parametrize("value", ["0", "-3", str(10**12)])
def test_whole_numbers_out_of_range(tinytorch: Command, place: Path, option: str, value: str) -> None:
    before = tree(place)
    refused(tinytorch("train", "play.txt", f"--{option}", value), f"--{option} must be an integer from 1 to", f"got {value}")
    assert tree(place) == before


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
def test_sizes_that_fit_no_machine_are_refused_before_anything_is_made(tinytorch: Command, place: Path, options: str) -> None:
    before = tree(place)
    result = tinytorch("train", "play.txt", *options.split())
    refused(result, "this needs at least", "GiB of memory", "choose a smaller --batch-size, --block-size, --d-model or --num-layers")
    assert tree(place) == before


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
def test_options_that_make_no_sense(tinytorch: Command, place: Path, options: str, named: list[str]) -> None:
    before = tree(place)
    refused(tinytorch("train", "play.txt", *options.split()), *named)
    assert tree(place) == before


# ---- backends ----


@pytest.mark.parametrize("words", [["train", "play.txt"], ["generate"]])
def test_an_unknown_backend(tinytorch: Command, place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    before = tree(place)
    refused(tinytorch(*words, "--backend", "numpi"), "unknown backend 'numpi'", "did you mean 'numpy'?")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "numpi")
    refused(tinytorch(*words), f"{ENVIRONMENT_VARIABLE}=numpi")
    assert tree(place) == before


@without_gpu
@pytest.mark.parametrize("words", [["train", "play.txt"], ["generate"]])
def test_cupy_without_a_gpu(tinytorch: Command, place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    before = tree(place)
    refused(tinytorch(*words, "--backend", "cupy"), "cupy")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "cupy")
    refused(tinytorch(*words), "cupy", f"unset {ENVIRONMENT_VARIABLE}")
    assert tree(place) == before


# ---- where to ----


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
def test_an_empty_path_is_not_the_current_directory(tinytorch: Command, place: Path, run: Path, words: list[str]) -> None:
    before = tree(place)
    refused(tinytorch(*words), "got ''" if "--tokenizer" in words else "the path is empty; give a path, or leave it out")
    assert tree(place) == before


def refuse_to_write(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Have the system say that nothing may be made in ``place``: the superuser, who may run these tests, may always."""
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: access(path, mode) and Path(path) != place)


@pytest.mark.parametrize(
    "words",
    ["train none.txt --out deep/down/run", "train none.txt", "prepare none.txt --out deep/down/a.tokens", "evolution --out deep/run"],
)
def test_what_cannot_be_written_is_told_before_any_work(
    tinytorch: Command, place: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    refuse_to_write(monkeypatch, place)
    before = tree(place)
    refused(tinytorch(words), "cannot be written (Permission denied); choose another", "with --out")
    assert tree(place) == before


def test_parents_that_are_missing_are_made(tinytorch: Command, place: Path) -> None:
    assert tinytorch("train", "play.txt", *TINY, "--steps", "1", "--out", "deep/down/run").code == 0
    assert tinytorch("prepare play.txt --out far/down/a.tokens").code == 0
    assert (place / "far" / "down" / "a.tokens").is_file()
    refused(tinytorch("prepare none.txt --out away/a.tokens"), "there is no file none.txt")
    assert not (place / "away").exists()
    refused(tinytorch("prepare play.txt --out play.txt/a.tokens"), "play.txt/a.tokens cannot be written (Not a directory)")


def test_an_out_that_is_a_file(train: Command, place: Path) -> None:
    before = tree(place)
    refused(train("--steps 1 --out play.txt"), "play.txt is a file", "--out")
    refused(train("--steps 1 --out play.txt/run"), "play.txt/run cannot be written", "--out")
    assert tree(place) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc, in which nobody may write")
def test_an_out_that_cannot_be_written(train: Command, place: Path) -> None:
    before = tree(place)
    refused(train("--steps 1 --out /proc/run"), "/proc/run cannot be written", "choose another directory with --out")
    assert tree(place) == before


def test_runs_that_cannot_be_made(train: Command, place: Path) -> None:
    (place / "runs").write_text("a file", encoding="utf-8")
    refused(train("--steps 1"), "runs cannot be written", "--out")
    assert (place / "runs").read_text(encoding="utf-8") == "a file"


def test_an_out_that_holds_a_run(train: Command, place: Path) -> None:
    train("--steps 2 --out run")
    before = tree(place)
    refused(train("--steps 3 --out run"), "run holds a run already", "--resume", "--out")
    assert tree(place) == before


# ---- resuming ----


@pytest.fixture
def run(train: Command, place: Path) -> Path:
    assert train("--steps 3 --out run").code == 0
    return place / "run"


def test_resume_without_a_run(tinytorch: Command, place: Path) -> None:
    before = tree(place)
    refused(tinytorch("train --resume"), "there is no run in runs", "tinytorch train")
    refused(tinytorch("train --resume --out nowhere"), "nowhere does not exist")
    refused(tinytorch("generate"), "there is no run in runs", "tinytorch train")
    refused(tinytorch("generate nowhere"), "nowhere does not exist")
    refused(tinytorch("generate play.txt"), "play.txt is a file")
    (place / "empty").mkdir()
    refused(tinytorch("generate empty"), "empty is not a run's directory")
    (place / "empty").rmdir()
    assert tree(place) == before


def test_resume_with_other_options_names_each(tinytorch: Command, place: Path, run: Path) -> None:
    before = tree(place)
    result = tinytorch("train --resume --out run --steps 9 --d-model 32 --seed 7 --learning-rate 0.5 --preset baby --num-heads 2")
    refused(result, "--d-model 32 (the run has 16)", "--seed 7 (the run has 0)", "--learning-rate 0.5 (the run has 0.003)", "--preset baby")
    assert "--num-heads" not in result.err
    assert "--steps" not in result.err
    assert tree(place) == before


def test_resume_with_another_text(tinytorch: Command, place: Path, run: Path) -> None:
    (place / "other.txt").write_text("Another text. " * 100, encoding="utf-8")
    before = tree(place)
    refused(
        tinytorch("train other.txt --resume --out run --steps 9"),
        "other.txt is not the text of run",
        "pass the text that the run began",
    )
    (place / "play.txt").write_text("Changed since. " * 100, encoding="utf-8")
    refused(tinytorch("train --resume --out run --steps 9"), "play.txt is not the text of run")
    (place / "play.txt").write_bytes(before["play.txt"] or b"")
    assert tree(place) == before


def test_resume_with_the_text_of_another_python(tinytorch: Command, place: Path) -> None:
    tinytorch("train", *TINY, "--steps", "1", "--out", "run")
    path = place / "run" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text"].update(python="3.99.0", sha256="0")
    path.write_text(json.dumps(config), encoding="utf-8")
    before = tree(place)
    refused(tinytorch("train --resume --out run --steps 9"), "the Python language reference is not the text of run; use Python 3.99.0")
    assert tree(place) == before


def test_resume_of_a_run_that_is_done(tinytorch: Command, place: Path, run: Path) -> None:
    before = tree(place)
    refused(tinytorch("train --resume --out run"), "run has taken 3 steps already", "set --steps to more than 3")
    refused(tinytorch("train --resume --out run --steps 2"), "run has taken 3 steps already")
    refused(tinytorch("train --resume --out run --steps 0"), "--steps must be an integer from 1 to")
    assert tree(place) == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def fill_with_text(path: Path) -> None:
    path.write_text("nothing of the kind", encoding="utf-8")


@pytest.mark.parametrize("harm", [truncate, fill_with_text, Path.unlink])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"])
def test_a_damaged_file(tinytorch: Command, place: Path, run: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(run / name)
    before = tree(place)
    named = "run" if harm is Path.unlink and name == "config.json" else f"run/{name}"
    results = [tinytorch("train --resume --out run --steps 9")]
    if name != "optimizer.safetensors":
        results.append(tinytorch("generate run"))
    for result in results:
        refused(result, named)
    assert tree(place) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "optimizer.safetensors"])
def test_a_file_of_another_run(tinytorch: Command, train: Command, place: Path, run: Path, name: str) -> None:
    (place / "other.txt").write_text("Another text, with a Z. " * 100, encoding="utf-8")
    options = [word if word != "16" else "32" for word in TINY]
    assert tinytorch("train", "other.txt", *options, "--steps", "3", "--out", "other").code == 0
    shutil.copy(place / "other" / name, run / name)
    before = tree(place)
    refused(tinytorch("train --resume --out run --steps 9"), f"run/{name}", "restore it from a copy")
    if name != "optimizer.safetensors":
        refused(tinytorch("generate run"), f"run/{name}", "restore it from a copy")
    assert tree(place) == before


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
        ("training", {"batch_size": 10**9}, "this needs at least"),
        ("model", {"vocab_size": 3}, "tokenizer.json has"),
    ],
)
def test_a_config_that_was_meddled_with(
    tinytorch: Command, place: Path, run: Path, section: str, change: dict[str, object], named: str
) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config[section].update(change)
    path.write_text(json.dumps(config), encoding="utf-8")
    before = tree(place)
    refused(tinytorch("train --resume --out run --steps 9"), named)
    assert tree(place) == before


def test_metrics_that_lack_rows_are_told_and_block_nothing(tinytorch: Command, place: Path, run: Path) -> None:
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


def test_metrics_that_cannot_be_read(tinytorch: Command, place: Path, run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    before = tree(place)
    refused(tinytorch("train --resume --out run --steps 9"), "run/metrics.jsonl cannot be read (Is a directory)")
    assert tree(place) == before


def test_a_start_that_a_full_disk_ends_can_be_made_again(train: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(place)
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", no_space)
        refused(train("--steps 1 --out run"), "run cannot be written (No space left on device); choose another directory with --out")
    assert tree(place) == before
    assert train("--steps 1 --out run").code == 0


def test_a_run_that_a_full_disk_ends_says_how_to_go_on(train: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--steps 2 --out run")
    with monkeypatch.context() as full:
        full.setattr("tinytorch.training.run.save_checkpoint", no_space)
        result = train("--resume --steps 4 --out run")
    refused(result, "run: No space left on device; change that, and go on with: tinytorch train --resume --out run --steps 4", code=1)
    assert train("--resume --steps 4 --out run").code == 0


def no_space(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# ---- failures ----


@pytest.mark.parametrize("rate", ["1e30", "1e300"])
def test_a_loss_that_is_not_finite_spares_the_checkpoint(train: Command, tinytorch: Command, place: Path, rate: str) -> None:
    refused(train(f"--steps 30 --learning-rate {rate} --out run"), "not a finite number; use a smaller learning rate than 1e+30", code=1)
    for line in (place / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tinytorch("generate run --length 5").code == 0
    before = tree(place)
    refused(tinytorch("train --resume --out run"), "not a finite number", code=1)
    after = tree(place)
    assert {name for name in after if after[name] != before.get(name)} <= {"run/metrics.jsonl"}  # the same step took another time


def test_a_run_that_diverges_later_keeps_its_last_checkpoint(
    train: Command, tinytorch: Command, place: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinytorch.training import engine

    kept = {name: (run / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}
    monkeypatch.setattr(engine, "_first_not_finite", lambda loss, rate, norm: "loss")
    refused(tinytorch("train --resume --out run --steps 20"), "the loss of step 4 is not a finite number", code=1)
    assert {name: (run / name).read_bytes() for name in kept} == kept
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert tinytorch("train --resume --out run --steps 20").code == 0


def test_debug_shows_the_traceback(tinytorch: Command) -> None:
    result = tinytorch("train nothing.txt --debug")
    assert result.code == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("error: there is no file nothing.txt")
