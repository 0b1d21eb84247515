"""JAX's side: the plain training step of `benchmarks.jax_step`, compiled whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

from benchmarks.cpu.workloads import Workload, batches
from benchmarks.plain_jax import Settings, new_state, train_step


def contestant(workload: Workload, weights: Path) -> Callable[[int], list[float]]:
    """Takes so many steps and returns the losses."""
    if workload.kind != "train" or workload.gpt is None:
        raise SystemExit(f"there is no JAX side of {workload.what}")
    arrays = {name: jnp.asarray(value) for name, value in load_file(weights).items()}
    table = arrays.pop("positions")
    step = jax.jit(partial(train_step, Settings(workload.gpt.layers, workload.gpt.heads)), donate_argnums=(1,))
    state = new_state(arrays)
    source = itertools.cycle([jnp.asarray(batch[0]) for batch in batches(workload)])

    def run(count: int) -> list[float]:
        nonlocal state
        losses = []
        for _ in range(count):
            state, loss = step(table, state, next(source))
            losses.append(loss)
        return [float(loss) for loss in losses]

    return run
