"""The contestant for JAX, written as is usual there: whole steps compiled, donated state, a static cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

from benchmarks.cpu.workloads import GPT, Workload, batches, image_order, prompt
from benchmarks.plain_jax import Settings, Weights, adamw_step, layer_norm, new_state, train_step


def contestant(workload: Workload, weights: Path) -> Callable[[int], list[float]]:
    """A function that runs a number of steps, or generates a number of tokens, and returns the losses or tokens."""
    arrays = {name: jnp.asarray(value) for name, value in load_file(weights).items()}
    if workload.kind == "decode":
        return _decoder(workload, arrays)
    step: Callable[..., Any]
    if workload.gpt is not None:
        table = arrays.pop("positions")
        step = partial(train_step, Settings(workload.gpt.layers, workload.gpt.heads), table)
        given = [jnp.asarray(batch[0]) for batch in batches(workload)]
    else:
        step = partial(_image_step, workload.kind)
        given = [tuple(jnp.asarray(array) for array in batch) for batch in batches(workload)]
    compiled = jax.jit(step, donate_argnums=0)
    state = new_state(arrays)
    source = itertools.cycle(given)

    def run(count: int) -> list[float]:
        nonlocal state
        losses = []
        for _ in range(count):
            state, loss = compiled(state, next(source))
            losses.append(loss)
        return [float(loss) for loss in losses]

    return run


# ---- images ----


def _image_step(kind: str, state: Any, batch: Any) -> Any:
    return adamw_step(Settings(0, 0), lambda weights, key: _image_loss(kind, weights, *batch), state)


def _image_loss(kind: str, weights: Weights, x: Any, targets: Any) -> Any:
    """Mean cross-entropy of LeNet-5 or the MLP, whose weights are in the order of the layers, each followed by its bias."""
    ordered = [weights[name] for name in sorted(weights, key=image_order)]
    layers = list(zip(ordered[::2], ordered[1::2], strict=True))
    for weight, bias in layers:
        if weight.ndim == 4:
            x = jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID") + bias[:, None, None]
            x = jax.nn.relu(jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"))
        else:
            x = x.reshape(len(x), -1) @ weight.T + bias
            x = x if weight is layers[-1][0] else jax.nn.relu(x)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), targets[:, None], axis=-1))


# ---- decoding ----


def _decoder(workload: Workload, weights: Weights) -> Callable[[int], list[float]]:
    assert workload.gpt is not None
    gpt = workload.gpt
    step = jax.jit(partial(_decode_step, gpt), donate_argnums=1)
    start = jnp.asarray(prompt(workload))

    def run(count: int) -> list[float]:
        cache = jnp.zeros((gpt.layers, 2, gpt.heads, gpt.context, gpt.width // gpt.heads))
        token, cache = step(weights, cache, start, 0)
        tokens = [token]
        for i in range(count - 1):
            token, cache = step(weights, cache, token[None], len(start) + i)
            tokens.append(token)
        return [float(token) for token in tokens]

    return run


def _decode_step(gpt: GPT, weights: Weights, cache: Any, ids: Any, at: Any) -> Any:
    """Process ``ids (T)`` at positions from ``at`` on; returns the greedy next token and the cache (layers, 2, H, S, D)."""
    length = ids.shape[0]
    positions = at + jnp.arange(length)
    x = weights["embedding.weight"][ids] + weights["positions"][positions]
    allowed = jnp.arange(gpt.context) <= positions[:, None]  # (T, S)
    for i in range(gpt.layers):
        w = {name.removeprefix(f"blocks.{i}."): value for name, value in weights.items() if name.startswith(f"blocks.{i}.")}
        qkv = layer_norm(x, w["norm1.weight"], w["norm1.bias"]) @ w["attention.in_proj_weight"].T + w["attention.in_proj_bias"]
        q, k, v = (part.reshape(length, gpt.heads, -1).transpose(1, 0, 2) for part in jnp.split(qkv, 3, axis=-1))  # (H, T, D)
        cache = jax.lax.dynamic_update_slice(cache, jnp.stack([k, v])[None], (i, 0, 0, at, 0))
        scores = q @ cache[i, 0].transpose(0, 2, 1) / math.sqrt(q.shape[-1])  # (H, T, S)
        y = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1) @ cache[i, 1]
        x = x + y.transpose(1, 0, 2).reshape(length, -1) @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"]
        y = layer_norm(x, w["norm2.weight"], w["norm2.bias"]) @ w["linear1.weight"].T + w["linear1.bias"]
        x = x + jax.nn.gelu(y, approximate=True) @ w["linear2.weight"].T + w["linear2.bias"]
    logits = layer_norm(x[-1], weights["norm.weight"], weights["norm.bias"]) @ weights["head.weight"].T
    return jnp.argmax(logits), cache
