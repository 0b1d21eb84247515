"""The self-check of CUDA kernels, on the emulated CUDA: it finds a broken kernel, and training goes on with the portable version."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy import self_check_child
from tests.emulated_cuda import hooks
from tinytorch import nn, ops, optim
from tinytorch.testing import first_use, run_checks
from tinytorch_cupy import self_check
from tinytorch_cupy.kernels import KERNELS, launch
from tinytorch_cupy.kernels.gelu import gelu


@pytest.fixture
def unchecked(gpu: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The GPU with the kernels of `self_check_child`, not compiled and not checked yet; a test may change the files in ``sources``."""
    shutil.copytree(launch.DIRECTORY, tmp_path / "kernels", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    command = (sys.executable, "-P", self_check_child.__file__, str(tmp_path))
    # the emulated CUDA compiles with g++, which takes longer than NVRTC
    monkeypatch.setattr(first_use, "LIMIT", 300.0)
    monkeypatch.setattr(first_use, "LIMIT_CALL", 100.0)
    monkeypatch.setattr(first_use, "run_checks", partial(run_checks, command=command))
    monkeypatch.setattr(first_use, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(launch, "DIRECTORY", tmp_path / "kernels")
    monkeypatch.delenv("TINYTORCH_SELF_CHECK", raising=False)
    for source in launch.SOURCES.values():
        for name in ("_functions", "_modules", "_failures"):
            monkeypatch.setattr(source, name, {})
    backend = gpu.backend
    monkeypatch.setattr(backend, "_namespace", backend._namespace)  # restored after the test
    monkeypatch.setattr(backend, "kernels", {name: KERNELS[name] for name in self_check_child.NAMES})
    return SimpleNamespace(backend=backend, sources=tmp_path / "kernels", cache=tmp_path / "cache")


def replace_line(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def losses(steps: int = 5) -> list[float]:
    """The losses of an MLP with the kernels relu, gelu and linear."""
    tt.seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    random = numpy.random.default_rng(0)
    x, y = tt.asarray(random.normal(size=(9, 6)), dtype="float32"), tt.asarray(random.integers(0, 3, 9))
    found = []
    for _ in range(steps):
        loss = nn.CrossEntropyLoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.item()))
    return found


def names_launched(run: Any) -> set[str]:
    """Names of this plugin's kernels, not of cupy's, that ``run`` launches."""
    hooks.clear()
    run()
    return {name for name in hooks.kernels() if not name.startswith("cupy_")}


def test_kernels_that_are_right_stay(
    unchecked: SimpleNamespace, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    self_check.check_on_first_use(unchecked.backend)
    assert set(unchecked.backend.kernels) == {"gelu", "linear", "relu"}
    assert capsys.readouterr().err.startswith("checking the kernels of cupy:0 (once per device and version, at most 300 s) ... 4 passed")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("a <= 0.0f ? 0.0f", "a <= 0.0f ? 0.5f", "times the tolerance"),
        ("a <= 0.0f ? 0.0f", "a <= 0.0f ? undeclared", "cannot be compiled or loaded"),
        ("a <= 0.0f ? 0.0f", "a <= 0.0f ? *(volatile float *)8", "memory outside of all arrays"),
    ],
)
def test_training_goes_on_without_a_kernel_with_one_broken_line(
    unchecked: SimpleNamespace, caplog: pytest.LogCaptureFixture, old: str, new: str, reason: str
) -> None:
    with ops.portable_kernels():
        expected = losses()
    replace_line(unchecked.sources / "relu.cu", old, new)
    self_check.check_on_first_use(unchecked.backend)
    assert set(unchecked.backend.kernels) == {"gelu", "linear"}
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("tinytorch", logging.WARNING)
    assert "relu (float32: " in record.getMessage()
    assert reason in record.getMessage()
    assert "gelu_forward" in names_launched(lambda: numpy.testing.assert_allclose(losses(), expected, rtol=1e-4))
    assert len(caplog.records) == 1


def test_a_wrong_matmul_is_replaced_by_that_of_cupy(unchecked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "remove_failed_kernels", lambda backend: {"matmul"})
    unchecked.backend.kernels = {name: KERNELS[name] for name in ("conv2d", "linear", "relu")}
    self_check.check_on_first_use(unchecked.backend)
    assert set(unchecked.backend.kernels) == {"relu"}
    assert hasattr(unchecked.backend.xp, "add_rows")  # the kernel of `embedding`
    a = unchecked.backend.from_host(numpy.ones((2, 3), numpy.float32))
    assert unchecked.backend.to_host(unchecked.backend.xp.matmul(a, a.T)).tolist() == [[3, 3], [3, 3]]


def test_rows_are_summed_without_a_wrong_kernel_of_embedding(unchecked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "remove_failed_kernels", lambda backend: {"embedding"})
    self_check.check_on_first_use(unchecked.backend)
    assert not hasattr(unchecked.backend.xp, "add_rows")


def test_the_verdict_depends_on_gpu_versions_and_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = SimpleNamespace(
        getDeviceProperties=lambda number: {"name": b"Tesla T4"}, driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 12080
    )
    cupy = SimpleNamespace(
        __version__="14.0.1", cuda=SimpleNamespace(runtime=runtime, Device=lambda n: SimpleNamespace(compute_capability="75"))
    )
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.03  Thu\nGCC version:  gcc 12.2.0\n", encoding="utf-8")
    monkeypatch.setattr(self_check, "_DRIVER", driver)
    found = self_check.key(cupy, 0)
    assert len(found.pop("sources")) == 16
    assert found == {
        "GPU": "Tesla T4",
        "compute capability": "7.5",
        "driver": "580.159.03",
        "CUDA driver": "13.0",
        "CUDA runtime": "12.8",
        "cupy": "14.0.1",
    }
    driver.unlink()
    assert self_check.key(cupy, 0)["driver"] == "unknown"


# ---- without a self-check ----


class BrokenCompiler:
    """cupy.RawModule with an NVRTC that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.calls = 0
        self.error = error
        monkeypatch.setattr(sys.modules["cupy"], "RawModule", self.compile)

    def compile(self, **options: Any) -> Any:
        self.calls += 1
        raise self.error


class CompileException(Exception):
    """As cupy's."""


def test_a_kernel_that_cannot_be_compiled_is_replaced_and_logged_once(
    unchecked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = CompileException("warning: x\ngelu.cu(3): error: identifier is undefined\n1 error detected")
    compiler = BrokenCompiler(monkeypatch, error)
    unchecked.backend.kernels = {"gelu": launch.with_fallback("gelu", gelu)}  # not that of KERNELS, which logs once
    x = tt.asarray([-1.0, 2.0])
    with ops.portable_kernels():
        expected = ops.gelu(x, approximate="tanh")
    for _ in range(2):
        assert (ops.gelu(x, approximate="tanh").numpy() == expected.numpy()).all()
    assert compiler.calls == 1  # compiling takes seconds
    (message,) = caplog.messages
    assert "the CUDA kernel gelu cannot be compiled or loaded" in message
    assert "(gelu.cu: CompileException: gelu.cu(3): error: identifier is undefined)" in message


@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")])
def test_a_lack_of_memory_is_raised_and_the_kernel_is_compiled_again_later(
    unchecked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    x = tt.asarray([-1.0, 2.0])
    with monkeypatch.context() as patch:
        BrokenCompiler(patch, error)
        with pytest.raises(type(error), match="out of memory"):
            ops.relu(x)
    assert names_launched(lambda: ops.relu(x)) == {"relu_forward"}


def test_a_backward_pass_that_cannot_be_compiled_uses_the_portable_version(
    unchecked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked.backend.kernels = KERNELS

    def gradients() -> list[numpy.ndarray[Any, Any]]:
        """Of attention with one query, whose forward and backward pass are in different files."""
        random = numpy.random.default_rng(0)
        q, k, v = (tt.asarray(random.normal(size=(1, n, 8)), dtype="float32") for n in (1, 5, 5))
        for x in (q, k, v):
            x.requires_grad = True
        tt.sum(ops.attention(q, k, v, None, None, num_heads=2, causal=True, p=0.0, site=0)).backward()
        return [x.grad.numpy() for x in (q, k, v) if x.grad is not None]

    module = sys.modules["cupy"].RawModule

    def compile_decode_only(*, code: str, options: Sequence[str]) -> Any:
        if "attention_decode" not in code:
            raise CompileException("ptxas error")
        return module(code=code, options=options)

    with ops.portable_kernels():
        expected = gradients()
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", compile_decode_only)
    launched = names_launched(
        lambda: [numpy.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6) for a, e in zip(gradients(), expected, strict=True)]
    )
    assert launched == {"attention_decode", "attention_join"}
