"""Saving and restoring a run's weights and training state, so that a crash at any moment leaves a pair that belongs together.

There are two files, and a rename replaces only one. So the weights are first written beside the old ones; then the training state is
renamed into place, which is the moment the checkpoint counts; then the weights are. `recover` finishes a checkpoint that was cut short
after that moment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tinytorch.backend.host import as_host_array
from tinytorch.io.errors import InputError
from tinytorch.io.files import load_arrays, save_arrays
from tinytorch.nn.module import Module, Parameter
from tinytorch.ops import random
from tinytorch.optim import ParameterState
from tinytorch.training.trainer import Trainer

MODEL = "model.safetensors"
NEXT_MODEL = "model.next.safetensors"
OPTIMIZER = "optimizer.safetensors"
#: The name of float16's loss scale among the optimizer's arrays.
SCALING = "scaling"
#: Metadata of the optimizer's file: how many steps each parameter has taken that has taken fewer than the optimizer.
FEWER_STEPS = "fewer_steps"


def save_checkpoint(directory: Path, trainer: Trainer) -> None:
    """Write the model, the optimizer, the step's number and the host generator's position. Raises ``OSError`` where it cannot."""
    optimizer = trainer.optimizer
    step = str(optimizer.steps)
    weights = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    names = _parameter_names(trainer)
    arrays = {
        f"{slot}.{names[parameter]}": parameter.backend.to_host(raw)
        for parameter, kept in optimizer.state.items()
        for slot, raw in zip(optimizer.slots(), kept.arrays, strict=True)
    }
    taken = {names[p]: optimizer.state[p].steps if p in optimizer.state else 0 for p in optimizer.parameters}
    fewer = {name: count for name, count in taken.items() if count != optimizer.steps - optimizer.skipped}
    if trainer.precision.scaled:
        arrays[SCALING] = as_host_array(trainer.scaling)
    save_arrays(directory / NEXT_MODEL, weights, {"step": step}, permissions_of=directory / MODEL)
    metadata = {"step": step, "generator": json.dumps(random.get_state()), **({FEWER_STEPS: json.dumps(fewer)} if fewer else {})}
    save_arrays(directory / OPTIMIZER, arrays, metadata)
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
    names = _parameter_names(trainer)
    try:
        fewer = {str(name): int(count) for name, count in json.loads(metadata.get(FEWER_STEPS, "{}")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {FEWER_STEPS}; restore it from a copy, or train in a new directory") from error
    skipped = 0 if scaling is None else int(scaling[2])
    taken = {parameter: fewer.get(names[parameter], step - skipped) for parameter in optimizer.parameters}
    holders = {f"{slot}.{names[p]}": p for p, count in taken.items() if count for slot in optimizer.slots()}
    # of a parameter that took no step, because all of them were skipped, there may be zeros
    zeros = {f"{slot}.{names[p]}" for p, count in taken.items() if not count for slot in optimizer.slots()}
    arrays = {name: array for name, array in arrays.items() if name not in zeros}
    if arrays.keys() != holders.keys() or any(arrays[name].shape != tuple(p.shape) for name, p in holders.items()):
        raise InputError(f"{path} belongs to another optimizer or model; restore it from a copy, or train in a new directory")
    try:
        random.set_state(json.loads(metadata["generator"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} says nothing of the random generator; restore it from a copy, or train in a new directory") from error
    optimizer.state = {p: ParameterState(count, []) for p, count in taken.items() if count}
    for name, p in holders.items():  # slot by slot for each parameter
        optimizer.state[p].arrays.append(p.backend.from_host(arrays[name], p.dtype.name))
    optimizer.steps, optimizer.skipped = step, skipped
    if scaling is not None:
        trainer.scaling = [float(value) for value in scaling]


def _parameter_names(trainer: Trainer) -> dict[Parameter, str]:
    """The name of each of the model's parameters, whichever of them the optimizer holds and in whatever order."""
    return {parameter: name for name, parameter in trainer.model.named_parameters()}
