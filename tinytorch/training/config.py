"""The settings of a training run, and the presets that they start from."""

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

#: The presets: files in the directory beside this module.
PRESETS = ("nano", "baby", "gpt2", "finetune")
_DIRECTORY = Path(__file__).with_name("presets")
#: What a pretrained model has already.
_OF_MODEL = ("d_model", "num_heads", "num_layers", "block_size", "dropout")
#: Steps are counted in int32.
_LARGEST = 2**31 - 1
#: What the earliest runs' config.json lacks.
_ADDED_LATER = {"precision", "decay_steps"}
#: Windows are no longer than this where only the pretrained model limits them.
_LONGEST_WINDOW = 256


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that a training run of a language model depends on, other than the text and the tokenizer.

    The first five are required for a new model; for a pretrained one each is that model's where it is None.

    Attributes:
        d_model: width of the model.
        num_heads: attention heads; must divide ``d_model``.
        num_layers: transformer blocks.
        block_size: tokens in a window, and a new model's ``max_length``. Of a pretrained model ``max_length`` where None, but 256 at most.
        dropout: probability that an activation is dropped in training.
        batch_size: windows in a step.
        steps: where the run stops.
        warmup_steps: steps of the linear warmup of the learning rate.
        decay_steps: step at which the cosine decay of the learning rate ends, at a tenth of its maximum; defaults to ``steps``.
        learning_rate: the maximum.
        beta2: of AdamW.
        eval_every: steps between evaluations on the validation split, each with a checkpoint.
        accumulate: microbatches in a batch, which save memory; must divide ``batch_size``.
        precision: one of `tinytorch.nn.PRECISIONS`; weights are kept in float32.
        checkpoint_activations: save memory by computing activations again in the backward pass.
        seed: of weights, batches and samples.
        preset: the preset that the others were taken from, if any.

    Raises:
        InputError: a value is out of range, or of the wrong type.
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
        """The settings of a preset, such as ``TrainingConfig.from_preset("nano", steps=100)``.

        A short run has a short warmup, a tenth of ``decay_steps`` or ``steps`` at most, unless ``changes`` say otherwise.

        Args:
            name: ``"nano"`` (0.8 million parameters, for a laptop), ``"baby"`` (11 million, for a GPU), ``"gpt2"`` (124 million) or
                ``"finetune"`` (for a pretrained model).
            changes: settings that differ from the preset's.

        Raises:
            InputError: there is no such preset, or a value is out of range.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
        return cls.from_toml(_DIRECTORY / f"{name}.toml", preset=name, **changes)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **changes: Any) -> TrainingConfig:
        """The settings in a TOML file, a line each, as in a preset's; the warmup is as for `from_preset`.

        Raises:
            InputError: the file cannot be read, lacks a setting or has an unknown one, or a value is out of range.
        """
        try:
            settings = tomllib.loads(read_regular(Path(path)).decode("utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and its permissions") from error
        except ValueError as error:  # both of TOML and of UTF-8
            raise InputError(f"{path} is not TOML ({error}); correct it") from error
        names = [field.name for field in fields(cls)]
        unknown = sorted(settings.keys() - set(names))
        if unknown:
            raise InputError(f"{path} has {', '.join(unknown)}, which is no setting of a run; the settings are {', '.join(names)}")
        required = {field.name for field in fields(cls) if field.default is MISSING}
        missing = sorted(required - settings.keys() - changes.keys())
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}; add a line for each")
        config = cls(**{**settings, **changes})
        shortest = max(1, (config.decay_steps or config.steps) // 10)
        if "warmup_steps" in changes or config.warmup_steps <= shortest:
            return config
        return cls(**{**asdict(config), "warmup_steps": shortest})

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> TrainingConfig:
        """The settings that a run keeps in its config.json.

        Raises:
            InputError: a setting is missing or damaged.
        """
        names = [field.name for field in fields(cls)]
        for name in names:
            if saved.get(name) is None and name not in _ADDED_LATER:
                raise InputError(f"`{name}` is missing")
        return cls(**{name: saved[name] for name in names if name in saved})

    def check_complete(self, pretrained: bool) -> None:
        """Raise `InputError` if a new model's setting is missing, or one is set that a pretrained model brings."""
        names = ("d_model", "num_heads", "num_layers") if pretrained else _OF_MODEL
        wrong = ", ".join(f"`{name}`" for name in names if (getattr(self, name) is None) is not pretrained)
        if wrong and pretrained:
            raise InputError(f"`init_from` brings the model's size; leave out {wrong}")
        if wrong:
            preset = f"the preset {self.preset} is" if self.preset else "these settings are"
            raise InputError(f"{preset} for a pretrained model: pass one as `init_from`, or set {wrong}")

    def for_pretrained_model(self, model: Mapping[str, Any]) -> TrainingConfig:
        """These settings for a pretrained model.

        Args:
            model: the settings of `TinyGPT`.

        Raises:
            InputError: one contradicts the model's.
        """
        self.check_complete(pretrained=True)
        longest = int(model["max_length"])
        if self.block_size is not None and self.block_size > longest:
            raise InputError(f"`block_size` must be at most the {longest} tokens that the model can attend to, got {self.block_size}")
        own = {**model, "block_size": min(longest, _LONGEST_WINDOW)}
        return TrainingConfig(**{name: own[name] if value is None and name in _OF_MODEL else value for name, value in asdict(self).items()})

    def model_settings(self, vocab_size: int) -> dict[str, Any]:
        """The arguments of `TinyGPT` for a new model: GPT-2's kind of model in the run's size."""
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
    """A value of a field whose type is written ``kind``. Raises `InputError` naming the field."""
    kind, _, optional = kind.partition(" | ")
    if value is None and optional:
        return None
    if kind == "int":
        least = 0 if name == "seed" else 1
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= (_LARGEST if least else math.inf):
            bounds = f"an integer from 1 to {_LARGEST}" if least else "an integer of 0 or more"
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
