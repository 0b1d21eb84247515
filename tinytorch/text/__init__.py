"""Text: tokenizers, corpora, and windows of tokens."""

from tinytorch.text.corpora import python_reference, read_text, text_digest
from tinytorch.text.protocol import Tokenizer, load_tokenizer
from tinytorch.text.tokenizers import CharTokenizer
from tinytorch.text.windows import random_windows, remaining_window, sequential_windows, split_text

__all__ = [
    "CharTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "python_reference",
    "random_windows",
    "read_text",
    "remaining_window",
    "sequential_windows",
    "split_text",
    "text_digest",
]
