"""Text, processed on the CPU: tokenizers, corpora, token files and windows of tokens."""

from tinytorch.text.bigram import bigram_bits
from tinytorch.text.bpe import BPETokenizer
from tinytorch.text.corpora import check_text, python_reference, read_chunks, read_text, text_digest
from tinytorch.text.protocol import Tokenizer, load_tokenizer
from tinytorch.text.token_file import TokenFile, is_token_file, write_token_file
from tinytorch.text.tokenizers import CharTokenizer
from tinytorch.text.windows import random_windows, remaining_window, sequential_windows, sliding_windows, split_text

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "TokenFile",
    "Tokenizer",
    "bigram_bits",
    "check_text",
    "is_token_file",
    "load_tokenizer",
    "python_reference",
    "random_windows",
    "read_chunks",
    "read_text",
    "remaining_window",
    "sequential_windows",
    "sliding_windows",
    "split_text",
    "text_digest",
    "write_token_file",
]
