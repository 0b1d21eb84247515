"""A trained model from wherever it is: a run's directory, or a GPT-2's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.models.gpt2_files import is_pretrained
from tinytorch.text import BPETokenizer, Tokenizer
from tinytorch.training.run_directory import RunDirectory


def load_pretrained(path: str | os.PathLike[str], **changes: Any) -> tuple[TinyGPT, Tokenizer]:
    """Model, in evaluation mode on the chosen backend, and tokenizer.

    Args:
        path: a run's directory, or one of `transformers` with a GPT-2 in it.
        changes: settings of `TinyGPT` that change no weight, such as ``dropout=0.0``.

    Raises:
        InputError: it is neither, a file is broken, or model and tokenizer do not belong together.
    """
    tokenizer = load_its_tokenizer(path)
    if not is_pretrained(path):
        return RunDirectory.open(Path(path)).model(**changes), tokenizer
    model = TinyGPT.from_pretrained(path, **changes)
    size, room = tokenizer.get_vocab_size(), model.config.vocab_size
    if size > room:
        raise InputError(f"the tokenizer in {path} has {size} tokens and the model {room}; restore the files of one model")
    return model, tokenizer


def load_its_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer beside a model. Raises `InputError` as `load_pretrained` does."""
    return BPETokenizer.from_gpt2(path) if is_pretrained(path) else RunDirectory.open(Path(path)).tokenizer()


def trained_precision(path: str | os.PathLike[str]) -> str:
    """What a run was trained in, one of `tinytorch.nn.PRECISIONS`; float32 for a GPT-2. Raises `InputError` where it is neither."""
    return "float32" if is_pretrained(path) else str(RunDirectory.open(Path(path)).config["training"].get("precision", "float32"))
