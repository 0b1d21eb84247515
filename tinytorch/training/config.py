"""Settings of a training run, and presets."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.io.files import read_regular
from tinytorch.nn.precision import check_precision

#: Names of the presets, TOML files in ``presets/``.
PRESETS = ("nano", "baby", "gpt2", "finetune")
_DIRECTORY = Path(__file__).with_name("presets")
#: Settings that a pretrained model already determines.
_MODEL_SETTINGS = ("d_model", "num_heads", "num_layers", "block_size", "dropout")
#: Steps are counted in int32.
_INT32_MAX = 2**31 - 1
#: Settings missing in the config.json of runs by early versions.
_ADDED_LATER = {"precision", "decay_steps"}
#: Upper limit of the default block size for a pretrained model.
_MAX_DEFAULT_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All settings of a language-model training run, except the text and the tokenizer.

    The first five are required for a new model. With a pretrained model (`Run.start` with ``init_from``) each of them may be None,
    which means the pretrained model's value.

    Attributes:
        d_model: width of the model.
        num_heads: attention heads; must divide ``d_model``.
        num_layers: transformer blocks.
        block_size: tokens per training window, and ``max_length`` of a new model. With a pretrained model, None means its
            ``max_length``, but at most 256.
        dropout: dropout probability.
        batch_size: windows per step.
        steps: total number of training steps.
        warmup_steps: steps of linear warmup of the learning rate.
        decay_steps: step at which the cosine decay ends, at a tenth of ``learning_rate``; defaults to ``steps``.
        learning_rate: maximum learning rate.
        beta2: decay rate of AdamW's second moment.
        eval_every: steps between evaluations on the validation split; each saves a checkpoint.
        accumulate: number of microbatches per batch (gradient accumulation); must divide ``batch_size``.
        precision: one of `tinytorch.nn.PRECISIONS`; weights are kept in float32.
        checkpoint_activations: recompute activations in the backward pass to save memory.
        seed: seed of weights, batches and samples.
        preset: name of the preset the settings started from, or an empty string.

    Raises:
        InputError: if a value is out of range or has the wrong type.

    Example:
        >>> from tinytorch.training import TrainingConfig
        >>> config = TrainingConfig.from_preset("nano", steps=100, block_size=32)
        >>> config.steps, config.block_size, config.d_model
        (100, 32, 128)
    """

    d_model: int | None = None
    num_heads: int | None = None
    num_layers: int | None = None
    block_size: int | None = None
    dropout: float | None = None
    batch_size: int
    steps: int
    warmup_steps: int
    decay_steps: int | None = None
    learning_rate: float
    beta2: float
    eval_every: int
    accumulate: int = 1
    precision: str = "float32"
    checkpoint_activations: bool = False
    seed: int = 0
    preset: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, str(field.type), getattr(self, field.name)))
        check_precision(self.precision)
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            raise InputError(f"`dropout` must be at least 0 and less than 1, got {self.dropout}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise InputError(f"`learning_rate` must be a positive number, got {self.learning_rate}")
        if not 0.0 <= self.beta2 < 1.0:
            raise InputError(f"`beta2` must be at least 0 and less than 1, got {self.beta2}")
        if self.d_model is not None and self.num_heads is not None and self.d_model % self.num_heads:
            raise InputError(
                f"`num_heads` must divide `d_model`, and {self.num_heads} does not divide {self.d_model}; "
                f"try {_nearest_divisor(self.d_model, self.num_heads)}"
            )
        if self.batch_size % self.accumulate:
            raise InputError(f"`accumulate` must divide `batch_size`, and {self.accumulate} does not divide {self.batch_size}")

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> TrainingConfig:
        """Load a preset and override some of its settings, as in ``TrainingConfig.from_preset("nano", steps=100)``.

        The warmup is shortened to a tenth of ``decay_steps`` (or ``steps``) for short runs, unless ``changes`` set ``warmup_steps``.

        Args:
            name: ``"nano"`` (0.8 million parameters, for a laptop), ``"baby"`` (11 million, for a GPU), ``"gpt2"`` (124 million) or
                ``"finetune"`` (for a pretrained model).
            **changes: settings that override those of the preset.

        Raises:
            InputError: if the preset does not exist, or a value is out of range.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
        return cls.from_toml(_DIRECTORY / f"{name}.toml", preset=name, **changes)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **changes: Any) -> TrainingConfig:
        """Load settings from a TOML file, with one setting per line as in the presets.

        Args:
            path: the file.
            **changes: settings that override those of the file. The warmup is shortened as in `from_preset`.

        Raises:
            InputError: if the file cannot be read, lacks a setting or has an unknown one, or if a value is out of range.
        """
        try:
            settings = tomllib.loads(read_regular(Path(path)).decode("utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and its permissions") from error
        except ValueError as error:  # invalid TOML or invalid UTF-8
            raise InputError(f"{path} is not valid TOML ({error}); correct the file") from error
        names = [field.name for field in fields(cls)]
        unknown = sorted(settings.keys() - set(names))
        if unknown:
            raise InputError(f"{path} has unknown settings: {', '.join(unknown)}; known settings are {', '.join(names)}")
        required = {field.name for field in fields(cls) if field.default is MISSING}
        missing = sorted(required - settings.keys() - changes.keys())
        if missing:
            raise InputError(f"{path} lacks the settings {', '.join(missing)}; add a line for each")
        config = cls(**{**settings, **changes})
        longest = max(1, (config.decay_steps or config.steps) // 10)
        if "warmup_steps" in changes or config.warmup_steps <= longest:
            return config
        return cls(**{**asdict(config), "warmup_steps": longest})

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> TrainingConfig:
        """Load the settings that a run saved in its config.json.

        Raises:
            InputError: if a setting is missing or invalid.
        """
        names = [field.name for field in fields(cls)]
        for name in names:
            if saved.get(name) is None and name not in _ADDED_LATER:
                raise InputError(f"`{name}` is missing")
        return cls(**{name: saved[name] for name in names if name in saved})

    def check_complete(self, pretrained: bool) -> None:
        """Raise `InputError` if a setting that a new model needs is missing, or one is set that a pretrained model determines."""
        names = ("d_model", "num_heads", "num_layers") if pretrained else _MODEL_SETTINGS
        wrong = ", ".join(f"`{name}`" for name in names if (getattr(self, name) is None) is not pretrained)
        if wrong and pretrained:
            raise InputError(f"`init_from` determines the model's size; leave out {wrong}")
        if wrong:
            preset = f"the preset {self.preset} is" if self.preset else "these settings are"
            raise InputError(f"{preset} for a pretrained model; pass a model as `init_from`, or set {wrong}")

    def for_pretrained_model(self, model: Mapping[str, Any]) -> TrainingConfig:
        """Complete these settings with those of a pretrained model.

        Args:
            model: the constructor arguments of the `TinyGPT`.

        Raises:
            InputError: if a setting conflicts with the model.
        """
        self.check_complete(pretrained=True)
        max_length = int(model["max_length"])
        if self.block_size is not None and self.block_size > max_length:
            raise InputError(f"`block_size` must be at most the model's maximum length of {max_length} tokens, got {self.block_size}")
        own = {**model, "block_size": min(max_length, _MAX_DEFAULT_BLOCK)}
        return TrainingConfig(
            **{name: own[name] if value is None and name in _MODEL_SETTINGS else value for name, value in asdict(self).items()}
        )

    def model_settings(self, vocab_size: int) -> dict[str, Any]:
        """Constructor arguments of `TinyGPT` for a new model: the GPT-2 architecture in the run's size."""
        return {
            "vocab_size": vocab_size,
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "d_ff": None,
            "max_length": self.block_size,
            "dropout": self.dropout,
            "positional": "learned",
            "tie_weights": True,
        }


def _checked(name: str, kind: str, value: Any) -> Any:
    """Check and convert the value of a field whose annotation is ``kind``. Raises `InputError` if it is invalid."""
    kind, _, optional = kind.partition(" | ")
    if value is None and optional:
        return None
    if kind == "int":
        low, high = (0, math.inf) if name == "seed" else (1, _INT32_MAX)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            bounds = f"an integer from 1 to {_INT32_MAX}" if low else "an integer of 0 or more"
            raise InputError(f"`{name}` must be {bounds}, got {value!r}")
    elif kind == "float":
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"`{name}` must be a number, got {value!r}")
        return float(value)
    elif not isinstance(value, {"str": str, "bool": bool}[kind]):
        raise InputError(f"`{name}` must be {'a string' if kind == 'str' else 'True or False'}, got {value!r}")
    return value


def _nearest_divisor(width: int, heads: int) -> int:
    return min((n for n in range(1, min(width, 4096) + 1) if width % n == 0), key=lambda n: abs(n - heads))
