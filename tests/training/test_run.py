"""Runs from Python: start, train, resume, sample, and errors."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinytorch as tt
from tests.cli.runs import assert_same_run, assert_same_weights, losses, saved_step
from tests.cli.tiny import TEXT, TINY
from tinytorch.cli import main
from tinytorch.io.errors import InputError
from tinytorch.text import CharTokenizer, write_token_file
from tinytorch.training import DivergedError, Run, RunWarning, TrainingConfig

SIZE: dict[str, Any] = {"d_model": 16, "num_heads": 2, "num_layers": 1, "block_size": 8, "batch_size": 4, "dropout": 0.1}


def tiny(steps: int = 4, **changes: Any) -> TrainingConfig:
    return TrainingConfig.from_preset("nano", **{**SIZE, "steps": steps, **changes})


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory: a temporary one with a text file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "play.txt").write_text(TEXT, encoding="utf-8")
    with tt.use_backend("numpy"):
        yield tmp_path


def trained(directory: str = "run", **changes: Any) -> Run:
    run = Run.start(tiny(**changes), "play.txt", directory=directory)
    run.train(progress=False)
    return run


def tree(workdir: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(workdir)): path.read_bytes() if path.is_file() else None for path in sorted(workdir.rglob("*"))}


# ---- training ----


def test_a_run_starts_trains_and_samples(workdir: Path) -> None:
    run = Run.start(tiny(steps=6, eval_every=2), "play.txt", directory="run")
    assert (run.step, run.metrics, saved_step(workdir / "run")) == (0, [], 0)
    run.train(progress=False)
    assert (run.step, run.finished, saved_step(workdir / "run")) == (6, True, 6)
    assert run.metrics == [json.loads(line) for line in (workdir / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in run.metrics if "val_loss" in row] == [2, 4, 6]
    assert run.sample("To be", 10, seed=1).startswith("To be")
    assert run.sample(max_length=10, seed=1) == run.sample(max_length=10, seed=1)
    assert run.model.config.vocab_size == run.tokenizer.get_vocab_size()
    assert run.directory == Path("run")


def test_a_run_is_bit_identical_to_that_of_the_command(workdir: Path) -> None:
    assert main(["train", "play.txt", *TINY, "--steps", "6", "--eval-every", "4", "--out", "typed"]) == 0
    trained("run", steps=6, eval_every=4)
    assert_same_run(workdir / "typed", workdir / "run")
    assert (workdir / "typed" / "config.json").read_bytes() == (workdir / "run" / "config.json").read_bytes()


def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(workdir: Path) -> None:
    trained("uninterrupted", steps=7, decay_steps=9)
    trained("run", steps=4, decay_steps=9)
    with Run.resume("run", steps=7) as run:
        assert (run.step, run.config.steps) == (4, 7)
        run.train(progress=False)
    assert_same_weights(workdir / "uninterrupted", workdir / "run")
    assert [row[:3] for row in losses(workdir / "run")] == [row[:3] for row in losses(workdir / "uninterrupted")]


def test_a_run_can_be_stopped_and_resumed(workdir: Path) -> None:
    run = Run.start(tiny(steps=30), "play.txt", directory="run")
    run.stop()
    run.train(progress=False)
    assert (run.step, run.finished, saved_step(workdir / "run")) == (1, False, 1)
    again = Run.resume("run")
    again.train(progress=False)
    assert (again.step, again.finished) == (30, True)


@pytest.mark.parametrize(("directory", "name"), [(None, "play-001"), ("mine", "mine")])
def test_a_directory_is_created_by_default(workdir: Path, directory: str | None, name: str) -> None:
    with Run.start(tiny(), Path("play.txt"), directory=directory) as run:
        assert run.directory.name == name
        assert (workdir / run.directory / "config.json").exists()


def test_a_string_a_text_file_and_a_token_file_give_the_same_weights(workdir: Path) -> None:
    write_token_file("play.tokens", [TEXT], CharTokenizer().fit(TEXT))
    trained("run")
    for directory, given in (("text", {"text": TEXT}), ("tokens", {"file": "play.tokens"})):
        Run.start(tiny(), directory=directory, **given).train(progress=False)
        assert (workdir / directory / "model.safetensors").read_bytes() == (workdir / "run" / "model.safetensors").read_bytes()


def test_resuming_a_run_started_with_a_string_requires_the_string(workdir: Path) -> None:
    Run.start(tiny(), text=TEXT).train(progress=False)
    with pytest.raises(InputError, match=r"the run in runs/text-001 was started with a text that is not in a file; pass it as `text`"):
        Run.resume(steps=5)
    with pytest.raises(InputError, match=r"`text` is not the text of runs/text-001; pass the text that the run was started with"):
        Run.resume(steps=5, text=TEXT + "?")
    with Run.resume(steps=5, text=TEXT) as run:
        run.train(progress=False)
    assert len(losses(workdir / "runs" / "text-001")) == 5


def test_a_tokenizer_is_fitted_or_loaded_from_a_model_or_passed(workdir: Path) -> None:
    with Run.start(tiny(), "play.txt", directory="given", tokenizer=CharTokenizer().fit(TEXT + "xyz")) as given:
        assert not given.tokenizer.unknown_characters("xyz")
    with Run.start(tiny(), "play.txt", directory="taken", tokenizer="given") as taken:
        assert taken.tokenizer.to_json() == given.tokenizer.to_json()
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    tasks: list[str] = []
    with Run.start(tiny(), "play.txt", tokenizer="bpe", vocab_size=270, on_progress=lambda task, done, total: tasks.append(task)) as fitted:
        assert fitted.tokenizer.get_vocab_size() == 270
    assert set(tasks) == {"learning 270 byte-pair tokens"}


def test_a_run_can_start_from_a_pretrained_model(workdir: Path) -> None:
    before = trained("before", steps=100)
    run = Run.start(TrainingConfig.from_preset("finetune", batch_size=16, steps=2), "play.txt", directory="run", init_from="before")
    assert (run.config.block_size, run.config.d_model, run.config.dropout) == (8, 16, 0.1)
    run.train(progress=False)
    assert run.metrics[0]["train_loss"] == pytest.approx(before.metrics[-1]["val_loss"], abs=0.3)
    assert run.metrics[0]["train_loss"] < before.metrics[0]["train_loss"] - 0.4


# ---- output ----


def test_output_to_a_pipe_has_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(tiny(steps=6, eval_every=4), "play.txt").train()
    out, err = capsys.readouterr()
    assert "step 4: validation loss" in out
    assert "(whole validation split)" in out
    assert "\x1b" not in out
    assert err == ""


def test_nothing_is_shown_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(tiny(eval_every=2), "play.txt").train(progress=False)
    assert capsys.readouterr() == ("", "")


# ---- locks ----


def test_a_run_locks_its_directory_until_it_is_trained_or_closed(workdir: Path) -> None:
    run = Run.start(tiny(), "play.txt", directory="run")
    with pytest.raises(InputError, match="run is in use by process"):
        Run.resume("run")
    run.close()
    with Run.resume("run"), pytest.raises(InputError, match="run is in use by process"):
        Run.resume("run")
    last = Run.resume("run")
    last.train(progress=False)
    assert not (workdir / "run" / ".lock").exists()
    with pytest.raises(InputError, match=r"this run is closed; resume it with `Run\.resume\('run'\)`"):
        last.train()


def test_a_garbage_collected_run_releases_its_lock() -> None:
    run = Run.start(tiny(), "play.txt", directory="run")
    del run
    gc.collect()
    Run.resume("run").close()


def test_an_error_in_training_releases_the_lock_and_keeps_the_checkpoint(workdir: Path) -> None:
    run = Run.start(tiny(learning_rate=1e30), "play.txt", directory="run")
    with pytest.raises(DivergedError, match="not finite"):
        run.train(progress=False)
    assert saved_step(workdir / "run") == 0
    Run.resume("run").close()


def test_lost_metrics_issue_a_warning() -> None:
    trained("run")
    path = Path("run/metrics.jsonl")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    with pytest.warns(RunWarning, match=r"run/metrics\.jsonl is damaged: the rows of 1 of 4 steps are lost"):
        Run.resume("run", steps=5).close()


# ---- errors ----


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": "none.txt"}, "there is no file none.txt"),
        ({"file": ""}, "`file` is an empty path"),
        ({"text": " \n"}, "`text` is empty; pass a text, or the path of a text file as `file`"),
        ({"file": TEXT}, "`file` has several lines, so it is not a path; pass the text itself as `text`"),
        ({"text": Path("play.txt")}, f"`text` must be a string with the text itself, got {type(Path()).__name__}; pass a path as `file`"),
        ({"file": "play.txt", "tokenizer": 5}, "`tokenizer` must be char, bpe or the directory of a model, got 5"),
        ({"file": "play.txt", "text": TEXT}, "`file` and `text` are both given; pass one of them"),
        (
            {"text": "to be or not to be"},
            "the validation split has 2 tokens, fewer than one block of 8 and the token after it; use",
        ),
        ({"file": "play.txt", "directory": ""}, "`directory` is an empty path"),
        ({"file": "play.txt", "directory": "play.txt"}, "play.txt is a file; choose another `directory`"),
        (
            {"file": "play.txt", "directory": "run"},
            "run already contains a run; resume it with `Run.resume`, or choose another `directory`",
        ),
        ({"file": "play.txt", "vocab_size": 300}, "`vocab_size` requires `tokenizer=bpe`"),
        ({"file": "play.txt", "tokenizer": "word"}, "`tokenizer` must be char, bpe or the directory of a model, got 'word'"),
        (
            {"file": "play.txt", "init_from": "run"},
            "`init_from` determines the model's size; leave out `d_model`, `num_heads`, `num_layers`",
        ),
    ],
)
def test_invalid_arguments_of_start_raise_an_error_and_write_nothing(workdir: Path, given: dict[str, Any], message: str) -> None:
    trained("run")
    before = tree(workdir)
    with pytest.raises(InputError) as caught:
        Run.start(tiny(), **given)
    assert message in str(caught.value)
    assert tree(workdir) == before


def test_the_finetune_preset_requires_init_from(workdir: Path) -> None:
    with pytest.raises(InputError, match="the preset finetune is for a pretrained model; pass a model as `init_from`, or set `d_model`"):
        Run.start(TrainingConfig.from_preset("finetune"), "play.txt")
    assert [path.name for path in workdir.iterdir()] == ["play.txt"]


def test_sizes_that_do_not_fit_in_memory_raise_an_error() -> None:
    with pytest.raises(InputError, match="choose a smaller `batch_size`, `block_size`, `d_model` or `num_layers`"):
        Run.start(tiny(batch_size=2**30), "play.txt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"directory": "run"}, "run has already taken 4 steps; set `steps` to more than 4"),
        ({"directory": "run", "steps": 0}, "`steps` must be an integer from 1"),
        ({"directory": "none"}, "none does not exist"),
        (
            {"directory": "run", "file": "other.txt", "steps": 5},
            "other.txt is not the text of run; pass the text that the run was started with",
        ),
        ({"steps": 5}, "there is no run in runs"),
    ],
)
def test_invalid_arguments_of_resume_raise_an_error(workdir: Path, given: dict[str, Any], message: str) -> None:
    trained("run")
    (workdir / "other.txt").write_text("Another text. " * 100, encoding="utf-8")
    before = tree(workdir)
    with pytest.raises(InputError) as caught:
        Run.resume(**given)
    assert message in str(caught.value)
    assert tree(workdir) == before


def test_a_moved_text_must_be_passed_on_resume(workdir: Path) -> None:
    trained("run")
    shutil.move("play.txt", "moved.txt")
    with pytest.raises(InputError, match="does not exist; pass its current path as `file`"):
        Run.resume("run", steps=5)
    Run.resume("run", "moved.txt", steps=5).close()
