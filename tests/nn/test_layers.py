"""Layers and losses: outputs and gradients equal PyTorch's for the same weights, plus tests of what PyTorch does not specify."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.generation import DynamicCache
from tinytorch.ops import portable_kernels, random
from tinytorch.tensor import Tensor

#: Relative and absolute tolerance of a comparison with PyTorch, by data type.
TOLERANCE = {"float32": (1e-5, 2e-6), "float64": (1e-11, 1e-12)}

#: The portable kernels, and the backend's own kernels if it has any.
both_kernels = pytest.mark.parametrize("kernels", [portable_kernels, nullcontext], ids=["portable", "own"])

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    module.set_num_threads(1)  # these models are too small for more
    return module


def values(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=shape)


def assert_matches_pytorch(
    ours: nn.Module,
    theirs: Any,
    *inputs: Any,
    dtype: str = "float32",
    rename: Callable[[str], str] = str,
    **settings: Any,
) -> None:
    """Compare the output and the gradients of all parameters and floating-point inputs, starting from PyTorch's weights.

    ``rename`` converts PyTorch's parameter names to ours; ``settings`` are passed to our module.
    """
    import torch

    theirs = theirs.to(getattr(torch, dtype))
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    leaves = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    theirs.zero_grad()
    expected = theirs(*leaves)
    cotangent = values(*expected.shape, seed=9).astype(dtype)
    expected.backward(torch.tensor(cotangent))
    state = {rename(name): tt.asarray(value.detach().numpy()) for name, value in theirs.named_parameters()}
    assert sorted(state) == sorted(name for name, _ in ours.named_parameters())

    def weighted(state: dict[str, Tensor], *tensors: Tensor) -> tuple[Tensor, Tensor]:
        out = nn.functional_call(ours, state, *tensors, **settings) if state else ours(*tensors, **settings)
        return tt.sum(out * tt.asarray(cotangent)), out.detach()

    tensors = [tt.asarray(x) for x in arrays]
    differentiated = tt.grad(weighted, argnums=tuple(range(len(tensors) + 1)), has_aux=True)
    (state_grads, *input_grads), out = differentiated(state, *tensors)
    rtol, atol = TOLERANCE[dtype]
    assert_close(out, expected.detach().numpy(), rtol, atol)
    for name, parameter in theirs.named_parameters():
        assert_close(state_grads[rename(name)], parameter.grad.numpy(), rtol, 5 * atol)
    for gradient, leaf in zip(input_grads, leaves, strict=True):
        if leaf.requires_grad:
            assert_close(gradient, leaf.grad.numpy(), rtol, 5 * atol)


# ---- layers that process each position independently ----


@both_dtypes
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_matches_pytorch(backend: Backend, torch: Any, dtype: str, shape: tuple[int, ...], bias: bool) -> None:
    assert_matches_pytorch(nn.Linear(4, 5, bias), torch.nn.Linear(4, 5, bias), values(*shape), dtype=dtype)


@both_dtypes
def test_embedding_with_repeated_ids_matches_pytorch(backend: Backend, torch: Any, dtype: str) -> None:
    ids = numpy.array([[0, 2, 2], [2, 6, 0]])
    assert_matches_pytorch(nn.Embedding(7, 3), torch.nn.Embedding(7, 3), ids, dtype=dtype)


@both_dtypes
@pytest.mark.parametrize("shape", [(6,), (2, 3, 6)])
def test_layer_norm_matches_pytorch(backend: Backend, torch: Any, dtype: str, shape: tuple[int, ...]) -> None:
    theirs = torch.nn.LayerNorm(6, eps=1e-3)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(values(6, seed=1)))
        theirs.bias.copy_(torch.tensor(values(6, seed=2)))
    assert_matches_pytorch(nn.LayerNorm(6, eps=1e-3), theirs, 3 * values(*shape) + 1, dtype=dtype)


@both_dtypes
@both_kernels
@pytest.mark.parametrize("settings", [{"bias": False}, {"elementwise_affine": False}, {}], ids=str)
@pytest.mark.parametrize("shape", [6, (6,), (3, 6)], ids=str)
def test_layer_norm_with_fewer_parameters_or_several_axes_matches_pytorch(
    backend: Backend, torch: Any, dtype: str, kernels: Callable[[], Any], shape: Any, settings: dict[str, Any]
) -> None:
    theirs = torch.nn.LayerNorm(shape, **settings)
    with kernels():
        for batch in (2, 1):
            assert_matches_pytorch(nn.LayerNorm(shape, **settings), theirs, 3 * values(batch, 3, 6) + 1, dtype=dtype)


@both_dtypes
@pytest.mark.parametrize("padding", [2, -1])
def test_the_padding_row_of_an_embedding_gets_no_gradient_as_in_pytorch(backend: Backend, torch: Any, padding: int, dtype: str) -> None:
    ids = numpy.array([[0, 2, 2], [2, 6, 0]])
    theirs = torch.nn.Embedding(7, 3, padding_idx=padding)
    with torch.no_grad():
        theirs.weight += 1.0  # the row is not trained, but may have any value
    assert_matches_pytorch(nn.Embedding(7, 3, padding_idx=padding), theirs, ids, dtype=dtype)
    assert (host(nn.Embedding(7, 3, padding_idx=padding).weight)[padding] == 0).all()


@both_dtypes
@pytest.mark.parametrize("name", ["ReLU", "Tanh", "Sigmoid", "SiLU", "LeakyReLU"])
def test_activations_match_pytorch_also_at_zero(backend: Backend, torch: Any, name: str, dtype: str) -> None:
    x = numpy.array([-30.0, -1.0, -0.0, 0.0, 0.5, 30.0])
    assert_matches_pytorch(getattr(nn, name)(), getattr(torch.nn, name)(), x, dtype=dtype)


@both_dtypes
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_matches_pytorch_in_both_forms(backend: Backend, torch: Any, approximate: str, dtype: str) -> None:
    assert_matches_pytorch(nn.GELU(approximate), torch.nn.GELU(approximate), numpy.linspace(-6, 6, 41), dtype=dtype)


@both_dtypes
@pytest.mark.parametrize("dim", [-1, 0, 1])
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
def test_softmax_matches_pytorch_along_any_axis(backend: Backend, torch: Any, name: str, dim: int, dtype: str) -> None:
    assert_matches_pytorch(getattr(nn, name)(dim), getattr(torch.nn, name)(dim), 50 * values(2, 3, 4), dtype=dtype)


def test_relu_of_nan_is_nan(backend: Backend) -> None:
    assert_close(nn.ReLU()(tt.asarray([math.nan, -math.inf, math.inf])), numpy.float32([math.nan, 0, math.inf]))


def test_layer_norm_normalizes_each_position_independently(backend: Backend) -> None:
    x = values(2, 5, 8).astype("float32")
    changed = x.copy()
    changed[:, 2] += 10.0
    layer = nn.LayerNorm(8)
    a, b = host(layer(x)), host(layer(changed))
    numpy.testing.assert_array_equal(a[:, [0, 1, 3, 4]], b[:, [0, 1, 3, 4]])
    assert not numpy.allclose(a[:, 2], 0)
    numpy.testing.assert_allclose(a.mean(-1), 0, atol=1e-6)
    numpy.testing.assert_allclose(a.std(-1), 1, rtol=1e-3)


def test_the_embedding_gradient_sums_repeated_tokens(backend: Backend) -> None:
    for size in (4, 1000):  # a small and a large table
        layer = nn.Embedding(size, 2)
        tt.sum(layer(numpy.array([3, 1, 3, 3])) * tt.asarray([[1.0], [10.0], [100.0], [1000.0]])).backward()
        assert layer.weight.grad is not None
        expected = numpy.zeros((size, 2), numpy.float32)
        expected[3], expected[1] = 1101, 10
        assert_close(layer.weight.grad, expected)


@both_kernels
@pytest.mark.parametrize("size", [200, 257])
def test_the_embedding_gradient_of_a_rare_token_is_not_rounded_away_by_a_frequent_one(
    backend: Backend, size: int, kernels: Callable[[], Any]
) -> None:
    gradient = numpy.full((8195, 1), 1e-4, numpy.float32)
    gradient[:8192] = 1
    with kernels():
        layer = nn.Embedding(size, 1)
        layer(numpy.array([0] * 8192 + [1, 2, 3])).backward(tt.asarray(gradient))
        assert layer.weight.grad is not None
        assert_close(layer.weight.grad[:5, ...], numpy.float32([[8192], [1e-4], [1e-4], [1e-4], [0]]))


@pytest.mark.parametrize("ids", [[0, 7], [0, -1], [-3]])
def test_out_of_bounds_ids_in_a_numpy_array_raise(backend: Backend, ids: list[int]) -> None:
    with pytest.raises(ValueError, match=f"ids must be between 0 and 6, got {ids[-1]}$"):
        nn.Embedding(7, 3)(numpy.array(ids))


@both_kernels
@pytest.mark.parametrize("size", [4, 1000])
def test_an_out_of_bounds_id_in_a_tensor_gives_nan(backend: Backend, size: int, kernels: Callable[[], Any]) -> None:
    layer = nn.Embedding(size, 2)
    with kernels():
        out = layer(tt.asarray([1, size, -1]))
        numpy.testing.assert_array_equal(host(out)[0], host(layer.weight)[1])
        assert numpy.isnan(host(out)[1:]).all()
        tt.sum(tt.where(tt.isnan(out), 0, out)).backward()
    assert layer.weight.grad is not None
    expected = numpy.zeros((size, 2), numpy.float32)
    expected[1] = 1.0
    assert_close(layer.weight.grad, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_ids_may_have_small_integer_dtypes(backend: Backend, dtype: str) -> None:
    layer = nn.Embedding(300, 2)
    ids = numpy.array([[3, 100]], dtype)
    assert_close(layer(tt.asarray(ids)), host(layer(ids)), rtol=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Linear(4, 2)(tt.ones((2, 3))), ValueError, r"Linear expects 4 features in the last axis, got shape \(2, 3\)"),
        (lambda: nn.Linear(4, 2)(tt.ones(())), ValueError, "Linear expects 4 features"),
        (lambda: nn.Linear(2, 2)(tt.asarray([[1, 2]])), TypeError, "Linear expects a floating-point dtype"),
        (lambda: nn.LayerNorm(4)(tt.ones((2, 1))), ValueError, r"LayerNorm expects 4 features in the last axis, got shape \(2, 1\)"),
        (lambda: nn.Embedding(3, 2)(tt.ones(2)), TypeError, "ids and targets must be integers, got float32"),
        (lambda: nn.Embedding(3, 2)(numpy.ones(2)), TypeError, "ids must be integers, got float64"),
        (lambda: nn.Linear(0, 2), ValueError, "Linear: in_features must be at least 1, got 0"),
        (lambda: nn.Embedding(3, -1), ValueError, "Embedding: embedding_dim must be at least 1, got -1"),
        (lambda: nn.LayerNorm(0), ValueError, "LayerNorm: normalized_shape must be at least 1"),
        (lambda: nn.LayerNorm(()), ValueError, r"at least one size, got \(\)"),
        (lambda: nn.LayerNorm(), TypeError, "pass either normalized_shape or d_model"),
        (lambda: nn.LayerNorm((2, 3))(tt.ones((3, 2))), ValueError, r"expects the last axes \(2, 3\), got shape \(3, 2\)"),
        (lambda: nn.LayerNorm(2)(tt.asarray([[1, 2]])), TypeError, "LayerNorm expects a floating-point dtype, got int"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "padding_idx must be one of the 3 ids, got 3"),
        (lambda: nn.Linear(2, 2)([[1.0, 2.0], [3.0]]), TypeError, "expected numbers in nested lists of equal length"),
        (lambda: nn.Dropout(1.5), ValueError, "at least 0 and at most 1, got 1.5"),
        (lambda: nn.Dropout(math.nan), ValueError, "at least 0 and at most 1, got nan"),
        (lambda: nn.MultiHeadAttention(4, 2, dropout=1.0), ValueError, "at least 0 and less than 1, got 1.0"),
        (lambda: nn.GELU("erf"), ValueError, "'none' or 'tanh', got 'erf'"),
        (lambda: nn.MultiHeadAttention(6, 4), ValueError, "multiple of num_heads, got 6 and 4"),
        (lambda: nn.MultiHeadAttention(4, 0), ValueError, "num_heads must be at least 1, got 0"),
        (lambda: nn.PositionalEncoding(0), ValueError, "d_model must be at least 1"),
        (lambda: nn.CrossEntropyLoss(reduction="avg"), ValueError, "'mean', 'sum' or 'none', got 'avg'"),
        (lambda: nn.MSELoss(reduction="avg"), ValueError, "'mean', 'sum' or 'none', got 'avg'"),
    ],
)
def test_bad_arguments_raise(backend: Backend, call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ---- dropout ----


def test_dropout_drops_elements_with_probability_p_and_scales_the_others(backend: Backend) -> None:
    random.seed(0)
    out = host(nn.Dropout(0.25)(tt.ones((200, 300))))
    assert set(numpy.unique(out)) == {numpy.float32(0), numpy.float32(1 / 0.75)}
    four_standard_deviations = 4 * math.sqrt(0.25 * 0.75 / out.size)
    assert abs((out == 0).mean() - 0.25) < four_standard_deviations
    assert abs((out[1:] == out[:-1]).mean() - (0.25**2 + 0.75**2)) < 0.01  # rows are not copies of each other


def test_dropout_of_all_elements_is_zero_with_a_zero_gradient_as_in_pytorch(backend: Backend) -> None:
    x = tt.Tensor(numpy.ones(3, numpy.float32), requires_grad=True)
    out = nn.Dropout(1.0)(x)
    tt.sum(out).backward()
    assert x.grad is not None
    assert_close(out.detach(), numpy.zeros(3, numpy.float32))
    assert_close(x.grad, numpy.zeros(3, numpy.float32))
    assert nn.Dropout(1.0).eval()(x) is x


def test_dropout_in_evaluation_mode_returns_the_input(backend: Backend) -> None:
    x = tt.ones((3, 4))
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_the_dropout_gradient_uses_the_same_mask(backend: Backend) -> None:
    x = tt.Tensor(numpy.ones((5, 6), numpy.float32), requires_grad=True)
    out = nn.Dropout(0.5)(x)
    tt.sum(out).backward()
    assert x.grad is not None
    assert_close(x.grad, host(out), rtol=0)


def test_dropout_draws_the_same_bits_on_every_backend(backend: Backend) -> None:
    drawn = []
    for device in ("numpy", backend):
        random.seed(5)
        layer = nn.Dropout(0.3)
        drawn.append([host(layer(tt.ones((7, 9), device=device))) for _ in range(2)])
    numpy.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0][0] != drawn[0][1]).any()  # each call draws new bits


# ---- attention ----


def test_a_causal_mask_is_true_for_a_position_and_earlier_ones(backend: Backend) -> None:
    assert_close(nn.causal_mask(3), numpy.array([[True, False, False], [True, True, False], [True, True, True]]))
    assert nn.causal_mask(0).shape == (0, 0)


def torch_attention(torch: Any, d_model: int = 6, heads: int = 2) -> Any:
    theirs = torch.nn.MultiheadAttention(d_model, heads, batch_first=True)
    with torch.no_grad():  # PyTorch initializes biases to 0, which would hide errors
        theirs.in_proj_bias.copy_(torch.tensor(values(3 * d_model, seed=3)))
        theirs.out_proj.bias.copy_(torch.tensor(values(d_model, seed=4)))
    return theirs


def output_only(torch: Any, attention: Any, blocked: Any = None) -> Any:
    """Wrap PyTorch's attention in a module that returns the output without the weights."""

    class OutputOnly(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, query: Any, key: Any = None, value: Any = None) -> Any:
            key = query if key is None else key
            mask = None if blocked is None else torch.tensor(blocked)
            return self.attention(query, key, key if value is None else value, attn_mask=mask, need_weights=False)[0]

    return OutputOnly()


def without_prefix(name: str) -> str:
    return name.removeprefix("attention.")


@both_dtypes
def test_multi_head_self_attention_matches_pytorch(backend: Backend, torch: Any, dtype: str) -> None:
    theirs = output_only(torch, torch_attention(torch))
    assert_matches_pytorch(nn.MultiHeadAttention(6, 2, dropout=0.0), theirs, values(2, 4, 6), dtype=dtype, rename=without_prefix)


@both_dtypes
def test_cross_attention_matches_pytorch(backend: Backend, torch: Any, dtype: str) -> None:
    theirs = output_only(torch, torch_attention(torch))
    query, key, value = values(2, 4, 6), values(2, 5, 6, seed=1), values(2, 5, 6, seed=2)
    ours = nn.MultiHeadAttention(6, 2, dropout=0.0)
    assert_matches_pytorch(ours, theirs, query, key, value, dtype=dtype, rename=without_prefix)
    assert_matches_pytorch(ours, theirs, query, key, dtype=dtype, rename=without_prefix)  # values default to keys


@both_dtypes
def test_causal_attention_matches_pytorch(backend: Backend, torch: Any, dtype: str) -> None:
    blocked = numpy.triu(numpy.ones((4, 4), bool), 1)
    assert_matches_pytorch(
        nn.MultiHeadAttention(6, 2, dropout=0.0),
        output_only(torch, torch_attention(torch), blocked),
        values(2, 4, 6),
        dtype=dtype,
        rename=without_prefix,
        is_causal=True,
    )


@pytest.mark.parametrize("cross", [False, True])
def test_a_mask_is_the_negation_of_pytorchs(backend: Backend, torch: Any, cross: bool) -> None:
    keys = 5 if cross else 4
    allowed = values(4, keys) > -0.5
    allowed[:, 0] = True
    inputs = [values(2, 4, 6)] + ([values(2, keys, 6, seed=1)] if cross else [])
    assert_matches_pytorch(
        nn.MultiHeadAttention(6, 2, dropout=0.0),
        output_only(torch, torch_attention(torch), ~allowed),
        *inputs,
        rename=without_prefix,
        mask=tt.asarray(allowed),
    )


def test_a_mask_may_differ_by_example_and_by_head(backend: Backend, torch: Any) -> None:
    allowed = values(2, 2, 4, 4) > -0.3  # (B, H, T, S)
    allowed[..., 0] = True
    theirs = output_only(torch, torch_attention(torch), ~allowed.reshape(4, 4, 4))
    ours = nn.MultiHeadAttention(6, 2, dropout=0.0)
    assert_matches_pytorch(ours, theirs, values(2, 4, 6), rename=without_prefix, mask=tt.asarray(allowed))
    # a 3-d mask is (B, T, S) and not (H, T, S), also if B = H
    same = numpy.broadcast_to(allowed[:, :1], (2, 2, 4, 4))
    theirs = output_only(torch, torch_attention(torch), ~same.reshape(4, 4, 4))
    assert_matches_pytorch(ours, theirs, values(2, 4, 6), rename=without_prefix, mask=tt.asarray(allowed[:, 0]))


def test_with_fewer_queries_than_keys_the_queries_are_the_last_positions(backend: Backend) -> None:
    layer = nn.MultiHeadAttention(4, 2).eval()
    x = tt.asarray(values(1, 5, 4).astype("float32"))
    assert_close(layer(x[:, 3:, :], x, is_causal=True), host(layer(x, is_causal=True))[:, 3:], rtol=1e-5, atol=1e-6)


def test_a_fully_masked_position_gives_finite_output(backend: Backend) -> None:
    all_masked = tt.zeros((3, 3), dtype="bool")
    x = tt.ones((1, 3, 4))
    assert numpy.isfinite(host(nn.MultiHeadAttention(4, 2)(x, mask=all_masked))).all()
    assert numpy.isfinite(host(nn.SelfAttention(4)(x, all_masked)[0])).all()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_mask_that_is_not_boolean_raises(backend: Backend, dtype: str) -> None:
    x, mask = tt.ones((1, 3, 4)), tt.ones((3, 3), dtype=dtype)
    for layer in (nn.MultiHeadAttention(4, 2), nn.SelfAttention(4), nn.TransformerBlock(4, 2)):
        with pytest.raises(TypeError, match=rf"boolean, true where attention is allowed, got {dtype}.*1 means blocked, pass mask == 0"):
            layer(x, mask=mask)


@both_kernels
@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3)])
def test_attention_of_no_queries_is_empty(backend: Backend, kernels: Callable[[], Any], queries: int, keys: int) -> None:
    layer, x = nn.MultiHeadAttention(4, 2, dropout=0.0), tt.Tensor(numpy.ones((2, queries, 4), numpy.float32), requires_grad=True)
    with kernels():
        for causal in (False, True):
            out = layer(x, is_causal=causal) if queries == keys else layer(x, tt.ones((2, keys, 4)))
            assert out.shape == (2, queries, 4)
            tt.sum(out).backward()
            assert x.grad is not None
            assert x.grad.shape == x.shape


def test_attention_dropout_is_off_in_evaluation_mode(backend: Backend) -> None:
    layer = nn.MultiHeadAttention(4, 2, dropout=0.5)
    x = tt.asarray(values(2, 6, 4).astype("float32"))
    assert (host(layer(x)) != host(layer(x))).any()
    layer.eval()
    assert_close(layer(x), host(layer(x)), rtol=0)


def test_self_attention_weights_sum_to_1_and_are_0_where_masked(backend: Backend) -> None:
    x = tt.asarray(values(2, 5, 4).astype("float32"))
    out, weights = nn.SelfAttention(4)(x, nn.causal_mask(5))
    assert out.shape == (2, 5, 4)
    array = host(weights)
    numpy.testing.assert_allclose(array.sum(-1), 1, rtol=1e-6)
    assert (array[:, ~numpy.tri(5, dtype=bool)] == 0).all()


def test_self_attention_equals_multi_head_attention_with_one_head(backend: Backend) -> None:
    simple, full = nn.SelfAttention(4), nn.MultiHeadAttention(4, 1, dropout=0.0)
    projections = (simple.query, simple.key, simple.value)
    full.load_state_dict(
        {
            "in_proj_weight": tt.concat([layer.weight.detach() for layer in projections]),
            "in_proj_bias": tt.concat([layer.bias.detach() for layer in projections]),
            "out_proj.weight": tt.eye(4),
            "out_proj.bias": tt.zeros(4),
        }
    )
    x = values(2, 5, 4).astype("float32")
    assert_close(simple(x, nn.causal_mask(5))[0], full(x, is_causal=True), rtol=1e-5, atol=1e-6)


def test_a_cache_with_keys_and_values_raises() -> None:
    x = tt.ones((1, 2, 4))
    with tt.no_grad(), pytest.raises(ValueError, match="pass either cache, or key and value"):
        nn.MultiHeadAttention(4, 2)(x, x, cache=DynamicCache(1, 4).layers[0])


# ---- blocks ----


@both_dtypes
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_block_matches_pytorchs_encoder_layer(backend: Backend, torch: Any, norm_first: bool, dtype: str) -> None:
    theirs = torch.nn.TransformerEncoderLayer(
        6,
        2,
        dim_feedforward=10,
        dropout=0.0,
        activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=norm_first,
    )
    ours = nn.TransformerBlock(6, 2, d_ff=10, dropout=0.0, norm_first=norm_first)
    assert_matches_pytorch(ours, theirs, values(2, 4, 6), dtype=dtype, rename=lambda name: name.replace("self_attn", "attention"))


# ---- positions ----


@pytest.mark.parametrize("d_model", [1, 6, 7])
def test_positional_encoding_follows_the_formula_also_for_odd_widths(backend: Backend, d_model: int) -> None:
    length = 5000
    table = numpy.zeros((length, d_model))
    for i in range(d_model):
        angle = numpy.arange(length) / 10000 ** (2 * (i // 2) / d_model)
        table[:, i] = numpy.sin(angle) if i % 2 == 0 else numpy.cos(angle)
    layer = nn.PositionalEncoding(d_model)
    assert_close(layer(tt.zeros((1, length, d_model))), table[None].astype("float32"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [lambda: nn.PositionalEncoding(4, 8), lambda: nn.LearnedPositionalEncoding(4, 8)])
def test_an_offset_selects_the_positions_of_a_continuation(backend: Backend, make: Callable[[], nn.Module]) -> None:
    layer = make()
    x = tt.ones((2, 8, 4))
    whole = host(layer(x))
    assert_close(layer(x[:, :3, :], offset=5), whole[:, 5:])
    # a different offset for each sequence; negative positions are padding
    rows = host(layer(x[:, :3, :], offset=tt.asarray([5, -1])))
    numpy.testing.assert_allclose(rows[0], whole[0, 5:], rtol=1e-6)
    numpy.testing.assert_allclose(rows[1, 1:], whole[1, :2], rtol=1e-6)
    for offset in (6, -1):
        with pytest.raises(ValueError, match=f"positions {offset} to {offset + 2} are out of bounds for max_length 8"):
            layer(x[:, :3, :], offset=offset)
    with pytest.raises(ValueError, match=r"expects shape \(B, T, 4\), got \(2, 3\)"):
        layer(tt.ones((2, 3)))


def test_sinusoidal_positions_have_no_parameters_and_no_state() -> None:
    layer = nn.PositionalEncoding(4, 8)
    assert layer.count_parameters() == 0
    assert layer.state_dict() == {}


# ---- losses ----


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 1.0},
        {"ignore_index": 2},
        {"ignore_index": -1},
        {"ignore_index": 2, "label_smoothing": 0.2},
        {"weight": [0.5, 2.0, 0.0, 1.0, 3.0]},
        {"weight": [0.5, 2.0, 7.0, 1.0, 3.0], "ignore_index": 2},
        {"weight": [0.5, 2.0, 0.0, 1.0, 3.0], "label_smoothing": 0.1},
        {"weight": [0.5, 2.0, 7.0, 1.0, 3.0], "ignore_index": 2, "label_smoothing": 0.3},
    ],
    ids=str,
)
def test_cross_entropy_matches_pytorch(backend: Backend, torch: Any, options: dict[str, Any], reduction: str, dtype: str) -> None:
    targets = numpy.array([0, 2, 4, 2, 1, 3])
    if "ignore_index" in options:
        targets[0] = options["ignore_index"]
    theirs, ours = dict(options, reduction=reduction), dict(options, reduction=reduction)
    if "weight" in options:
        theirs["weight"] = torch.tensor(options["weight"], dtype=getattr(torch, dtype))
        ours["weight"] = tt.asarray(options["weight"], dtype=dtype)
    assert_matches_pytorch(nn.CrossEntropyLoss(**ours), torch.nn.CrossEntropyLoss(**theirs), 3 * values(6, 5), targets, dtype=dtype)


def test_cross_entropy_without_reduction_has_the_shape_of_the_targets(backend: Backend) -> None:
    loss = nn.CrossEntropyLoss(reduction="none")(tt.zeros((2, 3, 4)), numpy.zeros((2, 3), numpy.int64))
    assert_close(loss, numpy.full((2, 3), math.log(4), numpy.float32))


def test_cross_entropy_of_large_logits_is_finite(backend: Backend) -> None:
    assert_close(nn.CrossEntropyLoss()(tt.asarray([[1e4, 0.0], [0.0, -1e4]]), numpy.array([1, 0])), numpy.float32(5000))


@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 2.0, 3.0, 4.0]}, {"label_smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("bad", [4, -1])
@both_kernels
def test_an_out_of_bounds_target_gives_nan(backend: Backend, kernels: Callable[[], Any], bad: int, options: dict[str, Any]) -> None:
    if "weight" in options:
        options = {"weight": tt.asarray(options["weight"])}
    logits = tt.Tensor(numpy.zeros((3, 4), numpy.float32), requires_grad=True)
    with kernels():
        terms = nn.CrossEntropyLoss(reduction="none", **options)(logits, tt.asarray([bad, 1, -100]))
        numpy.testing.assert_array_equal(numpy.isnan(host(terms)), [True, False, False])
        tt.sum(terms).backward()
    assert logits.grad is not None
    numpy.testing.assert_array_equal(numpy.isnan(host(logits.grad)).any(axis=-1), [True, False, False])


def test_the_mean_over_no_targets_is_nan_as_in_pytorch(backend: Backend) -> None:
    with numpy.errstate(invalid="ignore"):
        assert math.isnan(float(nn.CrossEntropyLoss()(tt.zeros((2, 4)), numpy.array([-100, -100]))))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_targets_may_have_small_integer_dtypes(backend: Backend, dtype: str) -> None:
    logits = tt.asarray(values(3, 4).astype("float32"))
    targets = numpy.array([0, 3, 1])
    assert_close(nn.CrossEntropyLoss()(logits, targets.astype(dtype)), host(nn.CrossEntropyLoss()(logits, targets)))


def test_to_moves_class_weights() -> None:
    pytest.importorskip("array_api_strict", reason="array-api-strict, the second backend here, is not installed")
    with tt.use_backend("numpy"):
        loss = nn.CrossEntropyLoss(weight=tt.asarray([1.0, 3.0])).to("strict")
    assert loss.weight is not None
    assert loss.weight.backend is tt.get_backend("strict")


def test_bad_targets_raise(backend: Backend) -> None:
    logits = tt.zeros((2, 4))
    with pytest.raises(TypeError, match="ids and targets must be integers, got float32"):
        nn.CrossEntropyLoss()(logits, tt.ones(2))
    with pytest.raises(ValueError, match=r"expected logits \(\.\.\., V\) and targets \(\.\.\.\), got shapes \(2, 4\) and \(3,\)"):
        nn.CrossEntropyLoss()(logits, tt.zeros(3, dtype="int64"))
    with pytest.raises(ValueError, match="weight has 3 classes, but the logits have 4"):
        nn.CrossEntropyLoss(weight=tt.ones(3))(logits, tt.zeros(2, dtype="int64"))
    with pytest.raises(ValueError, match=r"the same shape, got \(2, 1\) and \(2,\)"):
        nn.MSELoss()(tt.zeros((2, 1)), tt.zeros(2))


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy_matches_pytorch(backend: Backend, torch: Any, reduction: str, dtype: str) -> None:
    probabilities = 0.5 + 0.5 * numpy.tanh(values(3, 4))
    targets = (values(3, 4, seed=1) > 0).astype("float64")

    class Loss(torch.nn.Module):  # type: ignore[misc]
        """PyTorch's loss, whose targets must not require a gradient."""

        def forward(self, outputs: Any) -> Any:
            return torch.nn.BCELoss(reduction=reduction)(outputs, torch.tensor(targets, dtype=outputs.dtype))

    assert_matches_pytorch(nn.BCELoss(reduction), Loss(), probabilities, dtype=dtype, targets=tt.asarray(targets, dtype=dtype))


def test_binary_cross_entropy_is_finite_for_certain_predictions(backend: Backend) -> None:
    outputs = tt.Tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = nn.BCELoss(reduction="none")(outputs, [0, 1, 1, 0])
    assert_close(loss.detach(), numpy.float32([0, 0, 100, 100]))
    tt.sum(loss).backward()
    assert outputs.grad is not None
    assert numpy.isfinite(host(outputs.grad)).all()


def test_losses_take_lists_and_numpy_arrays_in_the_dtype_of_the_outputs(backend: Backend) -> None:
    logits = tt.asarray([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    expected = nn.CrossEntropyLoss()(logits, tt.asarray([1, 2]))
    assert_close(nn.CrossEntropyLoss()(logits, [1, 2]), expected)
    assert_close(nn.CrossEntropyLoss()(host(logits), numpy.array([1, 2])), expected)
    assert_close(nn.CrossEntropyLoss(weight=[1.0, 1.0, 1.0])(logits, [1, 2]), expected)
    outputs = tt.asarray([1.0, 2.0])
    for targets in ([1, 4], [1.0, 4.0], numpy.float64([1, 4]), numpy.array([1, 4])):
        assert_close(nn.MSELoss()(outputs, targets), numpy.float32(2))


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mean_squared_error_matches_pytorch(backend: Backend, torch: Any, reduction: str, dtype: str) -> None:
    assert_matches_pytorch(nn.MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), values(3, 4), values(3, 4, seed=1), dtype=dtype)


def test_language_model_loss_shifts_the_targets_by_one(backend: Backend, torch: Any) -> None:
    logits = values(2, 4, 5).astype("float32")
    tokens = numpy.array([[0, 1, 2, 3, 4], [4, 0, 3, 1, 2]])
    loss = nn.LanguageModelLoss()
    for length, used in ((5, 4), (4, 3)):  # with T tokens, the last logits are ignored
        expected = torch.nn.functional.cross_entropy(
            torch.tensor(logits[:, :used].reshape(-1, 5)), torch.tensor(tokens[:, 1 : used + 1].reshape(-1))
        )
        assert_close(loss(tt.asarray(logits), tokens[:, :length]), expected.numpy(), rtol=1e-6)


def test_language_model_loss_ignores_padding(backend: Backend) -> None:
    logits, tokens = tt.asarray(values(1, 4, 5).astype("float32")), numpy.array([[0, 1, 2, 9, 9]])
    loss = nn.LanguageModelLoss(ignore_index=9)
    assert_close(loss(logits, tokens), host(loss(logits[:, :2, :], tokens[:, :3])))
    assert float(loss.count(tt.asarray(tokens))) == 2


def test_totals_and_counts_of_shards_sum_to_those_of_the_batch(backend: Backend) -> None:
    logits, tokens = tt.asarray(values(4, 3, 5).astype("float32")), tt.asarray(numpy.array([[0, 1, 2, 3]] * 3 + [[0, -100, -100, 4]]))
    loss = nn.LanguageModelLoss()
    halves = [(logits[:2, ...], tokens[:2, ...]), (logits[2:, ...], tokens[2:, ...])]
    total = loss.total(*halves[0]) + loss.total(*halves[1])
    assert_close(total / (loss.count(halves[0][1]) + loss.count(halves[1][1])), loss(logits, tokens), rtol=1e-6)


@pytest.mark.parametrize(("logits", "tokens"), [((2, 4, 5), (2, 6)), ((2, 4, 5), (8,)), ((8, 5), (8,))])
def test_language_model_loss_with_bad_shapes_raises(logits: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="logits"):
        nn.LanguageModelLoss()(tt.zeros(logits), tt.zeros(tokens, dtype="int64"))


# ---- 16 bits ----


@both_kernels
def test_float16_accumulates_in_float32(kernels: Callable[[], Any]) -> None:
    """Sums of 4096 ones: in float16 a running sum would stop at 2048."""
    n = 4096

    def half(*shape: int) -> Tensor:
        return tt.ones(shape, dtype="float16")

    with tt.use_backend("numpy"), kernels():
        linear = nn.Linear(n, 1, bias=False)
        assert_close(nn.functional_call(linear, {"weight": half(1, n)}, half(2, n)), numpy.full((2, 1), n, numpy.float16))
        weight = tt.grad(lambda w: tt.mean(nn.functional_call(nn.Linear(2, 1), {"weight": w}, n * half(n, 2))))(half(1, 2))
        assert_close(weight, numpy.full((1, 2), n, numpy.float16), rtol=1e-3)

        table = tt.grad(lambda w: tt.sum(nn.functional_call(nn.Embedding(2, 1), {"weight": w}, numpy.zeros(n, numpy.int64))))(half(2, 1))
        assert_close(table, numpy.float16([[n], [0]]))

        wide = tt.asarray(numpy.array([[-300, 300] * 50], numpy.float16))  # its squares overflow float16
        assert_close(nn.LayerNorm(100)(wide), numpy.array([[-1, 1] * 50], numpy.float16))
        assert_close(nn.Softmax()(half(1, n)), numpy.full((1, n), 1 / n, numpy.float16))
        assert_close(nn.CrossEntropyLoss()(half(2, n), numpy.zeros(2, numpy.int64)), numpy.float32(math.log(n)))

        attention = nn.MultiHeadAttention(2, 1, dropout=0.0)
        state = {name: tt.astype(value, "float16") for name, value in attention.state_dict().items()}
        state["in_proj_weight"] = tt.zeros((6, 2), dtype="float16")  # all keys are equal, and all values are 1
        state["in_proj_bias"] = half(6)
        state["out_proj.weight"], state["out_proj.bias"] = tt.eye(2, dtype="float16"), tt.zeros(2, dtype="float16")
        out = nn.functional_call(attention, state, half(1, 3, 2), half(1, n, 2))
        assert_close(out, numpy.ones((1, 3, 2), numpy.float16))
