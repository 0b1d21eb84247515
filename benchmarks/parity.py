"""The evolution's classifiers in PyTorch, from the same weights and on the same batches: ``python -m benchmarks.parity``.

Three comparisons, each in one process with both libraries:

- the first 20 steps in float32: largest difference of the losses, for each of several seeds, as a single rectifier whose input is 0 but
  for rounding may open in one library and not in the other, after which the two runs drift apart;
- 100 steps in float64: the same, for one;
- with ``--train``, whole runs of the seeds: accuracy on the test images.

Batches are drawn and augmented once, by tinytorch, and given to both. PyTorch's side is written with its own layers, losses and optimizers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy
import torch

import tinytorch as tt
from tinytorch import nn
from tinytorch.backend import get_backend
from tinytorch.evolution.recipes import RECIPES, Recipe
from tinytorch.optim import SGD, AdamW, WarmupCosine
from tinytorch.training import Accuracy, Trainer
from tinytorch.vision import Augment, DataLoader, ImageData, Normalise, load_images

_LAYERS = {
    nn.Tanh: torch.nn.Tanh,
    nn.ReLU: torch.nn.ReLU,
    nn.Flatten: torch.nn.Flatten,
    nn.MaxPool2d: lambda: torch.nn.MaxPool2d(2),
    nn.AvgPool2d: lambda: torch.nn.AvgPool2d(2),
}


def twin(network: nn.Module) -> torch.nn.Sequential:
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
    """Batches of images, normalised and augmented on the host's backend, without end."""
    augment = Augment(*data.statistics(), flip=recipe.flip, shift=recipe.shift).train()
    loader = DataLoader(data, recipe.batch_size, shuffle=True, drop_last=True)
    while True:
        images, labels = loader.next_batch()
        yield augment(images).numpy().astype(dtype), labels


def schedule(recipe: Recipe, steps: int, epoch: int) -> tuple[int, int]:
    """Steps of warm-up, and all steps."""
    return min(math.ceil(epoch / 2), steps), steps


def torch_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer as PyTorch has it."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), recipe.learning_rate, 0.9, weight_decay=recipe.weight_decay, nesterov=True)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, recipe.learning_rate)


def rate(recipe: Recipe, warmup: int, steps: int, step: int) -> float:
    """The learning rate of a step, counting from 1, with Python's own numbers."""
    if step < warmup:
        return recipe.learning_rate * step / warmup
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def torch_losses(
    recipe: Recipe, model: torch.nn.Module, batches: Iterator[tuple[Any, Any]], taken: int, plan: tuple[int, int]
) -> list[float]:
    """Train for so many steps; the loss of each."""
    optimizer = torch_optimizer(recipe, model)
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    losses = []
    for step in range(1, taken + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, *plan, step)
        images, labels = next(batches)
        loss = loss_fn(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def our_trainer(recipe: Recipe, model: nn.Module, plan: tuple[int, int]) -> Trainer:
    """The trainer as `tinytorch.evolution` makes it."""
    shape = WarmupCosine(*plan, final=0.0)
    optimizer = (
        SGD(model.parameters(), recipe.learning_rate, 0.9, recipe.weight_decay, nesterov=True, schedule=shape)
        if recipe.optimizer == "sgd"
        else AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, schedule=shape)
    )
    return Trainer(model, optimizer, nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), [Accuracy()])


def first_steps(recipe: Recipe, data: ImageData, taken: int, dtype: str, seed: int = 0) -> float:
    """Largest difference between the losses of both libraries over the first steps, dropout off."""
    tt.seed(seed)
    network = recipe.build(data.images.shape[1:], len(data.classes))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    peer = twin(network)
    if dtype == "float64":
        peer.double()
        for parameter in network.parameters():
            parameter.raw = tt.astype(parameter.detach(), "float64").raw
    source = augmented(recipe, data, dtype)
    batches = [next(source) for _ in range(taken)]
    epoch = len(data) // recipe.batch_size
    plan = schedule(recipe, recipe.epochs * epoch, epoch)
    ours = iter(batches)
    records = our_trainer(recipe, network, plan).train(lambda: next(ours), taken)
    theirs = torch_losses(recipe, peer, iter(batches), taken, plan)
    return max(abs(record.train_loss - loss) for record, loss in zip(records, theirs, strict=True))


def whole_run(recipe: Recipe, train: ImageData, test: ImageData, seed: int, epochs: int) -> float:
    """PyTorch's accuracy on the test images after a whole run from tinytorch's weights, on its batches."""
    tt.seed(seed)
    torch.manual_seed(seed)
    part, _ = train.split(0.1)
    peer = twin(recipe.build(part.images.shape[1:], len(part.classes)))
    epoch = len(part) // recipe.batch_size
    plan = schedule(recipe, epochs * epoch, epoch)
    torch_losses(recipe, peer, augmented(recipe, part, "float32"), epochs * epoch, plan)
    peer.eval()
    normalise = Normalise(*part.statistics())
    with torch.no_grad():
        right = [(peer(torch.from_numpy(normalise(i).numpy())).argmax(1).numpy() == y).sum() for i, y in DataLoader(test, 500)]
    return float(numpy.sum(right)) / len(test)


def main() -> None:
    """Compare, print a row for each model, and write them all as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", choices=sorted(RECIPES))
    parser.add_argument("--data-dir")
    parser.add_argument("--train", action="store_true", help="also whole runs in PyTorch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of each recipe's")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    get_backend("numpy")
    train, test = load_images(options.data, options.data_dir)
    rows = []
    for recipe in RECIPES[options.data]:
        row: dict[str, Any] = {
            "model": recipe.model,
            "float32, 20 steps": [first_steps(recipe, train, 20, "float32", seed) for seed in range(options.seeds)],
            "float64, 100 steps": first_steps(recipe, train, 100, "float64"),
        }
        if options.train:
            row["accuracies"] = [whole_run(recipe, train, test, seed, options.epochs or recipe.epochs) for seed in range(options.seeds)]
            row["accuracy"] = mean(row["accuracies"])
        rows.append(row)
        print(*(f"{name} {value:.3g}" if isinstance(value, float) else f"{value}" for name, value in row.items()), sep=", ", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
