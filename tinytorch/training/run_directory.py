"""The directory of a run: settings, tokenizer, metrics, weights and training state."""

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
#: Parent of the default run directories.
RUNS = Path("runs")
#: All files of a run.
FILES = (CONFIG, TOKENIZER, METRICS, CURVE, MODEL, NEXT_MODEL, OPTIMIZER)
#: The lock file; a process holds its lock while it writes to the directory.
_LOCK = ".lock"
#: Marks a run that has not written its config.json yet; a new run may overwrite its files.
_UNFINISHED = ".unfinished"
_VERSION = 1


class RunWarning(UserWarning):
    """Issued if a run continues despite a problem with its directory, such as damaged metrics.

    Example:
        >>> import warnings
        >>> from tinytorch.training import RunWarning
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", RunWarning)  # silence these warnings in a block
    """


class RunDirectory:
    """A run directory and the content of its ``config.json``.

    Attributes:
        path: the directory.
        config: the content: ``model``, ``training``, ``text`` and ``backend``.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config

    @classmethod
    @contextmanager
    def create(cls, path: Path, config: dict[str, Any], tokenizer: Tokenizer) -> Iterator[RunDirectory]:
        """Create a run in ``path``, which is created if missing. The `with` block must save the first checkpoint.

        If the block raises, all files are removed. If the process is killed, the next run in ``path`` overwrites the files.

        Raises:
            InputError: if ``path`` is a file, contains a run or a file that a run would overwrite, or cannot be written.
        """
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            try:
                (path / _UNFINISHED).touch()
                _remove(path, FILES)  # left by a killed process
                tokenizer.save(path / TOKENIZER)
                atomic_write_text(path / METRICS, "")
                directory = cls(path, config)
                yield directory
                directory._write_config()  # last, so that a run with a config.json always has weights
            except BaseException:
                if not (path / CONFIG).exists():
                    _remove(path, (*FILES, _UNFINISHED))
                raise
            _remove(path, [_UNFINISHED])
        except OSError as error:
            raise _unwritable_error(path, error) from error

    def _write_config(self) -> None:
        content = {"format": RUN_FORMAT, "version": _VERSION, **self.config}
        atomic_write_text(self.path / CONFIG, json.dumps(content, indent=2) + "\n")

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open the run in ``path``.

        Raises:
            InputError: if there is no run, or its config.json is invalid.
        """
        file = path / CONFIG
        try:
            config = json.loads(read_regular(file))
        except FileNotFoundError as error:
            if (path / _UNFINISHED).exists():
                raise InputError(f"the run in {path} ended before its first checkpoint; start it again with `Run.start`") from error
            problem = "is not a run directory" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {problem}; pass a directory written by `tinytorch train`, such as runs/python-001") from error
        except NotADirectoryError as error:
            raise InputError(f"{path} is a file; pass a directory written by `tinytorch train`") from error
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror or error}); check the path and its permissions") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} is not valid JSON; restore it from a copy, or train again in a new directory") from error
        if not isinstance(config, dict) or config.get("format") != RUN_FORMAT:
            raise InputError(f"{file} does not belong to a tinytorch run; pass a directory written by `tinytorch train`")
        if config.get("version") != _VERSION:
            raise InputError(
                f"{file} has format version {config.get('version')}, and this tinytorch reads version {_VERSION}; upgrade tinytorch"
            )
        required = {"model": dict, "training": dict, "text": dict, "backend": str}
        missing = [name for name, kind in required.items() if not isinstance(config.get(name), kind)]
        if missing:
            raise InputError(f"{file} lacks {', '.join(missing)}; restore it from a copy, or train again in a new directory")
        return cls(path, config)

    def tokenizer(self) -> Tokenizer:
        """Load the tokenizer. Raises `InputError` if its file is missing, damaged, or belongs to another run."""
        tokenizer = load_tokenizer(self.path / TOKENIZER)
        size, expected = tokenizer.get_vocab_size(), self.config["model"].get("vocab_size")
        # a GPT-2 model may have more embeddings than its tokenizer has tokens
        if size != self.config["training"].get("vocabulary", expected):
            raise InputError(
                f"{self.path / TOKENIZER} has {size} tokens and the model {expected}, so it belongs to another run; restore it from a copy"
            )
        return tokenizer

    def new_model(self, **changes: Any) -> TinyGPT:
        """Create a model with the run's settings and uninitialized weights, on the current backend.

        Args:
            **changes: settings that override those of the run.

        Raises:
            InputError: if the settings do not describe a model, or do not match the saved weights.
        """
        settings = {**self.config["model"], **changes}
        shapes = array_shapes(self.path / MODEL)
        try:
            if compare_shapes(settings, shapes):  # checked before memory is allocated
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
        """Load the trained model, in evaluation mode, on the current backend.

        Args:
            **changes: settings that override those of the run; they must not affect the weights.

        Raises:
            InputError: if the file of the weights is missing, damaged, or belongs to another model.
        """
        model = self.new_model(**changes)
        load_model(self.path, model)
        return model.eval()


@contextmanager
def lock_directory(path: Path, files: Iterable[str] = FILES) -> Iterator[None]:
    """Lock a directory for writing until the block ends, and remove temporary files left by killed processes. Readers need no lock.

    If the file system does not support locks, nothing is locked or removed, and a `RunWarning` is issued.

    Args:
        path: the directory. Created if missing, and removed at the end if it is still empty.
        files: names of the files that will be written, whose leftover temporary files are removed.

    Raises:
        InputError: if another process holds the lock, or ``path`` cannot be written.
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
            raise _unwritable_error(path, error) from error
        if reason is not None:
            advice = "make sure that no other process writes to it"
            warnings.warn(f"{path} cannot be locked ({reason}); {advice}", RunWarning, stacklevel=4)
        yield


def unwritable_reason(target: Path) -> str | None:
    """The reason why ``target`` cannot be created (including missing parents) or written; None if it can."""
    existing = next(path for path in (target.absolute(), *target.absolute().parents) if os.path.exists(path))
    if not os.path.isdir(existing):
        return os.strerror(errno.ENOTDIR)
    return None if os.access(existing, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def require_writable(path: Path) -> None:
    """Raise `InputError` if ``path`` cannot be created as a directory, or cannot be written."""
    reason = unwritable_reason(path)
    if reason is not None:
        raise InputError(f"{path} cannot be written ({reason}); choose another `directory`")


def check_free(path: Path) -> None:
    """Raise `InputError` if a new run in ``path`` would overwrite files."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose another `directory`")
    if os.path.lexists(path / CONFIG):
        raise InputError(f"{path} already contains a run; resume it with `Run.resume`, or choose another `directory`")
    taken = [name for name in FILES if os.path.lexists(path / name)]
    if taken and not (path / _UNFINISHED).exists():
        raise InputError(f"{path} contains {' and '.join(taken)}, which a run would overwrite; choose another `directory`")


def claim_directory(name: str, parent: Path = RUNS) -> Path:
    """Create ``runs/NAME-001``, or the next free number. Raises `InputError` on failure."""
    try:
        parent.mkdir(exist_ok=True)
        for number in count(1):
            path = parent / f"{name}-{number:03d}"
            try:
                path.mkdir()  # raises if another process has just created it
                break
            except FileExistsError:
                continue
    except OSError as error:
        raise _unwritable_error(parent, error) from error
    return path


def _unwritable_error(path: Path, error: OSError) -> InputError:
    advice = "copy the run and resume the copy" if (path / CONFIG).exists() else "choose another `directory`"
    return InputError(f"{path} cannot be written ({error.strerror or error}); {advice}")


def _remove(path: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            (path / name).unlink()


def _remove_empty(path: Path) -> None:
    with suppress(OSError):  # it is not empty
        path.rmdir()


def newest_directory(parent: Path = RUNS) -> Path:
    """The run that was started last. Raises `InputError` if there is none."""
    found = [path for path in parent.glob("*") if (path / CONFIG).is_file()] if parent.is_dir() else []
    if not found:
        raise InputError(f"there is no run in {parent}{os.sep}; train one with `tinytorch train`, or pass the directory of one")
    return max(found, key=lambda path: ((path / CONFIG).stat().st_mtime, path.name))
