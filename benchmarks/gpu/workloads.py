"""The workloads: sizes, batches and prompts that both contestants share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy


@dataclass(frozen=True)
class Gpu:
    """What workloads depend on.

    Attributes:
        half: the 16-bit precision to use: bfloat16 if cupy supports it on this GPU, else float16.
        memory_gib: its memory.
    """

    half: str
    memory_gib: float


class NotEnoughMemoryError(Exception):
    """A workload does not fit on the GPU."""


@dataclass(frozen=True)
class Workload:
    """A GPT with learned positions and tied weights, and its task.

    Attributes:
        kind: ``"train"``: AdamW steps with clipping; ``"decode"``: greedy decoding with a cache.
        precision: precision of matmuls; `workload` replaces bfloat16 by what the GPU supports.
        batch: windows per step, or rows that are decoded.
        turn: steps, or tokens, per turn.
        at_most: target ratios of tinytorch's time to PyTorch's: eager, compiled, and with CUDA graphs.
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
        """FLOPs per token of a training step: 6 per matrix weight, and attention's two matmuls, forward and twice backward."""
        weights = self.layers * 12 * self.width**2 + self.width * self.vocab
        return 6 * weights + 12 * self.layers * self.context * self.width / 2  # half of attention's square is masked


#: Memory of the GPU, in GiB, from which on GPT-2 small is trained with its full batch, and below which it is not trained. tinytorch and one
#: mode of PyTorch hold their memory at the same time.
_LARGE_MEMORY, _SMALL_MEMORY = 40, 14

_SMALL = (12, 12, 768, 1024, 50304)  # GPT-2 small, with the vocabulary size rounded up to a multiple of 64, as is usual

WORKLOADS = {
    "nano": Workload("nano GPT, step", "train", 4, 4, 128, 64, 65, 12, "float32", 400, (0.25, 0.5, 1.0)),
    "baby": Workload("baby GPT, step", "train", 6, 6, 384, 256, 65, 64, "bfloat16", 100, (0.6, 1.0, 1.0)),
    "gpt2": Workload("GPT-2 small, step", "train", *_SMALL, 8, "bfloat16", 30, (0.9, 1.1, 1.1)),
    "decode": Workload("GPT-2 small, cached decoding, a token", "decode", *_SMALL, 1, "bfloat16", 256, (0.3, 1.0, 1.0)),
}

#: AdamW's settings, for both contestants.
RATE, BETAS, EPS, DECAY, NORM = 1e-3, (0.9, 0.99), 1e-8, 0.1, 1.0

#: Number of different batches, used cyclically.
BATCHES = 8

#: Length of the prompt for decoding, in tokens.
PROMPT = 16


def workload(name: str, gpu: Gpu | None) -> Workload:
    """One of `WORKLOADS` for a GPU; ``None`` shrinks it for a rehearsal on the CPU.

    Raises:
        NotEnoughMemoryError: if it does not fit.
    """
    found = WORKLOADS[name]
    if gpu is None:
        return replace(found, layers=1, heads=2, width=16, context=64, vocab=65, batch=min(found.batch, 4), turn=4, precision="float32")
    if found.precision != "float32":
        found = replace(found, precision=gpu.half)
    if name == "gpt2" and gpu.memory_gib < _SMALL_MEMORY:
        raise NotEnoughMemoryError(f"it needs a GPU with {_SMALL_MEMORY} GiB, and this one has {gpu.memory_gib:.1f}")
    return replace(found, batch=2) if name == "gpt2" and gpu.memory_gib < _LARGE_MEMORY else found


def batches(workload: Workload) -> list[numpy.ndarray]:
    """Windows of tokens (B, T + 1), the same for both contestants."""
    size = (workload.batch, workload.context + 1)
    random = numpy.random.default_rng(0)
    return [random.integers(0, workload.vocab, size) for _ in range(BATCHES)]


def prompt(workload: Workload) -> list[int]:
    """The prompt for decoding."""
    return [int(i) for i in numpy.random.default_rng(1).integers(0, workload.vocab, PROMPT)]
