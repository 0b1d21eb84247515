"""`tinytorch.nn.functional`: numbers, and values and gradients of the function of the same name in PyTorch where that is installed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
import tinytorch.nn.functional as F
from tests.helpers import assert_close, check_gradients, frozen, host
from tinytorch import nn
from tinytorch.backend import Backend

_random = numpy.random.default_rng(11)


def normal(*shape: int) -> Any:
    return _random.normal(size=shape)


def uniform(*shape: int) -> Any:
    return _random.uniform(0.05, 0.95, shape)


def ints(high: int, *shape: int) -> Any:
    return _random.integers(0, high, shape)


_IDS = ints(4, 6)
_IGNORED = numpy.array([0, -100, 3, 1, -100, 2])
_MASK = numpy.array([[True, False, False, True, True], [True, True, True, True, True], [False, True, False, True, False]])

#: (name, arrays, other arguments): float64 arrays are differentiated.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("relu", (normal(2, 3),), {}),
    ("leaky_relu", (normal(2, 3),), {"negative_slope": 0.2}),
    ("gelu", (normal(2, 3),), {}),
    ("gelu", (normal(2, 3),), {"approximate": "tanh"}),
    ("silu", (normal(2, 3),), {}),
    ("sigmoid", (normal(2, 3),), {}),
    ("tanh", (normal(2, 3),), {}),
    ("softplus", (normal(2, 3),), {}),
    ("softplus", (numpy.float64([-3.0, 5.0, 25.0]),), {"beta": 2.0, "threshold": 15.0}),
    ("logsigmoid", (normal(2, 3) * 9,), {}),
    ("softmax", (normal(2, 3, 4),), {"dim": 1}),
    ("log_softmax", (normal(2, 3),), {"dim": -1}),
    ("linear", (normal(2, 3), normal(4, 3), normal(4)), {}),
    ("linear", (normal(2, 5, 3), normal(4, 3)), {}),
    ("embedding", (ints(5, 2, 3), normal(5, 4)), {}),
    ("embedding", (numpy.array([[1, 2], [2, 0]]), normal(3, 4)), {"padding_idx": 2}),
    ("layer_norm", (normal(2, 3, 4),), {"normalized_shape": (4,)}),
    ("layer_norm", (normal(2, 3, 4),), {"normalized_shape": (3, 4), "eps": 1e-2}),
    ("normalize", (normal(3, 4),), {}),
    ("normalize", (normal(3, 4),), {"p": 1.0, "dim": 0}),
    ("one_hot", (numpy.array([[0, 2], [1, 1]]),), {}),
    ("one_hot", (numpy.array([0, 2]),), {"num_classes": 5}),
    ("pad", (normal(2, 3),), {"pad": (1, 2)}),
    ("pad", (normal(2, 3),), {"pad": (1, 2, 0, 3), "value": 1.5}),
    ("pad", (normal(4, 5),), {"pad": (-1, 2, 1, -2)}),
    ("pad", (normal(1, 2, 4),), {"pad": (1, 2), "mode": "reflect"}),
    ("pad", (normal(1, 2, 3, 4),), {"pad": (1, 2, 2, 1), "mode": "replicate"}),
    ("pad", (normal(1, 2, 4),), {"pad": (2, 1), "mode": "circular"}),
    ("conv2d", (normal(2, 3, 5, 6), normal(4, 3, 2, 3), normal(4)), {}),
    ("conv2d", (normal(2, 4, 6, 6), normal(4, 2, 3, 3)), {"stride": 2, "padding": (1, 2), "dilation": 2, "groups": 2}),
    ("conv2d", (normal(1, 2, 5, 5), normal(3, 2, 2, 3)), {"padding": "same"}),
    ("conv2d", (normal(1, 2, 5, 5), normal(3, 2, 2, 3)), {"padding": "valid"}),
    ("max_pool2d", (normal(1, 2, 5, 5),), {"kernel_size": 2}),
    ("max_pool2d", (normal(1, 2, 5, 5),), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("avg_pool2d", (normal(1, 2, 5, 5),), {"kernel_size": 2, "stride": 1, "padding": 1}),
    ("cross_entropy", (normal(6, 4), _IDS), {}),
    ("cross_entropy", (normal(6, 4), _IGNORED), {"reduction": "sum", "label_smoothing": 0.1}),
    ("cross_entropy", (normal(6, 4), _IGNORED), {"reduction": "none"}),
    ("cross_entropy", (normal(2, 4, 3), ints(4, 2, 3)), {}),
    ("cross_entropy", (normal(2, 4, 3, 2), ints(4, 2, 3, 2)), {"reduction": "none"}),
    ("cross_entropy", (normal(4), numpy.array(2)), {}),
    ("cross_entropy", (normal(5, 4), uniform(5, 4)), {}),
    ("cross_entropy", (normal(5, 4, 2), uniform(5, 4, 2)), {"label_smoothing": 0.2, "reduction": "none"}),
    ("nll_loss", (normal(6, 4), _IDS), {}),
    ("nll_loss", (normal(6, 4), _IGNORED), {}),
    ("nll_loss", (normal(2, 4, 3), ints(4, 2, 3)), {"reduction": "none"}),
    ("nll_loss", (normal(6, 4), _IGNORED), {"reduction": "sum"}),
    ("mse_loss", (normal(2, 3), normal(2, 3)), {}),
    ("mse_loss", (normal(2, 3), normal(2, 3)), {"reduction": "sum"}),
    ("l1_loss", (normal(2, 3), normal(2, 3)), {}),
    ("l1_loss", (normal(2, 3), normal(2, 3)), {"reduction": "none"}),
    ("binary_cross_entropy", (uniform(2, 3), uniform(2, 3)), {}),
    ("binary_cross_entropy_with_logits", (normal(2, 3), uniform(2, 3)), {}),
    ("binary_cross_entropy_with_logits", (normal(2, 3) * 50, uniform(2, 3)), {"reduction": "none"}),
    ("scaled_dot_product_attention", (normal(2, 2, 3, 4), normal(2, 2, 3, 4), normal(2, 2, 3, 4)), {}),
    ("scaled_dot_product_attention", (normal(2, 2, 3, 4), normal(2, 2, 3, 4), normal(2, 2, 3, 4)), {"is_causal": True}),
    ("scaled_dot_product_attention", (normal(2, 2, 3, 4), normal(2, 2, 5, 4), normal(2, 2, 5, 6)), {"is_causal": True}),
    ("scaled_dot_product_attention", (normal(3, 4), normal(5, 4), normal(5, 2)), {"scale": 0.3}),
    ("scaled_dot_product_attention", (normal(2, 2, 3, 4), normal(2, 2, 5, 4), normal(2, 2, 5, 4), normal(3, 5)), {}),
    ("scaled_dot_product_attention", (normal(2, 2, 3, 4), normal(2, 2, 5, 4), normal(2, 2, 5, 4), _MASK), {}),
]
#: The same with further arrays as named arguments.
NAMED: list[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("layer_norm", (normal(2, 3, 4),), {"normalized_shape": (3, 4)}, {"weight": normal(3, 4), "bias": normal(3, 4)}),
    ("cross_entropy", (normal(6, 4), _IGNORED), {"label_smoothing": 0.1}, {"weight": uniform(4)}),
    ("cross_entropy", (normal(5, 4), uniform(5, 4)), {}, {"weight": uniform(4)}),
    ("nll_loss", (normal(6, 4), _IGNORED), {}, {"weight": uniform(4)}),
    ("nll_loss", (normal(6, 4), _IGNORED), {"reduction": "none"}, {"weight": uniform(4)}),
    ("binary_cross_entropy", (uniform(2, 3), uniform(2, 3)), {}, {"weight": uniform(3)}),
    ("binary_cross_entropy_with_logits", (normal(2, 3), uniform(2, 3)), {}, {"weight": uniform(3), "pos_weight": uniform(3)}),
]
ALL = [(*call, {}) for call in CALLS] + NAMED
NAMES = [name for name, *_ in ALL]


def test_every_function_is_compared_with_pytorch() -> None:
    assert set(NAMES) == set(F.__all__) - {"dropout"}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # of PyTorch
@pytest.mark.parametrize(("name", "arrays", "options", "named"), ALL, ids=NAMES)
def test_values_and_gradients_are_those_of_pytorch(
    backend: Backend, name: str, arrays: tuple[Any, ...], options: dict[str, Any], named: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    differentiable = [i for i, x in enumerate(arrays) if x.dtype == numpy.float64]
    if name == "cross_entropy" and arrays[1].dtype == numpy.float64:
        differentiable = [0]  # PyTorch differentiates targets too
    theirs = [torch.tensor(x, requires_grad=i in differentiable) for i, x in enumerate(arrays)]
    expected = getattr(torch.nn.functional, name)(*theirs, **options, **{key: torch.tensor(x) for key, x in named.items()})
    ours = [frozen(x, requires_grad=i in differentiable) for i, x in enumerate(arrays)]
    actual = getattr(F, name)(*ours, **options, **{key: frozen(x) for key, x in named.items()})
    assert_close(actual.detach(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    if not differentiable:
        return
    g = normal(*actual.shape)
    expected.backward(torch.tensor(g))
    actual.backward(frozen(g))
    for i in differentiable:
        gradient = ours[i].grad
        assert gradient is not None
        numpy.testing.assert_allclose(host(gradient), theirs[i].grad.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", sorted(set(NAMES) | {"dropout"}))
def test_the_first_arguments_have_the_names_and_the_order_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = getattr(torch.nn.functional, name)
    if name in ("sigmoid", "tanh", "max_pool2d") or inspect.isbuiltin(theirs):
        pytest.skip("PyTorch does not tell the arguments")
    expected = [p.name for p in inspect.signature(theirs).parameters.values() if not p.name.startswith(("_", "size_average", "reduce"))]
    parameters = inspect.signature(getattr(F, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == expected[: len(positional)]
    assert {p.name for p in parameters} <= {*expected, "reduction"}


# ---- numbers, without PyTorch ----


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: F.relu(tt.asarray([-1.0, 2.0])), [0, 2]),
        (lambda: F.leaky_relu(tt.asarray([-1.0, 2.0])), [-0.01, 2]),
        (lambda: F.silu(tt.asarray([0.0, 1.0])), [0, 0.7310586]),
        (lambda: F.softplus(tt.asarray([0.0, 30.0])), [math.log(2), 30]),
        (lambda: F.logsigmoid(tt.asarray([0.0, -1000.0])), [-math.log(2), -1000]),
        (lambda: F.softmax(tt.asarray([[0.0, 0.0]]), dim=1), [[0.5, 0.5]]),
        (lambda: F.normalize(tt.asarray([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]]),
        (lambda: F.pad(tt.asarray([[1.0, 2.0]]), (0, 1, 1, 0)), [[0, 0, 0], [1, 2, 0]]),
        (lambda: F.cross_entropy(tt.zeros((2, 4)), tt.asarray([1, 3])), math.log(4)),
        (lambda: F.cross_entropy(tt.zeros((2, 4, 3)), tt.zeros((2, 3), dtype="int64")), math.log(4)),
        (lambda: F.nll_loss(tt.asarray([[-1.0, -2.0], [-3.0, -4.0]]), tt.asarray([1, -100])), 2),
        (lambda: F.mse_loss(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0]), reduction="sum"), 4),
        (lambda: F.l1_loss(tt.asarray([1.0, 2.0]), tt.asarray([1.0, 4.0])), 1),
        (lambda: F.binary_cross_entropy(tt.asarray([0.0, 0.5]), tt.asarray([1.0, 1.0]), reduction="none"), [100, math.log(2)]),
        (lambda: F.binary_cross_entropy_with_logits(tt.asarray([1000.0, -1000.0]), tt.asarray([1.0, 1.0]), reduction="none"), [0, 1000]),
        (lambda: F.scaled_dot_product_attention(tt.zeros((1, 1, 2, 2)), tt.zeros((1, 1, 2, 2)), tt.ones((1, 1, 2, 2))), [[[[1, 1]] * 2]]),
        (lambda: F.layer_norm(tt.asarray([[1.0, 3.0]]), (2,), eps=0.0), [[-1, 1]]),
        (lambda: F.conv2d(tt.ones((1, 1, 2, 2)), tt.ones((1, 1, 2, 2)), tt.asarray([0.5])), [[[[4.5]]]]),
    ],
)
def test_numbers(backend: Backend, call: Callable[[], tt.Tensor], expected: Any) -> None:
    assert_close(call(), numpy.float32(expected), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: F.softplus(x, 2.0), [(3,)]),
        (F.logsigmoid, [(3,)]),
        (F.normalize, [(2, 3)]),
        (lambda x, y: F.binary_cross_entropy_with_logits(x, tt.sigmoid(y)), [(3,), (3,)]),
        (lambda x: F.nll_loss(x * x, tt.asarray([1, 0])), [(2, 3)]),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7), [(2, 3), (4, 3), (4, 2)]),
        (lambda x: F.cross_entropy(x, tt.asarray([[0.2, 0.8]], dtype="float64")), [(1, 2)]),
        (lambda x: F.pad(x, (1, 2), mode="circular") ** 2, [(2, 3)]),
    ],
)
def test_second_derivatives(backend: Backend, function: Callable[..., tt.Tensor], shapes: list[tuple[int, ...]]) -> None:
    check_gradients(function, *[normal(*shape) for shape in shapes])


# ---- behaviour ----


def test_dropout_is_that_of_the_layer(backend: Backend) -> None:
    x = tt.ones((3, 4))
    tt.seed(3)
    layer = nn.Dropout(0.5)(x)
    tt.seed(3)
    assert_close(F.dropout(x, 0.5), layer)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 1.0).tolist() == tt.zeros((3, 4)).tolist()


def test_inplace_assigns_the_result_to_the_input(backend: Backend) -> None:
    for function in (F.relu, F.leaky_relu, F.silu):
        x = tt.asarray([-1.0, 2.0])
        out = function(x, inplace=True)
        assert out is x
        assert_close(x, function(tt.asarray([-1.0, 2.0])))
    x = tt.ones(50)
    assert F.dropout(x, 0.5, inplace=True) is x
    assert set(x.tolist()) == {0.0, 2.0}


def test_an_inplace_activation_keeps_the_gradient() -> None:
    x = tt.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 3.0
    F.relu(y, inplace=True)
    tt.sum(y * y).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 36.0]


def test_a_fully_masked_row_of_attention_is_zero(backend: Backend) -> None:
    mask = tt.asarray([[False, False], [True, False]])
    q = frozen(numpy.ones((2, 3)), requires_grad=True)
    out = F.scaled_dot_product_attention(q, q, tt.ones((2, 3), dtype="float64"), mask)
    assert out.tolist() == [[0.0] * 3, [1.0] * 3]
    tt.sum(out).backward()
    assert q.grad is not None
    assert q.grad.tolist() == [[0.0] * 3] * 2


def test_the_fused_and_the_general_attention_agree(backend: Backend) -> None:
    q, k, v = [frozen(normal(2, 3, 4, 5)) for _ in range(3)]
    for causal in (False, True):
        mask = tt.tril(tt.ones((4, 4), dtype="bool")) if causal else None
        general = F.scaled_dot_product_attention(q, k, v, mask, scale=1 / math.sqrt(5))
        assert_close(F.scaled_dot_product_attention(q, k, v, is_causal=causal), general, rtol=1e-12, atol=1e-14)


def test_attention_dropout_drops_weights(backend: Backend) -> None:
    q = tt.zeros((1, 1, 64, 2))
    v = tt.ones((1, 1, 64, 2))
    for scale in (None, 1.0):
        out = F.scaled_dot_product_attention(q, q, v, dropout_p=0.5, scale=scale)
        assert len(set(out[0, 0, :, 0].tolist())) > 5
        assert abs(float(tt.mean(out)) - 1) < 0.2


def test_an_index_that_is_no_class_gives_nan(backend: Backend) -> None:
    assert math.isnan(float(F.nll_loss(tt.zeros((2, 3)), tt.asarray([0, 3]))))
    assert math.isnan(float(F.cross_entropy(tt.zeros((2, 3)), tt.asarray([0, -1]))))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.softmax(x), TypeError, r"softmax: `dim` is required; write softmax\(x, dim=-1\)"),
        (lambda x: F.log_softmax(x), TypeError, "log_softmax: `dim` is required"),
        (lambda x: F.gelu(x, "erf"), ValueError, "`approximate` must be 'none' or 'tanh'"),
        (lambda x: F.linear(x, tt.ones((2, 2))), ValueError, r"linear expected an input .* got shapes \(2, 3\) and \(2, 2\)"),
        (lambda x: F.layer_norm(x, 3), TypeError, r"`normalized_shape` must be a tuple of sizes, got 3; write \(3,\)"),
        (lambda x: F.layer_norm(x, (2,)), ValueError, r"must have the sizes \(2,\), got shape \(2, 3\)"),
        (lambda x: F.one_hot(tt.zeros(0, dtype="int64")), ValueError, "`num_classes` is required for an empty Tensor"),
        (lambda x: F.pad(x, (1,)), ValueError, "`pad` must be a list of up to 2 pairs of integers"),
        (lambda x: F.pad(x, (1, 1), mode="edge"), ValueError, "`mode` must be one of 'constant', 'reflect', 'replicate', 'circular'"),
        (lambda x: F.pad(x, (1, 1), mode="reflect", value=1.0), ValueError, "`value` has no effect with mode='reflect'"),
        (
            lambda x: F.conv2d(tt.ones((1, 3, 4, 4)), tt.ones((2, 2, 2, 2))),
            ValueError,
            r"expected images \(N, C, H, W\) and filters",
        ),
        (lambda x: F.conv2d(tt.ones((1, 1, 4, 4)), tt.ones((1, 1, 2, 2)), stride=2, padding="same"), ValueError, "needs stride 1"),
        (lambda x: F.cross_entropy(tt.ones((2, 3, 5)), tt.zeros((2, 3), dtype="int64")), ValueError, "for classes in the last axis write"),
        (lambda x: F.cross_entropy(x, tt.zeros((3,), dtype="int64")), ValueError, r"got shapes \(2, 3\) and \(3,\)"),
        (lambda x: F.nll_loss(x, tt.zeros((3,), dtype="int64")), ValueError, "nll_loss expected classes in the second axis"),
        (lambda x: F.mse_loss(x, tt.ones(3)), ValueError, "must have the same shape"),
        (lambda x: F.l1_loss(x, tt.ones(3)), ValueError, "`input` and `target` must have the same shape"),
        (lambda x: F.l1_loss(x, x, reduction="max"), ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
        (lambda x: F.scaled_dot_product_attention(x, tt.ones((2, 2)), x), ValueError, "expected query .* got shapes"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, tt.ones((2, 2)), is_causal=True),
            ValueError,
            "either `attn_mask` or `is_causal`",
        ),
    ],
)
def test_wrong_arguments_raise_and_say_what_to_write(call: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(tt.ones((2, 3)))


def test_targets_may_be_lists() -> None:
    assert float(F.cross_entropy(tt.zeros((2, 4)), [1, 3])) == pytest.approx(math.log(4))  # type: ignore[arg-type]
