"""Training one image classifier by its recipe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinytorch.evolution.recipes import Recipe
from tinytorch.nn import CrossEntropyLoss, Module, Sequential
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW, Optimizer, WarmupCosine, weight_decay_groups
from tinytorch.text import Tokenizer
from tinytorch.training import Accuracy, StepRecord, Trainer
from tinytorch.vision import Augment, DataLoader, ImageData

#: Share of the training images that validates.
VALIDATION = 0.1


@dataclass
class Outcome:
    """What came of training a model.

    Attributes:
        name, year, data: of the model, and what it learned from.
        model: as trained.
        parameters: how many numbers it learned.
        seconds: of wall-clock time.
        train_accuracy, test_accuracy: shares from 0 to 1; the test's were looked at once, at the end.
        train_losses: of each step.
        validation: accuracy on the validation part after each epoch, by step.
        tokenizer: of a model that reads text.
    """

    name: str
    year: int
    data: str
    model: Any
    parameters: int
    seconds: float
    train_accuracy: float
    test_accuracy: float
    train_losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None


def train_classifier(
    recipe: Recipe,
    train: ImageData,
    test: ImageData,
    seed: int,
    epochs: int,
    on_records: Callable[[list[StepRecord]], None],
    on_epoch: Callable[[int, float], None],
) -> Outcome:
    """Train a model on the chosen backend.

    Args:
        recipe: how.
        train: images, of which a tenth validates.
        test: images that are looked at once, at the end.
        seed: of weights, batches and augmentation.
        epochs: passes over the training images.
        on_records: called with finished steps.
        on_epoch: called with the step and the accuracy on the validation split after each epoch.
    """
    began = time.perf_counter()
    random.seed(seed)
    part, validation = train.split(VALIDATION)
    network = recipe.build(part.images.shape[1:], len(part.classes))
    model = Sequential(Augment(*part.statistics(), flip=recipe.flip, shift=recipe.shift), network)
    loader = DataLoader(part, recipe.batch_size, shuffle=True, drop_last=True)
    trainer = Trainer(
        model,
        _optimizer(recipe, model, epochs * len(loader), len(loader)),
        CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        [Accuracy()],
    )
    measured: dict[int, float] = {}

    def on_eval(step: int) -> None:
        measured[step] = accuracy(trainer, validation)
        on_epoch(step, measured[step])

    epoch = len(loader)
    steps = epochs * epoch
    records = trainer.fit(loader.next_batch, steps, on_records=on_records, on_eval=on_eval, eval_steps=range(epoch, steps + 1, epoch))
    return Outcome(
        name=recipe.model,
        year=recipe.year,
        data=train.name,
        model=model,
        parameters=network.count_parameters(),
        seconds=time.perf_counter() - began,
        train_accuracy=accuracy(trainer, part),
        test_accuracy=accuracy(trainer, test),
        train_losses=[record.train_loss for record in records],
        validation=measured,
    )


def steps_per_epoch(recipe: Recipe, train: ImageData) -> int:
    """Whole batches in what remains of the training images when a part validates."""
    return (len(train) - int(len(train) * VALIDATION)) // recipe.batch_size


def accuracy(trainer: Trainer, data: ImageData) -> float:
    """Share of the images that the trainer's model names rightly, seen as they are."""
    return trainer.evaluate(DataLoader(data, min(500, len(data))))["accuracy"]


def _optimizer(recipe: Recipe, model: Module, steps: int, epoch: int) -> Optimizer:
    schedule = WarmupCosine(min(math.ceil(epoch / 2), steps), steps, final=0.0)
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), recipe.learning_rate, 0.9, recipe.weight_decay, nesterov=True, schedule=schedule)
    return AdamW(weight_decay_groups(model.parameters(), recipe.weight_decay), recipe.learning_rate, schedule=schedule)
