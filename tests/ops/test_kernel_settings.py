"""All implementations of a fused operation declare the same settings, and each setting has the same effect."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

import tinytorch_cupy.kernels
import tinytorch_numpy.kernels
from tests.ops.settings_table import EXAMPLES, TOLERANCE, WITHOUT_EFFECT, check_kernel, portable, same, settings_of
from tinytorch.backend import Backend, Kernel, get_backend
from tinytorch.testing.kernel_check import OPERATIONS
from tinytorch_numpy import compiled

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: pip install 'tinytorch-xp[fast]'")


def compiled_alone(name: str) -> Kernel:
    """The compiled kernel itself, without the numpy kernel as a fallback."""
    kernel = getattr(import_module(f"tinytorch_numpy.compiled.{name}"), name)
    assert isinstance(kernel, Kernel)
    return kernel


#: The kernels shipped with tinytorch, as functions of the operation name. They can be looked up without their array library.
SHIPPED: list[Any] = [
    *[pytest.param(tinytorch_numpy.kernels.KERNELS.__getitem__, name, id=f"numpy-{name}") for name in tinytorch_numpy.kernels.KERNELS],
    *[pytest.param(tinytorch_cupy.kernels.KERNELS.__getitem__, name, id=f"cupy-{name}") for name in tinytorch_cupy.kernels.KERNELS],
    *[pytest.param(compiled.KERNELS.__getitem__, name, id=f"numba_or_numpy-{name}") for name in compiled.KERNELS],
    *[pytest.param(compiled_alone, name, id=f"numba-{name}", marks=needs_numba) for name in compiled.KERNELS],
]


def check_declaration(name: str, kernel: Kernel) -> None:
    assert name in OPERATIONS, f"there is no operation {name}"
    expected = settings_of(OPERATIONS[name].forward)
    assert settings_of(kernel.forward) == expected
    assert (kernel.backward is None) == (OPERATIONS[name].joint_rule is None)
    if kernel.backward is not None:
        assert settings_of(kernel.backward) == expected


@pytest.mark.parametrize(("get_kernel", "name"), SHIPPED)
def test_kernels_declare_the_settings_of_the_portable_implementation(get_kernel: Callable[[str], Kernel], name: str) -> None:
    check_declaration(name, get_kernel(name))


def test_the_kernels_of_a_backend_declare_the_settings_of_the_portable_implementation(backend: Backend) -> None:
    for name, kernel in backend.kernels.items():
        check_declaration(name, kernel)


@pytest.mark.parametrize("name", OPERATIONS)
def test_portable_forward_and_backward_declare_the_same_typed_settings(name: str) -> None:
    operation = OPERATIONS[name]
    declared = settings_of(operation.forward)
    assert not {annotation for annotation, _ in declared.values()} & {Any, inspect.Parameter.empty}
    assert operation.joint_rule is None or settings_of(operation.joint_rule) == declared


def test_the_table_has_every_operation() -> None:
    assert set(EXAMPLES) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_value_of_a_setting_in_the_table_changes_the_result(name: str) -> None:
    declared = settings_of(OPERATIONS[name].forward)
    varied = {setting for example in EXAMPLES[name] for setting, values in example.others.items() if values}
    assert varied == set(declared)
    for example in EXAMPLES[name]:
        assert set(example.settings) == set(declared)
        before = portable(name, example, example.settings)
        for setting, values in example.others.items():
            for value in values:
                after = portable(name, example, example.settings | {setting: value})
                assert same(after, before, 4 * TOLERANCE) == (setting in WITHOUT_EFFECT), f"{setting}={value!r}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_kernels_agree_with_the_portable_implementation_for_every_setting(backend: Backend, name: str) -> None:
    if name not in backend.kernels:
        pytest.skip(f"the {backend.name} backend has no kernel for {name}")
    check_kernel(name, backend, backend.kernels[name])


@needs_numba
@pytest.mark.parametrize("name", compiled.KERNELS)
@pytest.mark.parametrize("get_kernel", [compiled_alone, compiled.KERNELS.__getitem__], ids=["numba", "numba_or_numpy"])
def test_compiled_kernels_agree_with_the_portable_implementation_for_every_setting(
    get_kernel: Callable[[str], Kernel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_MIN_SIZE", 0)  # use compiled code for small arrays too
    check_kernel(name, get_backend("numpy"), get_kernel(name))


def test_the_check_detects_a_kernel_that_ignores_a_setting_or_supports_nothing() -> None:
    numpy = get_backend("numpy")
    kernel = tinytorch_numpy.kernels.KERNELS["layer_norm"]
    ignoring = Kernel(lambda *arrays, eps: kernel.forward(*arrays, eps=1e-5), kernel.backward)
    with pytest.raises(AssertionError, match=r"layer_norm with \{'eps': 0.5\} differs from the portable implementation"):
        check_kernel("layer_norm", numpy, ignoring)
    with pytest.raises(AssertionError, match="supports none of the calls"):
        check_kernel("layer_norm", numpy, Kernel(lambda *arrays, eps: NotImplemented))
    with pytest.raises(AssertionError):
        check_declaration("layer_norm", ignoring)
