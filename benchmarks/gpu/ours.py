"""The contestant for tinytorch: its trainer and generate(), on cupy."""

from __future__ import annotations

import itertools
import json
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy

import tinytorch as tt
from benchmarks.gpu.workloads import BETAS, DECAY, EPS, NORM, RATE, Workload, batches, prompt
from tinytorch.generation import generate
from tinytorch.io.files import load_arrays, save_arrays
from tinytorch.models import TinyGPT
from tinytorch.optim import AdamW, weight_decay_groups
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, StepRecord, Trainer


def new_model(size: Workload) -> TinyGPT:
    """The model with new weights, always from the same seed."""
    tt.seed(0)
    shape = (size.vocab, size.width, size.heads, size.layers)
    return TinyGPT(*shape, max_length=size.context, dropout=0.0, positional="learned", tie_weights=True)


def write_weights(size: Workload, path: Path) -> None:
    """Write the initial weights of both contestants."""
    with tt.use_backend("numpy"):
        save_arrays(path, {name: value.numpy() for name, value in new_model(size).state_dict().items()})


def contestant(size: Workload, weights: Path, backend: str) -> Callable[[int], list[float]]:
    """A function that runs steps, or generates tokens, synchronizes, and returns the losses or tokens."""
    tt.set_backend(backend)
    tt.tune()
    model = new_model(size)
    model.load_state_dict(load_arrays(weights)[0])
    if size.kind == "decode":
        start = prompt(size)
        return lambda count: [float(i) for i in generate(model, start, count, temperature=0.0, precision=size.precision)]
    optimizer = AdamW(weight_decay_groups(model.parameters(), DECAY), RATE, BETAS, EPS, max_norm=NORM)
    trainer = LanguageModelTrainer(model, CharTokenizer(), optimizer, precision=size.precision)
    return Turns(trainer.trainer, size).take


class Turns:
    """One long call of `Trainer.fit` in a separate thread, which waits between turns, so that its step is compiled only once."""

    def __init__(self, trainer: Trainer, size: Workload) -> None:
        self._source = itertools.cycle(batches(size))
        self._permits = threading.Semaphore(0)
        self._found: queue.Queue[list[StepRecord] | BaseException] = queue.Queue()
        self._turn = size.turn
        threading.Thread(target=self._train, args=(trainer,), daemon=True).start()

    def _train(self, trainer: Trainer) -> None:
        max_steps = 10**9
        try:
            trainer.fit(self._next_batch, max_steps, on_records=self._found.put, eval_steps=range(self._turn, max_steps, self._turn))
        except BaseException as error:
            self._found.put(error)

    def _next_batch(self) -> tuple[numpy.ndarray]:
        self._permits.acquire()
        return (next(self._source),)

    def take(self, count: int) -> list[float]:
        """Run one turn; returns the losses after reading them from the device."""
        assert count == self._turn
        self._permits.release(count)
        losses: list[float] = []
        while len(losses) < count:
            found = self._found.get()
            if isinstance(found, BaseException):
                raise found
            losses += [record.train_loss for record in found]
        return losses


if __name__ == "__main__":  # WORKLOAD PATH: in a separate process, so that it does not affect the contestants
    write_weights(Workload(**json.loads(sys.argv[1])), Path(sys.argv[2]))
