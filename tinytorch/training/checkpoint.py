"""Save and load checkpoints: a run's weights and training state. After a crash at any time, both files are still of the same step.

A checkpoint consists of two files, and a rename replaces only one file atomically. So saving has three steps:

1. Write the new weights to a temporary file in the same directory.
2. Rename the new training state into place. This commits the checkpoint.
3. Rename the new weights into place.

If a crash happened between steps 2 and 3, `recover` performs step 3.
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
#: Name of the loss-scaling state (float16 only) in the optimizer file.
SCALING = "scaling"
#: Metadata key in the optimizer file: step counts of the parameters that were updated fewer times than the optimizer took steps.
FEWER_STEPS = "fewer_steps"


def save_checkpoint(directory: Path, trainer: Trainer) -> None:
    """Write the model, the optimizer state, the step number and the state of the CPU random generator. Raises ``OSError`` on failure."""
    optimizer = trainer.optimizer
    step = str(optimizer.steps)
    weights = {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}
    names = _parameter_names(trainer)
    arrays = {
        f"{slot}.{names[parameter]}": parameter.backend.to_host(raw)
        for parameter, state in optimizer.state.items()
        for slot, raw in zip(optimizer.slots(), state.arrays, strict=True)
    }
    step_counts = {names[p]: optimizer.state[p].steps if p in optimizer.state else 0 for p in optimizer.parameters}
    skipped = optimizer.skipped if trainer.precision.scaled else 0  # what the file says of skipped steps
    fewer = {name: count for name, count in step_counts.items() if count != optimizer.steps - skipped}
    if trainer.precision.scaled:
        arrays[SCALING] = as_host_array([*trainer.scaling[:2], float(skipped)])
    save_arrays(directory / NEXT_MODEL, weights, {"step": step}, permissions_of=directory / MODEL)
    metadata = {"step": step, "generator": json.dumps(random.get_state()), **({FEWER_STEPS: json.dumps(fewer)} if fewer else {})}
    save_arrays(directory / OPTIMIZER, arrays, metadata)
    os.replace(directory / NEXT_MODEL, directory / MODEL)


def recover(directory: Path) -> None:
    """Rename new weights into place if their training state was committed. Raises `InputError` if a file is damaged.

    New weights whose training state was never committed are left alone; the next checkpoint overwrites them.
    """
    pending = directory / NEXT_MODEL
    if pending.is_file() and load_arrays(pending)[1].get("step") == load_arrays(directory / OPTIMIZER)[1].get("step"):
        os.replace(pending, directory / MODEL)


def load_model(directory: Path, model: Module) -> int:
    """Load the saved weights into ``model``.

    Returns:
        The step of the checkpoint.

    Raises:
        InputError: if the file is missing, truncated, or belongs to another model.
    """
    path = directory / MODEL
    arrays, metadata = load_arrays(path)
    try:
        model.load_state_dict(arrays)
        return int(metadata["step"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} does not hold this run's model; restore it from a copy, or train in a new directory") from error


def load_checkpoint(directory: Path, trainer: Trainer) -> None:
    """Restore model, optimizer, loss scale and random generator from the files of `save_checkpoint`.

    Raises:
        InputError: if a file is missing, truncated or belongs to another run, or if the two files are of different steps.
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
        raise InputError(f"{path} belongs to a run in another precision; restore it from a copy, or train in a new directory")
    names = _parameter_names(trainer)
    try:
        fewer = {str(name): int(count) for name, count in json.loads(metadata.get(FEWER_STEPS, "{}")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {FEWER_STEPS}; restore it from a copy, or train in a new directory") from error
    skipped = 0 if scaling is None else int(scaling[2])
    step_counts = {parameter: fewer.get(names[parameter], step - skipped) for parameter in optimizer.parameters}
    expected = {f"{slot}.{names[p]}": p for p, count in step_counts.items() if count for slot in optimizer.slots()}
    # a parameter that was never updated, because every step was skipped, may have arrays of zeros in the file
    zeros = {f"{slot}.{names[p]}" for p, count in step_counts.items() if not count for slot in optimizer.slots()}
    arrays = {name: array for name, array in arrays.items() if name not in zeros}
    if arrays.keys() != expected.keys() or any(arrays[name].shape != tuple(p.shape) for name, p in expected.items()):
        raise InputError(f"{path} belongs to another optimizer or model; restore it from a copy, or train in a new directory")
    try:
        random.set_state(json.loads(metadata["generator"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} lacks the state of the random generator; restore it from a copy, or train in a new directory") from error
    optimizer.state = {p: ParameterState(count, []) for p, count in step_counts.items() if count}
    for name, p in expected.items():  # appended in the order of the optimizer's slots
        optimizer.state[p].arrays.append(p.backend.from_host(arrays[name], p.dtype.name))
    optimizer.steps, optimizer.skipped = step, skipped
    if scaling is not None:
        trainer.scaling = [float(value) for value in scaling]


def _parameter_names(trainer: Trainer) -> dict[Parameter, str]:
    """The name of each parameter of the model. The optimizer may hold only some of them, in any order."""
    return {parameter: name for name, parameter in trainer.model.named_parameters()}
