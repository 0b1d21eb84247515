"""Saving and restoring a run's weights and training state, so that a crash at any moment leaves a pair that belongs together.

There are two files, and a rename replaces only one. So the weights are first written beside the old ones; then the training state is
renamed into place, which is the moment the checkpoint counts; then the weights are. `recover` finishes a checkpoint that was cut short
after that moment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tinytorch import random
from tinytorch.backend.host import as_host_array
from tinytorch.errors import InputError
from tinytorch.files import load_arrays, save_arrays
from tinytorch.nn.module import Module
from tinytorch.training.trainer import Trainer

MODEL = "model.safetensors"
NEXT_MODEL = "model.next.safetensors"
OPTIMIZER = "optimizer.safetensors"
#: The name of float16's loss scale among the optimizer's arrays.
SCALING = "scaling"


def save_checkpoint(directory: Path, trainer: Trainer) -> None:
    """Write the model, the optimizer, the step's number and the host generator's position. Raises ``OSError`` where it cannot."""
    optimizer = trainer.optimizer
    step = str(optimizer.steps)
    weights = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    backend = optimizer.parameters[0].backend
    names = [] if optimizer.state is None else _state_names(trainer)
    arrays = {name: backend.to_host(raw) for name, raw in zip(names, optimizer.state or [], strict=True)}
    if trainer.precision.scaled:
        arrays[SCALING] = as_host_array(trainer.scaling)
    save_arrays(directory / NEXT_MODEL, weights, {"step": step}, permissions_of=directory / MODEL)
    save_arrays(directory / OPTIMIZER, arrays, {"step": step, "generator": json.dumps(random.get_state())})
    os.replace(directory / NEXT_MODEL, directory / MODEL)


def recover(directory: Path) -> None:
    """Finish a checkpoint whose training state is in place but whose weights are not yet. Raises `InputError` for a broken file.

    Weights that wait for a training state which was never written stay, and the next checkpoint replaces them.
    """
    waiting = directory / NEXT_MODEL
    if waiting.is_file() and load_arrays(waiting)[1].get("step") == load_arrays(directory / OPTIMIZER)[1].get("step"):
        os.replace(waiting, directory / MODEL)


def load_model(directory: Path, model: Module) -> int:
    """Give ``model`` the saved weights; returns the step they are from.

    Raises:
        InputError: the file is missing, truncated, or belongs to another model.
    """
    path = directory / MODEL
    arrays, metadata = load_arrays(path)
    try:
        model.load_state_dict(arrays)
        return int(metadata["step"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not the model of this run; restore it from a copy, or train in a new directory") from error


def load_checkpoint(directory: Path, trainer: Trainer) -> None:
    """Continue where `save_checkpoint` left off.

    Raises:
        InputError: a file is missing, truncated, belongs to another run, or the two are not of one step.
    """
    recover(directory)
    step = load_model(directory, trainer.model)
    path = directory / OPTIMIZER
    arrays, metadata = load_arrays(path)
    if metadata.get("step") != str(step):
        raise InputError(
            f"{path} is of step {metadata.get('step')} and {MODEL} of step {step}; restore both from one copy, or train in a new directory"
        )
    optimizer = trainer.optimizer
    scaling = arrays.pop(SCALING, None)
    if trainer.precision.scaled is (scaling is None):
        raise InputError(f"{path} is of a run in another precision; restore it from a copy, or train in a new directory")
    names = _state_names(trainer)
    backend = optimizer.parameters[0].backend
    holders = [parameter for _ in optimizer.slots() for parameter in optimizer.parameters]
    if step and (set(arrays) != set(names) or any(arrays[n].shape != tuple(p.shape) for n, p in zip(names, holders, strict=True))):
        raise InputError(f"{path} belongs to another optimizer or model; restore it from a copy, or train in a new directory")
    try:
        random.set_state(json.loads(metadata["generator"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} says nothing of the random generator; restore it from a copy, or train in a new directory") from error
    optimizer.state = [backend.from_host(arrays[name], p.dtype.name) for name, p in zip(names, holders, strict=True)] if step else None
    optimizer.steps = step
    if scaling is not None:
        trainer.scaling = [float(value) for value in scaling]


def _state_names(trainer: Trainer) -> list[str]:
    """The optimizer's arrays by name, in its own order."""
    names = [name for name, _ in trainer.model.named_parameters()]
    return [f"{slot}.{name}" for slot in trainer.optimizer.slots() for name in names]
