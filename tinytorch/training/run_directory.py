"""The directory that a run lives in: settings, tokenizer, metrics, weights and training state."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any

from tinytorch.errors import InputError
from tinytorch.files import RUN_FORMAT, array_shapes, atomic_write_text, read_regular
from tinytorch.models import TinyGPT
from tinytorch.models.shapes import differences
from tinytorch.nn import init
from tinytorch.text import Tokenizer, load_tokenizer
from tinytorch.training.checkpoint import MODEL, NEXT_MODEL, OPTIMIZER, load_model

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.jsonl"
CURVE = "loss.svg"
#: Where runs go that are given no directory.
RUNS = Path("runs")
_FILES = (TOKENIZER, METRICS, CURVE, MODEL, NEXT_MODEL, OPTIMIZER)
_VERSION = 1


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
    def create(cls, path: Path, config: dict[str, Any], tokenizer: Tokenizer) -> RunDirectory:
        """Prepare ``path``, which is made where it is missing, for a run. It counts as one after `write_config`.

        Raises:
            InputError: it is a file, holds a run already, or cannot be written.
        """
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            tokenizer.save(path / TOKENIZER)
            atomic_write_text(path / METRICS, "")
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, config)

    def write_config(self) -> None:
        """Make the directory a run, once it holds a checkpoint to go on from. Raises ``OSError`` where it cannot."""
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
            what = "is not a run's directory" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {what}; name one that `tinytorch train` wrote, such as runs/python-001") from error
        except NotADirectoryError as error:
            raise InputError(f"{path} is a file; name the directory that `tinytorch train` wrote") from error
        except (OSError, ValueError) as error:
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
            if differences(settings, shapes):  # before a model of any size is made
                raise InputError(
                    f"{self.path / MODEL} is not the model that {CONFIG} describes; restore it from a copy, or train in a new directory"
                )
            with init.blank():
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


def check_free(path: Path) -> None:
    """Raise `InputError` unless a run may begin in ``path``, without a file there being lost."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose another directory with --out")
    taken = [name for name in (CONFIG, *_FILES) if os.path.lexists(path / name)]
    if CONFIG in taken:
        raise InputError(f"{path} holds a run already; continue it with --resume, or choose another directory with --out")
    if taken:
        raise InputError(f"{path} holds {' and '.join(taken)}, which a run would replace; choose another directory with --out")


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
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another directory with --out")


def newest_directory(parent: Path = RUNS) -> Path:
    """The run that began last. Raises `InputError` where there is none."""
    found = [path for path in parent.glob("*") if (path / CONFIG).is_file()] if parent.is_dir() else []
    if not found:
        raise InputError(f"there is no run in {parent}{os.sep}; train one with `tinytorch train`, or name its directory")
    return max(found, key=lambda path: ((path / CONFIG).stat().st_mtime, path.name))
