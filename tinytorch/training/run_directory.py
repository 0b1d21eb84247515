"""The directory that a run lives in: settings, tokenizer, metrics, weights and training state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tinytorch.errors import InputError
from tinytorch.files import atomic_write_text
from tinytorch.models import TinyGPT
from tinytorch.text import Tokenizer, load_tokenizer
from tinytorch.training.checkpoint import load_model

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.jsonl"
CURVE = "loss.svg"
_FORMAT = "tinytorch-run"
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
        """Begin a run in ``path``, which is made where it is missing.

        Raises:
            InputError: it is a file, holds a run already, or cannot be written.
        """
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            tokenizer.save(path / TOKENIZER)
            atomic_write_text(path / METRICS, "")
            # last, since with it the directory counts as a run
            atomic_write_text(path / CONFIG, json.dumps({"format": _FORMAT, "version": _VERSION, **config}, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another directory with --out") from error
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Find the run in ``path``.

        Raises:
            InputError: there is none, or its config.json cannot be used.
        """
        file = path / CONFIG
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            what = "is not a run's directory" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {what}; name one that `tinytorch train` wrote, such as runs/python-001") from error
        except NotADirectoryError as error:
            raise InputError(f"{path} is a file; name the directory that `tinytorch train` wrote") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read as JSON; restore it from a copy, or train again in a new directory") from error
        if not isinstance(config, dict) or config.get("format") != _FORMAT or not isinstance(config.get("model"), dict):
            raise InputError(f"{file} is not a tinytorch run's; name a directory that `tinytorch train` wrote")
        if config.get("version") != _VERSION:
            raise InputError(f"{file} is of version {config.get('version')}, and this tinytorch reads {_VERSION}; upgrade tinytorch")
        return cls(path, config)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer. Raises `InputError` where its file is missing or broken."""
        return load_tokenizer(self.path / TOKENIZER)

    def new_model(self) -> TinyGPT:
        """A model of the run's shape, with new weights, on the chosen backend. Raises `InputError` where the settings are not a model's."""
        try:
            return TinyGPT(**self.config["model"])
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path / CONFIG} does not describe a model ({error}); restore it from a copy") from error

    def model(self) -> TinyGPT:
        """The trained model, on the chosen backend. Raises `InputError` where its file is missing, broken or another model's."""
        model = self.new_model()
        load_model(self.path, model)
        return model.eval()


def check_free(path: Path) -> None:
    """Raise `InputError` unless a run may begin in ``path``."""
    if path.is_file():
        raise InputError(f"{path} is a file; choose another directory with --out")
    if (path / CONFIG).exists():
        raise InputError(f"{path} holds a run already; continue it with --resume, or choose another directory with --out")


def next_directory(name: str, parent: Path = Path("runs")) -> Path:
    """``runs/NAME-001``, or the next number that is not taken."""
    number = 1
    while (parent / f"{name}-{number:03d}").exists():
        number += 1
    return parent / f"{name}-{number:03d}"


def newest_directory(parent: Path = Path("runs")) -> Path:
    """The run that began last. Raises `InputError` where there is none."""
    found = [path for path in parent.glob("*") if (path / CONFIG).is_file()] if parent.is_dir() else []
    if not found:
        raise InputError(f"there is no run in {parent}{os.sep}; train one with `tinytorch train`, or name its directory")
    return max(found, key=lambda path: ((path / CONFIG).stat().st_mtime, path.name))
