"""Tensor: creation, attributes, conversion to host data, and gradients."""

from __future__ import annotations

import copy
import operator
import pickle
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen, host
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor, wrap

# ---- creation ----


def test_python_numbers_get_the_default_dtypes(backend: Backend) -> None:
    assert_close(tt.asarray([1.5, 2]), numpy.float32([1.5, 2]))
    assert_close(tt.asarray([[1, 2], [3, 4]]), numpy.array([[1, 2], [3, 4]], backend.default_int))
    assert_close(tt.asarray([True, False]), numpy.array([True, False]))
    assert_close(tt.asarray(1j), numpy.complex64(1j))
    assert_close(tt.asarray([]), numpy.float32([]))


def test_host_arrays_keep_their_dtype(backend: Backend) -> None:
    for dtype in ("float64", "float32", "int32", "uint8", "bool"):
        assert_close(tt.asarray(numpy.ones(2, dtype)), numpy.ones(2, dtype))


def test_a_dtype_may_be_a_name_or_an_object(backend: Backend) -> None:
    for dtype in ("float64", tt.float64, numpy.float64, numpy.dtype("float64")):
        assert_close(tt.asarray([1], dtype=dtype), numpy.float64([1]))
    with pytest.raises(TypeError, match="unknown dtype 'float65'; expected one of bool, int8"):
        tt.asarray([1], dtype="float65")


def test_asarray_copies_host_arrays(backend: Backend) -> None:
    source = numpy.zeros(2)
    x = tt.asarray(source)
    source[0] = 1
    assert_close(x, numpy.zeros(2))


def test_asarray_of_a_tensor_returns_it_unless_a_conversion_or_copy_is_requested(backend: Backend) -> None:
    x = frozen([1.0])
    assert tt.asarray(x) is x
    assert tt.asarray(x, copy=True).raw is not x.raw
    assert_close(tt.asarray(x, dtype="float64"), numpy.float64([1]))
    with pytest.raises(ValueError, match="a change of dtype or device requires a copy"):
        tt.asarray(x, dtype="float64", copy=False)
    with pytest.raises(ValueError, match="host data must be copied"):
        tt.asarray([1.0], copy=False)


def test_asarray_keeps_the_gradient(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    tt.sum(tt.asarray(x, dtype="float64", copy=True) * 3).backward()
    assert_close(x.grad, numpy.float32([3, 3]))


def test_asarray_accepts_a_raw_array_of_the_backend(backend: Backend) -> None:
    raw = backend.xp.ones(2, dtype=backend.dtype("float32"))
    assert_close(tt.asarray(raw, device=backend), numpy.float32([1, 1]))


def test_asarray_stacks_tensors_in_lists_on_their_device() -> None:
    with tt.use_backend("numpy"):
        x = tt.asarray([1.0, 2.0], dtype=tt.float64, device="strict:device1")
        rows = tt.asarray([[x[0], 3.0], (x[1], x[0])])
        assert_close(rows, numpy.float64([[1, 3], [2, 1]]), backend=x.backend)
        gradient = tt.grad(lambda x: tt.sum(tt.asarray([x[0] * x[1], 3.0]) * x))(x)
        assert_close(gradient, numpy.float64([4, 4]), backend=x.backend)


@pytest.mark.parametrize("data", ["text", None, [[1, 2], [3]], [object()]])
def test_other_data_raises(data: Any) -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        tt.asarray(data)


def test_the_constructor_copies_and_may_require_a_gradient(backend: Backend) -> None:
    x = Tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    assert x.requires_grad
    assert_close(x, numpy.float64([1, 2]))
    y = Tensor(x.detach())
    assert y.raw is not x.raw
    with pytest.raises(RuntimeError, match=r"would lose the gradient of x; use x\.detach\(\)"):
        Tensor(x)


def test_the_constructor_accepts_a_device() -> None:
    x = Tensor([1.0], device="strict")
    assert_close(x, numpy.float32([1]), backend=tt.get_backend("strict"))
    assert_close(Tensor(x), numpy.float32([1]), backend=tt.get_backend("strict"))
    assert_close(Tensor(x, device="numpy"), numpy.float32([1]), backend=tt.get_backend("numpy"))


# ---- attributes ----


def test_shape_and_dtype(backend: Backend) -> None:
    x = tt.zeros((2, 3))
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3), 2, 6, 2)
    assert x.dtype is tt.float32
    assert x.backend is backend
    assert (tt.sum(x).shape, tt.sum(x).ndim, tt.sum(x).size) == ((), 0, 1)
    with pytest.raises(TypeError, match="a 0-d Tensor has no len"):
        len(tt.sum(x))


def test_device_can_be_passed_to_creation_functions(backend: Backend) -> None:
    x = tt.zeros(2)
    with tt.use_backend("numpy"):
        assert_close(tt.ones(2, device=x.device), numpy.float32([1, 1]), backend=backend)
    assert x.device == tt.ones(3).device
    assert len({x.device, tt.ones(3).device}) == 1
    assert str(x.device) == backend.spec
    assert repr(x.device) == f"Device({backend.spec!r})"


def test_a_device_can_be_copied_and_pickled(backend: Backend) -> None:
    device = tt.zeros(1).device
    assert copy.deepcopy(device) == pickle.loads(pickle.dumps(device)) == device


def test_transposes(backend: Backend) -> None:
    x = frozen(numpy.arange(6.0).reshape(1, 2, 3))
    assert_close(x.mT, numpy.arange(6.0).reshape(1, 2, 3).swapaxes(1, 2))
    assert_close(x[0, ...].T, numpy.arange(6.0).reshape(2, 3).T)
    with pytest.raises(ValueError, match=r"\.T expected a matrix, got shape \(1, 2, 3\); use \.mT or permute_dims"):
        x.T  # noqa: B018


def test_repr(backend: Backend) -> None:
    end = f"dtype=float32, device={backend.spec!r}"
    assert repr(tt.asarray([1.0, 2.0])) == f"Tensor([1., 2.], {end})"
    assert repr(tt.asarray([[1.0], [2.0]])) == f"Tensor([[1.],\n        [2.]], {end})"
    assert repr(frozen(1.0, requires_grad=True)) == f"Tensor(1., {end}, requires_grad=True)"
    assert repr(tt.zeros((0, 2))) == f"Tensor([], {end})"
    assert repr(tt.asarray(True)) == f"Tensor(True, dtype=bool, device={backend.spec!r})"
    for length in (20, 2000):  # numpy breaks the line before dtype= and shape=
        assert repr(tt.full(length, 0.123456)).count("dtype=") == 1
        assert "shape=" not in repr(tt.full(length, 0.123456))


# ---- conversion to host data ----


def test_numpy_copies(backend: Backend) -> None:
    x = tt.asarray([1.0, 2.0])
    array = x.numpy()
    array[0] = 9
    assert_close(x, numpy.float32([1, 2]))


def test_conversion_to_numpy_raises_if_it_would_lose_a_gradient() -> None:
    x = frozen([1.0], requires_grad=True)
    for tensor in (x, x * 2):
        with pytest.raises(RuntimeError, match=r"x\.numpy\(\) would lose the gradient of x; write x\.detach\(\)\.numpy\(\)"):
            tensor.numpy()
        with pytest.raises(RuntimeError, match=r"passed to numpy, or to a library.*such as matplotlib.*as in plt\.plot\(x\.detach\(\)\)"):
            numpy.asarray(tensor)
    assert x.detach().numpy().tolist() == [1]


@pytest.mark.parametrize("name", ["numpy", "strict"])
def test_numpy_can_read_host_tensors(name: str) -> None:
    x = tt.asarray([1.0, 2.0], device=name)
    assert numpy.asarray(x).dtype == numpy.float32
    assert numpy.asarray(x, dtype="float64").tolist() == [1, 2]
    assert not numpy.asarray(x).flags.writeable
    assert numpy.array(x).flags.writeable
    with pytest.raises(ValueError, match="which copy=False forbids"):
        numpy.array(x, dtype="float64", copy=False)


def test_numpy_cannot_read_tensors_on_other_devices() -> None:
    x = tt.asarray([1.0], device="strict:device1")
    with pytest.raises(TypeError, match=r"a Tensor on strict:device1 is not converted to NumPy implicitly; use \.detach\(\)\.numpy\(\)"):
        numpy.asarray(x)
    assert x.numpy().tolist() == [1]


def test_item_and_tolist(backend: Backend) -> None:
    assert tt.asarray([[2.5]]).item() == 2.5
    assert isinstance(tt.asarray(3).item(), int)
    assert tt.asarray([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"\.item\(\) expected a Tensor with one element, got shape \(2,\)"):
        tt.zeros(2).item()


def test_conversion_to_python_numbers(backend: Backend) -> None:
    assert (bool(tt.asarray(0.0)), bool(tt.asarray(2))) == (False, True)
    assert (int(tt.asarray(2.9)), float(tt.asarray(3)), complex(tt.asarray(1.0))) == (2, 3.0, 1 + 0j)
    assert operator.index(tt.asarray(3)) == 3
    assert list(range(tt.asarray(2))) == [0, 1]
    for convert in (bool, int, float, complex, operator.index):
        assert convert(tt.asarray([[1]])) == convert(tt.asarray([1])) == 1
        with pytest.raises(TypeError, match=r"expected a Tensor with one element, got shape \(2,\)"):
            convert(tt.zeros(2, dtype="int32"))
    for value in (1.0, True):
        with pytest.raises(TypeError, match="an index must have an integer dtype"):
            operator.index(tt.asarray(value))


def test_a_tensor_with_one_element_is_formatted_and_rounded_as_a_number(backend: Backend) -> None:
    for loss in (frozen(1.23456, requires_grad=True), tt.asarray([1.23456]), tt.asarray([[1.23456]])):
        assert f"{loss:.3f}" == "1.235"
        assert round(loss, 3) == 1.235
        assert round(loss) == 1
    assert f"{tt.asarray(2)} of {tt.asarray(4):>3}" == "2 of   4"
    assert f"{tt.asarray([1.0])}" == str(tt.asarray([1.0]))
    with pytest.raises(TypeError, match=r"the format '\.3f' expected a Tensor with one element, got shape \(2,\)"):
        f"{tt.zeros(2):.3f}"
    with pytest.raises(TypeError, match=r"round\(\) expected a Tensor with one element.*use x\.round\(\)"):
        round(tt.zeros(2))


def test_a_computed_tensor_is_not_copied_or_pickled_with_its_gradient_lost() -> None:
    x = frozen([1.0], requires_grad=True)
    for call, name in ((copy.copy, "copy"), (copy.deepcopy, "deepcopy")):
        assert call(x).requires_grad
        with pytest.raises(
            RuntimeError, match=rf"copy\.{name}\(x\) would lose the gradient of x.*x\.clone\(\).*copy\.{name}\(x\.detach\(\)\)"
        ):
            call(x * 2)
        assert call((x * 2).detach()).tolist() == [2]
    with pytest.raises(RuntimeError, match=r"pickling x would lose its gradient.*pickle x\.detach\(\)"):
        pickle.dumps(x * 2)


def test_iteration_is_over_the_first_axis(backend: Backend) -> None:
    rows = list(tt.asarray([[1.0, 2.0], [3.0, 4.0]]))
    assert_close(rows[1], numpy.float32([3, 4]))
    assert len(rows) == 2
    assert 2.0 in tt.asarray([1.0, 2.0])
    with pytest.raises(TypeError, match="a 0-d Tensor cannot be iterated over"):
        list(tt.asarray(1.0))


# ---- the namespace ----


def test_its_namespace_creates_arrays_on_its_device(backend: Backend) -> None:
    x = tt.zeros(2)
    xp = x.__array_namespace__()
    assert x.__array_namespace__(api_version="2024.12") is tt.ones(1).__array_namespace__() is xp
    with tt.use_backend("strict:device2"):
        made = [
            xp.zeros(2),
            xp.asarray([0.0, 0.0]),
            xp.full(2, 0.0),
            xp.linspace(0, 0, 2),
            xp.zeros_like(x),
            xp.empty(2) * 0,
            xp.arange(2.0),
        ]
    for tensor in made[:-1]:
        assert_close(tensor, numpy.float32([0, 0]), backend=backend)
    assert_close(made[-1], numpy.float32([0, 1]), backend=backend)
    assert xp.__array_namespace_info__().default_device() == x.device
    assert repr(xp) == f"<namespace tinytorch[{backend.spec}]>"


def test_its_namespace_does_not_move_tensors_implicitly() -> None:
    there = tt.ones(2, device="strict")
    xp = tt.zeros(2, device="numpy").__array_namespace__()
    assert xp.asarray(there) is there
    assert xp.asarray(there, device="numpy").backend is tt.get_backend("numpy")


def test_an_unknown_version_or_function_raises() -> None:
    x = tt.zeros(1)
    with pytest.raises(ValueError, match=r"at most 2024\.12, got 2099\.12"):
        x.__array_namespace__(api_version="2099.12")
    with pytest.raises(AttributeError, match="has no 'sume'"):
        x.__array_namespace__().sume  # noqa: B018


def test_the_namespace_info_can_describe_another_device() -> None:
    info = tt.zeros(1, device="strict").__array_namespace__().__array_namespace_info__()
    assert "float64" in info.dtypes(kind="real floating")
    assert "float64" not in info.dtypes(device="strict:no_float64", kind="real floating")
    assert info.default_dtypes(device="strict:no_x64")["integral"] is tt.int32


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("float32", "float64", True),
        ("float64", "float32", False),
        ("float64", "complex64", False),
        ("float32", "complex64", True),
        ("uint8", "int16", True),
        ("uint16", "int16", False),
        ("int16", "uint16", False),
        ("int8", "int8", True),
        ("bool", "int8", False),  # the standard has no promotion between kinds
        ("float16", "bfloat16", False),
    ],
)
def test_can_cast_follows_the_promotion_rules_of_the_standard(backend: Backend, source: str, target: str, fits: bool) -> None:
    assert tt.can_cast(getattr(tt, source), getattr(tt, target)) is fits
    if source in backend.capabilities.dtypes:
        assert tt.can_cast(tt.zeros(1, dtype=source), target) is fits


def test_finfo_and_iinfo_are_the_same_on_every_backend(backend: Backend) -> None:
    for name in ("float16", "float32", "float64", "complex64"):
        ours, theirs = tt.finfo(getattr(tt, name)), numpy.finfo(name)
        assert (ours.bits, ours.eps, ours.max) == (theirs.bits, theirs.eps, theirs.max)
        assert (ours.min, ours.smallest_normal) == (theirs.min, theirs.smallest_normal)
    for name in ("int8", "uint8", "int64", "uint64"):
        assert (tt.iinfo(name).min, tt.iinfo(name).max, tt.iinfo(name).bits) == (
            numpy.iinfo(name).min,
            numpy.iinfo(name).max,
            numpy.iinfo(name).bits,
        )
    assert tt.finfo(tt.zeros(1)).dtype is tt.float32
    with pytest.raises(TypeError, match="finfo requires a floating-point dtype, got int32; use iinfo"):
        tt.finfo(tt.int32)
    with pytest.raises(TypeError, match="iinfo requires an integer dtype, got bool"):
        tt.iinfo(tt.bool)


# ---- moving ----


def test_to_is_differentiable() -> None:
    x = tt.asarray([1.0, 2.0], device="numpy")
    x.requires_grad = True
    y = x.to("strict")
    assert_close(y, numpy.float32([1, 2]), backend=tt.get_backend("strict"))
    tt.sum(y * y).backward()
    assert_close(x.grad, numpy.float32([2, 4]), backend=tt.get_backend("numpy"))


def test_to_the_same_device_returns_the_same_tensor(backend: Backend) -> None:
    x = frozen([1.0])
    assert x.to(backend) is x
    assert x.to_device(x.device) is x
    with pytest.raises(ValueError, match="`stream` is not supported"):
        x.to_device(x.device, stream=1)


# ---- gradients ----


def test_gradients_are_accumulated(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    tt.sum(x * 2).backward()
    first = x.grad
    tt.sum(x * 3).backward()
    assert_close(x.grad, numpy.float32([5, 5]))
    assert_close(first, numpy.float32([2, 2]))  # not modified in place
    x.grad = None
    tt.sum(x * 3).backward()
    assert_close(x.grad, numpy.float32([3, 3]))


def test_backward_of_a_leaf_tensor(backend: Backend) -> None:
    x = frozen(2.0, requires_grad=True)
    x.backward()
    assert_close(x.grad, numpy.float32(1))


def test_backward_accepts_an_initial_gradient(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    (x * x).backward(frozen([10.0, 100.0]))
    assert_close(x.grad, numpy.float32([20, 400]))


def test_backward_raises_for_invalid_calls() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="create an input with requires_grad=True"):
        tt.sum(x.detach()).backward()
    with pytest.raises(RuntimeError, match=r"expected a Tensor with one element, got shape \(2,\); reduce it, or pass gradient="):
        (x * x).backward()
    with pytest.raises(ValueError, match=r"gradient must have shape \(2,\), got \(1,\)"):
        (x * x).backward(frozen([1.0]))
    with pytest.raises(tt.BackendMismatchError, match="gradient: one operand is on"):
        (x * x).backward(tt.ones(2, device="strict:device1"))


def test_non_leaf_tensors_have_no_grad() -> None:
    x = frozen(2.0, requires_grad=True)
    y = x * x
    (y * y).backward()
    assert y.grad is None


def test_the_gradient_of_a_freed_tensor_is_discarded() -> None:
    x = frozen(2.0, requires_grad=True)
    y = x * x
    del x
    y.backward()


def test_only_floating_point_leaf_tensors_can_require_a_gradient() -> None:
    with pytest.raises(TypeError, match="only floating-point Tensors can require a gradient, got int"):
        frozen([1], requires_grad=True)
    x = frozen([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"only be set on leaf Tensors; use \.detach\(\) first"):
        (x * 2).requires_grad = False
    x.requires_grad = False
    assert not x.requires_grad
    assert (x * 2).node is None


def test_detach_keeps_the_values_only(backend: Backend) -> None:
    x = frozen([1.0], requires_grad=True)
    y = (x * 2).detach()
    assert not y.requires_grad
    assert_close(y, numpy.float32([2]))


def test_wrap_does_not_copy(backend: Backend) -> None:
    raw = backend.from_host(numpy.float32([1, 2]))
    assert wrap(raw, backend).raw is raw
    assert host(wrap(raw, backend)).tolist() == [1, 2]
