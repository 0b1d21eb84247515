"""vjp, jvp, jacobian, hessian and hvp: results, agreement with each other and with JAX, and nesting."""

from __future__ import annotations

import math
import threading
from collections import namedtuple
from typing import Any

import numpy
import pytest
from hypothesis import given, settings, strategies as st

import tinytorch as tt
from tests.array_api.strategies import PROPERTIES
from tests.helpers import assert_close, frozen, host
from tinytorch import nn
from tinytorch.backend import Backend

Point = namedtuple("Point", ["x", "y"])


def double(values: Any) -> tt.Tensor:
    return frozen(numpy.asarray(values, dtype=numpy.float64))


# ---- agreement ----


@pytest.mark.parametrize("name", sorted(PROPERTIES))
@settings(max_examples=10, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_jvp_and_vjp_are_transposes_of_each_other(name: str, data: st.DataObject) -> None:
    """``<u, J v> = <J^T u, v>`` for every function of the namespace."""
    case = data.draw(PROPERTIES[name])
    random = numpy.random.default_rng(1)
    argnums = [i for i, x in enumerate(case.inputs) if numpy.asarray(x).dtype == numpy.float64]
    primals = tuple(frozen(case.inputs[i]) for i in argnums)

    def function(*tensors: tt.Tensor) -> list[tt.Tensor]:
        inputs = [frozen(x) for x in case.inputs]
        for i, tensor in zip(argnums, tensors, strict=True):
            inputs[i] = tensor
        out = case.call(tt, *inputs)
        return list(out) if isinstance(out, tuple | list) else [out]

    tangents = tuple(frozen(random.normal(size=x.shape)) for x in primals)
    out, tangent_out = tt.jvp(function, primals, tangents)
    again, vjp_fn = tt.vjp(function, *primals)
    cotangents = [frozen(random.normal(size=o.shape)) for o in out]
    by_jvp = sum(float(tt.sum(u * m)) for u, m in zip(cotangents, tangent_out, strict=True))
    by_vjp = sum(float(tt.sum(g * v)) for g, v in zip(vjp_fn(cotangents), tangents, strict=True))
    assert by_jvp == pytest.approx(by_vjp, rel=1e-9, abs=1e-9)
    for a, b in zip(out, again, strict=True):
        assert_close(a, b)


def mlp_loss(xp: Any, parameters: dict[str, Any], x: Any) -> Any:
    """The loss of a small classifier, in array code that JAX can run too."""
    hidden = xp.tanh(x @ xp.matrix_transpose(parameters["weight1"]) + parameters["bias1"])
    logits = hidden @ xp.matrix_transpose(parameters["weight2"])
    return xp.mean(xp.logaddexp(logits[:, 0], logits[:, 1]) - logits[:, 0])


def mlp() -> tuple[dict[str, Any], Any]:
    random = numpy.random.default_rng(0)
    shapes = {"weight1": (4, 3), "bias1": (4,), "weight2": (2, 4)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}, random.normal(size=(5, 3))


def test_the_hessian_of_an_mlp_agrees_with_jax(backend: Backend) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    arrays, x = mlp()
    with jax.enable_x64(True):
        theirs = jax.hessian(lambda p: mlp_loss(jax.numpy, p, x))({name: jax.numpy.asarray(a) for name, a in arrays.items()})
    data = frozen(x)
    ours = tt.hessian(lambda p: mlp_loss(data.__array_namespace__(), p, data))({name: frozen(a) for name, a in arrays.items()})
    for first in arrays:
        for second in arrays:
            numpy.testing.assert_allclose(host(ours[first][second]), numpy.asarray(theirs[first][second]), atol=1e-6)


def test_hvp_is_the_hessian_times_the_vector(backend: Backend) -> None:
    arrays, x = mlp()
    data, parameters = frozen(x), {name: frozen(a) for name, a in arrays.items()}
    along = {name: frozen(numpy.cos(a)) for name, a in arrays.items()}

    def loss(p: dict[str, tt.Tensor]) -> tt.Tensor:
        return mlp_loss(data.__array_namespace__(), p, data)  # type: ignore[no-any-return]

    (product,) = tt.hvp(loss, (parameters,), (along,))
    whole = tt.hessian(loss)(parameters)
    for name in arrays:
        expected = sum(numpy.tensordot(host(whole[name][other]), host(along[other]), axes=arrays[other].ndim) for other in arrays)
        assert_close(product[name], expected, rtol=1e-9, atol=1e-12)


# ---- results ----


def test_the_jacobian_has_the_shape_of_the_result_followed_by_that_of_the_argument(backend: Backend) -> None:
    x = double([[1.0, 2.0, 3.0]])
    tall = tt.jacobian(lambda x: tt.concat([x, x * x], axis=0))(x)  # more results than arguments: forward mode
    wide = tt.jacobian(lambda x: tt.sum(x * x, axis=1))(x)  # fewer: reverse mode
    assert tall.shape == (2, 3, 1, 3)
    assert_close(wide, numpy.float64([[[2, 4, 6]]]))
    assert_close(tall[1, :, 0, :], numpy.diag([2.0, 4.0, 6.0]))


def test_results_and_arguments_may_be_pytrees_including_named_tuples(backend: Backend) -> None:
    point = Point(double(2.0), double(3.0))
    out, vjp_fn = tt.vjp(lambda p: {"product": p.x * p.y, "x": [p.x]}, point)
    (gradient,) = vjp_fn({"product": double(1.0), "x": [double(10.0)]})
    assert isinstance(gradient, Point)
    assert (float(gradient.x), float(gradient.y)) == (13.0, 2.0)
    assert float(out["product"]) == 6.0
    table = tt.jacobian(lambda p: {"product": p.x * p.y})(point)
    assert (float(table["product"].x), float(table["product"].y)) == (3.0, 2.0)


def test_results_that_do_not_depend_on_the_arguments_have_zero_tangents(backend: Backend) -> None:
    constant = double([5.0])
    out, tangent_out = tt.jvp(lambda x: (x * 2, constant, frozen([1, 2])), (double([1.0]),), (double([1.0]),))
    assert_close(tangent_out[0], numpy.float64([2]))
    assert_close(tangent_out[1], numpy.float64([0]))
    assert tangent_out[2] is None  # integers have no tangent
    assert [o.node for o in out] == [None, None, None]


def test_results_may_contain_a_tensor_twice_or_an_argument(backend: Backend) -> None:
    def function(x: tt.Tensor) -> tuple[tt.Tensor, tt.Tensor, tt.Tensor]:
        y = x * 3
        return y, y, x

    x = double([1.0])
    assert_close(tt.vjp(function, x)[1]((x, x, x))[0], numpy.float64([7]))
    assert [float(m[0]) for m in tt.jvp(function, (x,), (x,))[1]] == [3.0, 3.0, 1.0]


def test_integer_results_are_ignored(backend: Backend) -> None:
    x = double([1.0, 3.0])
    _, vjp_fn = tt.vjp(lambda x: (x * 2, tt.argmax(x)), x)
    for ignored in (None, frozen(0)):
        assert_close(vjp_fn((x, ignored))[0], numpy.float64([2, 6]))
    block, integer_block = tt.jacobian(lambda x: (x * 2, tt.argmax(x)))(x)
    assert_close(block, numpy.float64([[2, 0], [0, 2]]))
    assert integer_block is None


def test_aux_is_returned(backend: Backend) -> None:
    x = double([1.0, 2.0])
    out, vjp_fn, aux = tt.vjp(lambda x: (x * x, "note"), x, has_aux=True)
    assert (aux, vjp_fn(x)[0].tolist()) == ("note", [2.0, 8.0])
    assert tt.jvp(lambda x: (x * x, out), (x,), (x,), has_aux=True)[2] is out


# ---- nesting ----

POINT = 0.7

#: Derivatives of sin(x) ** 2 of order 0 to 3.
ORDERS = [math.sin(POINT) ** 2, math.sin(2 * POINT), 2 * math.cos(2 * POINT), -4 * math.sin(2 * POINT)]


def squared_sine(x: tt.Tensor) -> tt.Tensor:
    return tt.sin(x) ** 2


def forward_derivative(function: Any) -> Any:
    return lambda x: tt.jvp(function, (x,), (tt.ones_like(x),))[1]


def reverse_derivative(function: Any) -> Any:
    return lambda x: tt.vjp(function, x)[1](tt.ones_like(x))[0]


TRANSFORMATIONS = {"grad": tt.grad, "jvp": forward_derivative, "vjp": reverse_derivative, "jacobian": tt.jacobian}


@pytest.mark.parametrize("first", TRANSFORMATIONS)
@pytest.mark.parametrize("second", TRANSFORMATIONS)
@pytest.mark.parametrize("third", TRANSFORMATIONS)
def test_nesting_any_three_gives_the_third_derivative(first: str, second: str, third: str) -> None:
    x = double(POINT)
    once = TRANSFORMATIONS[first](squared_sine)
    twice = TRANSFORMATIONS[second](once)
    assert [float(f(x)) for f in (once, twice, TRANSFORMATIONS[third](twice))] == pytest.approx(ORDERS[1:], rel=1e-12)


def test_an_inner_derivative_depends_on_the_outer_argument(backend: Backend) -> None:
    # d/dx of x * d/dy (x y^2) at y = x is d/dx of 2 x^3
    assert_close(tt.grad(lambda x: x * forward_derivative(lambda y: x * y * y)(x))(double(2.0)), numpy.float64(24))


def test_a_tangent_can_be_differentiated_with_respect_to_leaf_tensors(backend: Backend) -> None:
    weight = frozen(3.0, requires_grad=True)
    _, tangent_out = tt.jvp(lambda x: weight * x * x, (frozen(2.0),), (frozen(1.0),))
    tangent_out.backward()
    assert_close(weight.grad, numpy.float32(4))


def test_results_under_no_grad_are_not_recorded(backend: Backend) -> None:
    weight = frozen(3.0, requires_grad=True)
    with tt.no_grad():
        out, vjp_fn = tt.vjp(lambda x: weight * x, frozen(2.0))
        (g,) = vjp_fn(frozen(1.0))
    assert (out.node, g.node, float(g)) == (None, None, 3.0)


def test_fused_operations_can_be_differentiated_twice(backend: Backend) -> None:
    tt.seed(0)
    block = nn.TransformerBlock(8, 2, dropout=0.0)
    x = tt.asarray(numpy.random.default_rng(0).normal(size=(2, 3, 8)), dtype=tt.float32)
    v = tt.asarray(numpy.random.default_rng(1).normal(size=(2, 3, 8)), dtype=tt.float32)

    def loss(x: tt.Tensor) -> tt.Tensor:
        return tt.sum(block(x, is_causal=True) ** 2)

    (product,) = tt.hvp(loss, (x,), (v,))
    reverse = tt.grad(lambda x: tt.sum(tt.grad(loss)(x) * v))(x)
    numpy.testing.assert_allclose(host(product), host(reverse), rtol=1e-3, atol=1e-3)


def test_second_derivatives_do_not_call_owns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a plugin whose `owns` rejects NumPy scalars would have 0-d results treated as constants."""
    backend = tt.get_backend("numpy")
    monkeypatch.setattr(type(backend), "owns", lambda self, array: isinstance(array, numpy.ndarray))
    with tt.use_backend(backend):
        assert_close(tt.hessian(lambda x: tt.sum(x) * tt.sum(x * x))(double([1.0, 2.0])), numpy.float64([[10, 6], [6, 14]]))


# ---- complex numbers ----


def test_the_gradient_with_respect_to_a_complex_number_is_not_conjugated(backend: Backend) -> None:
    """df/dx - i df/dy, as in JAX: of the squared distance from 1 + 2i, at 3 + 1i."""
    gradient = tt.grad(lambda z: tt.abs(z - (1 + 2j)) ** 2)(tt.asarray(3 + 1j, dtype=tt.complex128))
    assert_close(gradient, numpy.complex128(4 + 2j))


def test_the_jacobian_between_real_and_complex_numbers_is_complex(backend: Backend) -> None:
    """Reverse mode would lose the imaginary part of one, forward mode that of the other."""
    z, w = tt.asarray([1 + 2j], dtype=tt.complex128), numpy.complex128(1 - 2j) / numpy.sqrt(5)
    for times in (1, 3):
        to_real = tt.jacobian(lambda z, n=times: tt.concat([tt.abs(z)] * n))(z)
        assert_close(to_real, numpy.full((times, 1), w))
        to_complex = tt.jacobian(lambda x, n=times: tt.sum(x) * (1 + 2j) * tt.ones((1,), dtype=tt.complex128))(double([1.0] * times))
        assert_close(to_complex, numpy.full((1, times), 1 + 2j))
    mixed = tt.jacobian(lambda z, x: {"real": tt.abs(z) * x, "complex": z * x}, (0, 1))(z, double([3.0]))
    assert_close(mixed["real"][0], numpy.asarray([[3 * w]]))
    assert_close(mixed["real"][1], numpy.sqrt(numpy.float64([[5]])))
    assert_close(mixed["complex"][0], numpy.complex128([[3]]))
    assert_close(mixed["complex"][1], numpy.complex128([[1 + 2j]]))


def test_jvp_at_a_complex_number_is_the_directional_derivative(backend: Backend) -> None:
    z, along = numpy.complex128([1 + 2j]), numpy.complex128([0.3 + 1j])
    _, tangent_out = tt.jvp(lambda z: z * tt.conj(z) * z, (frozen(z),), (frozen(along),))  # depends on the conjugate too
    assert_close(tangent_out, 2 * z * z.conj() * along + z * z * along.conj())


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: tt.jvp(tt.sin, (x,), (frozen([1.0, 2.0, 3.0]),)), ValueError, "jvp expected a tangent of shape (2,), got shape (3,)"),
        (
            lambda x: tt.jvp(tt.sin, (x,), (double([1.0, 2.0]),)),
            TypeError,
            "jvp expected a tangent of dtype float32, got float64; convert it",
        ),
        (lambda x: tt.jvp(tt.sin, (x,), ()), TypeError, "jvp expected a tangent for each of 1 floating-point Tensors, got 0"),
        (lambda x: tt.vjp(tt.sin, x)[1](frozen(1.0)), ValueError, "vjp_fn expected a cotangent of shape (2,), got shape ()"),
        (lambda x: tt.vjp(lambda x: 3.0, x), TypeError, "vjp: the function must return floating-point Tensors, got float"),
        (lambda x: tt.grad(tt.argmax)(x), TypeError, "must return a real floating-point Tensor, got int"),
        (lambda x: tt.grad(lambda x: tt.sum(x * 1j))(x), TypeError, "got complex64; return tinytorch.real of it, or use vjp or jacobian"),
        (
            lambda x: tt.sum(+tt.Tensor(x, requires_grad=True) * 1j).backward(),
            RuntimeError,
            "got a complex one; use tinytorch.real, or pass",
        ),
        (lambda x: tt.jacobian(tt.argmax)(x), TypeError, "jacobian: the function must return floating-point Tensors"),
        (
            lambda x: tt.vjp(tt.sin, frozen([1, 2])),
            TypeError,
            "the arguments to differentiate must contain floating-point Tensors, got Tensor",
        ),
        (
            lambda x: tt.jacobian(tt.sin, argnums=1)(x),
            TypeError,
            "`argnums` contains 1, but the number of positional arguments is 1",
        ),
    ],
)
def test_invalid_calls_raise(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call(frozen([1.0, 2.0]))
    assert words in str(caught.value)


# ---- threads ----


def test_each_thread_has_its_own_graph(backend: Backend) -> None:
    points = [double(0.1 * i) for i in range(8)]
    third = tt.grad(forward_derivative(tt.grad(squared_sine)))
    expected = [float(third(x)) for x in points]
    found: list[float] = [math.nan] * len(points)
    start = threading.Barrier(len(points))

    def work(i: int) -> None:
        start.wait()
        for round_ in range(20):
            with tt.use_backend(backend):
                if (i + round_) % 2:
                    with tt.no_grad():  # turns recording off here, and in no other thread
                        assert (points[i] * 2).node is None
                found[i] = float(third(points[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(points))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
