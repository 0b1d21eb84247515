"""From options to a run's settings: presets, checks, and what a resumed run may not change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tinytorch.cli.presets import PRESETS
from tinytorch.io.errors import InputError
from tinytorch.nn.precision import check_precision

#: What ``--resume`` may be given: how far to go is not a setting of the run.
MAY_CHANGE = ("steps", "decay_steps")
#: What a model that has learned before has already.
_OWN = ("d_model", "num_heads", "num_layers")
#: Steps are counted in int32.
_LARGEST = 2**31 - 1
_WHOLE = ("d_model", "num_heads", "num_layers", "block_size", "batch_size", "accumulate", "steps", "decay_steps", "eval_every")


def new_settings(preset: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's settings with the options that were given (not ``None``), checked.

    Raises:
        InputError: there is no such preset, or a number is out of range; the message names the option.
    """
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    settings: dict[str, Any] = {"preset": preset, "seed": 0, "precision": "float32", "checkpoint_activations": False}
    settings.update(asdict(PRESETS[preset]))
    settings["decay_steps"] = None  # where the run ends, also a resumed one that goes further
    settings.update({name: value for name, value in options.items() if value is not None})
    check_settings(settings)
    # a short run has a short warmup, so that its learning rate decays, too
    settings["warmup_steps"] = min(settings["warmup_steps"], max(1, (settings["decay_steps"] or settings["steps"]) // 10))
    return settings


def check_pretrained(preset: str, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for options that can be seen to be wrong before the model, which may be large, is read."""
    given = [flag(name) for name in _OWN if options.get(name) is not None]
    if given:
        raise InputError(f"--init-from brings the model's size; leave out {', '.join(given)}")
    new_settings(preset, options)


def pretrained_settings(preset: str, options: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that goes on from a model which has learned before: its size, and its share of dropout unless told.

    Raises:
        InputError: as `new_settings`; or an option asks for longer windows than the model has.
    """
    if options.get("block_size") is not None and options["block_size"] > model["max_length"]:
        raise InputError(f"--block-size must be at most the {model['max_length']} tokens that the model can look at")
    usual = PRESETS[preset].block_size if preset in PRESETS else 1
    defaults = {"dropout": model["dropout"], "block_size": min(usual, model["max_length"])}
    given_or_not = {name: options[name] if options.get(name) is not None else value for name, value in defaults.items()}
    return new_settings(preset, {**options, **{name: model[name] for name in _OWN}, **given_or_not})


def resumed_settings(saved: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that goes on, up to where the options say.

    Its learning rate decays until there, too, unless the run or the options say where: runs from before had that as a number.

    Raises:
        InputError: an option says something else than the run's own setting, and the message names all such; or a setting is missing.
    """
    conflicts = [
        f"{flag(name)} {value} (the run has {saved.get(name)})"
        for name, value in options.items()
        if value is not None and name not in MAY_CHANGE and value != saved.get(name)
    ]
    if conflicts:
        raise InputError(f"a resumed run keeps its settings; leave out {', '.join(conflicts)}, or start a new run without --resume")
    saved = {"precision": "float32", **saved}  # runs began before there was a choice
    for name, value in new_settings("nano", {}).items():
        if not isinstance(saved.get(name), int | None if name == "decay_steps" else type(value)):
            raise InputError(f"the run's config.json has {saved.get(name)!r} for {name}; restore it from a copy, or start a new run")
    settings = {**saved, **{name: options[name] for name in MAY_CHANGE if options.get(name) is not None}}
    check_settings(settings)
    return settings


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `InputError`, naming the option, for a number that makes no sense."""
    for name in _WHOLE:
        if settings[name] is None and name == "decay_steps":
            continue
        if not 1 <= settings[name] <= _LARGEST:
            raise InputError(f"{flag(name)} must be a whole number from 1 to {_LARGEST}, got {settings[name]}")
    check_precision(settings["precision"])
    if settings["seed"] < 0:
        raise InputError(f"--seed must be 0 or more, got {settings['seed']}")
    if not 0.0 <= settings["dropout"] < 1.0:
        raise InputError(f"--dropout must be at least 0 and less than 1, got {settings['dropout']}")
    if not (math.isfinite(settings["learning_rate"]) and settings["learning_rate"] > 0.0):
        raise InputError(f"--learning-rate must be a positive number, got {settings['learning_rate']}")
    if settings["d_model"] % settings["num_heads"]:
        raise InputError(
            f"--num-heads must divide --d-model, and {settings['num_heads']} does not divide {settings['d_model']}; "
            f"try {_nearest_divisor(settings['d_model'], settings['num_heads'])}"
        )
    if settings["batch_size"] % settings["accumulate"]:
        raise InputError(f"--accumulate must divide --batch-size, and {settings['accumulate']} does not divide {settings['batch_size']}")


def model_settings(settings: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The arguments of `TinyGPT`: GPT-2's kind of model in the run's size."""
    return {
        "vocab_size": vocab_size,
        "d_model": settings["d_model"],
        "num_heads": settings["num_heads"],
        "num_layers": settings["num_layers"],
        "d_ff": None,
        "max_length": settings["block_size"],
        "dropout": settings["dropout"],
        "positional": "learned",
        "tie_weights": True,
    }


def flag(name: str) -> str:
    """A setting's name as it is typed."""
    return "--" + name.replace("_", "-")


def _nearest_divisor(width: int, heads: int) -> int:
    return min((n for n in range(1, min(width, 4096) + 1) if width % n == 0), key=lambda n: abs(n - heads))
