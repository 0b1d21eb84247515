"""A training step of a GPT under ``jax.jit``, ours beside one in plain JAX: ``python -m benchmarks.jax_step``.

Both train the same model from the same weights on the same batches, with AdamW, clipping and a schedule: ours is tinytorch's step, the
tape inside, as `Backend.compile` has it; the other is `jax.value_and_grad` of the model in ``jax.numpy``. They take turns in one process,
and what is printed is the median, and the range, of the ratios of turns that follow each other.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

import tinytorch as tt
from tinytorch.models import TinyGPT
from tinytorch.optim import AdamW, WarmupCosine
from tinytorch.text import CharTokenizer, python_reference
from tinytorch.training import LanguageModelTrainer

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
RATE, BETAS, EPS, DECAY, NORM = 2e-3, (0.9, 0.99), 1e-8, 0.1, 1.0
SCHEDULE = WarmupCosine(100, 2000)

Weights = dict[str, Any]


# ---- the model and its step in plain JAX ----


def dropped(x: Any, share: float, key: Any) -> Any:
    """Dropout."""
    if not share:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - share, x.shape), x / (1.0 - share), 0.0)


def normalised(x: Any, weight: Any, bias: Any) -> Any:
    """Layer normalisation."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def plain_loss(weights: Weights, table: Any, tokens: Any, key: Any, share: float) -> Any:
    """Mean cross-entropy of the model on windows (B, T + 1)."""
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    batch, length = ids.shape
    keys = iter(jax.random.split(key, 1 + 3 * LAYERS))
    x = dropped(weights["embedding.weight"][ids] + table[:length], share, next(keys))
    allowed = jnp.tril(jnp.ones((length, length), dtype=bool))
    for i in range(LAYERS):
        w = {name.removeprefix(f"blocks.{i}."): value for name, value in weights.items() if name.startswith(f"blocks.{i}.")}
        y = normalised(x, w["norm1.weight"], w["norm1.bias"])
        qkv = y @ w["attention.in_proj_weight"].T + w["attention.in_proj_bias"]  # (B, T, 3 C)
        q, k, v = (part.reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3) for part in jnp.split(qkv, 3, axis=-1))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])  # (B, H, T, T)
        shares = dropped(jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1), share, next(keys))
        y = (shares @ v).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        x = x + dropped(y @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"], share, next(keys))
        y = normalised(x, w["norm2.weight"], w["norm2.bias"])
        y = jax.nn.gelu(y @ w["linear1.weight"].T + w["linear1.bias"], approximate=True)
        x = x + dropped(y @ w["linear2.weight"].T + w["linear2.bias"], share, next(keys))
    logits = normalised(x, weights["norm.weight"], weights["norm.bias"]) @ weights["head.weight"].T
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -jnp.mean(chosen)


def plain_step(share: float, table: Any, state: Any, tokens: Any) -> Any:
    """One step of AdamW with clipping."""
    weights, first, second, number, key = state
    number = number + 1
    loss, grads = jax.value_and_grad(plain_loss)(weights, table, tokens, jax.random.fold_in(key, number), share)
    count = number.astype(jnp.float32)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    scale = jnp.minimum(1.0, NORM / (norm + 1e-6))
    rate = RATE * SCHEDULE(jnp, count)
    corrections = [1.0 - beta**count for beta in BETAS]
    new: tuple[Weights, Weights, Weights] = ({}, {}, {})
    for name, weight in weights.items():
        g = grads[name] * scale
        m = BETAS[0] * first[name] + (1.0 - BETAS[0]) * g
        v = BETAS[1] * second[name] + (1.0 - BETAS[1]) * g * g
        kept = weight * (1.0 - DECAY * rate) if weight.ndim > 1 else weight
        new[0][name] = kept - rate * (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + EPS)
        new[1][name], new[2][name] = m, v
    return (*new, number, key), loss


# ---- the contest ----


def new_trainer(share: float) -> tuple[LanguageModelTrainer, Callable[[], Any]]:
    """A new model in its trainer, and where batches come from: the same every time."""
    tt.seed(0)
    text = python_reference()
    tokenizer = CharTokenizer().fit(text)
    model = TinyGPT(tokenizer.get_vocab_size(), WIDTH, HEADS, LAYERS, max_length=CONTEXT, dropout=share)
    optimizer = AdamW(model.parameters(), RATE, BETAS, EPS, DECAY, SCHEDULE, NORM)
    trainer = LanguageModelTrainer(model, tokenizer, optimizer)
    return trainer, trainer.batches(tokenizer.encode_array(text), CONTEXT, BATCH)


def plain_runner(share: float) -> Callable[[int], list[Any]]:
    """Takes so many plain steps and returns their losses."""
    trainer, next_batch = new_trainer(share)
    weights = {name: jnp.asarray(value.numpy()) for name, value in trainer.model.state_dict().items()}
    table = jnp.asarray(trainer.model.positions.pe.numpy())
    moments = [{name: jnp.zeros_like(value) for name, value in weights.items()} for _ in range(2)]
    state = (weights, *moments, jnp.asarray(0), jax.random.key(0))
    step = jax.jit(partial(plain_step, share), donate_argnums=(1,))
    tt.seed(0)  # both draw their batches from here on

    def run(steps: int) -> list[Any]:
        nonlocal state
        losses = []
        for _ in range(steps):
            state, loss = step(table, state, jnp.asarray(next_batch()[0]))
            losses.append(loss)
        return jax.block_until_ready(losses)  # type: ignore[no-any-return]

    return run


def largest_difference(steps: int) -> float:
    """Between the losses of both over the first steps, dropout off."""
    plain = [float(loss) for loss in plain_runner(0.0)(steps)]
    trainer, next_batch = new_trainer(0.0)
    tt.seed(0)
    records = trainer.train(next_batch, steps)
    return max(abs(record.train_loss - loss) for record, loss in zip(records, plain, strict=True))


def contest(rounds: int, turn: int) -> tuple[list[float], list[float]]:
    """Milliseconds a step of ours (the trainer's whole loop) and of the plain one, by turns, dropout on; the first turn is left out."""
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
    trainer.train(next_batch, steps, look=their_turn, look_at=range(turn, steps + 1, turn))
    return times[0][1:], times[1][1:]


def main() -> None:
    """Compare the losses, let both take turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", type=int, default=60, help="steps a turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tt.use_backend("jax"):
        difference = largest_difference(20)
        print(f"losses of 20 steps without dropout differ by {difference:.1e} at most")
        if difference > 1e-4:
            raise SystemExit("they do not train the same model: nothing to compare")
        ours, plain = contest(options.rounds, options.turn)
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    row = {"ours_ms": median(ours), "plain_ms": median(plain), "ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    print("ours {ours_ms:.1f} ms, plain JAX {plain_ms:.1f} ms a step: ratio {ratio:.2f} ({lowest:.2f} to {highest:.2f})".format(**row))
    if options.json:
        row |= {"difference": difference, "jax": jax.__version__, "rounds": options.rounds, "turn": options.turn}
        options.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
