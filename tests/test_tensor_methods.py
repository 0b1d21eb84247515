"""The methods of Tensors: values, gradients, ``dim`` for ``axis``, in-place methods, and errors that name what to write."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pydoc import plain, render_doc
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch import array_api
from tinytorch.backend import Backend
from tinytorch.hints import NAMESPACE, TENSOR
from tinytorch.tensor import Tensor
from tinytorch.tensor_methods.forwarded import FUNCTIONS, Forwarded
from tinytorch.tensor_methods.updates import Updates

A = numpy.float32([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]])
I = numpy.int32([[1, 2, 3], [4, 5, 6]])  # noqa: E741
METHODS = {name: method for name, method in vars(Forwarded).items() if not name.startswith("__")}


# ---- the table of methods that call functions ----


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_parameters_defaults_and_docstring_of_its_function(name: str) -> None:
    function = FUNCTIONS.get(name, name)
    theirs = dict(list(inspect.signature(getattr(tt, function)).parameters.items())[1:])
    ours = dict(list(inspect.signature(METHODS[name]).parameters.items())[1:])
    positional = [p for p in ours.values() if p.kind is p.POSITIONAL_ONLY]
    for key, parameter in ours.items():
        if key not in ("dim", "keepdim") and parameter not in positional:
            assert parameter.default == theirs[key].default, key
    assert len(positional) == sum(p.kind is p.POSITIONAL_ONLY for p in theirs.values())
    assert METHODS[name].__doc__ == getattr(tt, function).__doc__


def test_help_of_a_method_shows_arguments_and_docstring() -> None:
    text = plain(render_doc(tt.zeros(1).sum))
    assert "sum(axis: 'Axis' = None, *, dtype: 'Any' = None, keepdims: 'bool' = False" in text
    assert "Sum over ``axis``" in text


#: Methods, and the result in numpy.
CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "sum": (lambda x: x.sum(), A.sum()),
    "sum along a positional axis": (lambda x: x.sum(1), A.sum(1)),
    "sum along dim": (lambda x: x.sum(dim=1, keepdim=True), A.sum(1, keepdims=True)),
    "mean of several axes": (lambda x: x.mean([0, 1]), A.mean()),
    "mean along dim": (lambda x: x.mean(dim=(0, 1), keepdim=True), A.mean((0, 1), keepdims=True)),
    "prod": (lambda x: x.prod(0), A.prod(0)),
    "var": (lambda x: x.var(dim=-1, keepdim=True), A.var(-1, keepdims=True)),
    "var of a sample": (lambda x: x.var(dim=-1, correction=1), A.var(-1, ddof=1)),
    "std": (lambda x: x.std(), A.std()),
    "max": (lambda x: x.max(), A.max()),
    "max along an axis": (lambda x: x.max(axis=1, keepdims=True), A.max(1, keepdims=True)),
    "min": (lambda x: x.min(axis=0), A.min(0)),
    "all and any": (lambda x: (x > 0).all(dim=1) & (x > 0).any(1), (A > 0).all(1)),
    "cumsum": (lambda x: x.cumsum(dim=1), A.cumsum(1)),
    "cumprod": (lambda x: x.cumprod(0), A.cumprod(0)),
    "flip": (lambda x: x.flip(0), A[::-1]),
    "roll": (lambda x: x.roll(1, 1), numpy.roll(A, 1, 1)),
    "tril and triu": (lambda x: x.tril() + x.triu(1), A),
    "exp": (lambda x: x.exp(), numpy.exp(A)),
    "log of the square": (lambda x: x.square().log(), numpy.log(A * A)),
    "sqrt of abs": (lambda x: x.abs().sqrt(), numpy.sqrt(abs(A))),
    "pow": (lambda x: x.pow(2), A**2),
    "clip": (lambda x: x.clip(-1.0, 2.0), A.clip(-1, 2)),
    "clamp": (lambda x: x.clamp(min=0.0), A.clip(0)),
    "round": (lambda x: x.round(), A.round()),
    "floor": (lambda x: x.floor(), numpy.floor(A)),
    "sin, cos, tanh": (lambda x: x.sin() * x.cos() + x.tanh(), numpy.sin(A) * numpy.cos(A) + numpy.tanh(A)),
    "relu": (lambda x: x.relu(), numpy.maximum(A, 0)),
    "add": (lambda x: x.add(x, alpha=2), A + 2 * A),
    "sub": (lambda x: x.sub(1.0), A - 1),
    "mul, div, neg": (lambda x: x.mul(3.0).div(2.0).neg(), -A * 3 / 2),
    "eq": (lambda x: x.eq(x), A == A),
    "lt": (lambda x: x.lt(0.5), A < 0.5),
    "maximum": (lambda x: x.maximum(x * 0), numpy.maximum(A, 0)),
    "matmul": (lambda x: x.matmul(x.T), A @ A.T),
    "mm": (lambda x: x.mm(x.t()), A @ A.T),
    "bmm": (lambda x: x[None, ...].bmm(x[None, ...].mT), A[None] @ A[None].swapaxes(1, 2)),
    "dot of vectors": (lambda x: x[0, :].dot(x[1, :]), A[0] @ A[1]),
    "dot of matrices": (lambda x: x.dot(x.T), A.dot(A.T)),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -1.0), numpy.where(A > 0, numpy.float32(-1), A)),
    "reshape": (lambda x: x.reshape(3, -1), A.reshape(3, 2)),
    "reshape with a tuple": (lambda x: x.reshape((3, 2)), A.reshape(3, 2)),
    "view": (lambda x: x.view(-1), A.reshape(-1)),
    "view_as": (lambda x: x.view_as(x.T), A.reshape(3, 2)),
    "flatten": (lambda x: x[None, ...].flatten(1), A.reshape(1, 6)),
    "flatten some axes": (lambda x: x[None, ...].flatten(0, 1), A),
    "flatten a 0-d Tensor": (lambda x: x[0, 0].flatten(), A[0, :1]),
    "ravel": (lambda x: x.ravel(), A.ravel()),
    "transpose swaps two axes": (lambda x: x.transpose(0, 1), A.T),
    "transpose reverses all axes": (lambda x: x[None, ...].transpose(), A[None].T),
    "transpose to an order": (lambda x: x[None, ...].transpose((2, 0, 1)), A[None].transpose(2, 0, 1)),
    "permute": (lambda x: x[None, ...].permute(2, 0, 1), A[None].transpose(2, 0, 1)),
    "swapaxes": (lambda x: x[None, ...].swapaxes(-1, 0), A[None].swapaxes(-1, 0)),
    "moveaxis": (lambda x: x[None, ...].moveaxis(0, -1), A[..., None]),
    "unsqueeze": (lambda x: x.unsqueeze(1), A[:, None]),
    "squeeze": (lambda x: x[None, :, None, :].squeeze(), A),
    "squeeze one axis": (lambda x: x[None, :, None, :].squeeze(dim=2), A[None]),
    "expand": (lambda x: x[:, :1].expand(2, 2, 3), numpy.broadcast_to(A[:, :1], (2, 2, 3))),
    "expand keeps a length": (lambda x: x[:, :1].expand(-1, 3), numpy.broadcast_to(A[:, :1], (2, 3))),
    "expand_as": (lambda x: x[:1, :].expand_as(x), numpy.broadcast_to(A[:1], (2, 3))),
    "tile": (lambda x: x.tile(2, 1), numpy.tile(A, (2, 1))),
    "split": (lambda x: x.split(2, dim=1)[1], A[:, 2:]),
    "split by lengths": (lambda x: x.split([1, 2], 1)[1], A[:, 1:]),
    "chunk": (lambda x: x.chunk(2, dim=-1)[0], A[:, :2]),
    "type_as": (lambda x: x.type_as(x > 0), A != 0),
    "clone": (lambda x: x.clone(), A),
    "contiguous": (lambda x: x.T.contiguous().view(-1), A.T.reshape(-1)),
}


@pytest.mark.parametrize("name", CASES)
def test_methods(backend: Backend, name: str) -> None:
    method, expected = CASES[name]
    assert_close(method(frozen(A)), expected, rtol=1e-5)


def test_indices_are_integers(backend: Backend) -> None:
    x = frozen(A)
    for result, expected in ((x.argmax(), A.argmax()), (x.argmin(dim=1), A.argmin(1)), (x.argsort(dim=0), A.argsort(0))):
        assert result.tolist() == expected.tolist()
    assert x.argmax(dim=-1, keepdim=True).shape == (2, 1)
    assert x.argsort(descending=True).tolist() == (-A).argsort().tolist()


def test_gradients_of_methods(backend: Backend) -> None:
    def function(x: Tensor) -> Tensor:
        a, b = x.view(3, 4).split(2, dim=1)
        c = a.transpose(0, 1).unsqueeze(0).expand(2, -1, -1).flatten(1) * b.reshape(-1)
        return c.masked_fill(c > 1.0, 0.5).relu() + x.chunk(2)[0].square().sum() + x.clone().add(x, alpha=2).mean()

    check_gradients(function, numpy.float64([0.3, 0.9, 1.3, 0.2, 0.7, 1.1, 0.6, 0.5, 0.8, 0.4, 0.1, 1.7]))


def test_relu_has_no_gradient_at_0_and_keeps_nan(backend: Backend) -> None:
    x = frozen([-numpy.inf, 0.0, 2.0], requires_grad=True)
    y = x.relu()
    assert y.tolist() == [0, 0, 2]
    y.sum().backward()
    assert_close(x.grad, numpy.float32([0, 0, 1]))
    assert numpy.isnan(frozen([numpy.nan]).relu().item())


# ---- shape, dtype and device ----


def test_size_is_an_integer_that_can_be_called(backend: Backend) -> None:
    x = frozen(A)
    assert (x.size, x.numel(), x.nelement()) == (6, 6, 6)
    assert isinstance(x.size, int)
    assert (x.size(), x.size(0), x.size(-1), x.dim()) == ((2, 3), 2, 3, 2)
    rows, columns = x.size()
    assert (rows, columns) == (2, 3)
    assert tt.zeros(x.size).shape == (6,)


def test_methods_convert_to_dtypes(backend: Backend) -> None:
    x = frozen([0.0, 1.7])
    conversions = {"double": "float64", "float": "float32", "int": "int32", "long": "int64", "bool": "bool", "half": "float16"}
    for name, dtype in conversions.items():
        if dtype in backend.capabilities.dtypes:
            assert getattr(x, name)().dtype.name == dtype
    assert x.float() is x
    assert x.is_floating_point()
    assert not x.bool().is_floating_point()
    assert_close(x.astype(tt.float64), numpy.float64(numpy.float32([0, 1.7])))


def test_to_accepts_a_dtype_a_device_and_a_tensor(backend: Backend) -> None:
    x = frozen([1.5])
    assert x.to(tt.float64).dtype is tt.float64
    assert x.to(backend, tt.float64).dtype is x.to(device=backend, dtype="float64").dtype is tt.float64
    assert x.to(frozen([1], dtype="int32")).dtype is tt.int32
    with pytest.raises(TypeError, match="`target` and `device` are the same argument"):
        x.to(backend, device=backend)


def test_cpu_is_the_host(backend: Backend) -> None:
    x = frozen([1.5])
    if backend.capabilities.host:
        assert x.to("cpu") is x.cpu() is x
    elsewhere = tt.ones(1, device="strict:device1")
    for call in (elsewhere.cpu, lambda: elsewhere.to("cpu")):
        with pytest.raises(tt.UnknownBackendError, match=r"unknown backend 'cpu'.*did you mean 'numpy'\?"):
            call()
    with pytest.raises(tt.UnknownBackendError, match=r"unknown backend 'cuda'.*did you mean 'cupy'\?"):
        x.to("cuda")


def test_requires_grad_can_be_set_by_a_method(backend: Backend) -> None:
    x = frozen([1.0]).requires_grad_()
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad


# ---- dim for axis in functions ----


def functions_with_an_axis() -> dict[str, Any]:
    names = {name: getattr(tt, name) for name in array_api.__all__} | {f"linalg.{n}": getattr(tt.linalg, n) for n in tt.linalg.__all__}
    names |= {f"fft.{name}": getattr(tt.fft, name) for name in tt.fft.__all__}
    return {
        name: function
        for name, function in names.items()
        if callable(function) and not isinstance(function, type) and "axis" in inspect.signature(function).parameters
    }


#: Arguments before ``axis``; by default one Tensor.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "one_hot": (frozen([[1, 2]]), 3),
    "topk": (frozen(A), 2),
    "concat": ([frozen(A)] * 2,),
    "linalg.cross": (frozen(A), frozen(A)),
    "linalg.vecdot": (frozen(A), frozen(A)),
    "repeat": (frozen(A), 2),
    "roll": (frozen(A), 1),
    "squeeze": (frozen(A[..., None]),),
    "stack": ([frozen(A)] * 2,),
    "take": (frozen(A), frozen([0])),
    "take_along_axis": (frozen(A), frozen([[0]])),
    "vecdot": (frozen(A), frozen(A)),
    **{f"fft.{name}": (frozen(A, dtype="complex64"),) for name in ("fft", "hfft", "ifft", "irfft")},
}


#: Settings that a function requires besides ``axis``.
SETTINGS: dict[str, dict[str, Any]] = {"split": {"sections": 3}}


@pytest.mark.parametrize("name", functions_with_an_axis())
def test_functions_accept_dim_for_axis(name: str) -> None:
    function = functions_with_an_axis()[name]
    arguments = ARGUMENTS.get(name, (frozen(A),))
    if name in ("max", "min", "sort"):
        with pytest.raises(TypeError, match=rf"{name} with `dim` returns values and indices in PyTorch; write {name}\(..., axis=1\)"):
            function(*arguments, dim=1)
        return
    settings = SETTINGS.get(name, {})
    left, right = function(*arguments, dim=-1, **settings), function(*arguments, axis=-1, **settings)
    for a, b in zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]:
        assert_close(a, b)
    with pytest.raises(TypeError, match="`axis` and `dim` are the same argument; pass one of them"):
        function(*arguments, dim=-1, axis=-1)


def test_keepdim_means_keepdims(backend: Backend) -> None:
    assert tt.sum(frozen(A), dim=[0, 1], keepdim=True).shape == (1, 1)
    assert tt.argmax(frozen(A), dim=-1, keepdim=True).shape == (2, 1)
    assert tt.grad(lambda x: tt.sum(tt.mean(x, dim=1, keepdim=True)))(frozen(A)).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tt.triu(x, diagonal=1), r"triu\(\) got an unexpected keyword argument 'diagonal'; write `k`"),
        (lambda x: x.var(unbiased=False), "write correction=1 instead of unbiased=True, correction=0 .*instead of unbiased=False"),
        (lambda x: tt.std(x, ddof=1), "write `correction`"),
        (lambda x: tt.sum(x, axes=1), r"sum\(\) got an unexpected keyword argument 'axes'; did you mean axis\?"),
        (lambda x: tt.exp(x, where=1), r"exp\(\) got an unexpected keyword argument 'where'$"),
        (lambda x: x.sum(0, True), r"at most 1 positional argument\(s\) \(axis\), got 2; pass the others by name \(dtype, keepdims"),
        (lambda x: tt.sum(x, 1), r"sum\(\) takes at most 1 positional argument\(s\) \(x\), got 2; pass the others by name \(axis, dtype"),
        (lambda x: tt.stack([x, x], 1), r"stack\(\) takes at most 1 .*\(arrays\), got 2; pass the others by name \(axis\)"),
        (lambda x: tt.max(x, 1), r"write max\(..., axis=1\) for the values, and argmax\(..., axis=1\) for the indices"),
        (lambda x: x.exp(1), r"exp\(\) takes no positional arguments, got 1$"),
        (lambda x: x.sum(0, axis=1), r"sum\(\) got `axis` twice"),
        (lambda x: x.max(dim=1), r"write max\(..., axis=1\) for the values, and argmax\(..., axis=1\) for the indices"),
        (lambda x: x.min(1), r"write min\(..., axis=1\) for the values, and argmin\(..., axis=1\) for the indices"),
        (lambda x: x.transpose(0), r"write x\.transpose\(i, j\) to swap two axes"),
        (lambda x: x.view(tt.float64), r"view\(\) expected integers or a tuple of integers.*use astype"),
        (lambda x: x.reshape(1.5), r"reshape\(\) expected integers"),
        (lambda x: x.flatten("F"), "the elements are in C order"),
    ],
)
def test_a_wrong_argument_raises_and_names_what_to_write(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(frozen(A))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.split([1, 1], dim=1), ValueError, "lengths that add up to 3, the length of axis 1"),
        (lambda x: x.split(0), ValueError, "expected a positive length, got 0"),
        (lambda x: x.chunk(0), ValueError, "expected a positive number of parts"),
        (lambda x: x.flatten(2), IndexError, r"flatten\(\): axis 2 is out of bounds for a Tensor with 2 axes"),
        (lambda x: x.flatten(1, 0), ValueError, "`start_dim` before `end_dim`, got 1 and 0"),
        (lambda x: x.swapaxes(0, 2), IndexError, "axis 2 is out of bounds"),
        (lambda x: x.mm(x[None, ...]), ValueError, r"mm\(\) expected 2 axes, got shapes \(2, 3\) and \(1, 2, 3\); use matmul"),
        (lambda x: x[None, ...].dot(x), ValueError, r"dot\(\) expected vectors or matrices.*use matmul or tensordot"),
        (lambda x: x.squeeze(0), ValueError, r"squeeze\(\) expected axes of length 1, but axis 0 has length 2"),
        (lambda x: x.int().masked_fill(x > 0, 0.5), TypeError, "does not fit into int32"),
    ],
)
def test_shapes_that_do_not_fit_raise(call: Callable[[Tensor], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(frozen(A))


# ---- in place ----

UPDATES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "add_": (lambda x: x.add_(1.0), A + 1),
    "add_ with alpha": (lambda x: x.add_(x, alpha=-0.5), A / 2),
    "mul_ and sub_": (lambda x: x.mul_(2.0).sub_(1.0), A * 2 - 1),
    "div_": (lambda x: x.div_(2.0), A / 2),
    "zero_": (lambda x: x.zero_(), A * 0),
    "fill_": (lambda x: x.fill_(7), A * 0 + 7),
    "fill_ with a Tensor": (lambda x: x.fill_(x[0, 0].double()), A * 0 + 1.5),
    "copy_": (lambda x: x.copy_(tt.asarray([1, 2, 3])), numpy.float32([[1, 2, 3]] * 2)),
    "clamp_": (lambda x: x.clamp_(min=0.0), A.clip(0)),
    "masked_fill_": (lambda x: x.masked_fill_(x > 0, 0.0), numpy.minimum(A, 0)),
    "relu_ and neg_": (lambda x: x.relu_().neg_(), -numpy.maximum(A, 0)),
}


@pytest.mark.parametrize("name", UPDATES)
def test_in_place_methods_change_the_tensor_and_return_it(backend: Backend, name: str) -> None:
    update, expected = UPDATES[name]
    x = frozen(A)
    before = x.raw
    assert update(x) is x
    assert_close(x, expected)
    assert_close(tt.asarray(before, device=backend), A)  # the array itself is not written


def test_in_place_methods_are_recorded_and_protect_leaf_tensors(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = x * 1
    y.mul_(x).add_(1.0)
    y.sum().backward()
    assert_close(x.grad, numpy.float32([2, 4]))
    with pytest.raises(RuntimeError, match=r"zero_\(\) cannot modify a leaf Tensor that requires a gradient.*no_grad"):
        x.zero_()
    with tt.no_grad():
        x.zero_()
    x.grad.zero_()
    assert x.requires_grad
    assert_close(x.grad, numpy.float32([0, 0]))


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "index": lambda x: x[0, ...],
    "slice": lambda x: x[:, 1:],
    "reshape": lambda x: x.reshape(-1),
    "view": lambda x: x.view(-1),
    "transpose": lambda x: x.transpose(0, 1),
    "T": lambda x: x.T,
    "detach": lambda x: x.detach(),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "split": lambda x: x.split(1)[0],
    "index of data": lambda x: x.data[0, ...],
}


@pytest.mark.parametrize("name", VIEWS)
def test_in_place_methods_raise_for_views_instead_of_losing_the_update(name: str) -> None:
    x = frozen(A)
    with pytest.raises(RuntimeError, match=r"zero_\(\) on a view.*would not change the Tensor x that it was taken from.*\.clone\(\)"):
        VIEWS[name](x).zero_()
    VIEWS[name](x).clone().zero_()
    assert_close(x, A)


def test_copies_are_not_views() -> None:
    for y in (frozen(A)[[0]], frozen(A)[frozen(A) > 0], frozen(A).clone(), frozen(A) + 1):
        y.zero_()
        assert not y.any()


def test_data_is_the_value_without_the_graph(backend: Backend) -> None:
    p = frozen([1.0, 2.0], requires_grad=True)
    held = p.data
    (p * p).sum().backward()
    p.data -= 0.5 * p.grad
    assert_close(p.data, numpy.float32([0, 0]))
    p.data.fill_(3.0)
    p.data[0] = 1.0
    p.data.add_(frozen([1.0, 1.0]))
    assert_close(held, numpy.float32([2, 4]))  # the same value
    p.data = frozen([5.0, 6.0])
    assert_close(p.detach(), numpy.float32([5, 6]))
    assert p.requires_grad
    assert not p.data.requires_grad
    assert not (p.data * 2).requires_grad
    p.grad.data.zero_()
    assert_close(p.grad, numpy.float32([0, 0]))
    with pytest.raises(ValueError, match=r"data must have shape \(2,\), got \(1,\)"):
        p.data = frozen([1.0])
    with pytest.raises(TypeError, match="data must be a Tensor, got list"):
        p.data = [1.0, 2.0]  # type: ignore[assignment]


#: In-place methods that need arguments, or have no method without the underscore.
_OTHERS = ("add_", "copy_", "div_", "fill_", "masked_fill_", "mul_", "pow_", "requires_grad_", "sub_", "zero_")


def test_every_in_place_method_returns_what_its_method_returns() -> None:
    x = frozen([0.25, 0.5])
    for name in [name for name in vars(Updates) if name.endswith("_") and not name.startswith("_")]:
        if name in _OTHERS:
            continue
        assert_close(getattr(x.clone(), name)(), getattr(x, name[:-1])())


# ---- unknown attributes ----


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", r"write x\.to\('cupy'\), or tt\.set_backend\('cupy'\)"),
        ("repeat", r"write tt\.repeat\(x, n\), or x\.tile\(2, 3\) or tt\.tile\(x, \(2, 3\)\)"),
        ("sort", r"write tt\.sort\(x, axis=-1\) and x\.argsort\(\)"),
        ("normal_", r"tinytorch\.nn\.init"),
    ],
)
def test_an_unknown_attribute_names_ours(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(tt.zeros(1), name)


def test_hints_are_no_attributes() -> None:
    x = tt.zeros(1)
    assert not [name for name in TENSOR if hasattr(x, name) or hasattr(Tensor, name) or name in dir(x)]


def test_python_suggests_a_method_for_a_misspelled_one() -> None:
    code = "import tinytorch as tt\ntt.zeros(1).reshpe(1)"
    errors = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "AttributeError: 'Tensor' object has no attribute 'reshpe'. Did you mean: 'reshape'?" in errors


def test_hints_for_names_of_the_module_are_for_missing_names() -> None:
    assert not [name for name in NAMESPACE if hasattr(tt, name)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", r"has no attribute 'cuda'; write tt\.set_backend\('auto'\)"),
        ("zeroes", r"did you mean zeros\?"),
        ("cumsum", r"write tt\.cumulative_sum"),
    ],
)
def test_an_unknown_name_of_the_module_names_ours(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(tt, name)
