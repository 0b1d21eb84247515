"""What rectifiers and max pooling decide, in tinytorch and in PyTorch: a decision that only rounding made is told from a fault.

A rectifier chooses between 0 and its input, max pooling among the elements of a window. Where both choices are equal but for rounding, two
libraries that are both right may choose differently; the gradient then takes another way, and the runs drift apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinytorch import nn

#: A tie's bound, in roundings (the type's epsilon) of the root mean square of the layer's input. What the two libraries feed to one
#: layer was seen to differ by up to 46 of these, over 20 steps of the evolution's recipes on CIFAR-10 with three seeds.
ROUNDINGS = 64


DECIDING = torch.nn.ReLU | torch.nn.MaxPool2d


@dataclass(frozen=True)
class Differing:
    """Decisions of one layer in one step that came out differently.

    Attributes:
        step: counting from 1.
        layer: its name in tinytorch's network.
        units: how many.
        margin: by how much the two choices differ at most: in tinytorch, in PyTorch, or in PyTorch from the same weights in float64.
        bound: of the margin of a tie.
    """

    step: int
    layer: str
    units: int
    margin: float
    bound: float

    @property
    def tie(self) -> bool:
        """Whether rounding explains all of them."""
        return self.margin <= self.bound

    def __str__(self) -> str:
        size = f"apart by {self.margin:.2g} at most, a tie by {self.bound:.2g}"
        return f"{'tie' if self.tie else 'FAULT'}: step {self.step} in {self.layer}, choices: {self.units}, {size}"


class Watched:
    """A network of tinytorch's, with what went into its deciding layers last, and what came out."""

    def __init__(self, network: nn.Module) -> None:
        self.names: list[str] = []
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.ReLU | nn.MaxPool2d):
                module.batch_independent = False  # a batch in one piece, which one look takes in
                module.forward = self._noting(len(self.names), module.forward)  # type: ignore[assignment, method-assign]
                self.names.append(name)
                self.seen.append((torch.empty(0), torch.empty(0)))

    def _noting(self, place: int, forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noting(x: Any) -> Any:
            before = torch.tensor(x.detach().numpy())
            y = forward(x)
            self.seen[place] = before, torch.tensor(y.detach().numpy())
            return y

        return noting


class Follower(torch.nn.Module):
    """PyTorch's layers one after another, which take over tinytorch's decision where theirs is a tie that came out differently.

    Attributes:
        differing: what was decided differently so far, ties and faults.
    """

    def __init__(self, layers: torch.nn.Sequential, watched: Watched) -> None:
        super().__init__()
        self.layers = layers
        self.watched = watched
        self.steps = 0
        deciding = sum(isinstance(layer, DECIDING) for layer in layers)
        if deciding != len(watched.names):
            raise ValueError(f"PyTorch's side must have the {len(watched.names)} deciding layers of tinytorch's, it has {deciding}")
        self.differing: list[Differing] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch that tinytorch's network has just seen."""
        self.steps += 1
        x, place = images, 0
        for depth, layer in enumerate(self.layers):
            z, x = x, layer(x)
            if isinstance(layer, DECIDING):
                x = self._followed(depth, place, images, z, x)
                place += 1
        return x

    def _followed(self, depth: int, place: int, images: torch.Tensor, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``y``, the output of the layer at ``depth`` for ``z``, with ties as tinytorch decided them."""
        layer = self.layers[depth]
        our_z, our_y = self.watched.seen[place]
        ours, theirs = chosen(choices(layer, our_z), our_y), chosen(choices(layer, z), y)
        differs = ours != theirs
        if not differs.any():
            return y
        with torch.no_grad():  # nearly so: in float64, from PyTorch's weights of this step
            exact = copy.deepcopy(self.layers[:depth]).double()(images.double())
        bound = ROUNDINGS * torch.finfo(z.dtype).eps * float(exact.square().mean().sqrt())
        margins = torch.stack([_margin(choices(layer, side).detach().double(), ours, theirs) for side in (our_z, z, exact)]).amax(0)
        margin = float(margins[differs].max())
        self.differing.append(Differing(self.steps, self.watched.names[place], int(differs.sum()), margin, bound))
        return torch.where(differs & (margins <= bound), _taken(choices(layer, z), ours), y)


def choices(layer: torch.nn.Module, z: torch.Tensor) -> torch.Tensor:
    """What the layer chooses from, along a new last dimension: (..., 2) for a rectifier, (N, C, Ho, Wo, window) for max pooling."""
    if isinstance(layer, torch.nn.MaxPool2d):
        size, stride = layer.kernel_size, layer.stride
        return z.unfold(2, size, stride).unfold(3, size, stride).flatten(-2)
    return torch.stack([torch.zeros_like(z), z], -1)


def chosen(options: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Which of the options, counted along the last dimension, came out as ``y``; the first where they are equal."""
    return (options == y[..., None]).int().argmax(-1)


def _taken(options: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    return options.gather(-1, which[..., None])[..., 0]


def _margin(options: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return (_taken(options, ours) - _taken(options, theirs)).abs()
