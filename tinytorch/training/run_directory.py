"""The directory that a run lives in: settings, tokenizer, metrics, weights and training state."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.io.files import RUN_FORMAT, array_shapes, atomic_write_text, read_regular, remove_leftovers
from tinytorch.io.locking import locked
from tinytorch.models import TinyGPT
from tinytorch.models.shapes import compare_shapes
from tinytorch.nn import init
from tinytorch.text import Tokenizer, load_tokenizer
from tinytorch.training.checkpoint import MODEL, NEXT_MODEL, OPTIMIZER, load_model

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.jsonl"
CURVE = "loss.svg"
#: Where runs go that are given no directory.
RUNS = Path("runs")
#: All files of a run.
FILES = (CONFIG, TOKENIZER, METRICS, CURVE, MODEL, NEXT_MODEL, OPTIMIZER)
#: The file that a process locks to write to the directory.
_LOCK = ".lock"
#: Marks a run that has not written its config.json yet; another start may replace its files.
_UNFINISHED = ".unfinished"
_VERSION = 1


class RunWarning(UserWarning):
    """A run goes on, but something about its directory should be known."""


class RunDirectory:
    """A directory with a ``config.json`` in it.

    Attributes:
        path: where it is.
        config: its settings: ``model``, ``training``, ``text`` and ``backend``.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config

    @classmethod
    @contextmanager
    def create(cls, path: Path, config: dict[str, Any], tokenizer: Tokenizer) -> Iterator[RunDirectory]:
        """Start a run in ``path``, which is created if it is missing; the block saves the first checkpoint.

        If the block raises, no file is left. If the process is killed, the next start replaces its files.

        Raises:
            InputError: ``path`` is a file, holds a run or a file that a run would replace, or cannot be written.
        """
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            try:
                (path / _UNFINISHED).touch()
                _remove(path, FILES)  # of a killed start
                tokenizer.save(path / TOKENIZER)
                atomic_write_text(path / METRICS, "")
                directory = cls(path, config)
                yield directory
                directory._write_config()  # last, so that what a crash leaves is never a run without weights
            except BaseException:
                if not (path / CONFIG).exists():
                    _remove(path, (*FILES, _UNFINISHED))
                raise
            _remove(path, [_UNFINISHED])
        except OSError as error:
            raise _unwritable(path, error) from error

    def _write_config(self) -> None:
        content = {"format": RUN_FORMAT, "version": _VERSION, **self.config}
        atomic_write_text(self.path / CONFIG, json.dumps(content, indent=2) + "\n")

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Find the run in ``path``.

        Raises:
            InputError: there is none, or its config.json cannot be used.
        """
        file = path / CONFIG
        try:
            config = json.loads(read_regular(file))
        except FileNotFoundError as error:
            if (path / _UNFINISHED).exists():
                raise InputError(
                    f"{path} holds a run that was ended before its first checkpoint; start it again with `Run.start`"
                ) from error
            what = "is not a run's directory" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {what}; name one that `tinytorch train` wrote, such as runs/python-001") from error
        except NotADirectoryError as error:
            raise InputError(f"{path} is a file; name the directory that `tinytorch train` wrote") from error
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror or error}); check the path and its permissions") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} cannot be read as JSON; restore it from a copy, or train again in a new directory") from error
        if not isinstance(config, dict) or config.get("format") != RUN_FORMAT:
            raise InputError(f"{file} is not a tinytorch run's; name a directory that `tinytorch train` wrote")
        if config.get("version") != _VERSION:
            raise InputError(f"{file} is of version {config.get('version')}, and this tinytorch reads {_VERSION}; upgrade tinytorch")
        wanted = {"model": dict, "training": dict, "text": dict, "backend": str}
        damaged = [name for name, kind in wanted.items() if not isinstance(config.get(name), kind)]
        if damaged:
            raise InputError(f"{file} lacks {', '.join(damaged)}; restore it from a copy, or train again in a new directory")
        return cls(path, config)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer. Raises `InputError` where its file is missing, broken, or another run's."""
        tokenizer = load_tokenizer(self.path / TOKENIZER)
        size, wanted = tokenizer.get_vocab_size(), self.config["model"].get("vocab_size")
        # a GPT-2 may have room for more tokens than its tokenizer has
        if size != self.config["training"].get("vocabulary", wanted):
            raise InputError(
                f"{self.path / TOKENIZER} has {size} tokens and the model {wanted}, so it is another run's; restore it from a copy"
            )
        return tokenizer

    def new_model(self, **changes: Any) -> TinyGPT:
        """A model of the run's shape on the chosen backend, with weights that are to be loaded; ``changes`` go over its settings.

        Raises `InputError` where the settings are not a model's, or not of the one whose weights are there.
        """
        settings = {**self.config["model"], **changes}
        shapes = array_shapes(self.path / MODEL)
        try:
            if compare_shapes(settings, shapes):  # before a model of any size is made
                raise InputError(
                    f"{self.path / MODEL} is not the model that {CONFIG} describes; restore it from a copy, or train in a new directory"
                )
            with init.skip_init():
                return TinyGPT(**settings)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path / CONFIG} does not describe a model ({error}); restore it from a copy") from error

    def model(self, **changes: Any) -> TinyGPT:
        """The trained model, on the chosen backend; ``changes`` go over settings that change no weight.

        Raises `InputError` where its file is missing, broken or another model's.
        """
        model = self.new_model(**changes)
        load_model(self.path, model)
        return model.eval()


@contextmanager
def lock_directory(path: Path, files: Iterable[str] = FILES) -> Iterator[None]:
    """Let no other process write to a directory until the block ends, and remove what killed processes left there. Readers need no lock.

    Where the file system does not support locks, nothing is locked or removed, and a `RunWarning` says so.

    Args:
        path: the directory; created if it is missing, and removed again if nothing is written to it.
        files: names of the files that are written; temporary files of killed writes to them are removed.

    Raises:
        InputError: another process holds the lock, or ``path`` cannot be written.
    """
    with ExitStack() as stack:
        try:
            if not path.exists():
                path.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove_empty, path)
            reason = stack.enter_context(locked(path / _LOCK, path))
            if reason is None:
                for name in files:
                    remove_leftovers(path / name)
                if (path / CONFIG).exists():
                    _remove(path, [_UNFINISHED])
        except OSError as error:
            raise _unwritable(path, error) from error
        if reason is not None:
            risk = "do not start a second process there, because it would not be refused"
            warnings.warn(f"{path} cannot be locked ({reason}): {risk}", RunWarning, stacklevel=4)
        yield


def why_unwritable(place: Path) -> str | None:
    """The reason why a file or directory cannot be made at ``place``, with the parents that are missing; None if it can."""
    existing = next(path for path in (place.absolute(), *place.absolute().parents) if os.path.exists(path))
    if not os.path.isdir(existing):
        return os.strerror(errno.ENOTDIR)
    return None if os.access(existing, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def require_writable(path: Path) -> None:
    """Raise `InputError` if a directory cannot be made at ``path``, or cannot be written to."""
    reason = why_unwritable(path)
    if reason is not None:
        raise InputError(f"{path} cannot be written ({reason}); choose another `directory`")


def check_free(path: Path) -> None:
    """Raise `InputError` unless a run may begin in ``path``, without a file there being lost."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose another `directory`")
    if os.path.lexists(path / CONFIG):
        raise InputError(f"{path} holds a run already; continue it with `Run.resume`, or choose another `directory`")
    taken = [name for name in FILES if os.path.lexists(path / name)]
    if taken and not (path / _UNFINISHED).exists():
        raise InputError(f"{path} holds {' and '.join(taken)}, which a run would replace; choose another `directory`")


def claim_directory(name: str, parent: Path = RUNS) -> Path:
    """Make ``runs/NAME-001``, or the next number that is not taken. Raises `InputError` where it cannot."""
    try:
        parent.mkdir(exist_ok=True)
        for number in count(1):
            path = parent / f"{name}-{number:03d}"
            try:
                path.mkdir()  # fails for one of two runs that begin at once
                break
            except FileExistsError:
                continue
    except OSError as error:
        raise _unwritable(parent, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> InputError:
    how = "copy the run and resume the copy" if (path / CONFIG).exists() else "choose another `directory`"
    return InputError(f"{path} cannot be written ({error.strerror or error}); {how}")


def _remove(path: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            (path / name).unlink()


def _remove_empty(path: Path) -> None:
    with suppress(OSError):  # it is not empty
        path.rmdir()


def newest_directory(parent: Path = RUNS) -> Path:
    """The run that began last. Raises `InputError` where there is none."""
    found = [path for path in parent.glob("*") if (path / CONFIG).is_file()] if parent.is_dir() else []
    if not found:
        raise InputError(f"there is no run in {parent}{os.sep}; train one with `tinytorch train`, or name its directory")
    return max(found, key=lambda path: ((path / CONFIG).stat().st_mtime, path.name))
