"""Text generation with a language model: sampling, streaming, key-value caches and conversations."""

from tinytorch.generation.caches import Cache, DynamicCache, StaticCache
from tinytorch.generation.chat import Conversation
from tinytorch.generation.config import SamplingConfig
from tinytorch.generation.decoding import Decoder, crop_prompt
from tinytorch.generation.generate import generate, stream
from tinytorch.generation.logits_processors import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
)
from tinytorch.generation.sampling import greedy, sample
from tinytorch.generation.streaming import TextStreamer, TokenStreamer

__all__ = [
    "Cache",
    "Conversation",
    "Decoder",
    "DynamicCache",
    "LogitsProcessor",
    "MinPLogitsWarper",
    "RepetitionPenaltyLogitsProcessor",
    "SamplingConfig",
    "StaticCache",
    "SuppressTokensLogitsProcessor",
    "TemperatureLogitsWarper",
    "TextStreamer",
    "TokenStreamer",
    "crop_prompt",
    "generate",
    "greedy",
    "sample",
    "stream",
]
