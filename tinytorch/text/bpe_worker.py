"""Trains a BPE tokenizer: a script that `bpe_training` runs in a separate process. It requires only the `tokenizers` package.

Standard input is one line of JSON, ``[vocab_size, longest]``, then one line of JSON for each part of the text. The tokenizer's JSON is
written to standard output. Standard error has the library's progress, one line of JSON for each pair, and its errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any


def learn(vocab_size: int, longest: int, parts: Iterator[str]) -> str:
    """Train a byte-level BPE tokenizer, as GPT-2's, on the words of a text; returns its JSON.

    Words of more than ``longest`` bytes are split; see `bpe_training.learn_byte_pairs`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.pre_tokenizer = pre_tokenizers.Sequence([byte_level, pre_tokenizers.Split(Regex(f".{{1,{longest}}}"), "isolated")])
    progress: dict[str, Any] = {"progress_format": "json"} if hasattr(trainers.BpeTrainer, "progress_format") else {"show_progress": False}
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **progress)
    engine.train_from_iterator((line for part in parts for line in part.splitlines(keepends=True)), trainer)
    engine.pre_tokenizer = byte_level
    return engine.to_str()


if __name__ == "__main__":
    lines = map(json.loads, sys.stdin.buffer)
    size, most = next(lines)
    sys.stdout.buffer.write(learn(size, most, lines).encode("utf-8"))
