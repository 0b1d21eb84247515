"""Random Tensors under PyTorch's names: shapes, dtypes, distributions, and one seed for all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend

DRAWS: list[Callable[[], tt.Tensor]] = [
    lambda: tt.rand(2, 3),
    lambda: tt.randn(2, 3),
    lambda: tt.randint(10, (2, 3)),
    lambda: tt.randperm(6),
    lambda: tt.multinomial(tt.ones((2, 5)), 3),
    lambda: tt.multinomial(tt.ones(5), 6, replacement=True),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_gives_the_same_numbers_on_every_backend(backend: Backend, draw: Callable[[], tt.Tensor]) -> None:
    tt.manual_seed(5)
    ours = draw()
    with tt.use_backend("numpy"):
        tt.seed(5)
        expected = draw()
        assert draw().tolist() != expected.tolist()
    assert ours.backend is backend
    assert ours.tolist() == expected.tolist()


def test_all_functions_draw_from_the_one_generator() -> None:
    tt.seed(0)
    first = host(nn.Linear(4, 4).weight)
    tt.seed(0)
    tt.rand(1)
    assert (host(nn.Linear(4, 4).weight) != first).any()


@pytest.mark.parametrize("function", [tt.rand, tt.randn])
def test_the_shape_is_given_as_integers_or_as_one_tuple(function: Callable[..., tt.Tensor]) -> None:
    assert [function(*size).shape for size in [(2, 3), ((2, 3),), ([2, 3],), (), ((),), (0,), (numpy.int64(2),)]] == [
        *[(2, 3)] * 3,
        *[()] * 2,
        (0,),
        (2,),
    ]
    with pytest.raises(TypeError, match="expected the shape as integers or as one tuple, got"):
        function("x")
    with pytest.raises(ValueError, match="sizes must be at least 0, got"):
        function(2, -1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_are_in_the_half_open_interval(dtype: str) -> None:
    """Also in float16, in which a number close to 1 would be rounded to 1."""
    x = tt.rand(100_000, dtype=dtype, device="numpy")
    assert x.dtype.name == dtype
    assert float(tt.min(x)) >= 0
    assert float(tt.max(x)) < 1
    assert abs(float(tt.mean(tt.astype(x, "float64"))) - 0.5) < 0.01


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    x = tt.randn(100_000)
    assert abs(float(tt.mean(x))) < 0.02
    assert abs(float(tt.var(x)) - 1) < 0.02


def test_random_numbers_can_require_a_gradient_and_have_a_device(backend: Backend) -> None:
    x = tt.randn(2, dtype="float64", device=tt.zeros(1).device, requires_grad=True)
    tt.sum(x * x).backward()
    assert x.grad is not None
    assert_close(x.grad, 2 * host(x))


@pytest.mark.parametrize("function", [tt.rand, tt.randn])
def test_random_integers_come_from_randint(function: Callable[..., tt.Tensor]) -> None:
    with pytest.raises(TypeError, match="`dtype` must be real floating-point, got int64; use randint for integers"):
        function(2, dtype=tt.int64)


def test_randint_takes_one_or_two_bounds(backend: Backend) -> None:
    assert set(tt.randint(3, (200,)).tolist()) == {0, 1, 2}
    assert set(tt.randint(-1, 2, (200,)).tolist()) == {-1, 0, 1}
    assert tt.randint(0, 10, size=(2, 1)).shape == (2, 1)
    assert tt.randint(10, size=(3,), dtype="int32").dtype is tt.int32
    assert tt.randint(5, 6, ()).item() == 5


def test_randint_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(TypeError, match=r"`size` is missing; write randint\(low, high, size\) or randint\(high, size\)"):
        tt.randint(0, 10)
    with pytest.raises(ValueError, match="`high` must be an integer greater than `low`=3, got 3"):
        tt.randint(3, 3, (2,))
    with pytest.raises(ValueError, match="int8 cannot represent all integers from 1000 to 2000"):
        tt.randint(1000, 2001, (5,), dtype="int8")


def test_randperm_is_a_permutation(backend: Backend) -> None:
    assert sorted(tt.randperm(50).tolist()) == list(range(50))
    assert tt.randperm(0).shape == (0,)
    with pytest.raises(ValueError, match="`n` must be at least 0, got -1"):
        tt.randperm(-1)


def test_multinomial_draws_with_the_given_probabilities(backend: Backend) -> None:
    weights = tt.asarray([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    drawn = host(tt.multinomial(weights, 4000, replacement=True))
    assert drawn.shape == (2, 4000)
    assert not (drawn[0] == 1).any()
    assert abs((drawn[0] == 2).mean() - 0.75) < 0.04
    assert (drawn[1] == 1).all()


def test_multinomial_without_replacement_draws_each_index_once(backend: Backend) -> None:
    assert [sorted(row) for row in tt.multinomial(tt.ones((20, 4)), 4).tolist()] == [[0, 1, 2, 3]] * 20
    assert tt.multinomial(tt.ones((0, 4)), 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("weights", "count", "message"),
    [
        ([1.0, -1.0], 1, "must be finite, at least 0, and not all 0"),
        ([0.0, 0.0], 1, "must be finite, at least 0, and not all 0"),
        ([1.0, numpy.nan], 1, "must be finite"),
        ([1.0, numpy.inf], 1, "must be finite"),
        ([1.0, 0.0], 2, "at most the number of probabilities that are not 0, got 2"),
        ([1.0, 1.0], 0, "`num_samples` must be at least 1"),
        ([1, 1], 1, r"`input` must be floating-point \(V\) or \(N, V\), got int64"),
        ([[[1.0]]], 1, r"got float32 of shape \(1, 1, 1\)"),
    ],
)
def test_multinomial_refuses_what_is_no_distribution(weights: list[float], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tt.multinomial(tt.asarray(weights), count)


# ---- tensor, cat ----


def test_tensor_copies(backend: Backend) -> None:
    host_array = numpy.ones(2)
    x = tt.asarray([1.0, 2.0])
    a, b = tt.tensor(host_array), tt.tensor(x)
    host_array[0] = 9
    x += 1
    assert (a.tolist(), b.tolist()) == ([1.0, 1.0], [1.0, 2.0])
    assert a.dtype is tt.float64
    assert tt.tensor([1, 2], dtype=tt.float32, requires_grad=True).requires_grad
    assert tt.tensor(3).shape == ()


def test_tensor_of_a_tensor_with_a_gradient_raises() -> None:
    with pytest.raises(RuntimeError, match=r"would lose the gradient of x; use x\.detach\(\)"):
        tt.tensor(tt.tensor([1.0], requires_grad=True))


def test_cat_joins_along_dim(backend: Backend) -> None:
    x, y = tt.zeros((2, 1)), tt.ones((2, 2))
    assert_close(tt.cat((x, y), dim=1), tt.concat([x, y], axis=1))
    assert_close(tt.cat([x, x]), tt.concat([x, x]))
    assert_close(tt.grad(lambda x: tt.sum(tt.cat([x, x * x], 1)))(x + 3.0), numpy.full((2, 1), 7, "float32"))
