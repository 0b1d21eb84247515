"""Train an image classifier."""

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

#: Fraction of the training images used as validation split.
VAL_SPLIT = 0.1


@dataclass
class TrainingResult:
    """The result of training a model.

    Attributes:
        name: name of the model.
        year: year of its publication.
        data: name of the data set.
        model: the trained model.
        parameters: number of trained parameters.
        seconds: wall-clock time of training and evaluation.
        train_accuracy: accuracy on the training split, from 0 to 1.
        test_accuracy: accuracy on the test set, from 0 to 1, measured once at the end.
        train_losses: loss of each step.
        validation: validation accuracy after each epoch, by step.
        tokenizer: the tokenizer of a language model.
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
) -> TrainingResult:
    """Train a model on the current backend.

    Args:
        recipe: the model and its hyperparameters.
        train: images for training; a tenth of them is the validation split.
        test: images for the final evaluation.
        seed: seed of weights, batches and augmentation.
        epochs: number of epochs.
        on_records: called with the records of finished steps.
        on_epoch: called with the step and the validation accuracy after each epoch.
    """
    start = time.perf_counter()
    random.seed(seed)
    training, validation = train.split(VAL_SPLIT)
    network = recipe.build(training.images.shape[1:], len(training.classes))
    model = Sequential(Augment(*training.statistics(), flip=recipe.flip, shift=recipe.shift), network)
    loader = DataLoader(training, recipe.batch_size, shuffle=True, drop_last=True)
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

    epoch_steps = len(loader)
    steps = epochs * epoch_steps
    eval_steps = range(epoch_steps, steps + 1, epoch_steps)
    records = trainer.fit(loader.next_batch, steps, on_records=on_records, on_eval=on_eval, eval_steps=eval_steps)
    return TrainingResult(
        name=recipe.model,
        year=recipe.year,
        data=train.name,
        model=model,
        parameters=network.count_parameters(),
        seconds=time.perf_counter() - start,
        train_accuracy=accuracy(trainer, training),
        test_accuracy=accuracy(trainer, test),
        train_losses=[record.train_loss for record in records],
        validation=measured,
    )


def steps_per_epoch(recipe: Recipe, train: ImageData) -> int:
    """Number of full batches in the training split."""
    return (len(train) - int(len(train) * VAL_SPLIT)) // recipe.batch_size


def accuracy(trainer: Trainer, data: ImageData) -> float:
    """Accuracy of the trainer's model on images, without augmentation."""
    return trainer.evaluate(DataLoader(data, min(500, len(data))))["accuracy"]


def _optimizer(recipe: Recipe, model: Module, steps: int, epoch_steps: int) -> Optimizer:
    schedule = WarmupCosine(min(math.ceil(epoch_steps / 2), steps), steps, final=0.0)
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), recipe.learning_rate, 0.9, recipe.weight_decay, nesterov=True, schedule=schedule)
    return AdamW(weight_decay_groups(model.parameters(), recipe.weight_decay), recipe.learning_rate, schedule=schedule)
