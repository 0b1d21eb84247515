"""Kernels compiled by numba: when they are used, and what happens if numba is missing or broken. test_kernels.py tests their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy
import pytest

from tinytorch.backend import Kernel
from tinytorch_numpy import compiled, tuning
from tinytorch_numpy.kernels import KERNELS

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: pip install 'tinytorch-xp[fast]'")

_TUNED = """
import json, sys
import tinytorch as tt
from tinytorch_numpy.kernels import KERNELS
messages = tt.tune()
replaced = sorted(name for name, kernel in tt.get_backend("numpy").kernels.items() if kernel is not KERNELS[name])
"""


def run(code: str, last: str, **environment: str) -> Any:
    """Run ``code`` in a new process and return the value of the expression ``last``."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TINYTORCH_")}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(json.dumps({last}))"],
        capture_output=True,
        text=True,
        env={**settings, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_numba
def test_tune_replaces_kernels_and_lists_them() -> None:
    messages, replaced = run(_TUNED, "[messages, replaced]", TINYTORCH_NUM_THREADS="1")
    assert replaced == sorted(compiled.KERNELS)
    assert any(f"numba {import_module('numba').__version__}" in message and ", ".join(compiled.KERNELS) in message for message in messages)


@pytest.mark.parametrize("settings", [{"TINYTORCH_TUNE": "off"}, {"TINYTORCH_NUMBA": "off"}, {"TINYTORCH_NUMBA": " OFF "}])
def test_numba_can_be_disabled(settings: dict[str, str]) -> None:
    messages, replaced = run(_TUNED, "[messages, replaced]", **settings)
    assert replaced == []
    assert not any("numba" in message for message in messages)


def test_without_numba_no_kernel_is_replaced() -> None:
    messages, replaced = run("import sys\nsys.modules['numba'] = None\n" + _TUNED, "[messages, replaced]")
    assert replaced == []
    assert not any("numba" in message for message in messages)


@pytest.mark.parametrize(("release", "used"), [("0.60.0", False), ("0.61.0rc1", True), ("0.68.1", True), ("1.0", True)])
def test_a_numba_that_is_too_old_is_not_used_and_reported(release: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tuning.NUMBA_VARIABLE, raising=False)
    monkeypatch.setattr(tuning, "find_spec", lambda name: object())
    monkeypatch.setattr(tuning, "version", lambda name: release)
    kernels, message = tuning.use_numba()
    assert bool(kernels) is used
    assert message is not None
    assert release in message
    assert ("not used" in message) is not used


@needs_numba
def test_numba_is_imported_only_for_large_arrays() -> None:
    code = _TUNED + "from tinytorch import ops\nops.gelu(tt.ones((1, 3072), dtype=tt.float32), approximate='tanh')"
    assert run(code, "'numba' in sys.modules") is False
    assert run(code.replace("(1, 3072)", "(64, 3072)"), "'numba' in sys.modules") is True


def test_a_broken_numba_warns_once_and_numpys_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ImportError("Numba needs NumPy 1.0 or less")

    monkeypatch.setattr(compiled, "import_module", refuse)
    monkeypatch.setattr(compiled, "_MIN_SIZE", 0)
    compiled._load.cache_clear()
    x = numpy.linspace(-3, 3, 7, dtype=numpy.float32)
    try:
        with pytest.warns(RuntimeWarning, match="numba cannot be loaded.*NumPy 1.0 or less"):
            out, residuals = compiled.KERNELS["gelu"].forward(x, approximate="tanh")
        second, _ = compiled.KERNELS["gelu"].forward(x, approximate="tanh")  # no second warning
    finally:
        compiled._load.cache_clear()
    plain = KERNELS["gelu"]
    expected, own = plain.forward(x, approximate="tanh")
    numpy.testing.assert_array_equal([out, second], [expected, expected])
    assert compiled.KERNELS["gelu"].backward is not None
    assert plain.backward is not None
    grads = [
        backward(x, kept, [x], [True], approximate="tanh")
        for backward, kept in ((compiled.KERNELS["gelu"].backward, residuals), (plain.backward, own))
    ]
    numpy.testing.assert_array_equal(*grads)


@needs_numba
def test_a_loop_is_compiled_without_a_cache_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from tinytorch_numpy.compiled.support import loop

    def without_disk(cache: bool = False, **options: Any) -> Any:
        def refuse(function: Any) -> Any:
            raise RuntimeError("cannot cache function: no locator available")

        return refuse if cache else njit(**options)

    njit = numba.njit
    monkeypatch.setattr(numba, "njit", without_disk)

    @loop()
    def double(x: float) -> float:
        return 2 * x

    assert double(1.5) == 3.0


def compiled_kernel(name: str) -> Kernel:
    """The compiled kernel itself, without the dispatch to numpy's."""
    kernel = getattr(import_module(f"tinytorch_numpy.compiled.{name}"), name)
    assert isinstance(kernel, Kernel)
    return kernel


@needs_numba
@pytest.mark.parametrize("name", compiled.KERNELS)
def test_every_compiled_kernel_supports_float32(name: str) -> None:
    x, key = numpy.ones((2, 4, 6), numpy.float32), numpy.asarray([1, 2], numpy.int32)
    moments = [[numpy.ones(3, numpy.float32)] for _ in range(4)]
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "adam": (
            (*moments, 0.1, 1),
            {"betas": (0.9, 0.9), "eps": 1e-8, "weight_decays": [0.0], "decoupled": True, "max_norm": None},
        ),
        "dropout": ((x, key), {"p": 0.5, "site": 0}),
        "gelu": ((x,), {"approximate": "tanh"}),
        "layer_norm": ((x, x[0, 0], x[0, 0]), {"eps": 1e-5}),
        "max_pool2d": ((x[None],), {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
        "packed_attention": ((x, None, None), {"num_heads": 2, "causal": True, "p": 0.0, "site": 0}),
    }
    arrays, settings = calls[name]
    assert compiled_kernel(name).forward(*arrays, **settings) is not NotImplemented


@needs_numba
@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
def test_nan_and_infinity_propagate(bad: float) -> None:
    x = numpy.zeros((1, 40, 36), numpy.float32)
    x[0, 20, 7] = bad
    weight = numpy.ones(36, numpy.float32)
    out, _ = compiled_kernel("layer_norm").forward(x, weight, weight, eps=1e-5)
    assert numpy.isnan(out[0, 20]).all()
    assert numpy.isfinite(numpy.delete(out, 20, axis=1)).all()
    out, _ = compiled_kernel("gelu").forward(x, approximate="tanh")
    assert out[0, 20, 7] == bad or numpy.isnan(out[0, 20, 7])
    assert numpy.count_nonzero(out) == 1
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    out, _ = compiled_kernel("max_pool2d").forward(x[None], **window)
    numpy.testing.assert_array_equal(out[0, 0, 10, 3], max(bad, 0) if bad == bad else bad)
    out, _ = compiled_kernel("packed_attention").forward(x, None, None, num_heads=2, causal=True, p=0.0, site=0)
    assert numpy.isfinite(out[0, :20]).all()
    assert numpy.isnan(out[0, 20, 6:]).all()


@needs_numba
def test_the_exponential_is_accurate_to_float32_rounding() -> None:
    from tinytorch_numpy.compiled.exponential import exponential

    x = numpy.linspace(-87, 88, 5001, dtype=numpy.float32)
    found = numpy.asarray([exponential(value) for value in x])
    numpy.testing.assert_allclose(found, numpy.exp(x.astype(numpy.float64)), rtol=1.2e-7)
    assert exponential(numpy.float32(1000)) == numpy.inf
    assert exponential(numpy.float32(-1000)) < 2e-38
    assert numpy.isnan(exponential(numpy.float32(numpy.nan)))
