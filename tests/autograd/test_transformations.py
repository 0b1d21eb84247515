"""vjp, jvp, jacobian, hessian and hvp: what they return, that they agree with each other, and that they nest."""

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


# ---- they agree ----


@pytest.mark.parametrize("name", sorted(PROPERTIES))
@settings(max_examples=10, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_the_product_forwards_is_the_transpose_of_the_product_backwards(name: str, data: st.DataObject) -> None:
    """``<u, J v> = <J^T u, v>`` for every function of the namespace."""
    case = data.draw(PROPERTIES[name])
    random = numpy.random.default_rng(1)
    where = [i for i, x in enumerate(case.inputs) if numpy.asarray(x).dtype == numpy.float64]
    primals = tuple(frozen(case.inputs[i]) for i in where)

    def function(*tensors: tt.Tensor) -> list[tt.Tensor]:
        inputs = [frozen(x) for x in case.inputs]
        for i, tensor in zip(where, tensors, strict=True):
            inputs[i] = tensor
        out = case.call(tt, *inputs)
        return list(out) if isinstance(out, tuple | list) else [out]

    tangents = tuple(frozen(random.normal(size=x.shape)) for x in primals)
    out, moved = tt.jvp(function, primals, tangents)
    again, pullback = tt.vjp(function, *primals)
    cotangents = [frozen(random.normal(size=o.shape)) for o in out]
    forwards = sum(float(tt.sum(u * m)) for u, m in zip(cotangents, moved, strict=True))
    backwards = sum(float(tt.sum(g * v)) for g, v in zip(pullback(cotangents), tangents, strict=True))
    assert forwards == pytest.approx(backwards, rel=1e-9, abs=1e-9)
    for a, b in zip(out, again, strict=True):
        assert_close(a, b)


def mlp_loss(xp: Any, parameters: dict[str, Any], x: Any) -> Any:
    """A small classifier's loss, of array code that JAX runs too."""
    hidden = xp.tanh(x @ xp.matrix_transpose(parameters["weight1"]) + parameters["bias1"])
    logits = hidden @ xp.matrix_transpose(parameters["weight2"])
    return xp.mean(xp.logaddexp(logits[:, 0], logits[:, 1]) - logits[:, 0])


def mlp() -> tuple[dict[str, Any], Any]:
    random = numpy.random.default_rng(0)
    shapes = {"weight1": (4, 3), "bias1": (4,), "weight2": (2, 4)}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}, random.normal(size=(5, 3))


def test_the_hessian_of_an_mlp_is_that_of_jax(backend: Backend) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    arrays, x = mlp()
    with jax.enable_x64(True):
        theirs = jax.hessian(lambda p: mlp_loss(jax.numpy, p, x))({name: jax.numpy.asarray(a) for name, a in arrays.items()})
    data = frozen(x)
    ours = tt.hessian(lambda p: mlp_loss(data.__array_namespace__(), p, data))({name: frozen(a) for name, a in arrays.items()})
    for first in arrays:
        for second in arrays:
            numpy.testing.assert_allclose(host(ours[first][second]), numpy.asarray(theirs[first][second]), atol=1e-6)


def test_the_product_with_the_hessian_is_its_column_sum(backend: Backend) -> None:
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


# ---- what they return ----


def test_the_jacobian_has_the_shape_of_the_result_then_of_the_argument(backend: Backend) -> None:
    x = double([[1.0, 2.0, 3.0]])
    tall = tt.jacobian(lambda x: tt.concat([x, x * x], axis=0))(x)  # more results than arguments: by columns
    wide = tt.jacobian(lambda x: tt.sum(x * x, axis=1))(x)  # fewer: by rows
    assert tall.shape == (2, 3, 1, 3)
    assert_close(wide, numpy.float64([[[2, 4, 6]]]))
    assert_close(tall[1, :, 0, :], numpy.diag([2.0, 4.0, 6.0]))


def test_results_and_arguments_may_be_structures_named_tuples_too(backend: Backend) -> None:
    point = Point(double(2.0), double(3.0))
    out, pullback = tt.vjp(lambda p: {"product": p.x * p.y, "x": [p.x]}, point)
    (gradient,) = pullback({"product": double(1.0), "x": [double(10.0)]})
    assert isinstance(gradient, Point)
    assert (float(gradient.x), float(gradient.y)) == (13.0, 2.0)
    assert float(out["product"]) == 6.0
    table = tt.jacobian(lambda p: {"product": p.x * p.y})(point)
    assert (float(table["product"].x), float(table["product"].y)) == (3.0, 2.0)


def test_what_does_not_depend_on_the_arguments_does_not_change(backend: Backend) -> None:
    constant = double([5.0])
    out, moved = tt.jvp(lambda x: (x * 2, constant, frozen([1, 2])), (double([1.0]),), (double([1.0]),))
    assert_close(moved[0], numpy.float64([2]))
    assert_close(moved[1], numpy.float64([0]))
    assert moved[2] is None  # whole numbers have no tangent
    assert [o.node for o in out] == [None, None, None]


def test_one_tensor_may_be_returned_twice_and_an_argument_unchanged(backend: Backend) -> None:
    def function(x: tt.Tensor) -> tuple[tt.Tensor, tt.Tensor, tt.Tensor]:
        y = x * 3
        return y, y, x

    x = double([1.0])
    assert_close(tt.vjp(function, x)[1]((x, x, x))[0], numpy.float64([7]))
    assert [float(m[0]) for m in tt.jvp(function, (x,), (x,))[1]] == [3.0, 3.0, 1.0]


def test_whole_numbers_among_the_results_take_no_part(backend: Backend) -> None:
    x = double([1.0, 3.0])
    _, pullback = tt.vjp(lambda x: (x * 2, tt.argmax(x)), x)
    for nothing in (None, frozen(0)):
        assert_close(pullback((x, nothing))[0], numpy.float64([2, 6]))
    block, nothing = tt.jacobian(lambda x: (x * 2, tt.argmax(x)))(x)
    assert_close(block, numpy.float64([[2, 0], [0, 2]]))
    assert nothing is None


def test_aux_is_passed_on(backend: Backend) -> None:
    x = double([1.0, 2.0])
    out, pullback, aux = tt.vjp(lambda x: (x * x, "note"), x, has_aux=True)
    assert (aux, pullback(x)[0].tolist()) == ("note", [2.0, 8.0])
    assert tt.jvp(lambda x: (x * x, out), (x,), (x,), has_aux=True)[2] is out


# ---- they nest ----

POINT = 0.7

#: Derivatives of sin(x) ** 2 of rising order.
ORDERS = [math.sin(POINT) ** 2, math.sin(2 * POINT), 2 * math.cos(2 * POINT), -4 * math.sin(2 * POINT)]


def squared_sine(x: tt.Tensor) -> tt.Tensor:
    return tt.sin(x) ** 2


def forwards(function: Any) -> Any:
    return lambda x: tt.jvp(function, (x,), (tt.ones_like(x),))[1]


def backwards(function: Any) -> Any:
    return lambda x: tt.vjp(function, x)[1](tt.ones_like(x))[0]


WAYS = {"grad": tt.grad, "jvp": forwards, "vjp": backwards, "jacobian": tt.jacobian}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("third", WAYS)
def test_any_three_of_them_in_any_order_give_the_third_derivative(first: str, second: str, third: str) -> None:
    x = double(POINT)
    once = WAYS[first](squared_sine)
    twice = WAYS[second](once)
    assert [float(f(x)) for f in (once, twice, WAYS[third](twice))] == pytest.approx(ORDERS[1:], rel=1e-12)


def test_a_derivative_inside_sees_the_argument_outside(backend: Backend) -> None:
    # d/dx of x * d/dy (x y^2) at y = x is d/dx of 2 x^3
    assert_close(tt.grad(lambda x: x * forwards(lambda y: x * y * y)(x))(double(2.0)), numpy.float64(24))


def test_a_tangent_reaches_tensors_that_require_a_gradient(backend: Backend) -> None:
    weight = frozen(3.0, requires_grad=True)
    _, moved = tt.jvp(lambda x: weight * x * x, (frozen(2.0),), (frozen(1.0),))
    moved.backward()
    assert_close(weight.grad, numpy.float32(4))


def test_without_recording_outside_results_are_off_the_tape(backend: Backend) -> None:
    weight = frozen(3.0, requires_grad=True)
    with tt.no_grad():
        out, pullback = tt.vjp(lambda x: weight * x, frozen(2.0))
        (g,) = pullback(frozen(1.0))
    assert (out.node, g.node, float(g)) == (None, None, 3.0)


def test_they_pass_through_fused_kernels(backend: Backend) -> None:
    tt.seed(0)
    block = nn.TransformerBlock(8, 2, dropout=0.0)
    x = tt.asarray(numpy.random.default_rng(0).normal(size=(2, 3, 8)), dtype=tt.float32)
    v = tt.asarray(numpy.random.default_rng(1).normal(size=(2, 3, 8)), dtype=tt.float32)

    def loss(x: tt.Tensor) -> tt.Tensor:
        return tt.sum(block(x, is_causal=True) ** 2)

    (product,) = tt.hvp(loss, (x,), (v,))
    reverse = tt.grad(lambda x: tt.sum(tt.grad(loss)(x) * v))(x)
    numpy.testing.assert_allclose(host(product), host(reverse), rtol=1e-3, atol=1e-3)


def test_second_derivatives_do_not_ask_a_plugin_which_values_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that forgot the scalars that numpy makes of 0-d results had them taken for constants."""
    backend = tt.get_backend("numpy")
    monkeypatch.setattr(type(backend), "owns", lambda self, array: isinstance(array, numpy.ndarray))
    with tt.use_backend(backend):
        assert_close(tt.hessian(lambda x: tt.sum(x) * tt.sum(x * x))(double([1.0, 2.0])), numpy.float64([[10, 6], [6, 14]]))


# ---- complex numbers ----


def test_the_gradient_with_respect_to_a_complex_number_is_unconjugated(backend: Backend) -> None:
    """df/dx - i df/dy, as in JAX: of the squared distance from 1 + 2i, at 3 + 1i."""
    gradient = tt.grad(lambda z: tt.abs(z - (1 + 2j)) ** 2)(tt.asarray(3 + 1j, dtype=tt.complex128))
    assert_close(gradient, numpy.complex128(4 + 2j))


def test_the_jacobian_between_real_and_complex_numbers_is_complex_either_way(backend: Backend) -> None:
    """By rows one of them would lose its imaginary part, by columns the other, whichever are fewer."""
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


def test_the_product_forwards_at_a_complex_number_is_that_of_differences(backend: Backend) -> None:
    z, along = numpy.complex128([1 + 2j]), numpy.complex128([0.3 + 1j])
    _, moved = tt.jvp(lambda z: z * tt.conj(z) * z, (frozen(z),), (frozen(along),))  # depends on the conjugate too
    assert_close(moved, 2 * z * z.conj() * along + z * z * along.conj())


# ---- what is refused ----


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: tt.jvp(tt.sin, (x,), (frozen([1.0, 2.0, 3.0]),)), ValueError, "a tangent has shape (3,), expected (2,)"),
        (lambda x: tt.jvp(tt.sin, (x,), (double([1.0, 2.0]),)), TypeError, "a tangent is float64, expected float32; convert it"),
        (lambda x: tt.jvp(tt.sin, (x,), ()), TypeError, "jvp takes a tangent for each of 1 Tensors"),
        (lambda x: tt.vjp(tt.sin, x)[1](frozen(1.0)), ValueError, "a cotangent has shape (), expected (2,)"),
        (lambda x: tt.vjp(lambda x: 3.0, x), TypeError, "vjp: the function must return floating-point Tensors, it returned float"),
        (lambda x: tt.grad(tt.argmax)(x), TypeError, "must return a real number, it returned int"),
        (lambda x: tt.grad(lambda x: tt.sum(x * 1j))(x), TypeError, "it returned complex64; take tinytorch.real of it, or vjp or jacobian"),
        (lambda x: tt.sum(+tt.Tensor(x, requires_grad=True) * 1j).backward(), RuntimeError, "take tinytorch.real of this one, or pass"),
        (lambda x: tt.jacobian(tt.argmax)(x), TypeError, "jacobian: the function must return floating-point Tensors"),
        (lambda x: tt.vjp(tt.sin, frozen([1, 2])), TypeError, "nothing to differentiate with respect to"),
        (lambda x: tt.jacobian(tt.sin, argnums=1)(x), TypeError, "argnums asks for positional argument 1, but only 1 were passed"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call(frozen([1.0, 2.0]))
    assert words in str(caught.value)


# ---- threads ----


def test_each_thread_has_a_tape_of_its_own(backend: Backend) -> None:
    points = [double(0.1 * i) for i in range(8)]
    third = tt.grad(forwards(tt.grad(squared_sine)))
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
