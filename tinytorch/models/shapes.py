"""The parameters of a `TinyGPT` by name and shape, told from its settings alone: a file is held to them before a model is made.

Settings that come with a file of weights may ask for anything. What they ask for is made only if the file is as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from tinytorch.models.gpt_config import GPTConfig

Shape: TypeAlias = tuple[int, ...]

_BLOCKS = "blocks."
#: No file holds a table of sines, so it may have so many numbers, or as many as the file.
_TABLE = 2**24


@dataclass(frozen=True)
class Differences:
    """In what the arrays of a file are not a model's.

    Attributes:
        missing: names that the file lacks, of the first layer that lacks any, and outside of layers.
        further: how many more it lacks in later layers.
        unknown: names that the model has not.
        shapes: names of arrays of another shape, with their shape in the file and the model's.
    """

    missing: list[str]
    further: int
    unknown: list[str]
    shapes: list[tuple[str, Shape, Shape]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.shapes)


def outer_shapes(config: GPTConfig) -> dict[str, Shape]:
    """The parameters outside of blocks."""
    width, vocabulary = config.d_model, config.vocab_size
    shapes: dict[str, Shape] = {"embedding.weight": (vocabulary, width)}
    if config.positional == "learned":
        shapes["positions.weight"] = (config.max_length, width)
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    if not config.tie_weights:
        shapes["head.weight"] = (vocabulary, width)
    return shapes


def block_shapes(config: GPTConfig) -> dict[str, Shape]:
    """The parameters of each block."""
    width = config.d_model
    inner = config.d_ff or 4 * width
    return {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attention.in_proj_weight": (3 * width, width),
        "attention.in_proj_bias": (3 * width,),
        "attention.out_proj.weight": (width, width),
        "attention.out_proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "linear1.weight": (inner, width),
        "linear1.bias": (inner,),
        "linear2.weight": (width, inner),
        "linear2.bias": (width,),
    }


def parameter_count(settings: Mapping[str, Any]) -> int:
    """How many parameters a `TinyGPT` of these settings has, without making it."""
    config = GPTConfig(**settings)
    outer, block = (sum(map(prod, shapes(config).values())) for shapes in (outer_shapes, block_shapes))
    return int(outer + config.num_layers * block)


def differences(settings: Mapping[str, Any], stored: Mapping[str, Shape]) -> Differences:
    """Hold the arrays of a file to a model.

    Takes time that grows with the file, and not with what the settings ask for.

    Args:
        settings: arguments of `TinyGPT`.
        stored: the shapes of the arrays in the file, by their names in the model.

    Raises:
        TypeError, ValueError: the settings are not a model's.
    """
    config = GPTConfig(**settings)
    table = 0 if config.positional == "learned" else config.max_length * config.d_model
    if table > max(_TABLE, sum(map(prod, stored.values()))):
        raise ValueError(f"max_length={config.max_length} asks for a table of {table:,} numbers, more than all weights")
    wanted = outer_shapes(config)
    missing, further = sorted(wanted.keys() - stored.keys()), 0
    block = block_shapes(config)
    for layer in range(config.num_layers):
        names = {f"{_BLOCKS}{layer}.{name}": shape for name, shape in block.items()}
        wanted |= names
        lacking = sorted(names.keys() - stored.keys())
        if lacking:
            missing += lacking
            further = (config.num_layers - layer - 1) * len(block)
            break  # there may be any number of them
    unknown = sorted(stored.keys() - wanted.keys()) if not further else []
    shapes = [(name, stored[name], shape) for name, shape in wanted.items() if name in stored and stored[name] != shape]
    return Differences(missing, further, unknown, shapes)
