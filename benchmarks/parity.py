"""Compare the evolution's classifiers with PyTorch, with the same weights and batches: ``python -m benchmarks.parity``.

Three comparisons, each in one process with both libraries:

- the first 20 steps in float32: largest difference of the losses, for several seeds;
- 100 steps in float64: the same, for one seed;
- with ``--train``, complete runs for all seeds: accuracy on the test images.

If the input of a ReLU is 0 up to rounding, it may be active in one library and not in the other, and the two runs diverge. So the losses
are compared twice: of independent runs, and of runs where PyTorch adopts tinytorch's selection in such ties. The latter must agree to 1e-4
in float32 and 1e-6 in float64. If they do not, or if a selection differs by more than rounding, the exit code is 1.

Batches are drawn and augmented once, by tinytorch, and used by both. The PyTorch models use its own layers, losses and optimizers.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy
import torch

import tinytorch as tt
from benchmarks.decisions import Differing, Follower, Recorder
from tinytorch import nn
from tinytorch.backend import use_backend
from tinytorch.evolution.recipes import RECIPES, Recipe
from tinytorch.optim import SGD, AdamW, WarmupCosine, weight_decay_groups
from tinytorch.training import Accuracy, Trainer
from tinytorch.vision import Augment, DataLoader, ImageData, Normalize, load_images

BOUNDS = {"float32": 1e-4, "float64": 1e-6}  #: largest difference of the losses
SHOWN = 3  #: differing selections of a run that are printed; the JSON file has all

_LAYERS = {
    nn.Tanh: torch.nn.Tanh,
    nn.ReLU: torch.nn.ReLU,
    nn.Flatten: torch.nn.Flatten,
    nn.MaxPool2d: lambda: torch.nn.MaxPool2d(2),
    nn.AvgPool2d: lambda: torch.nn.AvgPool2d(2),
}


def torch_copy(network: nn.Module) -> torch.nn.Sequential:
    """The same layers in PyTorch, with the same weights."""
    layers: list[torch.nn.Module] = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            out_features, in_features = module.weight.shape
            layers.append(torch.nn.Linear(in_features, out_features, bias=module.bias is not None))
        elif isinstance(module, nn.Conv2d):
            out_channels, in_channels, size, _ = module.weight.shape
            layers.append(torch.nn.Conv2d(in_channels, out_channels, size, padding=module.padding))
        elif isinstance(module, nn.BatchNorm1d):
            layers.append(torch.nn.BatchNorm1d(module.weight.shape[0], module.eps, module.momentum))
        elif isinstance(module, nn.Dropout):
            layers.append(torch.nn.Dropout(module.p))
        elif type(module) in _LAYERS:
            layers.append(_LAYERS[type(module)]())
            continue
        else:
            continue
        if not isinstance(module, nn.Dropout):
            layers[-1].load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in module.state_dict().items()})
    if not isinstance(layers[0], torch.nn.Conv2d | torch.nn.Flatten):
        layers.insert(0, torch.nn.Flatten())
    return torch.nn.Sequential(*layers)


def augmented(recipe: Recipe, data: ImageData, dtype: str) -> Iterator[tuple[Any, Any]]:
    """Infinite batches of images, normalized and augmented on the host backend."""
    augment = Augment(*data.statistics(), flip=recipe.flip, shift=recipe.shift).train()
    loader = DataLoader(data, recipe.batch_size, shuffle=True, drop_last=True)
    while True:
        images, labels = loader.next_batch()
        yield augment(images).numpy().astype(dtype), labels


def schedule(recipe: Recipe, steps: int, epoch: int) -> tuple[int, int]:
    """Number of warmup steps, and total number of steps."""
    return min(math.ceil(epoch / 2), steps), steps


def torch_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer in PyTorch."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), recipe.learning_rate, 0.9, weight_decay=recipe.weight_decay, nesterov=True)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, recipe.learning_rate)


def learning_rate_at(recipe: Recipe, warmup: int, steps: int, step: int) -> float:
    """The learning rate of a step, counted from 1, computed with Python floats."""
    if step < warmup:
        return recipe.learning_rate * step / warmup
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def torch_losses(
    recipe: Recipe, model: torch.nn.Module, batches: Iterator[tuple[Any, Any]], taken: int, plan: tuple[int, int]
) -> Iterator[float]:
    """Train for ``taken`` steps, and yield the loss of each."""
    optimizer = torch_optimizer(recipe, model)
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for step in range(1, taken + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(recipe, *plan, step)
        images, labels = next(batches)
        loss = loss_fn(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def our_trainer(recipe: Recipe, model: nn.Module, plan: tuple[int, int]) -> Trainer:
    """The trainer, as in `tinytorch.evolution`."""
    shape = WarmupCosine(*plan, final=0.0)
    optimizer = (
        SGD(model.parameters(), recipe.learning_rate, 0.9, recipe.weight_decay, nesterov=True, schedule=shape)
        if recipe.optimizer == "sgd"
        else AdamW(weight_decay_groups(model.parameters(), recipe.weight_decay), recipe.learning_rate, schedule=shape)
    )
    return Trainer(model, optimizer, nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), [Accuracy()])


@dataclass(frozen=True)
class Agreement:
    """How well the first steps of both libraries agree.

    Attributes:
        dtype: dtype of the computation.
        plain: largest difference of the losses of independent runs.
        alike: the same if PyTorch adopts tinytorch's selections in ties.
        differing: differing selections in the latter.
    """

    dtype: str
    plain: float
    alike: float
    differing: list[Differing]

    @property
    def close(self) -> bool:
        """Whether the losses agree if ties are decided alike."""
        return self.alike <= BOUNDS[self.dtype]

    @property
    def holds(self) -> bool:
        """Whether they do, and rounding explains all differing selections."""
        return self.close and all(found.tie for found in self.differing)


def first_steps(recipe: Recipe, data: ImageData, taken: int, dtype: str, seed: int = 0) -> Agreement:
    """Compare the first steps of both libraries, without dropout."""
    plain, _ = _difference(recipe, data, taken, dtype, seed, follow=False)
    return Agreement(dtype, plain, *_difference(recipe, data, taken, dtype, seed, follow=True))


def _difference(recipe: Recipe, data: ImageData, taken: int, dtype: str, seed: int, follow: bool) -> tuple[float, list[Differing]]:
    """Largest difference of the losses, and the differing selections if PyTorch is to ``follow`` tinytorch in ties."""
    tt.seed(seed)
    network = recipe.build(data.images.shape[1:], len(data.classes))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    peer = torch_copy(network)
    if dtype == "float64":
        peer.double()
        for parameter in network.parameters():
            parameter.raw = tt.astype(parameter.detach(), "float64").raw
    source = augmented(recipe, data, dtype)
    batches = [next(source) for _ in range(taken)]
    epoch = len(data) // recipe.batch_size
    plan = schedule(recipe, recipe.epochs * epoch, epoch)
    trainer, ours = our_trainer(recipe, network, plan), iter(batches)
    follower = Follower(peer, Recorder(network)) if follow else None
    theirs = torch_losses(recipe, follower or peer, iter(batches), taken, plan)
    differences = []
    for step in range(1, taken + 1):
        (record,) = trainer.fit(lambda: next(ours), step)  # before PyTorch, which may adopt the selections
        differences.append(abs(record.train_loss - next(theirs)))
    return float(numpy.max(differences)), follower.differing if follower else []


def whole_run(recipe: Recipe, train: ImageData, test: ImageData, seed: int, epochs: int) -> float:
    """PyTorch's test accuracy after a complete run with tinytorch's initial weights and batches."""
    tt.seed(seed)
    torch.manual_seed(seed)
    part, _ = train.split(0.1)
    peer = torch_copy(recipe.build(part.images.shape[1:], len(part.classes)))
    epoch = len(part) // recipe.batch_size
    plan = schedule(recipe, epochs * epoch, epoch)
    for _ in torch_losses(recipe, peer, augmented(recipe, part, "float32"), epochs * epoch, plan):
        pass
    peer.eval()
    normalize = Normalize(*part.statistics())
    with torch.no_grad():
        right = [(peer(torch.from_numpy(normalize(i).numpy())).argmax(1).numpy() == y).sum() for i, y in DataLoader(test, 500)]
    return float(numpy.sum(right)) / len(test)


def line(row: dict[str, Any]) -> str:
    """Format a row: differences of the losses, and below it, for each run, its faults and first ties."""
    cells, below = [row["model"]], []
    for taken, runs in row["agreements"].items():
        cells.append(f"{taken}: {numbers(run.plain for run in runs)}, ties decided alike: {numbers(run.alike for run in runs)}")
        for seed, run in enumerate(runs):
            found = [] if run.close else [f"FAULT: the losses differ by {run.alike:.2g}, at most {BOUNDS[run.dtype]:g} is allowed"]
            found += map(str, sorted(run.differing, key=lambda differing: differing.tie))
            more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
            below += [f"  {taken}, seed {seed}, {text}" for text in [*found[:SHOWN], *more]]
    if "accuracies" in row:
        cells.append(f"accuracy {row['accuracy']:.4f}: {numbers(row['accuracies'], '.4f')}")
    return "\n".join(["; ".join(cells), *below])


def numbers(values: Iterable[float], form: str = ".2g") -> str:
    """Format numbers, separated by spaces."""
    return " ".join(format(value, form) for value in values)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each model, printed when it is measured, and written to the JSON file, if any."""
    train, test = load_images(options.data, options.data_dir)
    rows: list[dict[str, Any]] = []
    for recipe in RECIPES[options.data]:
        agreements = {
            "float32, 20 steps": [first_steps(recipe, train, 20, "float32", seed) for seed in range(options.seeds)],
            "float64, 100 steps": [first_steps(recipe, train, 100, "float64")],
        }
        row: dict[str, Any] = {"model": recipe.model, "agreements": agreements}
        if options.train:
            row["accuracies"] = [whole_run(recipe, train, test, seed, options.epochs or recipe.epochs) for seed in range(options.seeds)]
            row["accuracy"] = mean(row["accuracies"])
        rows.append(row)
        print(line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1, default=asdict) + "\n", encoding="utf-8")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare every model of a data set; returns 1 if one does not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", choices=sorted(RECIPES))
    parser.add_argument("--data-dir")
    parser.add_argument("--train", action="store_true", help="also complete runs in PyTorch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of the recipe's")
    parser.add_argument("--json", type=Path)
    with use_backend("numpy"):
        rows = compare(parser.parse_args(arguments))
    faults = [row["model"] for row in rows if not all(one.holds for found in row["agreements"].values() for one in found)]
    print(f"FAULT: {', '.join(faults)}" if faults else "every model agrees", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
