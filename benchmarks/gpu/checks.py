"""Small checks that need a GPU: how cupy behaves, and whether the assumptions of this plugin hold.

Each docstring states the expected result; each check returns what it observes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import cupy
import numpy

import tinytorch as tt
from tinytorch_cupy import gemm
from tinytorch_cupy.graph import CapturedStep

CHECKS: Final[dict[str, Callable[[], str]]] = {}

_TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}


def check(function: Callable[[], str]) -> Callable[[], str]:
    """Register a check under its name."""
    CHECKS[function.__name__] = function
    return function


def kind(name: str) -> Any:
    """The dtype of that name."""
    if name != "bfloat16":
        return numpy.dtype(name)
    import ml_dtypes

    return numpy.dtype(ml_dtypes.bfloat16)


def lacks(precision: str) -> str | None:
    """Why the GPU, or the installed packages, do not support a precision; ``None`` if they do."""
    return tt.get_backend("cupy").lacks_precision(precision)


def kinds(*names: str) -> list[str]:
    """The dtypes of ``names`` that are supported here."""
    return [name for name in names if name != "bfloat16" or lacks(name) is None]


def ones(shape: tuple[int, ...], name: str) -> Any:
    """Ones on the GPU; cupy may not support filling bfloat16."""
    return cupy.ones(shape, dtype="float32").astype(kind(name))


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """Mean GPU time of a call, over ``times`` consecutive calls."""
    work()
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    for _ in range(times):
        work()
    last.record()
    last.synchronize()
    return float(cupy.cuda.get_elapsed_time(first, last)) / times


def error_of(work: Callable[[], object]) -> str:
    """``no error``, or the error message."""
    try:
        work()
        cupy.cuda.get_current_stream().synchronize()
        return "no error"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


# ---- matmuls ----


@check
def own_products() -> str:
    """Matmuls of this plugin equal numpy's in four dtypes: transposed or not, batched or not, and of a packed projection."""
    random = numpy.random.default_rng(0)
    worst: dict[str, float] = {}
    for name in kinds(*_TOLERANCE):
        for left in (False, True):
            for right in (False, True):
                for batch in ((), (3,), (2, 4)):
                    a = random.normal(size=(*batch, 96, 64)).astype(kind(name))
                    b = random.normal(size=(*batch, 64, 80)).astype(kind(name))
                    x = cupy.asarray(numpy.swapaxes(a, -1, -2).copy()).swapaxes(-1, -2) if left else cupy.asarray(a)
                    y = cupy.asarray(numpy.swapaxes(b, -1, -2).copy()).swapaxes(-1, -2) if right else cupy.asarray(b)
                    found = cupy.asnumpy(gemm.matmul(x, y)).astype("float64")
                    exact = a.astype("float64") @ b.astype("float64")
                    worst[name] = max(worst.get(name, 0.0), float(numpy.abs(found - exact).max() / numpy.abs(exact).max()))
    packed = cupy.asarray(random.normal(size=(2, 16, 3 * 4 * 8)).astype("float32"))
    q, k = (packed[:, :, i * 32 : (i + 1) * 32].reshape(2, 16, 4, 8).transpose(0, 2, 1, 3) for i in range(2))
    off = float(abs(gemm.matmul(q, k.swapaxes(-1, -2)) - cupy.matmul(q, k.swapaxes(-1, -2))).max())
    good = all(error <= _TOLERANCE[name] for name, error in worst.items()) and off < 1e-4
    errors = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
    return f"{'as expected' if good else 'WRONG'}: largest relative error {errors}; heads of a packed projection {off:.1e}"


@check
def sums_in_float32() -> str:
    """16-bit matmuls accumulate in float32: 4,096 ones give 4096; without, they give 2048 or 256."""
    observed = []
    for name in kinds("float16", "bfloat16"):
        row = ones((1, 4096), name)
        observed.append(f"{name}: {float(gemm.matmul(row, row.T)[0, 0])} and {float(gemm.column_sums(row.T)[0])}")
    return "; ".join(observed)


@check
def tf32() -> str:
    """From compute capability 8.0 on, float32 matmuls in TF32 have errors of about 1e-3, and are faster."""
    if lacks("tf32") is not None:
        return f"skipped: {lacks('tf32')}"
    a = cupy.random.standard_normal((4096, 4096), dtype="float32")
    exact, time_exact = gemm.matmul(a, a), milliseconds(lambda: gemm.matmul(a, a))
    with gemm.tf32():
        rough, time_rough = gemm.matmul(a, a), milliseconds(lambda: gemm.matmul(a, a))
    error = float(abs(rough - exact).max() / abs(exact).max())
    return f"relative difference {error:.1e}; {time_exact:.2f} ms and {time_rough:.2f} ms"


@check
def batched_matmul_of_cupy() -> str:
    """N-dimensional cupy.matmul copies transposed operands, converts float16, fails for bfloat16 and ignores CUPY_TF32; ours does not."""
    lines = []
    for name in kinds("float32", "float16", "bfloat16"):
        a, b = ones((96, 1024, 64), name), ones((96, 1024, 64), name).swapaxes(-1, -2)
        own = milliseconds(lambda a=a, b=b: gemm.matmul(a, b))  # type: ignore[misc]
        theirs = error_of(lambda a=a, b=b: cupy.matmul(a, b))  # type: ignore[misc]
        took = f"{milliseconds(lambda a=a, b=b: cupy.matmul(a, b)):.3f} ms" if theirs == "no error" else theirs  # type: ignore[misc]
        lines.append(f"{name}: ours {own:.3f} ms, cupy {took}")
    return "; ".join(lines)


@check
def speed_of_products() -> str:
    """Tensor cores are used: TFLOP/s of a matmul of 8192 x 8192 in bfloat16 and float16."""
    found = []
    for name in kinds("bfloat16", "float16", "float32"):
        a = ones((8192, 8192), name)
        found.append(f"{name} {2 * 8192**3 / milliseconds(lambda a=a: gemm.matmul(a, a), 5) / 1e9:.0f}")  # type: ignore[misc]
    return ", ".join(found)


# ---- bfloat16 ----


@check
def bfloat16_arrays() -> str:
    """cupy's elementwise operations support bfloat16: sums, products with Python numbers, where, casts, comparisons, in-place operators."""
    if lacks("bfloat16") is not None:
        return f"skipped: {lacks('bfloat16')}"
    x = cupy.arange(4).astype(kind("bfloat16"))
    works = {
        "add": lambda: x + x,
        "times a number": lambda: x * 1.5,
        "in place": lambda: x.__iadd__(x),
        "where": lambda: cupy.where(x > 1, x, cupy.zeros_like(x)),
        "where with a number": lambda: cupy.where(x > 1, x, 0.0),
        "to float32": lambda: x.astype("float32"),
        "sum": lambda: x.sum(dtype="float32"),
        "isfinite": lambda: cupy.isfinite(x),
        "fill": lambda: cupy.ones(3, dtype=kind("bfloat16")),
        "take": lambda: cupy.take(x, cupy.asarray([1, 0])),
        "max": lambda: x.max(),
    }
    return "; ".join(f"{name}: {_dtype_or_error(work)}" for name, work in works.items())


def _dtype_or_error(work: Callable[[], Any]) -> str:
    try:
        return str(work().dtype)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"


# ---- launches and graphs ----


@check
def launch_overhead() -> str:
    """An elementwise launch of cupy takes 11 to 12 microseconds of host time."""
    x = cupy.ones(16, dtype="float32")
    for _ in range(100):
        x + x
    cupy.cuda.get_current_stream().synchronize()
    start = time.perf_counter()
    for _ in range(5000):
        x + x
    return f"{(time.perf_counter() - start) / 5000 * 1e6:.1f} microseconds"


@check
def refused_while_capturing() -> str:
    """These raise during capture: cupy's cuBLAS calls, synchronize, host copies both ways, bool(), the default stream."""
    a = cupy.ones((4, 4), dtype="float32")
    works: dict[str, Callable[[], object]] = {
        "matmul": lambda: cupy.matmul(a, a),
        "synchronize": lambda: cupy.cuda.get_current_stream().synchronize(),
        "to the host": lambda: a.get(),
        "from the host": lambda: cupy.asarray(numpy.ones(3)),
        "bool": lambda: bool(a.sum() > 0),
        "sort": lambda: cupy.argsort(a[0]),
        "mask": lambda: a[a > 0],
        "elementwise": lambda: a + a,
        "sum": lambda: a.sum(axis=0),
        "our matmul": lambda: gemm.matmul(a, a),
        "stack of 12": lambda: cupy.stack([a[0]] * 12),
    }
    if numpy.lib.NumpyVersion(cupy.__version__) < "14.1.0":
        del works["sort"]  # an error of Thrust would end the process
    observed = {name: _captured(work) for name, work in works.items()}
    observed["default stream"] = error_of(lambda: cupy.cuda.Stream.null.begin_capture())
    return "; ".join(f"{name}: {what}" for name, what in observed.items())


def _captured(work: Callable[[], object]) -> str:
    cupy.cuda.Device().synchronize()  # a non-blocking stream does not wait for the default stream
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, gemm.using(gemm.new_blas(cupy)):
        try:
            work()
        except Exception as error:
            return f"also fails without capture ({type(error).__name__})"
        stream.synchronize()
        stream.begin_capture()
        try:
            work()
            result = "captured"
        except Exception as error:
            result = f"{type(error).__name__}: {' '.join(str(error).split())[:60]}"
        try:
            stream.end_capture()
        except Exception as error:
            result += f" (end_capture: {type(error).__name__})"
    return result


@check
def a_captured_step() -> str:
    """A step with our matmuls, captured with a private pool and replayed 100 times on the default stream, equals the eager step."""

    def step(state: Any, batch: Any) -> Any:
        w, n = state
        return (w - 0.01 * cupy.tanh(gemm.matmul(batch[0], w) + batch[0]), n + 1), (w.sum(),)

    random = numpy.random.default_rng(0)
    batches = [cupy.asarray(random.normal(size=(64, 64)).astype("float32") / 8) for _ in range(4)]
    start = (cupy.eye(64, dtype="float32"), cupy.zeros((), dtype="int32"))
    captured = CapturedStep(cupy, cupy.cuda.Device(), step, donate=True)
    one, other = start, start
    for i in range(100):
        one, _ = captured(one, (batches[i % 4],))
        other, _ = step(other, (batches[i % 4],))
        junk = cupy.full((1 << 20,), numpy.nan, dtype="float32")  # must not reuse the graph's memory
        del junk
    is_captured = not captured._not_capturable  # and verified
    off, count, how = float(abs(one[0] - other[0]).max()), int(one[1]), "captured" if is_captured else "NOT captured"
    took = (milliseconds(lambda: captured(one, (batches[0],))), milliseconds(lambda: step(other, (batches[0],))))
    return f"{how}, differs by {off:.1e}, counts {count}; {took[0]:.3f} ms, eager {took[1]:.3f} ms"


@check
def a_training_step_is_captured() -> str:
    """The nano GPT's training step and decoding are captured in every precision that the GPU supports, without a warning."""
    import logging

    from benchmarks.gpu import ours
    from benchmarks.gpu.workloads import WORKLOADS, batches
    from tinytorch.generation import generate
    from tinytorch.optim import AdamW
    from tinytorch.text import CharTokenizer
    from tinytorch.training import LanguageModelTrainer

    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tinytorch").addHandler(handler)
    observed = []
    work = WORKLOADS["nano"]
    with tt.use_backend("cupy") as backend:
        for precision in ("float32", "tf32", "bfloat16", "float16"):
            if backend.lacks_precision(precision):
                observed.append(f"{precision}: {backend.lacks_precision(precision)}")
                continue
            lines.clear()
            model = ours.new_model(work)
            trainer = LanguageModelTrainer(model, CharTokenizer(), AdamW(model.parameters(), 1e-3, max_norm=1.0), precision=precision)
            records = trainer.trainer.fit(lambda: (batches(work)[0],), 20)
            written = generate(model, [1, 2, 3], 8, temperature=0.0, precision=precision)
            losses = f"loss {records[0].train_loss:.3f} to {records[-1].train_loss:.3f}, generated {written}"
            observed.append(f"{precision}: {losses}{'; ' + '; '.join(lines) if lines else ''}")
    return " | ".join(observed)


# ---- memory ----


@check
def flat_memory() -> str:
    """2,000 steps of the nano GPT use no more memory than 100."""
    from benchmarks.gpu import ours
    from benchmarks.gpu.workloads import WORKLOADS, batches
    from tinytorch.optim import AdamW
    from tinytorch.text import CharTokenizer
    from tinytorch.training import LanguageModelTrainer

    work = WORKLOADS["nano"]
    with tt.use_backend("cupy") as backend:
        model = ours.new_model(work)
        optimizer = AdamW(model.parameters(), 1e-3, max_norm=1.0)
        trainer = LanguageModelTrainer(model, CharTokenizer(), optimizer)
        used: list[int] = []

        def on_eval(step: int) -> None:
            info = backend.memory_info()
            used.append(0 if info is None else info.used)

        trainer.trainer.fit(lambda: (batches(work)[0],), 2000, on_eval=on_eval, eval_steps=(100, 1000, 2000))
    return ", ".join(f"{bytes_ / 2**20:.0f} MiB" for bytes_ in used) + " in use at steps 100, 1,000 and 2,000"


@check
def out_of_memory() -> str:
    """A batch that does not fit ends with an error that names batch size, block size and a batch that fits."""
    code = (
        "import cupy, sys; cupy.get_default_memory_pool().set_limit(size=1 << 29); "
        "from tinytorch_cupy import graph; pool = cupy.cuda.MemoryPool; "
        "cupy.cuda.MemoryPool = lambda allocator: (p := pool(allocator), p.set_limit(size=1 << 29))[0]; "
        "from tinytorch.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory() as scratch:
        words = ["train", "--backend", "cupy", "--preset", "baby", "--batch-size", "256", "--steps", "2", "--out", f"{scratch}/run"]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.stdout[-200:]}"


# ---- cupy's behavior ----


@check
def largest_with_infinities() -> str:
    """max and argmax are right for arrays with infinities (cupy#7424)."""
    x = cupy.asarray([[-cupy.inf, 1.0, cupy.inf, 2.0], [-cupy.inf] * 4], dtype="float32")
    return f"max {x.max(axis=1).tolist()}, argmax {x.argmax(axis=1).tolist()}, expected [inf, -inf] and [2, 0]"


@check
def scatter_add() -> str:
    """cupy.add.at supports float16, float32 and float64, not bfloat16; sums in any order; wraps out-of-bounds ids."""
    observed = []
    for name in kinds("float16", "float32", "float64", "bfloat16"):
        observed.append(f"{name}: {error_of(lambda name=name: cupy.add.at(cupy.zeros(4, dtype=kind(name)), cupy.asarray([1, 1]), 1))}")  # type: ignore[misc]
    ids = cupy.zeros(1 << 20, dtype="int32")
    values = cupy.random.standard_normal(1 << 20, dtype="float32")
    sums = set()
    for _ in range(8):
        out = cupy.zeros(1, dtype="float32")
        cupy.add.at(out, ids, values)
        sums.add(float(out[0]))
    wrapped = cupy.zeros(4)
    cupy.add.at(wrapped, cupy.asarray([5]), 1)
    return f"{'; '.join(observed)}; {len(sums)} different sums of 8; id 5 of 4 went to {wrapped.tolist()}"


@check
def first_call() -> str:
    """The first call with an empty kernel cache takes seconds; later processes need less."""
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(2):
            start = time.perf_counter()
            code = "import tinytorch as tt; x = tt.ones((8, 8), device='cupy'); float(tt.sum(x @ x + x))"
            subprocess.run([sys.executable, "-c", code], env={**os.environ, "CUPY_CACHE_DIR": scratch}, check=True)
            seconds.append(time.perf_counter() - start)
    return f"{seconds[0]:.1f} s, then {seconds[1]:.1f} s"


@check
def workspace_of_the_library() -> str:
    """This plugin and cupy use the same libcublas: only one is loaded in the process."""
    gemm.matmul(cupy.ones((2, 2)), cupy.ones((2, 2)))
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = sorted({line.split()[-1] for line in maps if "libcublas.so" in line})
    return ", ".join(paths) or "none found"
