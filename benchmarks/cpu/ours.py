"""The contestant for tinytorch: its trainer and generate(), on numpy."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tinytorch as tt
from benchmarks.cpu.workloads import BETAS, DECAY, EPS, NORM, RATE, WORKLOADS, Workload, batches, prompt
from tinytorch import nn
from tinytorch.generation import generate
from tinytorch.io.files import StoredArrays, save_arrays
from tinytorch.models import MLP, LeNet5, TinyGPT
from tinytorch.nn.init import skip_init
from tinytorch.optim import AdamW, weight_decay_groups
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer


def new_model(workload: Workload) -> nn.Module:
    """The model with new weights, always from the same seed."""
    tt.seed(0)
    gpt = workload.gpt
    if gpt is not None:
        return TinyGPT(gpt.vocab, gpt.width, gpt.heads, gpt.layers, max_length=gpt.context, dropout=0.0)
    return LeNet5((3, 32, 32), 10) if workload.kind == "lenet" else MLP()


def write_weights(workload: Workload, path: Path) -> None:
    """Write the initial weights of all contestants, and the table of positions as "positions"."""
    model = new_model(workload)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    if workload.gpt is not None:
        arrays["positions"] = model.positions.pe.numpy()
    save_arrays(path, arrays)


def contestant(workload: Workload, weights: Path) -> Callable[[int], list[float]]:
    """A function that runs a number of steps, or generates a number of tokens, and returns the losses or tokens."""
    tt.tune()
    with skip_init():
        model = new_model(workload)
    model.load_state_dict(StoredArrays(weights), strict=False)  # the table of positions is not a parameter
    if workload.kind == "decode":
        start = prompt(workload)
        return lambda count: [float(i) for i in generate(model, start, count, temperature=0.0)]
    optimizer = AdamW(weight_decay_groups(model.parameters(), DECAY), RATE, BETAS, EPS, max_norm=NORM)
    if workload.gpt is not None:
        trainer = LanguageModelTrainer(model, CharTokenizer(), optimizer).trainer
    else:
        trainer = Trainer(model, optimizer, nn.CrossEntropyLoss())
    source: Any = itertools.cycle(batches(workload))

    def run(count: int) -> list[float]:
        return [record.train_loss for record in trainer.fit(lambda: next(source), optimizer.steps + count)]

    return run


if __name__ == "__main__":  # WORKLOAD PATH: in a separate process, so that its memory does not count for a contestant
    write_weights(WORKLOADS[sys.argv[1]], Path(sys.argv[2]))
