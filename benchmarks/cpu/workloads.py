"""The workloads: sizes, batches and prompts that all contestants share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class GPT:
    """A GPT with sinusoidal positions and an untied output layer, as `tinytorch.models.TinyGPT`."""

    layers: int
    heads: int
    width: int
    context: int
    vocab: int

    @property
    def flops_a_token(self) -> float:
        """FLOPs per token of a training step: 6 per matrix weight, and attention's two matmuls, forward and twice backward."""
        weights = self.layers * 12 * self.width**2 + self.width * self.vocab
        return 6 * weights + 12 * self.layers * self.context * self.width / 2  # half of attention's square is masked


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        what: a description for the reader.
        kind: ``"train"`` a GPT, ``"decode"`` with one, ``"lenet"`` or ``"mlp"``.
        batch: sequences or images per step.
        turn: steps, or tokens, per turn.
        gpt: the model, if it is a GPT.
    """

    what: str
    kind: str
    batch: int
    turn: int
    gpt: GPT | None = None


_BABY = GPT(6, 6, 384, 256, 65)

WORKLOADS = {
    "W1": Workload("nano GPT (4 layers, 4 heads, 128 wide, T 64), batch 12, AdamW step", "train", 12, 60, GPT(4, 4, 128, 64, 65)),
    "W2": Workload("baby GPT (6, 6, 384, T 256), batch 8, AdamW step", "train", 8, 4, _BABY),
    "W3a": Workload("baby GPT, cached greedy decoding", "decode", 1, 200, _BABY),
    "W3b": Workload("GPT-2 small (12, 12, 768, V 50,257), cached greedy decoding", "decode", 1, 32, GPT(12, 12, 768, 1024, 50257)),
    "W4a": Workload("LeNet-5, batch 64 of 3x32x32, AdamW step", "lenet", 64, 100),
    "W4b": Workload("MLP 3072-1024-512-10, batch 128, AdamW step", "mlp", 128, 40),
}

#: AdamW's settings, for all contestants.
RATE, BETAS, EPS, DECAY, NORM = 1e-3, (0.9, 0.99), 1e-8, 0.1, 1.0

#: Number of different batches, used cyclically.
BATCHES = 8

#: Length of the prompt for decoding, in tokens.
PROMPT = 16


def batches(workload: Workload) -> list[tuple[numpy.ndarray, ...]]:
    """Batches for every contestant: windows of tokens (B, T + 1), or images (B, 3, 32, 32) and their classes."""
    random = numpy.random.default_rng(0)
    if workload.gpt is not None:
        size = (workload.batch, workload.gpt.context + 1)
        return [(random.integers(0, workload.gpt.vocab, size),) for _ in range(BATCHES)]
    shape = (workload.batch, 3, 32, 32)
    return [(random.normal(size=shape).astype(numpy.float32), random.integers(0, 10, workload.batch)) for _ in range(BATCHES)]


def image_order(name: str) -> tuple[object, ...]:
    """Sort key of the weight names of LeNet-5 and the MLP: the order of the layers, weights before biases."""
    part, *number, kind = name.split(".")
    return (["features", "layers", "classifier", "head"].index(part), [int(n) for n in number], kind == "bias")


def prompt(workload: Workload) -> list[int]:
    """The prompt for decoding."""
    assert workload.gpt is not None
    return [int(i) for i in numpy.random.default_rng(1).integers(0, workload.gpt.vocab, PROMPT)]
