"""Functions beyond the standard: accuracy, special values, shapes and errors. The table of calls has ordinary values and derivatives."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen, host
from tinytorch.array_api import approximation, contraction, error_functions, gamma_functions, logistic
from tinytorch.backend import Backend
from tinytorch.tensor import wrap

inf, nan = math.inf, math.nan
_random = numpy.random.default_rng(5)


def relative_error(ours: tt.Tensor, expected: list[float]) -> float:
    """The largest relative error, in units of the precision of the dtype."""
    wanted = numpy.array(expected)
    return float(numpy.max(numpy.abs(host(ours).astype("float64") - wanted) / numpy.abs(wanted)) / numpy.finfo(ours.dtype.name).eps)


def portable(function: Any, x: Any) -> tt.Tensor:
    """The portable version of a function, also where the backend has its own."""
    return tt.asarray(function(x.backend.xp, x.raw))


# ---- special functions ----

#: 50-digit values, rounded: arguments near zeros of the functions and in their tails.
ERFC = {0.3: 0.6713732405408726, 2.5: 0.0004069520174449589, 8.0: 1.1224297172982926e-29, -1.0: 1.8427007929497148}
LGAMMA = {
    0.999: 0.0005780385328913802,
    1.5: -0.12078223763524522,
    2.001: 0.000423106734800117,
    7.3: 7.147892523022248,
    0.01: 4.599479878042022,
    -0.25: 1.589575312551186,
}
DIGAMMA = {
    1.46: -0.0015805619870834522,
    0.001: -1000.5755719318103,
    2.0: 0.42278433509846713,
    3.5: 1.103156640645243,
    -0.5: 0.03648997397857652,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_functions_are_accurate_to_a_few_units_in_the_last_place(backend: Backend, dtype: str) -> None:
    erf_arguments = [1e-10, 0.1, 0.4687, 0.5, 1.0, 3.9, 4.1, -2.0]
    for function, table in [
        (error_functions._erf, {x: math.erf(float(numpy.dtype(dtype).type(x))) for x in erf_arguments}),
        (error_functions._erfc, {x: math.erfc(float(numpy.dtype(dtype).type(x))) for x in (0.25, 0.5, 2.5, 4.5, 8.0, -1.5)}),
        (gamma_functions._lgamma, {0.5: 0.5723649429247001, 1.5: -0.12078223763524522, 3.0: math.log(2), 20.0: 39.339884187199495}),
        (gamma_functions._digamma, {0.5: -1.9635100260214235, 2.0: 0.42278433509846714, 3.5: 1.103156640645243, 8.0: 2.0156414779556102}),
    ]:
        assert relative_error(portable(function, frozen(list(table), dtype=dtype)), list(table.values())) < 8


@pytest.mark.parametrize(
    ("name", "table"), [("_erfc", ERFC), ("_lgamma", LGAMMA), ("_digamma", DIGAMMA)], ids=["erfc", "lgamma", "digamma"]
)
def test_special_functions_are_accurate_near_their_zeros_and_in_their_tails(backend: Backend, name: str, table: dict[float, float]) -> None:
    function = getattr(error_functions, name, None) or getattr(gamma_functions, name)
    assert relative_error(portable(function, frozen(list(table), dtype="float64")), list(table.values())) < 32


@pytest.mark.parametrize("name", ["erf", "erfc", "lgamma", "digamma", "sigmoid"])
def test_a_function_of_the_library_agrees_with_the_portable_version(backend: Backend, name: str) -> None:
    own = getattr(tt, name)
    module = logistic if name == "sigmoid" else error_functions if name.startswith("erf") else gamma_functions
    x = frozen(numpy.concatenate([_random.uniform(-5, 5, 200), _random.uniform(0, 1, 50), [0.0, inf, nan]]))
    expected = portable(getattr(module, f"_{name}"), x)
    numpy.testing.assert_allclose(host(own(x)), host(expected), rtol=1e-12, atol=1e-13)
    narrow = tt.astype(x, "float32")
    numpy.testing.assert_allclose(host(own(narrow)), host(portable(getattr(module, f"_{name}"), narrow)), rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("erf", {inf: 1, -inf: -1, 0.0: 0, nan: nan, 1e30: 1}),
        ("erfc", {inf: 0, -inf: 2, 0.0: 1, nan: nan, -1e30: 2, 30.0: 0}),
        ("lgamma", {inf: inf, -inf: inf, 0.0: inf, -1.0: inf, 1.0: 0, 2.0: 0, nan: nan, -0.5: 1.2655121}),
        ("digamma", {inf: inf, -inf: nan, 0.0: -inf, -1.0: nan, nan: nan}),
        ("sigmoid", {inf: 1, -inf: 0, nan: nan, 0.0: 0.5}),
        ("logit", {0.0: -inf, 1.0: inf, 0.5: 0, -0.1: nan, 1.1: nan, nan: nan, inf: nan}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(backend: Backend, name: str, table: dict[float, float], dtype: str) -> None:
    assert_close(getattr(tt, name)(frozen(list(table), dtype=dtype)), numpy.asarray(list(table.values()), dtype), rtol=1e-6)


def test_sigmoid_is_accurate_in_its_tail(backend: Backend) -> None:
    assert_close(tt.sigmoid(frozen(numpy.float64([-40, -700]))), numpy.exp([-40.0, -700.0]), rtol=1e-14)
    assert_close(tt.sigmoid(frozen(numpy.float64(-1000))), numpy.float64(0))  # without an overflow


def test_logit_is_accurate_near_one_half(backend: Backend) -> None:
    assert_close(tt.logit(frozen(numpy.float64([0.5 + 2**-40]))), numpy.float64([2**-38]), rtol=1e-13)


def test_lgamma_of_large_numbers_does_not_overflow(backend: Backend) -> None:
    assert_close(tt.lgamma(frozen(numpy.float32([1e30]))), numpy.float32([6.807755e31]), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_polygamma_is_the_derivative_of_the_order_below(backend: Backend, n: int) -> None:
    """Also at negative arguments, by reflection."""
    x, step = numpy.float64([0.3, 2.5, -0.7, -3.4]), 1e-5
    sides = [host(tt.polygamma(n - 1, frozen(x + sign * step))) for sign in (1, -1)]
    assert_close(tt.polygamma(n, frozen(x)), (sides[0] - sides[1]) / (2 * step), rtol=1e-6)


def test_polygamma_at_its_poles_and_at_infinity(backend: Backend) -> None:
    x = frozen(numpy.float64([0, -1, inf, nan]))
    assert_close(tt.polygamma(1, x), numpy.float64([inf, inf, 0, nan]))
    assert_close(tt.polygamma(2, x), numpy.float64([nan, nan, 0, nan]))


@pytest.mark.parametrize("n", [-1, 1.0, "x"])
def test_polygamma_refuses_other_orders(n: Any) -> None:
    with pytest.raises(ValueError, match=r"`n` must be an integer of at least 0, got .*; write polygamma\(n, x\)"):
        tt.polygamma(n, tt.ones(1))


@pytest.mark.parametrize(
    "name", ["erf", "erfc", "lgamma", "digamma", "sigmoid", "logit", "softmax", "log_softmax", "logsumexp", "nan_to_num"]
)
def test_integers_are_refused(backend: Backend, name: str) -> None:
    with pytest.raises(TypeError, match=r"expected a real floating-point Tensor, got int64; convert it with tinytorch\.astype"):
        getattr(tt, name)(tt.asarray([1, 2], dtype="int64"))


@pytest.mark.parametrize("name", ["erf", "lgamma", "sigmoid", "log_softmax", "softmax", "logsumexp"])
def test_16_bit_numbers_are_computed_in_32_bits(name: str) -> None:
    x = numpy.float16([0.3, 2.0, 9.0])
    with tt.use_backend("numpy"):
        ours, wide = getattr(tt, name)(tt.asarray(x)), getattr(tt, name)(tt.asarray(x.astype("float32")))
        assert_close(ours, host(wide).astype("float16"))


def test_the_derivative_of_erf_is_correct_at_zero_and_vanishes_far_out(backend: Backend) -> None:
    gradient = tt.grad(lambda x: tt.sum(tt.erf(x)))(frozen(numpy.float64([0, 1e3, -inf])))
    assert_close(gradient, numpy.float64([2 / math.sqrt(math.pi), 0, 0]))


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_third_derivatives_exist(backend: Backend, name: str) -> None:
    derivative = getattr(tt, name)
    for _ in range(3):
        derivative = tt.grad(lambda x, f=derivative: tt.sum(f(x)))
    order = 2 if name == "lgamma" else 3
    assert_close(derivative(frozen(numpy.float64([1.5]))), host(tt.polygamma(order, frozen(numpy.float64([1.5])))), rtol=1e-12)


@pytest.mark.parametrize("name", ["erf", "erfc", "lgamma", "digamma", "sigmoid", "logit", "softmax", "log_softmax", "logsumexp"])
def test_forward_mode_agrees_with_reverse_mode(backend: Backend, name: str) -> None:
    function, x, v = getattr(tt, name), frozen(numpy.float64([0.2, 0.7])), frozen(numpy.float64([1.5, -2.0]))
    out, tangent = tt.jvp(function, (x,), (v,))
    by_rows = [tt.sum(tt.grad(lambda x, i=i: tt.reshape(function(x), (-1,))[i])(x) * v).item() for i in range(out.size)]
    assert_close(tt.reshape(tangent, (-1,)), numpy.float64(by_rows), rtol=1e-12)


# ---- xlogy ----


def test_xlogy_is_zero_where_the_factor_is_zero(backend: Backend) -> None:
    x, y = frozen(numpy.float64([0, 0, 0, 2, nan])), frozen(numpy.float64([0, -1, nan, 1, 1]))
    assert_close(tt.xlogy(x, y), numpy.float64([0, 0, nan, 0, nan]))


def test_the_derivatives_of_xlogy_at_zero_times_zero_are_zero_and_the_second_ones_nan(backend: Backend) -> None:
    zero, one = frozen(numpy.float64([0.0])), frozen(numpy.float64([1.0]))
    total = lambda x, y: tt.sum(tt.xlogy(x, y))  # noqa: E731
    assert [g.tolist() for g in tt.grad(total, (0, 1))(zero, zero)] == [[0.0], [0.0]]
    assert tt.grad(lambda y: tt.sum(tt.grad(total)(zero, y)))(one).tolist() == [1.0]  # the mixed derivative 1 / y
    assert math.isnan(tt.grad(lambda y: tt.sum(tt.grad(total)(zero, y)))(zero).item())


def test_xlogy_refuses_integers() -> None:
    with pytest.raises(TypeError, match="xlogy expected a real floating-point Tensor, got int"):
        tt.xlogy(tt.asarray([1]), tt.asarray([1.0]))


# ---- softmax, log_softmax, logsumexp ----


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_large_logits_do_not_overflow(backend: Backend, name: str) -> None:
    out = getattr(tt, name)(frozen(numpy.float32([1000, 1000, -1000])))
    expected = numpy.float32([0.5, 0.5, 0]) if name == "softmax" else numpy.float32([-math.log(2), -math.log(2), -2000 - math.log(2)])
    assert_close(out, expected, rtol=1e-6)


def test_minus_infinity_has_probability_zero(backend: Backend) -> None:
    x = frozen(numpy.float64([0, -inf]))
    assert_close(tt.softmax(x, axis=None), numpy.float64([1, 0]))
    assert_close(tt.log_softmax(x), numpy.float64([0, -inf]))


def test_softmax_of_a_number_over_no_axes_is_one(backend: Backend) -> None:
    assert_close(tt.softmax(frozen(numpy.float64(3.0)), axis=None), numpy.float64(1.0))


def test_logsumexp_of_infinities(backend: Backend) -> None:
    x = frozen(numpy.float64([[-inf, -inf], [inf, 0], [inf, -inf], [-inf, 2]]))
    assert_close(tt.logsumexp(x, axis=1), numpy.float64([-inf, inf, inf, 2]))
    (gradient,) = tt.vjp(lambda x: tt.logsumexp(x, axis=1), x)[1](tt.ones(4, dtype="float64"))
    assert_close(gradient, numpy.float64([[0.5, 0.5], [1, 0], [1, 0], [0, 1]]))


def test_logsumexp_of_no_elements_is_the_logarithm_of_zero(backend: Backend) -> None:
    assert_close(tt.logsumexp(tt.zeros((2, 0)), axis=1), numpy.float32([-inf, -inf]))
    assert_close(tt.logsumexp(tt.zeros((2, 0)), axis=0), numpy.zeros(0, "float32"))


# ---- einsum ----


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3)], "has 2 terms for 1 operands; write one term for each operand"),
        ("ijk->i", [(2, 3)], "'ijk' in 'ijk->i' names 3 axes, but its operand has 2"),
        ("i->i", [(2, 3)], "'i' in 'i->i' names 1 axes, but its operand has 2"),
        ("ij,jk->ik", [(2, 3), (2, 3)], "'j' in 'ij,jk->ik' has size 3 in one operand and 2 in another"),
        ("...,...->...", [(2, 3), (2, 4)], "an axis of '...' in .* has size 3 in one operand and 4 in another"),
        ("ij->ii", [(2, 2)], "has a letter twice after '->'"),
        ("ij->k", [(2, 2)], "'k' after '->' in 'ij->k' is in no operand"),
        ("i1->i", [(2, 2)], "expected letters, ',', '...' and '->' as in 'ij,jk->ik', got 'i1->i'"),
        ("ij->i->j", [(2, 2)], "expected letters"),
    ],
)
def test_an_equation_that_is_not_valid_raises(equation: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("...", r"\.\.\.")):
        tt.einsum(equation, *[tt.ones(shape) for shape in shapes])


def test_einsum_expects_the_equation_first() -> None:
    with pytest.raises(TypeError, match="einsum expected an equation such as 'ij,jk->ik' first, got Tensor"):
        tt.einsum(tt.ones((2, 2)), [0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize("installed", [True, False])
def test_einsum_gives_the_same_with_and_without_opt_einsum(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed:
        pytest.importorskip("opt_einsum", reason="opt_einsum is not installed")
    else:
        monkeypatch.setattr(contraction, "find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "opt_einsum", None)
    arrays = [_random.normal(size=shape) for shape in [(2, 30), (30, 4), (4, 5), (5, 2)]]
    ours = tt.einsum("ab,bc,cd,da->ac", *[frozen(x) for x in arrays])
    numpy.testing.assert_allclose(host(ours), numpy.einsum("ab,bc,cd,da->ac", *arrays), rtol=1e-12, atol=1e-12)


def test_einsum_contracts_in_the_order_that_opt_einsum_finds() -> None:
    pytest.importorskip("opt_einsum", reason="opt_einsum is not installed")
    sizes = {"i": 50, "j": 60, "k": 70, "l": 2}
    terms = [(tt.ones((50, 60)), ("i", "j")), (tt.ones((60, 70)), ("j", "k")), (tt.ones((70, 2)), ("k", "l"))]
    assert sorted(contraction._path(terms, ("i", "l"), sizes)[0]) == [1, 2]  # the narrow matrix first


def test_einsum_of_integers(backend: Backend) -> None:
    x = frozen(numpy.int64([[1, 2], [3, 4]]))
    assert_close(tt.einsum("ij,jk->ik", x, x), numpy.int64([[7, 10], [15, 22]]))


def test_einsum_returns_a_new_tensor() -> None:
    x = tt.asarray([1.0, 2.0])
    assert tt.einsum("i->i", x) is not x


# ---- isclose, allclose, nan_to_num ----


def test_isclose_agrees_with_numpy(backend: Backend) -> None:
    x = numpy.float64([1, 1 + 1e-6, 1 + 1e-4, inf, -inf, nan, 0, 1e-9, inf])
    y = numpy.float64([1, 1, 1, inf, inf, nan, 1e-9, 0, 1])
    for options in ({}, {"equal_nan": True}, {"rtol": 1e-3}, {"rtol": 0.0, "atol": 0.0}):
        assert_close(tt.isclose(frozen(x), frozen(y), **options), numpy.isclose(x, y, **options))


def test_isclose_takes_numbers_and_integers(backend: Backend) -> None:
    assert tt.isclose(frozen(numpy.float64([0.3])), 0.3, rtol=0.0, atol=0.0).tolist() == [True]
    large = frozen(numpy.int64([2**60, 2**60]))
    assert tt.isclose(large, frozen(numpy.int64([2**60, 2**60 + 1])), rtol=0.0, atol=0.0).tolist() == [True, False]
    assert tt.isclose(frozen([100, 200]), frozen([100, 205]), rtol=0.03).tolist() == [True, True]
    assert tt.isclose(frozen([True, False]), frozen([True, True])).tolist() == [True, False]
    with pytest.raises(TypeError, match=r"isclose expected a Tensor, got two numbers; use math\.isclose"):
        tt.isclose(1.0, 2.0)


def test_isclose_is_not_recorded() -> None:
    assert tt.isclose(frozen([1.0], requires_grad=True), 1.0).node is None


def test_allclose_is_a_python_bool(backend: Backend) -> None:
    assert tt.allclose(tt.ones(3), 1.0) is True
    assert tt.allclose(tt.ones(3), tt.asarray([1.0, 2.0, 1.0])) is False
    assert tt.allclose(tt.zeros(0), 1.0) is True


def test_nan_to_num_replaces_and_has_derivative_zero_there(backend: Backend) -> None:
    x = frozen(numpy.float32([1, nan, inf, -inf]))
    assert_close(tt.nan_to_num(x), numpy.nan_to_num(numpy.float32([1, nan, inf, -inf])))
    assert_close(tt.nan_to_num(x, nan=7.0, posinf=8.0, neginf=9.0), numpy.float32([1, 7, 8, 9]))
    assert_close(tt.grad(lambda x: tt.sum(tt.nan_to_num(x)))(x), numpy.float32([1, 0, 0, 0]))


# ---- pad, split, topk, one_hot, stop_gradient, lstsq ----


@pytest.mark.parametrize("width", [(1, 2, 3), ((1, 2),) * 3, -1, ((1, -2), (0, 0)), "x", 1.5])
def test_a_pad_width_that_does_not_fit_raises(width: Any) -> None:
    with pytest.raises(ValueError, match=r"`pad_width` must be an integer, a pair .* or 2 pairs, one for each axis.*PyTorch"):
        tt.pad(tt.ones((2, 2)), width)


def test_pad_refuses_unknown_modes_and_empty_axes() -> None:
    with pytest.raises(ValueError, match="`mode` must be 'constant', 'edge', 'reflect' or 'wrap', got 'replicate'"):
        tt.pad(tt.ones(2), 1, mode="replicate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"axis 0 of shape .* is empty"):
        tt.pad(tt.ones(0), 1, mode="edge")


def test_pad_takes_booleans_integers_and_numbers_without_axes(backend: Backend) -> None:
    assert tt.pad(frozen([True]), 1).tolist() == [False, True, False]
    assert tt.pad(frozen([1, 2]), (0, 1), "wrap").tolist() == [1, 2, 1]
    assert tt.pad(frozen(3.0), 2).item() == 3.0


def test_split_requires_the_name_of_its_argument() -> None:
    x = tt.arange(4)
    with pytest.raises(
        TypeError, match=r"write sections=2 for that many equal parts, as in numpy, or sizes=2 for parts of that size, as in P"
    ):
        tt.split(x, 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="either `sections`, the number of equal parts, or `sizes`"):
        tt.split(x)
    with pytest.raises(TypeError, match="either `sections`"):
        tt.split(x, sections=2, sizes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": 3}, "`sections` must divide the axis, of size 4, got 3; use sizes="),
        ({"sections": 0}, "`sections` must divide"),
        ({"sizes": 0}, "`sizes` must be at least 1, got 0"),
        ({"sizes": [1, 2]}, r"add up to the size of the axis, 4, got \[1, 2\]"),
        ({"sizes": [5, -1]}, "`sizes` must be at least 0"),
        ({"sizes": 2, "axis": 1}, "has no axis 1"),
    ],
)
def test_parts_that_do_not_fit_the_axis_raise(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tt.split(tt.arange(4), **options)


def test_split_of_an_empty_axis(backend: Backend) -> None:
    assert [part.shape for part in tt.split(tt.zeros((0, 2)), sizes=3)] == [(0, 2)]
    assert [part.shape for part in tt.split(tt.zeros((2, 0)), sections=2, axis=1)] == [(2, 0), (2, 0)]


def test_topk_returns_the_first_of_equal_elements_and_nan_as_the_largest(backend: Backend) -> None:
    assert tt.topk(frozen([1, 3, 3, 2]), 3).indices.tolist() == [1, 2, 3]
    assert tt.topk(frozen([1.0, nan, 3.0, -inf]), 2).indices.tolist() == [1, 2]
    assert tt.topk(frozen([1.0, nan, 3.0, -inf]), 2, largest=False).indices.tolist() == [3, 0]


@pytest.mark.parametrize("k", [-1, 4])
def test_topk_of_too_many_elements_raises(k: int) -> None:
    with pytest.raises(ValueError, match=f"`k` must be between 0 and the size of axis -1, 3, got {k}"):
        tt.topk(tt.ones(3), k)


def test_one_hot(backend: Backend) -> None:
    assert_close(tt.one_hot(frozen([[0, 2]]), 3), numpy.float32([[[1, 0, 0], [0, 0, 1]]]))
    assert_close(tt.one_hot(frozen([0, 1]), 3, dtype="int64", axis=0), numpy.int64([[1, 0], [0, 1], [0, 0]]))
    assert tt.one_hot(tt.asarray([], dtype="int64"), 3).shape == (0, 3)
    assert tt.one_hot(tt.asarray([200], dtype="uint8"), 256)[0, 200].item() == 1.0


@pytest.mark.parametrize("wrong", [-1, 3])
def test_one_hot_refuses_numbers_that_are_no_class(backend: Backend, wrong: int) -> None:
    with pytest.raises(IndexError, match="every element of x must be between 0 and num_classes - 1 = 2"):
        tt.one_hot(frozen([0, wrong]), 3)


def test_one_hot_refuses_floats() -> None:
    with pytest.raises(TypeError, match="one_hot expected integers, got float32"):
        tt.one_hot(tt.ones(2), 3)


def test_stop_gradient_makes_a_constant(backend: Backend) -> None:
    x = frozen([2.0], requires_grad=True)
    assert tt.stop_gradient(x).requires_grad is False
    assert tt.grad(lambda x: tt.sum(x * tt.stop_gradient(x)))(frozen([3.0])).tolist() == [3.0]


def test_lstsq_of_a_matrix_without_full_rank_has_the_smallest_norm(backend: Backend) -> None:
    solution, residuals, rank, values = tt.linalg.lstsq(frozen(numpy.float64([[1, 1], [1, 1]])), frozen(numpy.float64([2, 4])))
    assert_close(solution, numpy.float64([1.5, 1.5]), rtol=1e-12)
    assert_close(residuals, numpy.float64(2), rtol=1e-12)
    assert int(rank) == 1
    assert_close(values, numpy.float64([2, 0]), rtol=1e-12, atol=1e-12)


def test_lstsq_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"lstsq expected x1 \(\.\.\., M, N\) and x2 \(M,\) or"):
        tt.linalg.lstsq(tt.ones((3, 2)), tt.ones(2))


def test_horner_evaluates_the_highest_power_first() -> None:
    assert approximation.horner(2.0, (1.0, 0.0, 3.0)) == 7.0


def test_results_are_on_the_backend_of_the_operands(backend: Backend) -> None:
    """Also if another backend is the current one."""
    x, i = frozen(numpy.float32([[1, 2], [3, 5]])), frozen([0, 1])
    with tt.use_backend("strict" if backend.name == "numpy" else "numpy"):
        results = [
            *(getattr(tt, name)(x) for name in ("erf", "lgamma", "sigmoid", "softmax", "logsumexp", "nan_to_num")),
            *(tt.pad(x, 1, mode) for mode in ("constant", "edge", "reflect", "wrap")),
            *(*tt.split(x, sections=2), *tt.topk(x, 1), *tt.linalg.lstsq(x, x)),
            *(tt.one_hot(i, 2), tt.isclose(x, 1.0), tt.isclose(1.0, x), tt.xlogy(x, 2.0), tt.einsum("ij,jk", x, x), tt.stop_gradient(x)),
        ]
    assert {result.backend for result in results} == {backend}


@pytest.mark.parametrize("name", ["erf", "lgamma", "digamma", "softmax", "logsumexp", "one_hot", "pad", "topk", "einsum"])
def test_functions_run_in_a_compiled_step(backend: Backend, name: str) -> None:
    """With the values that they have outside."""
    x = frozen(numpy.float32([[0.5, 2.0], [3.0, 1.5]]))
    calls = {
        "one_hot": lambda x: tt.one_hot(tt.astype(x, "int32"), 4),
        "pad": lambda x: tt.pad(x, 1, "reflect"),
        "topk": lambda x: tt.topk(x, 1).values,
        "einsum": lambda x: tt.einsum("ij,kj->ik", x, x),
    }
    function = calls.get(name, getattr(tt, name))
    step = backend.compile(lambda state, batch: (state, (function(wrap(batch[0], backend)).raw,)))
    assert_close(wrap(step((), (x.raw,))[1][0], backend), function(x), rtol=1e-6)
