"""Run directories: creation never overwrites files, and opening reports damaged files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinytorch as tt
from tinytorch.io import locking
from tinytorch.io.errors import InputError
from tinytorch.io.files import save_arrays
from tinytorch.models import TinyGPT
from tinytorch.text import CharTokenizer
from tinytorch.training.run_directory import (
    CONFIG,
    METRICS,
    TOKENIZER,
    RunDirectory,
    RunWarning,
    check_free,
    claim_directory,
    lock_directory,
    newest_directory,
)

TOKENS = CharTokenizer().fit("abc")
MODEL = {"vocab_size": TOKENS.get_vocab_size(), "d_model": 8, "num_heads": 2, "num_layers": 1, "max_length": 4}
SETTINGS: dict[str, Any] = {"model": MODEL, "training": {}, "text": {}, "backend": "numpy:cpu"}


@pytest.fixture(autouse=True)
def _on_numpy() -> Iterator[None]:
    with tt.use_backend("numpy"):
        yield


def create_run(path: Path) -> RunDirectory:
    with RunDirectory.create(path, SETTINGS, TOKENS) as directory:
        pass
    return directory


def save_weights(path: Path) -> None:
    save_arrays(path / "model.safetensors", {name: value.numpy() for name, value in TinyGPT(**MODEL).state_dict().items()})


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_a_created_run_can_be_opened(tmp_path: Path) -> None:
    create_run(tmp_path / "deep" / "run")
    save_weights(tmp_path / "deep" / "run")
    opened = RunDirectory.open(tmp_path / "deep" / "run")
    assert opened.config["model"] == MODEL
    assert opened.tokenizer().encode("abc") == TOKENS.encode("abc")
    assert opened.new_model().max_length == 4
    assert (opened.path / METRICS).read_text(encoding="utf-8") == ""


def test_a_directory_is_not_a_run_before_its_first_checkpoint(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "runs" / "a", SETTINGS, TOKENS) as directory:
        with pytest.raises(InputError, match=r"ended before its first checkpoint; start it again with `Run\.start`"):
            RunDirectory.open(directory.path)
        with pytest.raises(InputError, match="there is no run in"):
            newest_directory(tmp_path / "runs")
    assert names(directory.path) == [CONFIG, METRICS, TOKENIZER]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), InputError("bad")])
def test_a_failed_start_removes_its_files(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    def fail() -> None:
        with RunDirectory.create(tmp_path, SETTINGS, TOKENS) as directory:
            (directory.path / "model.safetensors").write_text("first weights", encoding="utf-8")
            raise error

    with pytest.raises(InputError if isinstance(error, OSError) else type(error)) as caught:
        fail()
    if isinstance(error, OSError):
        assert "cannot be written (No space left on device); choose another `directory`" in str(caught.value)
        assert "Run.resume" not in str(caught.value)
    assert names(tmp_path) == ["notes.txt"]


def simulate_killed_start(path: Path, elsewhere: Path) -> None:
    """Fill ``path`` with the files of a run that was killed while it saved its first checkpoint."""
    with RunDirectory.create(elsewhere, SETTINGS, TOKENS) as directory:
        for name in ("model.safetensors", "optimizer.safetensors", ".model.next-0123abcd.safetensors", ".config-0123abcd.json"):
            (directory.path / name).write_text("half", encoding="utf-8")
        shutil.copytree(directory.path, path, dirs_exist_ok=True)


def test_a_new_start_replaces_the_files_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    simulate_killed_start(path, tmp_path / "elsewhere")
    (path / "notes.txt").write_text("mine", encoding="utf-8")
    check_free(path)
    with lock_directory(path):
        assert [name for name in names(path) if "0123abcd" in name] == []
        create_run(path)
    assert names(path) == [CONFIG, METRICS, "notes.txt", TOKENIZER]
    RunDirectory.open(path)


def test_a_leftover_unfinished_marker_is_ignored_and_removed(tmp_path: Path) -> None:
    create_run(tmp_path)
    (tmp_path / ".unfinished").touch()
    RunDirectory.open(tmp_path)
    with lock_directory(tmp_path):
        pass
    (tmp_path / CONFIG).unlink()  # deleted by the user
    with pytest.raises(InputError, match=r"contains tokenizer\.json and metrics\.jsonl, which a run would overwrite"):
        check_free(tmp_path)


def test_only_one_process_can_lock_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with lock_directory(path):
        with pytest.raises(InputError, match=rf"run is in use by process {os.getpid()} on "):
            lock_directory(path).__enter__()
        create_run(path)
        RunDirectory.open(path).tokenizer()  # reading needs no lock
    assert names(path) == [CONFIG, METRICS, TOKENIZER]
    with lock_directory(path):
        pass


def test_a_directory_created_for_a_failed_start_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with pytest.raises(KeyboardInterrupt), lock_directory(tmp_path / name):
            raise KeyboardInterrupt
    assert names(tmp_path) == ["mine"]


def test_leftover_files_are_kept_if_locking_is_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "_lock", lacking)
    (tmp_path / ".model-0123abcd.safetensors").write_text("", encoding="utf-8")
    with pytest.warns(RunWarning, match=r"cannot be locked \(No locks available\)"), lock_directory(tmp_path):
        pass
    assert names(tmp_path) == [".model-0123abcd.safetensors"]


def test_the_error_for_a_read_only_run_suggests_a_copy(tmp_path: Path) -> None:
    create_run(tmp_path)
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory\); copy the run and resume the copy"):
        lock_directory(tmp_path).__enter__()


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, METRICS, "model.safetensors", "optimizer.safetensors", "loss.svg"])
def test_existing_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody's", encoding="utf-8")
    with pytest.raises(InputError, match="choose another `directory`"):
        create_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "somebody's"


def test_a_run_can_be_created_beside_unrelated_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    create_run(tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_path_that_is_not_a_directory_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        check_free(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        check_free(Path(os.devnull))
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)"):
        create_run(tmp_path / "file" / "run")


def test_default_directories_are_numbered(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert [claim_directory("play", runs).name for _ in range(2)] == ["play-001", "play-002"]
    (runs / "play-003").write_text("a file", encoding="utf-8")
    assert claim_directory("play", runs).name == "play-004"
    assert claim_directory("other", runs).name == "other-001"
    with pytest.raises(InputError, match="cannot be written"):
        claim_directory("play", runs / "play-003")


def test_the_newest_run_is_the_one_started_last(tmp_path: Path) -> None:
    for age, name in enumerate(["c", "a", "b"]):
        path = create_run(tmp_path / name).path
        os.utime(path / CONFIG, (1000 + age, 1000 + age))
    (tmp_path / "z").mkdir()
    assert newest_directory(tmp_path).name == "b"
    with pytest.raises(InputError, match="tinytorch train"):
        newest_directory(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"format": "tinytorch-run", ', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[]", "does not belong to a tinytorch run"),
        (b'{"model_type": "gpt2"}', "does not belong to a tinytorch run"),
        (b'{"format": "tinytorch-run", "version": 99}', "has format version 99"),
        (b'{"format": "tinytorch-run", "version": 1, "model": {}, "training": []}', "lacks training, text, backend"),
    ],
)
def test_an_invalid_config_raises_an_error_with_its_path(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        RunDirectory.open(tmp_path)
    assert str(tmp_path / CONFIG) in str(caught.value)


def test_an_unreadable_config_raises_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / CONFIG).symlink_to(CONFIG)
    with pytest.raises(InputError, match=r"config\.json cannot be read \(Too many levels of symbolic links\)"):
        RunDirectory.open(tmp_path)
    (tmp_path / CONFIG).unlink()
    (tmp_path / CONFIG).mkdir()
    with pytest.raises(InputError, match=r"config\.json cannot be read \(Is a directory\)"):
        RunDirectory.open(tmp_path)


def test_a_path_that_is_not_a_run_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, message in ((tmp_path / "none", "does not exist"), (tmp_path, "is not a run directory"), (tmp_path / "file", "is a file")):
        with pytest.raises(InputError, match=message):
            RunDirectory.open(path)


def test_the_tokenizer_of_another_run_raises_an_error(tmp_path: Path) -> None:
    directory = create_run(tmp_path / "run")
    CharTokenizer().fit("abcd").save(directory.path / TOKENIZER)
    with pytest.raises(InputError, match=r"tokenizer\.json has 6 tokens and the model 5"):
        directory.tokenizer()


@pytest.mark.parametrize("change", [{"num_heads": 3}, {"d_model": "8"}, {"wings": 2}])
def test_invalid_model_settings_raise_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    path = create_run(tmp_path / "run").path / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"].update(change)
    path.write_text(json.dumps(config), encoding="utf-8")
    save_weights(path.parent)
    with pytest.raises(InputError, match="does not describe a model"):
        RunDirectory.open(path.parent).new_model()


def test_no_model_is_created_if_its_weights_are_missing_or_differ(tmp_path: Path) -> None:
    directory = create_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"there is no file .*model\.safetensors"):
        directory.new_model(num_layers=10**9)
    save_weights(directory.path)
    with pytest.raises(InputError, match=r"model\.safetensors is not the model that config\.json describes"):
        directory.new_model(num_layers=10**9)
