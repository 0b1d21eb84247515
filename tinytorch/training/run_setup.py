"""Create the parts of a run (settings, tokenized text, model) and validate them before anything is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tinytorch import __version__
from tinytorch.backend import current_backend
from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray
from tinytorch.models import TinyGPT
from tinytorch.nn import LanguageModelLoss
from tinytorch.ops import random
from tinytorch.optim import AdamW, WarmupCosine, weight_decay_groups
from tinytorch.text import Tokenizer, check_text, is_token_file, split_text
from tinytorch.training.config import TrainingConfig
from tinytorch.training.corpus import Corpus, Source, read_corpus, require_same_tokens
from tinytorch.training.language_model import next_token_logits
from tinytorch.training.memory import check_memory
from tinytorch.training.metrics import LanguageModelAccuracy
from tinytorch.training.pretrained import load_pretrained
from tinytorch.training.run_directory import CONFIG, RunDirectory
from tinytorch.training.tokenizers import OnProgress, TokenizerChoice, make_tokenizer, reject_tokenizer_arguments, require_known_characters
from tinytorch.training.trainer import Trainer

#: Fraction of the text, at its end, used as validation split, and the maximum size of that split in tokens.
VAL_SPLIT = 0.1
MAX_VAL_TOKENS = 1_000_000
#: Weight decay of the weight matrices.
WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class Setup:
    """The parts of a run.

    Attributes:
        config: the settings, complete: values of a pretrained model are filled in.
        corpus: the tokenized text.
        model: the model, with initial weights for a new run.
        content: the content of ``config.json``.
    """

    config: TrainingConfig
    corpus: Corpus
    model: TinyGPT
    content: dict[str, Any]


def set_up(
    config: TrainingConfig,
    source: Source,
    tokenizer: TokenizerChoice | None,
    vocab_size: int | None,
    init_from: Path | None,
    on_progress: OnProgress,
) -> Setup:
    """Create the parts of a new run and seed the CPU random generator. Arguments and errors are those of `Run.start`."""
    if source.file is not None:
        check_text(source.file)
        if is_token_file(source.file):
            reject_tokenizer_arguments(tokenizer, vocab_size, str(source.file))
    if init_from is None:
        corpus = read_corpus(source, lambda content: make_tokenizer(tokenizer, vocab_size, [content], on_progress))
        shape = config.model_settings(corpus.tokenizer.get_vocab_size())
        model = None
    else:
        reject_tokenizer_arguments(tokenizer, vocab_size, "`init_from`")
        model, own = load_pretrained(init_from, **({} if config.dropout is None else {"dropout": config.dropout}))
        shape = asdict(model.config)
        config = config.for_pretrained_model(shape)
        corpus = read_corpus(source, lambda content: _checked_tokenizer(own, content))
        require_same_tokens(corpus, own, init_from)
    _check(shape, config, corpus)
    content: dict[str, Any] = {
        "tinytorch": __version__,
        "backend": current_backend().spec,
        "model": shape,
        "training": asdict(config),
        "text": corpus.record,
    }
    if init_from is not None:
        content["init_from"] = str(init_from.absolute())
        content["training"]["vocabulary"] = corpus.tokenizer.get_vocab_size()  # a GPT-2 model may have more embeddings
    random.seed(config.seed)
    return Setup(config, corpus, model or TinyGPT(**shape), content)


def set_up_resumed(directory: RunDirectory, source: Source, steps: int | None, decay_steps: int | None) -> Setup:
    """Create the parts of a resumed run, without loading the weights. Arguments and errors are those of `Run.resume`."""
    try:
        config = TrainingConfig.from_saved(directory.config["training"])
    except InputError as error:
        damage = str(error).replace("`", "")  # the names refer to the file, not to arguments
        raise InputError(f"{directory.path / CONFIG} is damaged: {damage}; restore it from a copy, or train in a new directory") from error
    if steps is not None:
        config = replace(config, steps=steps)
    if decay_steps is not None:
        config = replace(config, decay_steps=decay_steps)
    known = directory.config["text"]
    if source.is_default and "python" not in known:
        if "source" not in known:
            raise InputError(f"the run in {directory.path} was started with a text that is not in a file; pass it as `text`")
        file = Path(str(known["source"]))
        if not file.exists():
            raise InputError(f"{file}, the text of {directory.path}, does not exist; pass its current path as `file`")
        source = Source(file, None)
    tokenizer = directory.tokenizer()
    corpus = read_corpus(source, lambda content: tokenizer)
    if corpus.record["sha256"] != known.get("sha256"):
        both = "python" in known and "python" in corpus.record
        advice = f"use Python {known['python']}" if both else "pass the text that the run was started with"
        raise InputError(f"{corpus.name} is not the text of {directory.path}; {advice}, or start a new run with `Run.start`")
    require_same_tokens(corpus, tokenizer, directory.path)
    model = directory.new_model()
    _check(asdict(model.config), config, corpus)
    random.seed(config.seed)
    return Setup(config, corpus, model, directory.config)


def make_trainer(model: TinyGPT, config: TrainingConfig) -> Trainer:
    """The trainer of a run: AdamW with weight decay for matrices, linear warmup, cosine decay, and gradient clipping at 1."""
    model.checkpoint_activations = config.checkpoint_activations
    decay_steps = config.decay_steps or config.steps
    optimizer = AdamW(
        weight_decay_groups(model.parameters(), WEIGHT_DECAY),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        schedule=WarmupCosine(min(config.warmup_steps, decay_steps), decay_steps),
        max_norm=1.0,
    )
    metrics = [LanguageModelAccuracy()]
    return Trainer(model, optimizer, LanguageModelLoss(), metrics, config.accumulate, config.precision, next_token_logits)


def split_tokens(tokens: HostArray) -> tuple[HostArray, HostArray]:
    """Split the tokens into training and validation split."""
    cut = max(len(split_text(tokens, VAL_SPLIT)[0]), len(tokens) - MAX_VAL_TOKENS)
    return tokens[:cut], tokens[cut:]


def _check(model: dict[str, Any], config: TrainingConfig, corpus: Corpus) -> None:
    """Raise `InputError` if a step does not fit in memory, or the validation split (the shorter one) is too short for a window."""
    check_memory(model, config, current_backend())
    assert config.block_size is not None  # the config is complete
    tokens = len(corpus.tokens)
    validation = tokens - int(tokens * (1 - Fraction(str(VAL_SPLIT))))
    if validation > config.block_size:
        return
    required = int(config.block_size / Fraction(str(VAL_SPLIT))) + 1
    shorter = f"a `block_size` of at most {validation - 1} or " if validation > 1 else ""
    raise InputError(
        f"the validation split has {validation:,} tokens, fewer than one block of {config.block_size:,} and the token after it; "
        f"use {shorter}a text of at least {required:,} tokens"
    )


def _checked_tokenizer(tokenizer: Tokenizer, content: str) -> Tokenizer:
    require_known_characters(tokenizer, content, "the text")
    return tokenizer
