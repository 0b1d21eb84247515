"""A run from Python: started, trained, resumed, sampled and refused as the command does it."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinytorch as tt
from tests.cli.runs import losses, same_run, same_weights, saved_step
from tests.cli.tiny import TEXT, TINY
from tinytorch.cli import main
from tinytorch.io.errors import InputError
from tinytorch.text import CharTokenizer, write_token_file
from tinytorch.training import DivergedError, Run, RunWarning, TrainingConfig

SIZE: dict[str, Any] = {"d_model": 16, "num_heads": 2, "num_layers": 1, "block_size": 8, "batch_size": 4, "dropout": 0.1}


def tiny(steps: int = 4, **changes: Any) -> TrainingConfig:
    return TrainingConfig.from_preset("nano", **{**SIZE, "steps": steps, **changes})


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory with a text in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "play.txt").write_text(TEXT, encoding="utf-8")
    with tt.use_backend("numpy"):
        yield tmp_path


def trained(directory: str = "run", **changes: Any) -> Run:
    run = Run.start(tiny(**changes), "play.txt", directory=directory)
    run.train(progress=False)
    return run


def tree(place: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))}


# ---- what it does ----


def test_a_run_starts_trains_and_samples(place: Path) -> None:
    run = Run.start(tiny(steps=6, eval_every=2), "play.txt", directory="run")
    assert (run.step, run.metrics, saved_step(place / "run")) == (0, [], 0)
    run.train(progress=False)
    assert (run.step, run.finished, saved_step(place / "run")) == (6, True, 6)
    assert run.metrics == [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in run.metrics if "val_loss" in row] == [2, 4, 6]
    assert run.sample("To be", 10, seed=1).startswith("To be")
    assert run.sample(max_length=10, seed=1) == run.sample(max_length=10, seed=1)
    assert run.model.config.vocab_size == run.tokenizer.get_vocab_size()
    assert run.directory == Path("run")


def test_it_is_the_run_of_the_command_to_the_bit(place: Path) -> None:
    assert main(["train", "play.txt", *TINY, "--steps", "6", "--eval-every", "4", "--out", "typed"]) == 0
    trained("run", steps=6, eval_every=4)
    same_run(place / "typed", place / "run")
    assert (place / "typed" / "config.json").read_bytes() == (place / "run" / "config.json").read_bytes()


def test_a_resumed_run_is_the_straight_one_to_the_bit(place: Path) -> None:
    trained("straight", steps=7, decay_steps=9)
    trained("run", steps=4, decay_steps=9)
    with Run.resume("run", steps=7) as run:
        assert (run.step, run.config.steps) == (4, 7)
        run.train(progress=False)
    same_weights(place / "straight", place / "run")
    assert [row[:3] for row in losses(place / "run")] == [row[:3] for row in losses(place / "straight")]


def test_a_run_may_be_stopped_and_resumed(place: Path) -> None:
    run = Run.start(tiny(steps=30), "play.txt", directory="run")
    run.stop()
    run.train(progress=False)
    assert (run.step, run.finished, saved_step(place / "run")) == (1, False, 1)
    again = Run.resume("run")
    again.train(progress=False)
    assert (again.step, again.finished) == (30, True)


@pytest.mark.parametrize(("directory", "name"), [(None, "play-001"), ("mine", "mine")])
def test_a_directory_is_made_where_none_is_named(place: Path, directory: str | None, name: str) -> None:
    with Run.start(tiny(), Path("play.txt"), directory=directory) as run:
        assert run.directory.name == name
        assert (place / run.directory / "config.json").exists()


def test_a_text_a_file_and_a_file_of_tokens_give_the_same_weights(place: Path) -> None:
    write_token_file("play.tokens", [TEXT], CharTokenizer().fit(TEXT))
    trained("run")
    for directory, given in (("text", {"text": TEXT}), ("tokens", {"file": "play.tokens"})):
        Run.start(tiny(), directory=directory, **given).train(progress=False)
        assert (place / directory / "model.safetensors").read_bytes() == (place / "run" / "model.safetensors").read_bytes()


def test_a_text_that_was_in_no_file_is_passed_again(place: Path) -> None:
    Run.start(tiny(), text=TEXT).train(progress=False)
    with pytest.raises(InputError, match=r"the text of runs/text-001 was not in a file; pass it as `text`"):
        Run.resume(steps=5)
    with pytest.raises(InputError, match=r"`text` is not the text of runs/text-001; pass the text that the run began with"):
        Run.resume(steps=5, text=TEXT + "?")
    with Run.resume(steps=5, text=TEXT) as run:
        run.train(progress=False)
    assert len(losses(place / "runs" / "text-001")) == 5


def test_tokenizers_are_fitted_taken_from_a_model_or_given(place: Path) -> None:
    with Run.start(tiny(), "play.txt", directory="given", tokenizer=CharTokenizer().fit(TEXT + "xyz")) as given:
        assert not given.tokenizer.unknown_characters("xyz")
    with Run.start(tiny(), "play.txt", directory="taken", tokenizer="given") as taken:
        assert taken.tokenizer.to_json() == given.tokenizer.to_json()
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    told: list[str] = []
    with Run.start(tiny(), "play.txt", tokenizer="bpe", vocab_size=270, on_progress=lambda task, done, total: told.append(task)) as fitted:
        assert fitted.tokenizer.get_vocab_size() == 270
    assert set(told) == {"learning 270 byte-pair tokens"}


def test_a_pretrained_model_goes_on(place: Path) -> None:
    before = trained("before", steps=100)
    run = Run.start(TrainingConfig.from_preset("finetune", batch_size=16, steps=2), "play.txt", directory="run", init_from="before")
    assert (run.config.block_size, run.config.d_model, run.config.dropout) == (8, 16, 0.1)
    run.train(progress=False)
    assert run.metrics[0]["train_loss"] == pytest.approx(before.metrics[-1]["val_loss"], abs=0.3)
    assert run.metrics[0]["train_loss"] < before.metrics[0]["train_loss"] - 0.4


# ---- what it shows ----


def test_without_a_terminal_plain_lines_are_shown_as_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(tiny(steps=6, eval_every=4), "play.txt").train()
    out, err = capsys.readouterr()
    assert "step 4: validation loss" in out
    assert "over all held-out text" in out
    assert "\x1b" not in out
    assert err == ""


def test_nothing_is_shown_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(tiny(eval_every=2), "play.txt").train(progress=False)
    assert capsys.readouterr() == ("", "")


# ---- who may write ----


def test_a_run_holds_its_directory_until_it_is_trained_or_closed(place: Path) -> None:
    run = Run.start(tiny(), "play.txt", directory="run")
    with pytest.raises(InputError, match="run is in use by process"):
        Run.resume("run")
    run.close()
    with Run.resume("run"), pytest.raises(InputError, match="run is in use by process"):
        Run.resume("run")
    last = Run.resume("run")
    last.train(progress=False)
    assert not (place / "run" / ".lock").exists()
    with pytest.raises(InputError, match=r"this run is closed; continue it with `Run\.resume\('run'\)`"):
        last.train()


def test_a_run_that_is_forgotten_releases_its_directory() -> None:
    run = Run.start(tiny(), "play.txt", directory="run")
    del run
    gc.collect()
    Run.resume("run").close()


def test_an_error_in_training_releases_the_directory_and_spares_the_checkpoint(place: Path) -> None:
    run = Run.start(tiny(learning_rate=1e30), "play.txt", directory="run")
    with pytest.raises(DivergedError, match="not a finite number"):
        run.train(progress=False)
    assert saved_step(place / "run") == 0
    Run.resume("run").close()


def test_lost_metrics_are_a_warning() -> None:
    trained("run")
    path = Path("run/metrics.jsonl")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    with pytest.warns(RunWarning, match=r"run/metrics\.jsonl is damaged: the rows of 1 of 4 steps are lost"):
        Run.resume("run", steps=5).close()


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": "none.txt"}, "there is no file none.txt"),
        ({"file": ""}, "`file` is an empty path"),
        ({"text": " \n"}, "`text` holds no text; pass some, or the path of a file as `file`"),
        ({"file": TEXT}, "`file` has several lines and is no path; pass a text itself as `text`"),
        ({"text": Path("play.txt")}, f"`text` is the text itself, got {type(Path()).__name__}; pass a path as `file`"),
        ({"file": "play.txt", "tokenizer": 5}, "`tokenizer` is char, bpe or the directory of a model, got 5"),
        ({"file": "play.txt", "text": TEXT}, "`file` and `text` are both given; pass one of them"),
        (
            {"text": "to be or not to be"},
            "the validation split has 2 tokens, fewer than one block of 8 and the token after it; use",
        ),
        ({"file": "play.txt", "directory": ""}, "`directory` is an empty path"),
        ({"file": "play.txt", "directory": "play.txt"}, "play.txt is a file; choose another `directory`"),
        ({"file": "play.txt", "directory": "run"}, "run holds a run already; continue it with `Run.resume`, or choose another `directory`"),
        ({"file": "play.txt", "vocab_size": 300}, "`vocab_size` is for `tokenizer=bpe`"),
        ({"file": "play.txt", "tokenizer": "word"}, "`tokenizer` is char, bpe or the directory of a model, got 'word'"),
        ({"file": "play.txt", "init_from": "run"}, "`init_from` brings the model's size; leave out `d_model`, `num_heads`, `num_layers`"),
    ],
)
def test_what_cannot_be_started_is_refused_by_argument_and_leaves_nothing(place: Path, given: dict[str, Any], message: str) -> None:
    trained("run")
    before = tree(place)
    with pytest.raises(InputError) as caught:
        Run.start(tiny(), **given)
    assert message in str(caught.value)
    assert tree(place) == before


def test_a_preset_for_pretrained_models_needs_one(place: Path) -> None:
    with pytest.raises(InputError, match="the preset finetune is for a pretrained model: pass one as `init_from`, or set `d_model`"):
        Run.start(TrainingConfig.from_preset("finetune"), "play.txt")
    assert [path.name for path in place.iterdir()] == ["play.txt"]


def test_sizes_that_fit_no_machine_are_refused() -> None:
    with pytest.raises(InputError, match="choose a smaller `batch_size`, `block_size`, `d_model` or `num_layers`"):
        Run.start(tiny(batch_size=2**30), "play.txt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"directory": "run"}, "run has taken 4 steps already; set `steps` to more than 4"),
        ({"directory": "run", "steps": 0}, "`steps` must be an integer from 1"),
        ({"directory": "none"}, "none does not exist"),
        ({"directory": "run", "file": "other.txt", "steps": 5}, "other.txt is not the text of run; pass the text that the run began with"),
        ({"steps": 5}, "there is no run in runs"),
    ],
)
def test_what_cannot_be_resumed_is_refused_by_argument(place: Path, given: dict[str, Any], message: str) -> None:
    trained("run")
    (place / "other.txt").write_text("Another text. " * 100, encoding="utf-8")
    before = tree(place)
    with pytest.raises(InputError) as caught:
        Run.resume(**given)
    assert message in str(caught.value)
    assert tree(place) == before


def test_a_text_that_is_gone_is_asked_for(place: Path) -> None:
    trained("run")
    shutil.move("play.txt", "moved.txt")
    with pytest.raises(InputError, match="is gone; pass the path where it is now as `file`"):
        Run.resume("run", steps=5)
    Run.resume("run", "moved.txt", steps=5).close()
