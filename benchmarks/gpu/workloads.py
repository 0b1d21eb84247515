"""What is measured, in plain numbers that both sides read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy


@dataclass(frozen=True)
class Workload:
    """A GPT with learned positions and tied weights, and what it does.

    Attributes:
        kind: ``"train"``: AdamW steps with clipping; ``"decode"``: greedy decoding with a cache.
        precision: what products are computed in.
        batch: windows a step, or rows that are decoded.
        turn: steps, or tokens, a turn.
        at_most: the ratio of our time to PyTorch's that is aimed at: eager, compiled, and with its graphs.
    """

    what: str
    kind: str
    layers: int
    heads: int
    width: int
    context: int
    vocab: int
    batch: int
    precision: str
    turn: int
    at_most: tuple[float, float, float]

    @property
    def flops_a_token(self) -> float:
        """Of a training step: 6 for each weight of a matrix, and attention's two products, forward and twice backward."""
        weights = self.layers * 12 * self.width**2 + self.width * self.vocab
        return 6 * weights + 12 * self.layers * self.context * self.width / 2  # half of attention's square is masked


_SMALL = (12, 12, 768, 1024, 50304)  # GPT-2 small, its vocabulary rounded up to a multiple of 64 as its users do

WORKLOADS = {
    "nano": Workload("nano GPT, step", "train", 4, 4, 128, 64, 65, 12, "float32", 400, (0.25, 0.5, 1.0)),
    "baby": Workload("baby GPT, step", "train", 6, 6, 384, 256, 65, 64, "bfloat16", 100, (0.6, 1.0, 1.0)),
    "gpt2": Workload("GPT-2 small, step", "train", *_SMALL, 8, "bfloat16", 30, (0.9, 1.1, 1.1)),
    "decode": Workload("GPT-2 small, cached decoding, a token", "decode", *_SMALL, 1, "bfloat16", 256, (0.3, 1.0, 1.0)),
}

#: AdamW's settings, for both sides.
RATE, BETAS, EPS, DECAY, NORM = 1e-3, (0.9, 0.99), 1e-8, 0.1, 1.0

#: How many different batches there are; they are used in turn.
BATCHES = 8

#: Tokens that decoding starts from.
PROMPT = 16


def workload(name: str, tiny: bool) -> Workload:
    """One of `WORKLOADS`; a tiny one is for a rehearsal on the CPU."""
    found = WORKLOADS[name]
    if not tiny:
        return found
    precision = "float32" if found.precision == "bfloat16" else found.precision
    return replace(found, layers=1, heads=2, width=16, context=64, vocab=65, batch=min(found.batch, 4), turn=4, precision=precision)


def batches(workload: Workload) -> list[numpy.ndarray]:
    """Windows of tokens (B, T + 1), the same for both."""
    size = (workload.batch, workload.context + 1)
    random = numpy.random.default_rng(0)
    return [random.integers(0, workload.vocab, size) for _ in range(BATCHES)]


def prompt(workload: Workload) -> list[int]:
    """Where decoding starts."""
    return [int(i) for i in numpy.random.default_rng(1).integers(0, workload.vocab, PROMPT)]
