"""From the perceptron to the GPT, one after another, with the same parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytorch.array_api import asarray
from tinytorch.evolution.classifier import Outcome, steps_per_epoch, train_classifier
from tinytorch.evolution.gpt import GPTChapter
from tinytorch.evolution.recipes import FLOORS, GPT_EPOCHS, RECIPES
from tinytorch.evolution.reuse import Reuse, component_reuse
from tinytorch.io.files import atomic_write_text
from tinytorch.nn import CrossEntropyLoss, LanguageModelLoss, Loss
from tinytorch.optim import AdamW
from tinytorch.tensor import Tensor
from tinytorch.training.progress import Progress
from tinytorch.vision import ImageData

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Story:
    """All that was measured.

    Attributes:
        outcomes: one for each model and seed.
        reuse: of each model's parts by those before it.
        sample: a text that the GPT of the first seed wrote.
    """

    outcomes: list[Outcome]
    reuse: dict[str, Reuse]
    sample: str


def tell(
    train: ImageData,
    test: ImageData,
    seeds: int,
    epochs: int | None,
    console: Console,
    on_outcome: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> Story:
    """Train every model, ``seeds`` times, with a live bar each.

    Args:
        train, test: images; the test's are looked at once for each model, at the end.
        seeds: how many times, from seed 0 on.
        epochs: passes over the data for all models, in place of the recipes'.
        console: where to show progress.
        on_outcome: told of all outcomes so far after each model, so that a long story is not lost on the way.
    """
    outcomes: list[Outcome] = []
    sample = ""
    for seed in range(seeds):
        for recipe in RECIPES[train.name]:
            passes = epochs or recipe.epochs
            steps = passes * steps_per_epoch(recipe, train)
            with Progress(0, steps, recipe.batch_size, console=console, title=f"{recipe.model:<17}", unit="images") as bar:
                outcomes.append(train_classifier(recipe, train, test, seed, passes, bar.advance, lambda step, accuracy: None))
            on_outcome(outcomes)
        chapter = GPTChapter(seed, epochs or GPT_EPOCHS[train.name])
        with Progress(0, chapter.steps, chapter.tokens_per_step, console=console, title=f"{'TinyGPT':<17}") as bar:
            outcomes.append(chapter.train(bar.advance, lambda step, accuracy: None))
        on_outcome(outcomes)
        sample = sample or chapter.sample()
    first = outcomes[: len(outcomes) // seeds]
    return Story(outcomes, component_reuse({outcome.name: (outcome.model, _one_step(outcome, test)) for outcome in first}), sample)


def _one_step(outcome: Outcome, images: ImageData) -> Callable[[], Tensor]:
    """A training step of a model on a few examples, for `component_reuse`; with a learning rate of 0 it changes nothing."""
    model = outcome.model
    optimizer = AdamW(model.parameters(), lr=0.0)
    loss_fn: Loss
    if outcome.name == "TinyGPT":
        tokens = model.prepare_input(asarray([[1, 2, 3, 4, 5]]).numpy())
        inputs, targets, loss_fn = tokens[:, :-1], tokens, LanguageModelLoss()
    else:
        inputs, targets = model.prepare_input(images.images[:4]), asarray(images.labels[:4], device=model.device)
        loss_fn = CrossEntropyLoss()

    def step() -> Tensor:
        model.train()
        optimizer.zero_grad()
        loss: Tensor = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        model.eval()
        return loss

    return step


def write_results(path: Path, outcomes: list[Outcome]) -> None:
    """The outcomes as a JSON list, accuracies and the course's floors as shares from 0 to 1."""
    rows: list[dict[str, Any]] = []
    seeds: dict[str, int] = {}
    for outcome in outcomes:
        seed = seeds[outcome.name] = seeds.get(outcome.name, -1) + 1
        floor = FLOORS.get((outcome.data, outcome.name))
        rows.append(
            {
                "model": outcome.name,
                "year": outcome.year,
                "data": outcome.data,
                "seed": seed,
                "parameters": outcome.parameters,
                "test_accuracy": outcome.test_accuracy,
                "train_accuracy": outcome.train_accuracy,
                "seconds": outcome.seconds,
                "floor": floor,
            }
        )
    atomic_write_text(path, json.dumps(rows, indent=1) + "\n")
