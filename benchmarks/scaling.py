"""Time and memory of a GPT's training step by sequence length, width and batch size, and of decoding by the number of cached tokens.

``python -m benchmarks scaling`` measures. Each point runs in its own process, so that its peak memory is not affected by others.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median

import numpy

#: Number of layers and heads of all models.
LAYERS, HEADS = 2, 4
VOCAB = 65


@dataclass(frozen=True)
class Point:
    """One size, with milliseconds per step, or per token for decoding, and the peak memory of the process in megabytes."""

    axis: str
    length: int
    width: int
    batch: int
    milliseconds: float = 0.0
    megabytes: float = 0.0


TRAINING = [
    *[Point("length", length, 128, 2) for length in (64, 128, 256, 512, 1024, 2048)],
    *[Point("width", 64, width, 8) for width in (64, 128, 256, 512, 1024)],
    *[Point("batch", 64, 128, batch) for batch in (1, 2, 4, 8, 16, 32, 64)],
]
DECODING = [Point("written", length, 128, 1) for length in (64, 128, 256, 512, 1024, 2048)]


def measured(point: Point) -> Point:
    """The point with its measurements, from a new process."""
    command = [sys.executable, "-m", "benchmarks.scaling", json.dumps(asdict(point))]
    return Point(**json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def slopes(points: list[Point], of: str) -> list[float]:
    """Growth exponents of time or memory between adjacent points."""
    sizes, values = [_size(point) for point in points], [getattr(point, of) for point in points]
    return [math.log(values[i + 1] / values[i]) / math.log(sizes[i + 1] / sizes[i]) for i in range(len(points) - 1)]


def _size(point: Point) -> int:
    return int(point.length if point.axis == "written" else getattr(point, point.axis))


def table(points: list[Point]) -> str:
    """A Markdown table for one axis, with the growth exponent since the previous row."""
    unit = "token" if points[0].axis == "written" else "step"
    lines = [f"| {points[0].axis} | ms per {unit} | slope | peak MB | slope |", "|---|---|---|---|---|"]
    pairs = zip([math.nan, *slopes(points, "milliseconds")], [math.nan, *slopes(points, "megabytes")], strict=True)
    for point, (time_slope, memory_slope) in zip(points, pairs, strict=True):
        shown = ["" if math.isnan(slope) else f"{slope:.2f}" for slope in (time_slope, memory_slope)]
        lines.append(f"| {_size(point):,} | {point.milliseconds:.2f} | {shown[0]} | {point.megabytes:.0f} | {shown[1]} |")
    return "\n".join(lines)


def measure_all() -> list[Point]:
    """Measure all points; each axis is printed when it is complete."""
    found = []
    for axis in ("length", "width", "batch", "written"):
        points = [measured(point) for point in [*TRAINING, *DECODING] if point.axis == axis]
        print(table(points) + "\n", flush=True)
        found += points
    return found


# ---- in the process of one point ----


def _train(point: Point) -> float:
    """Milliseconds per step."""
    import tinytorch as tt
    from tinytorch.models import TinyGPT
    from tinytorch.optim import AdamW
    from tinytorch.text import CharTokenizer
    from tinytorch.training import LanguageModelTrainer

    tt.tune()
    model = TinyGPT(VOCAB, point.width, HEADS, LAYERS, max_length=point.length, dropout=0.0)
    optimizer = AdamW(model.parameters(), max_norm=1.0)
    trainer = LanguageModelTrainer(model, CharTokenizer(), optimizer)
    batch = (numpy.random.default_rng(0).integers(0, VOCAB, (point.batch, point.length + 1)),)

    def steps(count: int) -> float:
        start = time.perf_counter()
        trainer.trainer.fit(lambda: batch, optimizer.steps + count)
        return (time.perf_counter() - start) / count * 1e3

    steps(3)
    count = max(1, min(32, int(150 / steps(1))))
    return median(steps(count) for _ in range(5))


def _decode(point: Point) -> float:
    """Milliseconds per token after ``length - 33`` cached tokens."""
    import tinytorch as tt
    from tinytorch.generation import stream
    from tinytorch.models import TinyGPT

    tt.tune()
    model = TinyGPT(VOCAB, point.width, HEADS, LAYERS, max_length=point.length, dropout=0.0).eval()
    prompt = [int(i) for i in numpy.random.default_rng(0).integers(0, VOCAB, point.length - 33)]
    tokens = stream(model, prompt, 33, temperature=0.0)
    next(tokens)  # reads the prompt
    times = []
    for _ in range(32):
        start = time.perf_counter()
        next(tokens)
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


def main() -> None:
    """Measure one point, and print it as JSON."""
    from benchmarks.cpu.worker import peak_megabytes

    point = Point(**json.loads(sys.argv[1]))
    milliseconds = _decode(point) if point.axis == "written" else _train(point)
    print(json.dumps({**asdict(point), "milliseconds": milliseconds, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main()
