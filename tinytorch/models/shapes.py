"""Names and shapes of the parameters of a `TinyGPT`, computed from its settings without creating the model.

The settings in a file of weights are not trusted. They are compared with the arrays in the file first, so that damaged settings cannot
allocate a model that is larger than the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from tinytorch.models.gpt_config import GPTConfig

Shape: TypeAlias = tuple[int, ...]

_BLOCKS = "blocks."
#: Maximum number of elements in a sinusoidal table if the file is smaller. Files do not contain this table, so it needs its own limit.
_MAX_TABLE_SIZE = 2**24


@dataclass(frozen=True)
class ShapeDifferences:
    """Differences between the arrays in a file and the parameters of a model; false if there are none.

    Attributes:
        missing: names that are not in the file. Only the first incomplete block is listed; later blocks are not checked.
        more_missing: number of names in those later blocks.
        unknown: names that are not in the model.
        shapes: names whose shapes differ, with the shape in the file and the shape in the model.
    """

    missing: list[str]
    more_missing: int
    unknown: list[str]
    shapes: list[tuple[str, Shape, Shape]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.shapes)


def outer_shapes(config: GPTConfig) -> dict[str, Shape]:
    """Return the shapes of the parameters outside of the blocks by name."""
    width, vocabulary = config.d_model, config.vocab_size
    shapes: dict[str, Shape] = {"embedding.weight": (vocabulary, width)}
    if config.positional == "learned":
        shapes["positions.weight"] = (config.max_length, width)
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    if not config.tie_weights:
        shapes["head.weight"] = (vocabulary, width)
    return shapes


def block_shapes(config: GPTConfig) -> dict[str, Shape]:
    """Return the shapes of the parameters of one block by name."""
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
    """Return the number of parameters of a `TinyGPT` with these settings."""
    config = GPTConfig(**settings)
    outer, block = (sum(map(prod, shapes(config).values())) for shapes in (outer_shapes, block_shapes))
    return int(outer + config.num_layers * block)


def compare_shapes(settings: Mapping[str, Any], stored: Mapping[str, Shape]) -> ShapeDifferences:
    """Compare the arrays in a file with the parameters of a model.

    The time depends on the size of the file and not on the sizes in the settings.

    Args:
        settings: arguments of `TinyGPT`.
        stored: shapes of the arrays in the file by parameter name.

    Raises:
        TypeError, ValueError: the settings are not valid.
    """
    config = GPTConfig(**settings)
    table = 0 if config.positional == "learned" else config.max_length * config.d_model
    if table > max(_MAX_TABLE_SIZE, sum(map(prod, stored.values()))):
        raise ValueError(f"max_length={config.max_length} needs a sinusoidal table of {table:,} elements, more than all weights together")
    expected = outer_shapes(config)
    missing, more_missing = sorted(expected.keys() - stored.keys()), 0
    block = block_shapes(config)
    for layer in range(config.num_layers):
        names = {f"{_BLOCKS}{layer}.{name}": shape for name, shape in block.items()}
        expected |= names
        absent = sorted(names.keys() - stored.keys())
        if absent:
            missing += absent
            more_missing = (config.num_layers - layer - 1) * len(block)
            break  # do not list more: num_layers may be arbitrarily large
    unknown = sorted(stored.keys() - expected.keys()) if not more_missing else []
    shapes = [(name, stored[name], shape) for name, shape in expected.items() if name in stored and stored[name] != shape]
    return ShapeDifferences(missing, more_missing, unknown, shapes)
