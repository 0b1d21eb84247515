"""Load a trained model from a run directory or a GPT-2 directory."""

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
    """Load a model and its tokenizer.

    Args:
        path: a run directory, or a directory in which `transformers` saved a GPT-2.
        **changes: constructor arguments of `TinyGPT` to override, which must not affect the weights, such as ``dropout=0.0``.

    Returns:
        The model, in evaluation mode on the current backend, and the tokenizer.

    Raises:
        InputError: if ``path`` is neither, a file is damaged, or model and tokenizer do not match.

    Example:
        >>> import tempfile
        >>> from tinytorch.training import Run, TrainingConfig, load_pretrained
        >>> config = TrainingConfig.from_preset("nano", d_model=8, num_heads=2, num_layers=1, block_size=8, batch_size=2, steps=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Run.start(config, text="to be or not to be. " * 9, directory=folder).train(progress=False)
        ...     model, tokenizer = load_pretrained(folder)
        >>> tokenizer.decode(tokenizer.encode("to be"))
        'to be'
    """
    tokenizer = load_model_tokenizer(path)
    if not is_pretrained(path):
        return RunDirectory.open(Path(path)).model(**changes), tokenizer
    model = TinyGPT.from_pretrained(path, **changes)
    size, limit = tokenizer.get_vocab_size(), model.config.vocab_size
    if size > limit:
        raise InputError(f"the tokenizer in {path} has {size} tokens, more than the model's {limit}; restore the files of one model")
    return model, tokenizer


def load_model_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Load only the tokenizer of a model. Raises `InputError` as `load_pretrained` does."""
    return BPETokenizer.from_gpt2(path) if is_pretrained(path) else RunDirectory.open(Path(path)).tokenizer()


def trained_precision(path: str | os.PathLike[str]) -> str:
    """The precision a run was trained in; float32 for a GPT-2 directory. Raises `InputError` if ``path`` is neither."""
    return "float32" if is_pretrained(path) else str(RunDirectory.open(Path(path)).config["training"].get("precision", "float32"))
