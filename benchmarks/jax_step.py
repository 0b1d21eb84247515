"""Compare tinytorch's training step of a GPT under ``jax.jit`` with plain JAX: ``python -m benchmarks.jax_step``.

Both train the same model from the same weights on the same batches, with AdamW, clipping and a schedule. tinytorch's step is compiled by
`Backend.compile`, autograd included; the other is `jax.value_and_grad` of a model in ``jax.numpy``. They run in turns in one process. The
printed ratio is the median, with the range, over pairs of consecutive turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

import tinytorch as tt
from benchmarks.plain_jax import Settings, new_state, train_step
from tinytorch.models import TinyGPT
from tinytorch.optim import AdamW, WarmupCosine, weight_decay_groups
from tinytorch.text import CharTokenizer, python_reference
from tinytorch.training import LanguageModelTrainer
from tinytorch.training.language_model import random_batches

WIDTH, CONTEXT, BATCH = 128, 64, 12
PLAIN = Settings(layers=4, heads=4, lr=2e-3, schedule=WarmupCosine(100, 2000))


def new_trainer(dropout: float) -> tuple[LanguageModelTrainer, Callable[[], Any]]:
    """A trainer with a new model, and a function that returns batches, always from the same seed."""
    tt.seed(0)
    text = python_reference()
    tokenizer = CharTokenizer().fit(text)
    model = TinyGPT(tokenizer.get_vocab_size(), WIDTH, PLAIN.heads, PLAIN.layers, max_length=CONTEXT, dropout=dropout)
    groups = weight_decay_groups(model.parameters(), PLAIN.decay)
    optimizer = AdamW(groups, PLAIN.lr, PLAIN.betas, PLAIN.eps, schedule=PLAIN.schedule, max_norm=PLAIN.norm)
    trainer = LanguageModelTrainer(model, tokenizer, optimizer)
    return trainer, random_batches(tokenizer.encode_array(text), CONTEXT, BATCH)


def plain_runner(dropout: float) -> Callable[[int], list[Any]]:
    """A function that runs a number of plain JAX steps and returns their losses."""
    trainer, next_batch = new_trainer(dropout)
    weights = {name: jnp.asarray(value.numpy()) for name, value in trainer.model.state_dict().items()}
    table = jnp.asarray(trainer.model.positions.pe.numpy())
    state = new_state(weights)
    step = jax.jit(partial(train_step, replace(PLAIN, dropout=dropout)), donate_argnums=(1,))
    tt.seed(0)  # both draw the same batches

    def run(steps: int) -> list[Any]:
        nonlocal state
        losses = []
        for _ in range(steps):
            state, loss = step(table, state, jnp.asarray(next_batch()[0]))
            losses.append(loss)
        return jax.block_until_ready(losses)  # type: ignore[no-any-return]

    return run


def largest_difference(steps: int) -> float:
    """Largest difference of the losses over the first steps, without dropout."""
    plain = [float(loss) for loss in plain_runner(0.0)(steps)]
    trainer, next_batch = new_trainer(0.0)
    tt.seed(0)
    records = trainer.trainer.fit(next_batch, steps)
    return max(abs(record.train_loss - loss) for record, loss in zip(records, plain, strict=True))


def contest(rounds: int, turn: int) -> tuple[list[float], list[float]]:
    """Milliseconds per step of tinytorch (the trainer's whole loop) and of plain JAX, in turns, with dropout; without the first turn."""
    run = plain_runner(0.1)
    trainer, next_batch = new_trainer(0.1)
    times: tuple[list[float], list[float]] = ([], [])
    since = time.perf_counter()

    def their_turn(step: int) -> None:
        nonlocal since
        times[0].append((time.perf_counter() - since) / turn * 1e3)
        start = time.perf_counter()
        run(turn)
        times[1].append((time.perf_counter() - start) / turn * 1e3)
        print(f"{step // turn - 1}/{rounds} ours {times[0][-1]:.1f} ms, plain {times[1][-1]:.1f} ms", flush=True)
        since = time.perf_counter()

    steps = (rounds + 1) * turn
    trainer.trainer.fit(next_batch, steps, on_eval=their_turn, eval_steps=range(turn, steps + 1, turn))
    return times[0][1:], times[1][1:]


def main() -> None:
    """Compare the losses, measure both in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", type=int, default=60, help="steps per turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tt.use_backend("jax"):
        difference = largest_difference(20)
        print(f"losses of 20 steps without dropout differ by {difference:.1e} at most")
        if difference > 1e-4:
            raise SystemExit("the losses differ, so the times are not comparable")
        ours, plain = contest(options.rounds, options.turn)
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    row = {"ours_ms": median(ours), "plain_ms": median(plain), "ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    print("ours {ours_ms:.1f} ms, plain JAX {plain_ms:.1f} ms per step: ratio {ratio:.2f} ({lowest:.2f} to {highest:.2f})".format(**row))
    if options.json:
        row |= {"difference": difference, "jax": jax.__version__, "rounds": options.rounds, "turn": options.turn}
        options.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
