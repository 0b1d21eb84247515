"""A GPT and its training step in plain JAX, for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

Weights = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The model's shape, and AdamW's settings; ``schedule(xp, step)`` is a factor of the learning rate."""

    layers: int
    heads: int
    dropout: float = 0.0
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    decay: float = 0.1
    norm: float = 1.0
    schedule: Callable[[Any, Any], Any] | None = None


def dropout(x: Any, p: float, key: Any) -> Any:
    """Dropout."""
    if not p:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - p, x.shape), x / (1.0 - p), 0.0)


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    """Layer normalization."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def loss_of(settings: Settings, weights: Weights, table: Any, tokens: Any, key: Any) -> Any:
    """Mean cross-entropy of the model on windows (B, T + 1); weights by tinytorch's names, ``table`` of positions (T, C)."""
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    batch, length = ids.shape
    keys = iter(jax.random.split(key, 1 + 3 * settings.layers))
    p = settings.dropout
    x = dropout(weights["embedding.weight"][ids] + table[:length], p, next(keys))
    allowed = jnp.tril(jnp.ones((length, length), dtype=bool))
    for i in range(settings.layers):
        w = {name.removeprefix(f"blocks.{i}."): value for name, value in weights.items() if name.startswith(f"blocks.{i}.")}
        y = layer_norm(x, w["norm1.weight"], w["norm1.bias"])
        qkv = y @ w["attention.in_proj_weight"].T + w["attention.in_proj_bias"]  # (B, T, 3 C)
        q, k, v = (part.reshape(batch, length, settings.heads, -1).transpose(0, 2, 1, 3) for part in jnp.split(qkv, 3, axis=-1))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])  # (B, H, T, T)
        attention = dropout(jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1), p, next(keys))
        y = (attention @ v).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        x = x + dropout(y @ w["attention.out_proj.weight"].T + w["attention.out_proj.bias"], p, next(keys))
        y = layer_norm(x, w["norm2.weight"], w["norm2.bias"])
        y = jax.nn.gelu(y @ w["linear1.weight"].T + w["linear1.bias"], approximate=True)
        x = x + dropout(y @ w["linear2.weight"].T + w["linear2.bias"], p, next(keys))
    logits = layer_norm(x, weights["norm.weight"], weights["norm.bias"]) @ weights["head.weight"].T
    log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -jnp.mean(log_likelihood)


def new_state(weights: Weights) -> Any:
    """Weights, both moments, the step number, and the random key."""
    moments = [{name: jnp.zeros_like(value) for name, value in weights.items()} for _ in range(2)]
    return weights, *moments, jnp.asarray(0), jax.random.key(0)


def train_step(settings: Settings, table: Any, state: Any, tokens: Any) -> Any:
    """One training step of the GPT; returns the new state and the loss."""
    return adamw_step(settings, lambda weights, key: loss_of(settings, weights, table, tokens, key), state)


def adamw_step(settings: Settings, loss_with: Callable[[Weights, Any], Any], state: Any) -> Any:
    """One step of AdamW with clipping, for ``loss_with(weights, key)``; returns the new state and the loss."""
    weights, first, second, step, key = state
    step = step + 1
    key_now = jax.random.fold_in(key, step)
    loss, grads = jax.value_and_grad(lambda w: loss_with(w, key_now))(weights)
    count = step.astype(jnp.float32)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    scale = jnp.minimum(1.0, settings.norm / (norm + 1e-6))
    lr = settings.lr * (1.0 if settings.schedule is None else settings.schedule(jnp, count))
    corrections = [1.0 - beta**count for beta in settings.betas]
    new: tuple[Weights, Weights, Weights] = ({}, {}, {})
    for name, weight in weights.items():
        g = grads[name] * scale
        m = settings.betas[0] * first[name] + (1.0 - settings.betas[0]) * g
        v = settings.betas[1] * second[name] + (1.0 - settings.betas[1]) * g * g
        decayed = weight * (1.0 - settings.decay * lr) if weight.ndim > 1 else weight
        new[0][name] = decayed - lr * (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + settings.eps)
        new[1][name], new[2][name] = m, v
    return (*new, step, key), loss
