"""Text: tokenizers, corpora, windows of tokens, and generation."""

from tinytorch.text.bpe import BPETokenizer
from tinytorch.text.corpora import python_reference, read_text, text_digest
from tinytorch.text.decoder import Decoder, crop_prompt
from tinytorch.text.generation import generate, stream
from tinytorch.text.protocol import Tokenizer, load_tokenizer
from tinytorch.text.sampling import next_tokens
from tinytorch.text.tokenizers import CharTokenizer
from tinytorch.text.windows import random_windows, remaining_window, sequential_windows, split_text

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "Decoder",
    "Tokenizer",
    "crop_prompt",
    "generate",
    "load_tokenizer",
    "next_tokens",
    "python_reference",
    "random_windows",
    "read_text",
    "remaining_window",
    "sequential_windows",
    "split_text",
    "stream",
    "text_digest",
]
