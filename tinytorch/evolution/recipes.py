"""Hyperparameters: one recipe per model and data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinytorch.models import MLP, LeNet1, LeNet5, Perceptron
from tinytorch.nn.module import Module

Shape = tuple[int, int, int]  # (C, H, W) of an image


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a classifier. The learning rate has a linear warmup over half an epoch and cosine decay to 0.

    Attributes:
        model: name of the model in tables.
        year: year of its publication.
        build: creates the model, given the image shape and the number of classes.
        epochs: number of epochs.
        batch_size: images per step.
        learning_rate: maximum learning rate.
        optimizer: ``"adamw"``, or ``"sgd"`` with Nesterov momentum of 0.9.
        weight_decay: weight decay; with AdamW it applies to matrices only.
        label_smoothing: see `tinytorch.nn.CrossEntropyLoss`.
        shift: maximum random shift of an image, in pixels.
        flip: whether images are mirrored at random (not for digits).
    """

    model: str
    year: int
    build: Callable[[Shape, int], Module]
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    shift: int = 0
    flip: bool = False


def _perceptron(image: Shape, classes: int) -> Module:
    return Perceptron(image[0] * image[1] * image[2], classes)


def _mlp(image: Shape, classes: int) -> Module:
    return MLP(image[0] * image[1] * image[2], classes=classes, dropout=0.1, batch_norm=True)


def _small_mlp(image: Shape, classes: int) -> Module:
    return MLP(image[0] * image[1] * image[2], hidden=(128, 64), classes=classes)


def _lenet1(image: Shape, classes: int) -> Module:
    return LeNet1(image, classes)


def _lenet5(image: Shape, classes: int) -> Module:
    return LeNet5(image, classes)


def _classic_lenet5(image: Shape, classes: int) -> Module:
    return LeNet5(image, classes, classic=True)


#: Recipes by data set, in order of publication. The hyperparameters were chosen by validation accuracy, not by test accuracy.
RECIPES: dict[str, tuple[Recipe, ...]] = {
    "cifar10": (
        Recipe("Perceptron", 1958, _perceptron, epochs=5, batch_size=128, learning_rate=1e-3, shift=2, flip=True),
        Recipe("MLP", 1986, _mlp, 25, 128, 0.03, "sgd", 5e-4, shift=2, flip=True),
        Recipe("LeNet-1", 1989, _lenet1, 30, 64, 5e-3, weight_decay=0.0, shift=1, flip=True),
        Recipe("LeNet-5", 1998, _lenet5, epochs=35, batch_size=64, learning_rate=3e-3, shift=2, flip=True),
        Recipe("LeNet-5, classic", 1998, _classic_lenet5, epochs=30, batch_size=64, learning_rate=3e-3, shift=2, flip=True),
    ),
    "digits": (
        Recipe("Perceptron", 1958, _perceptron, epochs=20, batch_size=32, learning_rate=1e-2),
        Recipe("MLP", 1986, _small_mlp, epochs=20, batch_size=32, learning_rate=3e-3),
        Recipe("LeNet-1", 1989, _lenet1, epochs=100, batch_size=32, learning_rate=5e-3),
        Recipe("LeNet-5", 1998, _lenet5, 200, 32, 2e-3, weight_decay=0.1, label_smoothing=0.1, shift=1),
    ),
}
RECIPES["mnist"] = RECIPES["fashion"] = (
    Recipe("Perceptron", 1958, _perceptron, epochs=3, batch_size=128, learning_rate=1e-3),
    Recipe("MLP", 1986, _mlp, epochs=8, batch_size=128, learning_rate=1e-3, shift=1),
    Recipe("LeNet-1", 1989, _lenet1, epochs=8, batch_size=64, learning_rate=5e-3, shift=2),
    Recipe("LeNet-5", 1998, _lenet5, epochs=8, batch_size=64, learning_rate=3e-3, shift=2),
)

#: Number of epochs of TinyGPT.
GPT_EPOCHS = {"digits": 2, "mnist": 4, "fashion": 4, "cifar10": 5}

#: Accuracies that a course reported on CIFAR-10 for models of these names, without hyperparameters; shown for comparison.
FLOORS = {("cifar10", "MLP"): 0.527, ("cifar10", "LeNet-1"): 0.394, ("cifar10", "LeNet-5"): 0.475}
