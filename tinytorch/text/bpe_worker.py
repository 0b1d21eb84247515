"""Learns byte pairs: a script that `bpe_training` runs in a process of its own. It needs nothing but the `tokenizers` package.

Standard input holds a line of JSON, ``[vocab_size, longest]``, and the text's parts, each a line of JSON. The tokenizer's JSON goes to
standard output. Standard error is the library's: its progress, a line of JSON for each pair, and what goes wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any


def learn(vocab_size: int, longest: int, parts: Iterator[str]) -> str:
    """The JSON of a byte-level tokenizer, as GPT-2's is one, with the pairs that are most frequent in the words of a text.

    A word of more than ``longest`` bytes is learned from in pieces; see `bpe_training.learn_byte_pairs`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.pre_tokenizer = pre_tokenizers.Sequence([byte_level, pre_tokenizers.Split(Regex(f".{{1,{longest}}}"), "isolated")])
    told: dict[str, Any] = {"progress_format": "json"} if hasattr(trainers.BpeTrainer, "progress_format") else {"show_progress": False}
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **told)
    engine.train_from_iterator((line for part in parts for line in part.splitlines(keepends=True)), trainer)
    engine.pre_tokenizer = byte_level
    return engine.to_str()


if __name__ == "__main__":
    lines = map(json.loads, sys.stdin.buffer)
    size, most = next(lines)
    sys.stdout.buffer.write(learn(size, most, lines).encode("utf-8"))
