"""Profile a workload: milliseconds in each kernel, and a lower bound from the machine's peaks of matmul and memory bandwidth.

Times of kernels are summed over the threads of a sharded step, so the sum may exceed the time of the step.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

import tinytorch
from benchmarks.cpu import ours
from benchmarks.cpu.workloads import WORKLOADS, Workload
from tinytorch.backend import get_backend


def profile(name: str) -> str:
    """Profile one workload; returns lines of text."""
    workload = WORKLOADS[name]
    backend = get_backend("numpy")
    tinytorch.tune(backend)  # before wrapping, because it may replace kernels
    seconds: dict[str, float] = defaultdict(float)
    plain = backend.kernels
    backend.kernels = {
        kernel: replace(pair, forward=_timed(kernel, pair.forward, seconds), backward=_timed(f"{kernel} backward", pair.backward, seconds))
        for kernel, pair in plain.items()
    }
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "weights.safetensors"
            ours.write_weights(workload, path)
            run = ours.contestant(workload, path)
            count = max(2, workload.turn // 4)
            run(count)
            seconds.clear()
            start = time.perf_counter()
            run(count)
            total = time.perf_counter() - start
    finally:
        backend.kernels = plain
    lines = [f"{name}: {total / count * 1e3:.2f} ms; at least {least_milliseconds(workload):.2f} at the machine's peaks"]
    lines += [f"  {kernel:<26} {spent / count * 1e3:9.2f} ms" for kernel, spent in sorted(seconds.items(), key=lambda item: -item[1])]
    return "\n".join(lines)


def _timed(name: str, function: Callable[..., Any] | None, seconds: dict[str, float]) -> Any:
    if function is None:
        return None

    def timed(*args: Any, **static: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **static)
        seconds[name] += time.perf_counter() - start
        return result

    return timed


# ---- the roofline ----


def least_milliseconds(workload: Workload) -> float:
    """Lower bound: a training step's FLOPs at the peak of sgemm, or reading a token's weights at the peak memory bandwidth."""
    if workload.kind == "decode":
        assert workload.gpt is not None
        numbers = workload.gpt.layers * 12 * workload.gpt.width**2 + workload.gpt.width * workload.gpt.vocab
        return 4 * numbers / _best(lambda: _MATRIX @ _VECTOR, 4 * _MATRIX.size) * 1e3
    return flops(workload) / _best(lambda: _SQUARE @ _SQUARE, 2 * len(_SQUARE) ** 3) * 1e3


def flops(workload: Workload) -> float:
    """FLOPs of a training step's matmuls: forward, gradients of weights, and gradients of inputs except the first layer's."""
    if workload.gpt is not None:
        return workload.gpt.flops_a_token * workload.batch * workload.gpt.context
    if workload.kind == "mlp":
        layers = [(1, 3072 * 1024), (1, 1024 * 512), (1, 512 * 10)]
    else:  # output positions, weights
        layers = [(28 * 28, 6 * 75), (10 * 10, 16 * 150), (1, 400 * 120), (1, 120 * 84), (1, 84 * 10)]
    each = [2.0 * workload.batch * positions * weights for positions, weights in layers]
    return 3 * sum(each) - each[0]


# created once, read-only
_SQUARE = numpy.ones((1536, 1536), numpy.float32)
_MATRIX = numpy.ones((50000, 768), numpy.float32)
_VECTOR = numpy.ones(768, numpy.float32)


def _best(work: Callable[[], Any], amount: float) -> float:
    """Highest amount of work per second, over several runs."""
    times = []
    for _ in range(12):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return amount / min(times)
