"""`check_kernel` and `check_matmul` find wrong kernels, and pass right ones."""

from __future__ import annotations

import logging
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.ops.settings_table import settings_of
from tinytorch.backend import Backend, Kernel
from tinytorch.testing import check_kernel, check_matmul
from tinytorch.testing.kernel_cases import CASES, Draw
from tinytorch.testing.kernel_check import MATMUL, OPERATIONS, checks_of, relative_error
from tinytorch_numpy import create_backend
from tinytorch_numpy.kernels import KERNELS

RELU = KERNELS["relu"]


@pytest.fixture
def numpy_backend() -> Backend:
    """A backend of its own, whose kernels and namespace a test may change."""
    return create_backend()


def check(backend: Backend, forward: Any = RELU.forward, backward: Any = RELU.backward, name: str = "relu") -> str | None:
    backend.kernels = {name: Kernel(forward, backward)}
    return check_kernel(backend, name, "float32").failure


def test_every_kernel_of_every_backend_passes(backend: Backend) -> None:
    for name, dtype in checks_of(backend):
        result = check_matmul(backend, dtype) if name == MATMUL else check_kernel(backend, name, dtype)
        assert (result.kernel, result.dtype, result.failure) == (name, dtype, None)


def test_kernels_are_checked_in_the_dtypes_of_the_backend_float32_first(numpy_backend: Backend) -> None:
    numpy_backend.kernels = {"sgd": KERNELS["sgd"], "relu": RELU}
    assert checks_of(numpy_backend) == [(name, dtype) for dtype in ("float32", "float16", "float64") for name in (MATMUL, "relu", "sgd")]
    assert checks_of(tt.get_backend("strict")) == []  # it has no kernels


def test_the_table_has_calls_of_every_operation_with_its_settings() -> None:
    assert set(CASES) == set(OPERATIONS)
    for name, cases in CASES.items():
        for case in cases(Draw()):
            declared = settings_of(OPERATIONS[name].forward)
            assert set(case.settings) <= set(declared)


def test_calls_that_a_kernel_does_not_support_are_not_compared(numpy_backend: Backend) -> None:
    result = check_kernel(numpy_backend, "relu", "float16")
    assert (result.calls, result.error, result.failure) == (0, 0.0, None)


def test_a_kernel_that_supports_no_float32_fails(numpy_backend: Backend) -> None:
    assert check(numpy_backend, lambda x: NotImplemented) == "the kernel supports no call"


def test_a_wrong_result_fails_and_says_by_how_much(numpy_backend: Backend) -> None:
    message = check(numpy_backend, lambda x: (numpy.maximum(x, 0) * numpy.float32(1.001), None))
    assert message is not None
    assert message.startswith("the largest error is ")
    assert message.endswith(" times the tolerance")


def test_a_wrong_gradient_fails(numpy_backend: Backend) -> None:
    message = check(numpy_backend, backward=lambda g, residuals, inputs, needs: [g])
    assert message is not None
    assert "times the tolerance" in message


def test_an_error_in_the_last_element_only_fails(numpy_backend: Backend) -> None:
    def forward(x: Any) -> Any:
        out = numpy.maximum(x, 0)
        if out.size > 1000:
            out.reshape(-1)[-1] += 1
        return out, None

    assert check(numpy_backend, forward) is not None


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: (numpy.full_like(x, numpy.nan), None), "NaN or infinity"),
        (lambda x: (numpy.maximum(x, 0).reshape(-1), None), r"a result has shape (30,), expected (2, 3, 5)"),
        (lambda x: (numpy.maximum(x, 0, out=x if x.size else None), None), "operand 0 was overwritten"),
    ],
)
def test_other_wrong_results_are_named(numpy_backend: Backend, forward: Any, message: str) -> None:
    assert check(numpy_backend, forward) == message


def test_a_gradient_of_another_dtype_fails(numpy_backend: Backend) -> None:
    def backward(g: Any, residuals: Any, inputs: Any, needs: Any) -> list[Any]:
        return [numpy.where(inputs[0] > 0, g, 0).astype(numpy.float64)]

    assert check(numpy_backend, backward=backward) == "a gradient has dtype float64, expected float32"


def test_an_exception_is_a_failure_but_a_lack_of_memory_is_not(numpy_backend: Backend) -> None:
    def fail(error: Exception) -> Any:
        def forward(x: Any) -> Any:
            raise error

        return forward

    assert check(numpy_backend, fail(RuntimeError("an illegal\naddress"))) == "RuntimeError: an illegal address"
    with pytest.raises(MemoryError):
        check(numpy_backend, fail(MemoryError()))


def test_a_logged_warning_is_a_failure_and_is_not_printed(numpy_backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    def forward(x: Any) -> Any:
        logging.getLogger("tinytorch").warning("it cannot be compiled")
        return NotImplemented

    assert check(numpy_backend, forward) == "it cannot be compiled"
    assert caplog.messages == []
    logging.getLogger("tinytorch").warning("printed again")
    assert caplog.messages == ["printed again"]


class WrongMatmul:
    """numpy's namespace, whose matmul is wrong for operands of some memory layouts."""

    def __init__(self, xp: Any, is_wrong: Any) -> None:
        self.xp, self.is_wrong = xp, is_wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self.xp, name)

    def matmul(self, a: Any, b: Any) -> Any:
        out = self.xp.matmul(a, b)
        return out + 1 if self.is_wrong(a, b) else out


@pytest.mark.parametrize(
    "is_wrong",
    [
        lambda a, b: a.ndim == 2 and a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a, b: b.ndim == 2 and b.flags.f_contiguous and not b.flags.c_contiguous,
        lambda a, b: a.strides[-1] == 2 * a.itemsize,
        lambda a, b: a.ndim == 3 and b.ndim == 2,
        lambda a, b: a.ndim > 2 and a.shape[0] == 1 < b.shape[0],
        lambda a, b: a.shape[-1] == 65,
        lambda a, b: a.ndim > 2 and a.strides[-3] < a.strides[-2],
        lambda a, b: a.ndim == b.ndim == 2 and a.strides[0] > a.shape[1] * a.itemsize and a.strides[1] == a.itemsize,
    ],
)
def test_a_matmul_that_is_wrong_for_one_layout_fails(numpy_backend: Backend, is_wrong: Any) -> None:
    numpy_backend.xp = WrongMatmul(numpy_backend.xp, is_wrong)
    assert check_matmul(numpy_backend, "float32").failure is not None


def test_errors_are_relative_to_the_largest_element_and_the_tolerance() -> None:
    expected = numpy.asarray([0.0, 100.0])
    assert relative_error(numpy.asarray([0.01, 100.0]), expected, 1e-4) == pytest.approx(1.0)
    assert relative_error(numpy.asarray([0.0, 100.04]), expected, 1e-4) == pytest.approx(2.0)
    assert relative_error(numpy.asarray([numpy.nan, 1.0]), expected, 1e-4) == numpy.inf
