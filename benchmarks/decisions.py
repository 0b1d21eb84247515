"""Compare the selections of ReLU and max pooling in tinytorch and PyTorch, and distinguish ties up to rounding from faults.

ReLU selects 0 or its input, and max pooling selects an element of a window. If two options are equal up to rounding, two correct libraries
may select different ones. The gradient then takes another path, and the runs diverge.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinytorch import nn

#: Largest margin of a tie, in units of epsilon times the root mean square of the layer's input. The inputs of a layer in the two libraries
#: differed by at most 46 of these units, in 20 steps of the evolution's recipes on CIFAR-10 with three seeds.
ROUNDINGS = 64


SELECTING = torch.nn.ReLU | torch.nn.MaxPool2d


@dataclass(frozen=True)
class Differing:
    """Selections of one layer in one step that differ between the libraries.

    Attributes:
        step: counting from 1.
        layer: its name in tinytorch's network.
        units: number of differing selections.
        margin: largest difference of the two options: in tinytorch, in PyTorch, or in PyTorch in float64 with the same weights.
        bound: largest margin that counts as a tie.
    """

    step: int
    layer: str
    units: int
    margin: float
    bound: float

    @property
    def tie(self) -> bool:
        """Whether rounding explains all of them: margin <= bound."""
        return self.margin <= self.bound

    def __str__(self) -> str:
        size = f"largest margin {self.margin:.2g}, tie up to {self.bound:.2g}"
        return f"{'tie' if self.tie else 'FAULT'}: step {self.step} in {self.layer}, differing selections: {self.units}, {size}"


class Recorder:
    """Records the last input and output of each selecting layer (ReLU, max pooling) of a tinytorch network."""

    def __init__(self, network: nn.Module) -> None:
        self.names: list[str] = []
        self.records: list[tuple[torch.Tensor, torch.Tensor]] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.ReLU | nn.MaxPool2d):
                module.batch_independent = False  # no sharding, so that forward sees the whole batch
                module.forward = self._recording(len(self.names), module.forward)  # type: ignore[assignment, method-assign]
                self.names.append(name)
                self.records.append((torch.empty(0), torch.empty(0)))

    def _recording(self, index: int, forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def recorded(x: Any) -> Any:
            before = torch.tensor(x.detach().numpy())
            y = forward(x)
            self.records[index] = before, torch.tensor(y.detach().numpy())
            return y

        return recorded


class Follower(torch.nn.Module):
    """PyTorch's layers in sequence, which adopt tinytorch's selections for ties that differ.

    Attributes:
        differing: all differing selections so far, ties and faults.
    """

    def __init__(self, layers: torch.nn.Sequential, recorder: Recorder) -> None:
        super().__init__()
        self.layers = layers
        self.recorder = recorder
        self.steps = 0
        selecting = sum(isinstance(layer, SELECTING) for layer in layers)
        if selecting != len(recorder.names):
            raise ValueError(f"expected {len(recorder.names)} ReLU and max pooling layers, as in tinytorch's network, got {selecting}")
        self.differing: list[Differing] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the batch that tinytorch's network has processed last."""
        self.steps += 1
        x, index = images, 0
        for depth, layer in enumerate(self.layers):
            z, x = x, layer(x)
            if isinstance(layer, SELECTING):
                x = self._adopt_ties(depth, index, images, z, x)
                index += 1
        return x

    def _adopt_ties(self, depth: int, index: int, images: torch.Tensor, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``y``, the output of the layer at ``depth`` for ``z``, with tinytorch's selections for ties."""
        layer = self.layers[depth]
        our_z, our_y = self.recorder.records[index]
        ours, theirs = selected_index(options_of(layer, our_z), our_y), selected_index(options_of(layer, z), y)
        differs = ours != theirs
        if not differs.any():
            return y
        with torch.no_grad():  # reference in float64, with PyTorch's weights of this step
            exact = copy.deepcopy(self.layers[:depth]).double()(images.double())
        bound = ROUNDINGS * torch.finfo(z.dtype).eps * float(exact.square().mean().sqrt())
        margins = torch.stack([_margin(options_of(layer, side).detach().double(), ours, theirs) for side in (our_z, z, exact)]).amax(0)
        margin = float(margins[differs].max())
        self.differing.append(Differing(self.steps, self.recorder.names[index], int(differs.sum()), margin, bound))
        return torch.where(differs & (margins <= bound), _take(options_of(layer, z), ours), y)


def options_of(layer: torch.nn.Module, z: torch.Tensor) -> torch.Tensor:
    """The options of a layer along a new last axis: (..., 2) for ReLU, (N, C, Ho, Wo, window) for max pooling."""
    if isinstance(layer, torch.nn.MaxPool2d):
        size, stride = layer.kernel_size, layer.stride
        return z.unfold(2, size, stride).unfold(3, size, stride).flatten(-2)
    return torch.stack([torch.zeros_like(z), z], -1)


def selected_index(options: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Index of the option, along the last axis, that equals ``y``; the first one if several do."""
    return (options == y[..., None]).int().argmax(-1)


def _take(options: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    return options.gather(-1, which[..., None])[..., 0]


def _margin(options: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return (_take(options, ours) - _take(options, theirs)).abs()
