"""Generation: continuations of prompts by a language model, sampled, streamed, and with a key-value cache."""

from tinytorch.generation.caches import Cache, DynamicCache, StaticCache
from tinytorch.generation.chat import Conversation
from tinytorch.generation.config import SamplingConfig
from tinytorch.generation.decoding import Decoder, crop_prompt
from tinytorch.generation.generate import generate, stream
from tinytorch.generation.logits_processors import LogitsProcessor, MinP, RepetitionPenalty, SuppressTokens, Temperature
from tinytorch.generation.sampling import greedy, sample
from tinytorch.generation.streaming import TextStreamer, TokenStreamer

__all__ = [
    "Cache",
    "Conversation",
    "Decoder",
    "DynamicCache",
    "LogitsProcessor",
    "MinP",
    "RepetitionPenalty",
    "SamplingConfig",
    "StaticCache",
    "SuppressTokens",
    "Temperature",
    "TextStreamer",
    "TokenStreamer",
    "crop_prompt",
    "generate",
    "greedy",
    "sample",
    "stream",
]
