"""The jax plugin: dtypes, transfers, and training steps under ``jax.jit``."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch import nn, optim
from tinytorch.backend import BackendUnavailableError, get_backend
from tinytorch.models import MLP, TinyGPT
from tinytorch.tensor import wrap
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.language_model import random_batches

jax = pytest.importorskip("jax", reason="JAX is not installed")

TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 20


@pytest.fixture(autouse=True)
def use_jax() -> object:
    with tt.use_backend("jax"):
        yield


@pytest.mark.parametrize("device", ["typewriter", "cpu:99"])
def test_a_missing_device_raises(device: str) -> None:
    with pytest.raises(BackendUnavailableError, match=f"JAX has no device '{device}'"):
        get_backend(f"jax:{device}")


def test_from_host_copies_and_to_host_is_read_only() -> None:
    backend = tt.current_backend()
    array = numpy.ones(1000, dtype=numpy.float32)
    raw = backend.from_host(array)
    array[0] = 5
    assert float(raw[0]) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        backend.to_host(raw)[0] = 5


def test_the_default_integer_is_int32_without_x64() -> None:
    code = "import tinytorch as tt\ntt.set_backend('jax')\nprint(tt.arange(3).dtype.name, tt.__array_namespace_info__().default_dtypes())"
    narrow = {name: value for name, value in os.environ.items() if name not in ("JAX_ENABLE_X64", "TINYTORCH_BACKEND")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=narrow)
    assert done.stdout.startswith("int32")
    assert "'integral': tinytorch.int32" in done.stdout


def test_without_x64_integers_that_fit_become_int32_and_nothing_else_is_narrowed() -> None:
    code = """
import numpy, tinytorch as tt
tt.set_backend("jax")
print(tt.asarray(numpy.array([0, -1])), tt.asarray(numpy.array([7], numpy.uint64)), tt.ones(2)[numpy.array([1])])
for array in (numpy.array([2**31]), numpy.array([0.1])):
    for call in (tt.asarray, lambda array: tt.ones(1) + array, tt.grad(tt.sum)):
        try:
            print(call(array))
        except TypeError as error:
            print(error)
print(tt.asarray(numpy.array([0.1]), dtype=tt.float32))
"""
    narrow = {name: value for name, value in os.environ.items() if name not in ("JAX_ENABLE_X64", "TINYTORCH_BACKEND")}
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=narrow).stdout.splitlines()
    assert lines[0] == (
        "Tensor([ 0, -1], dtype=int32, device='jax:cpu') Tensor([7], dtype=uint32, device='jax:cpu') "
        "Tensor([1.], dtype=float32, device='jax:cpu')"
    )
    hint = "JAX has no {} in its default mode; pass dtype={!r}, or set JAX_ENABLE_X64=1 before JAX is imported"
    assert lines[1:7] == [hint.format("int64", "int32")] * 3 + [hint.format("float64", "float32")] * 3
    assert lines[7] == "Tensor([0.1], dtype=float32, device='jax:cpu')"


def test_grad_runs_inside_jit() -> None:
    backend = tt.current_backend()

    def slope(raw: object) -> object:
        x = tt.asarray(raw)
        return tt.grad(lambda x: tt.sum(tt.sin(x) ** 2))(x).raw

    x = numpy.float32([0.5, 1.0])
    numpy.testing.assert_allclose(jax.jit(slope)(backend.from_host(x)), numpy.sin(2 * x), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "filled"), [("float32", numpy.nan), ("int32", -(2**31)), ("uint8", 255), ("bool", True)])
def test_a_compiled_step_reads_nan_or_a_limit_for_an_out_of_bounds_index(dtype: str, filled: object) -> None:
    """The values of indices are unknown during tracing. JAX would read the nearest element."""
    backend = tt.current_backend()

    def read(raws: tuple[object, ...], indices: tuple[object, ...]) -> tuple[tuple[object, ...], tuple[object, ...]]:
        x, i = wrap(raws[0], backend), wrap(indices[0], backend)
        both = [x[i], x[0:2, ...][i], tt.take(x, i), tt.take_along_axis(x, i), tt.stack([x, x])[1, i], tt.stack([x, x])[:, i][0, ...]]
        return tuple(tensor.raw for tensor in both), ()

    x, i = backend.from_host(numpy.zeros(2), dtype), backend.from_host(numpy.asarray([2, 0, -1, -3]))
    for found in backend.compile(read)((x,), (i,))[0]:
        numpy.testing.assert_array_equal(backend.to_host(found), numpy.asarray([filled, 0, 0, filled], dtype))


def test_a_compiled_step_ignores_writes_and_gradients_for_an_out_of_bounds_index() -> None:
    backend = tt.current_backend()

    def step(raws: tuple[object, ...], indices: tuple[object, ...]) -> tuple[tuple[object, ...], tuple[object, ...]]:
        x, value, i = wrap(raws[0], backend), wrap(raws[1], backend), wrap(indices[0], backend)

        def written(x: tt.Tensor, value: tt.Tensor) -> tt.Tensor:
            y = +x
            y[i] = value
            return y

        slopes = tt.grad(lambda x, value: tt.sum(written(x, value) ** 2), (0, 1))(x, value)
        reads = [tt.grad(lambda x, read=read: tt.sum(read(x)))(x) for read in (lambda x: x[i], lambda x: tt.take(x, i))]
        return tuple(tensor.raw for tensor in (written(x, value), *slopes, *reads)), ()

    x, value, i = [backend.from_host(numpy.asarray(a)) for a in ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [3, 1, -5])]
    new, by_x, by_value, *reads = [backend.to_host(raw).tolist() for raw in backend.compile(step)((x, value), (i,))[0]]
    assert new == [1.0, 20.0, 3.0]
    assert (by_x, by_value) == ([2.0, 0.0, 6.0], [0.0, 40.0, 0.0])
    assert reads == [[0.0, 1.0, 0.0]] * 2


def language_model_losses(backend: str, steps: int = 20) -> list[float]:
    """Training losses of a small GPT with dropout."""
    with tt.use_backend(backend):
        tt.seed(3)
        tokenizer = CharTokenizer().fit(TEXT)
        model = TinyGPT(tokenizer.get_vocab_size(), d_model=32, num_heads=4, num_layers=2, max_length=16, dropout=0.2)
        optimizer = optim.AdamW(model.parameters(), 3e-3, max_norm=1.0, schedule=optim.WarmupCosine(5, 50))
        trainer = LanguageModelTrainer(model, tokenizer, optimizer, accumulate=2)
        records = trainer.trainer.fit(random_batches(tokenizer.encode_array(TEXT), 16, 4), steps)
    return [record.train_loss for record in records]


def test_training_losses_of_a_gpt_with_dropout_equal_those_on_numpy() -> None:
    numpy.testing.assert_allclose(language_model_losses("jax"), language_model_losses("numpy"), atol=1e-4)


def test_a_step_is_traced_once_without_reads_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = tt.current_backend()
    traced = []
    compile_ = type(backend).compile

    def counted(self: object, step: object, donate: bool = False) -> object:
        def once(state: object, batch: object) -> object:
            traced.append(batch)
            return step(state, batch)  # type: ignore[operator]

        return compile_(self, once, donate)  # type: ignore[arg-type]

    monkeypatch.setattr(type(backend), "compile", counted)
    language_model_losses("jax", steps=5)
    assert len(traced) == 1
    assert all(isinstance(array, jax.core.Tracer) for array in traced[0])


def test_float32_matmuls_are_not_rounded_to_tf32_as_is_the_default_of_jax_on_a_gpu() -> None:
    with tt.get_backend("jax").matmul_precision("float32"):
        traced = jax.make_jaxpr(jax.numpy.matmul)(numpy.ones((2, 2), "float32"), numpy.ones((2, 2), "float32"))
    assert "precision=(Precision.HIGHEST, Precision.HIGHEST)" in str(traced)


def test_training_losses_of_a_classifier_with_batch_norm_equal_those_on_numpy() -> None:
    def losses(backend: str) -> list[float]:
        with tt.use_backend(backend):
            tt.seed(0)
            model = MLP(8, hidden=(6,), classes=3, dropout=0.1, batch_norm=True)
            trainer = Trainer(model, optim.SGD(model.parameters(), 0.1, momentum=0.9), nn.CrossEntropyLoss())
            random = numpy.random.default_rng(0)

            def next_batch() -> tuple[object, object]:
                return random.normal(size=(5, 8)).astype("float32"), random.integers(0, 3, 5)

            return [record.train_loss for record in trainer.fit(next_batch, 10)]

    numpy.testing.assert_allclose(losses("jax"), losses("numpy"), atol=1e-4)


def test_searchsorted_returns_the_default_integer_dtype() -> None:
    assert_close(tt.searchsorted(tt.asarray([1.0, 3.0]), tt.asarray([2.0])), numpy.int64([1]))
