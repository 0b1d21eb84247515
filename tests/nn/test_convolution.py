"""Layers for images: outputs, gradients and running statistics equal PyTorch's for the same weights; bad arguments raise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.ops import random
from tinytorch.tensor import Tensor

#: Relative and absolute tolerance of a comparison with PyTorch, by data type.
TOLERANCE = {"float32": (1e-4, 1e-5), "float64": (1e-11, 1e-12)}

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    module.set_num_threads(1)  # these layers are too small for more
    return module


def values(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=shape)


def assert_matches_pytorch(ours: nn.Module, theirs: Any, x: numpy.ndarray[Any, Any], dtype: str) -> None:
    """Compare output, gradients of x and of every parameter, and the state after the call, starting from PyTorch's state."""
    import torch

    theirs = theirs.to(getattr(torch, dtype))
    x = x.astype(dtype)
    state = {name: tt.asarray(value.numpy().copy()) for name, value in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf)
    g = values(*expected.shape, seed=9).astype(dtype)
    expected.backward(torch.tensor(g))
    names = [name for name, _ in ours.named_parameters()]
    buffers = {name: value for name, value in state.items() if name not in names}

    def weighted(parameters: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        bound = {**parameters, **buffers}
        out = nn.functional_call(ours, bound, x) if bound else ours(x)
        buffers.update({name: bound[name] for name in buffers})
        return tt.sum(out * tt.asarray(g)), out.detach()

    (gradients, g_x), out = tt.grad(weighted, (0, 1), has_aux=True)({name: state[name] for name in names}, tt.asarray(x))
    rtol, atol = TOLERANCE[dtype]
    assert_close(out, expected.detach().numpy(), rtol, atol)
    assert_close(g_x, leaf.grad.numpy(), rtol, 5 * atol)
    for name, parameter in theirs.named_parameters():
        assert_close(gradients[name], parameter.grad.numpy(), rtol, 5 * atol)
    for name, buffer in theirs.named_buffers():
        assert_close(buffers[name], buffer.numpy(), rtol, atol)


# ---- convolution ----

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 5, "stride": 3, "padding": 2, "bias": False},
    {"kernel_size": 1},
    {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (1, 2), "stride": (1, 2)},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": (2, 4), "padding": "same", "dilation": (3, 1)},
    {"kernel_size": 3, "padding": "valid"},
]

#: Channels of the input, of the output, and other settings of convolutions in groups.
GROUPED: list[tuple[int, int, dict[str, Any]]] = [
    (6, 4, {"kernel_size": 3, "groups": 2}),
    (6, 6, {"kernel_size": (2, 3), "groups": 6, "bias": False, "stride": 2}),
    (3, 9, {"kernel_size": 3, "groups": 3, "padding": "same", "dilation": 2}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, about speed
@both_dtypes
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [(7, 7), (6, 9)], ids=str)
def test_conv2d_matches_pytorch(backend: Backend, torch: Any, dtype: str, settings: dict[str, Any], size: tuple[int, int]) -> None:
    assert_matches_pytorch(nn.Conv2d(3, 4, **settings), torch.nn.Conv2d(3, 4, **settings), values(2, 3, *size), dtype)


@both_dtypes
@pytest.mark.parametrize(("channels", "filters", "settings"), GROUPED, ids=str)
def test_conv2d_in_groups_matches_pytorch(
    backend: Backend, torch: Any, dtype: str, channels: int, filters: int, settings: dict[str, Any]
) -> None:
    ours, theirs = nn.Conv2d(channels, filters, **settings), torch.nn.Conv2d(channels, filters, **settings)
    assert_matches_pytorch(ours, theirs, values(2, channels, 7, 6), dtype)


def test_a_dilated_filter_reads_every_second_pixel() -> None:
    conv = nn.Conv2d(1, 1, (1, 2), dilation=2, bias=False)
    conv.load_state_dict({"weight": [[[[1.0, 10.0]]]]})
    assert_close(conv(numpy.float32([[[[1, 2, 3, 4]]]])).detach(), numpy.float32([[[[31, 42]]]]))


def test_each_filter_of_a_group_reads_the_channels_of_its_group() -> None:
    conv = nn.Conv2d(2, 2, 1, groups=2, bias=False)
    conv.load_state_dict({"weight": [[[[10.0]]], [[[100.0]]]]})
    assert_close(conv(numpy.float32([[[[1]], [[2]]]])).detach(), numpy.float32([[[[10]], [[200]]]]))


def test_same_padding_keeps_the_size_and_adds_the_odd_zero_at_the_end() -> None:
    conv = nn.Conv2d(1, 1, (1, 2), padding="same", bias=False)
    conv.load_state_dict({"weight": [[[[1.0, 10.0]]]]})
    assert_close(conv(numpy.float32([[[[1, 2, 3]]]])).detach(), numpy.float32([[[[21, 32, 3]]]]))


def test_second_derivatives_of_a_dilated_convolution_in_groups(backend: Backend) -> None:
    conv = nn.Conv2d(2, 2, 2, dilation=2, groups=2, bias=False)
    check_gradients(lambda x, w: nn.functional_call(conv, {"weight": w}, x) ** 2, values(1, 2, 4, 3), values(2, 1, 2, 2, seed=1))


def test_conv2d_is_initialized_like_pytorch(backend: Backend) -> None:
    random.seed(0)
    layer = nn.Conv2d(8, 50, (3, 4))
    bound = 1 / math.sqrt(8 * 3 * 4)
    weight = host(layer.weight)
    assert weight.shape == (50, 8, 3, 4)
    assert abs(weight).max() <= bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert layer.bias is not None
    assert abs(host(layer.bias)).max() <= bound


def test_a_conv2d_output_depends_only_on_its_window(backend: Backend) -> None:
    x = values(1, 2, 8, 8).astype("float32")
    changed = x.copy()
    changed[0, 1, 4, 4] += 1.0
    layer = nn.Conv2d(2, 3, 3, padding=1)
    differs = (host(layer(x)) != host(layer(changed))).any(axis=(0, 1))
    assert {(int(i), int(j)) for i, j in zip(*differs.nonzero(), strict=True)} == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}


# ---- pooling and flattening ----

POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2},
]


@both_dtypes
@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("settings", POOLS, ids=str)
@pytest.mark.parametrize("size", [(6, 6), (7, 5)], ids=str)
def test_pooling_matches_pytorch(
    backend: Backend, torch: Any, dtype: str, name: str, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    assert_matches_pytorch(getattr(nn, name)(**settings), getattr(torch.nn, name)(**settings), values(2, 3, *size), dtype)


@both_dtypes
@pytest.mark.parametrize(
    "settings", [*POOLS, {"kernel_size": 2, "stride": 3, "padding": 1}, {"kernel_size": (1, 3), "stride": (3, 2)}], ids=str
)
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (4, 2)], ids=str)
def test_max_pooling_with_ceil_mode_matches_pytorch(
    backend: Backend, torch: Any, dtype: str, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    ours, theirs = nn.MaxPool2d(**settings, ceil_mode=True), torch.nn.MaxPool2d(**settings, ceil_mode=True)
    assert_matches_pytorch(ours, theirs, values(2, 3, *size), dtype)


def test_ceil_mode_also_pools_a_window_that_is_partly_inside() -> None:
    x = numpy.float32([[[[1, 2, 3]]]])
    assert_close(nn.MaxPool2d((1, 2))(x), numpy.float32([[[[2]]]]))
    assert_close(nn.MaxPool2d((1, 2), ceil_mode=True)(x), numpy.float32([[[[2, 3]]]]))


def test_flatten_can_end_before_the_last_axis() -> None:
    assert nn.Flatten(0, 1)(tt.zeros((2, 3, 4))).shape == (6, 4)
    with pytest.raises(ValueError, match="end_dim=0 is before start_dim=1"):
        nn.Flatten(1, 0)(tt.zeros((2, 3, 4)))


@pytest.mark.parametrize("start", [0, 1, -2])
def test_flatten_keeps_the_order_of_elements_for_any_memory_layout(backend: Backend, torch: Any, start: int) -> None:
    x = values(2, 3, 4, 5)
    assert_close(nn.Flatten(start)(tt.asarray(x)), torch.nn.Flatten(start)(torch.tensor(x)).numpy(), rtol=0)
    pooled = nn.MaxPool2d(1)(tt.asarray(x))
    assert_close(nn.Flatten(start)(pooled), torch.nn.Flatten(start)(torch.tensor(x)).numpy(), rtol=0)


def test_image_layers_have_second_derivatives(backend: Backend) -> None:
    conv, norm = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)

    def model(x: Tensor, weight: Tensor) -> Any:
        x = nn.functional_call(conv, {"weight": weight}, x)
        return nn.AvgPool2d(2)(tt.tanh(nn.functional_call(norm, {}, x)))

    check_gradients(model, values(3, 2, 5, 5), values(3, 2, 2, 2, seed=1), tolerance=1e-4)


# ---- batch normalization ----


def pytorch_batch_norm(torch: Any) -> Any:
    theirs = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.2)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(values(3, seed=1)))
        theirs.bias.copy_(torch.tensor(values(3, seed=2)))
        theirs.running_mean.copy_(torch.tensor(values(3, seed=3)))
        theirs.running_var.copy_(torch.tensor(values(3, seed=4) ** 2))
    return theirs


@both_dtypes
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_matches_pytorch_in_training_and_evaluation(backend: Backend, torch: Any, dtype: str, training: bool) -> None:
    ours, theirs = nn.BatchNorm2d(3, eps=1e-3, momentum=0.2).train(training), pytorch_batch_norm(torch).train(training)
    assert_matches_pytorch(ours, theirs, 3 * values(4, 3, 2, 5) + 1, dtype)


def test_batch_norm_of_vectors_matches_pytorch(backend: Backend, torch: Any) -> None:
    ours, theirs = nn.BatchNorm1d(5), torch.nn.BatchNorm1d(5)
    assert_matches_pytorch(ours, theirs, 3 * values(4, 5) + 1, "float32")
    with pytest.raises(ValueError, match=r"BatchNorm1d expects shape \(N, 5\), got \(4, 3\)"):
        ours(tt.ones((4, 3)))


def test_running_statistics_match_pytorch_over_several_batches(backend: Backend, torch: Any) -> None:
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    for step in range(3):
        x = (values(4, 3, 2, 5, seed=step) * (step + 1)).astype("float32")
        ours(x)
        theirs(torch.tensor(x))
    x = values(1, 3, 1, 1).astype("float32")
    assert_close(ours.eval()(x), theirs.eval()(torch.tensor(x)).detach().numpy(), 1e-5, 1e-6)
    assert ours.num_batches_tracked.item() == 3
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    for name, value in ours.state_dict().items():
        assert_close(value, state[name], 1e-5, 1e-6)


def test_evaluation_mode_does_not_update_running_statistics(backend: Backend) -> None:
    layer = nn.BatchNorm2d(2).eval()
    layer(values(3, 2, 4, 4).astype("float32"))
    assert_close(layer.running_mean, numpy.zeros(2, numpy.float32))
    assert_close(layer.running_var, numpy.ones(2, numpy.float32))
    assert layer.num_batches_tracked.item() == 0


def test_functional_call_updates_the_running_statistics_in_its_state(backend: Backend) -> None:
    layer = nn.BatchNorm2d(2, momentum=1.0)
    state = dict(layer.state_dict())
    x = values(3, 2, 4, 4).astype("float32")
    nn.functional_call(layer, state, tt.asarray(x))
    assert_close(state["running_mean"], x.mean(axis=(0, 2, 3)), 1e-4, 1e-6)
    assert_close(state["running_var"], x.var(axis=(0, 2, 3), ddof=1), 1e-4)
    assert state["num_batches_tracked"].item() == 1
    assert_close(layer.running_mean, numpy.zeros(2, numpy.float32))
    assert layer.num_batches_tracked.item() == 0


def test_running_statistics_have_no_gradient(backend: Backend) -> None:
    layer = nn.BatchNorm2d(2)
    for _ in range(2):
        tt.sum(layer(frozen(values(3, 2, 4, 4), requires_grad=True))).backward()
    assert not layer.running_mean.requires_grad
    assert layer.running_mean.node is None


def test_batch_norm_of_float16_keeps_running_statistics_in_float32() -> None:
    with tt.use_backend("numpy"):
        layer = nn.BatchNorm2d(1, momentum=1.0)
        out = layer(tt.asarray(300 + values(64, 1, 8, 8), dtype="float16"))
        assert out.dtype.name == "float16"
        assert layer.running_mean.item() == pytest.approx(300, abs=0.1)
        assert host(out).std() == pytest.approx(1, abs=0.01)


# ---- errors and repr ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3)(tt.ones((2, 1, 8, 8))), ValueError, r"Conv2d expects images \(N, 3, H, W\), got shape \(2, 1, 8, 8\)"),
        (lambda: nn.Conv2d(3, 4, 3)(tt.ones((3, 8, 8))), ValueError, r"Conv2d expects images \(N, 3, H, W\), got shape \(3, 8, 8\)"),
        (
            lambda: nn.Conv2d(3, 4, 5, padding=1)(tt.ones((2, 3, 8, 2))),
            ValueError,
            r"kernel_size \(5, 5\) is larger than the padded images, which are \(8, 2\) with padding \(1, 1\)",
        ),
        (lambda: nn.Conv2d(1, 1, 1)(tt.ones((1, 1, 2, 2), dtype="int64")), TypeError, "Conv2d expects a floating-point dtype, got int64"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, "groups must divide in_channels and out_channels, got 4 for 4 and 6"),
        (lambda: nn.Conv2d(1, 1, 3, padding="full"), ValueError, "'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(1, 1, 3, padding="same", stride=2), ValueError, r"padding='same' needs stride 1, got stride \(2, 2\)"),
        (
            lambda: nn.Conv2d(1, 1, 3, dilation=4)(tt.ones((1, 1, 8, 8))),
            ValueError,
            r"kernel_size \(3, 3\) with dilation \(4, 4\) is larger",
        ),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
        (lambda: nn.Conv2d(3, 4, (3, 0)), ValueError, r"kernel_size must be an integer or a pair of integers, at least 1, got \(3, 0\)"),
        (
            lambda: nn.Conv2d(3, 4, 3, stride=(1, 2, 3)),
            ValueError,
            r"stride must be an integer or a pair of integers, at least 1, got \(1, 2, 3\)",
        ),  # type: ignore[arg-type]
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "padding must be an integer or a pair of integers, at least 0, got -1"),
        (lambda: nn.Conv2d(3, 4, 2.5), ValueError, "kernel_size must be an integer or a pair of integers, at least 1, got 2.5"),  # type: ignore[arg-type]
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding must be at most half of kernel_size"),
        (lambda: nn.AvgPool2d(3)(tt.ones((1, 1, 2, 4))), ValueError, r"AvgPool2d: kernel_size \(3, 3\) is larger than the padded images"),
        (lambda: nn.MaxPool2d(2)(tt.ones((2, 2))), ValueError, r"MaxPool2d expects images \(N, C, H, W\), got shape \(2, 2\)"),
        (lambda: nn.Flatten(2)(tt.ones((2, 3))), ValueError, r"the input has no axis start_dim=2, got shape \(2, 3\)"),
        (
            lambda: nn.BatchNorm2d(3)(tt.ones((2, 4, 2, 2))),
            ValueError,
            r"BatchNorm2d expects images \(N, 3, H, W\), got shape \(2, 4, 2, 2\)",
        ),
        (lambda: nn.BatchNorm2d(3)(tt.ones((1, 3, 1, 1))), ValueError, "needs more than one value per feature in training mode"),
        (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be at least 1, got 0"),
    ],
)
def test_bad_arguments_raise(backend: Backend, call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_repr_shows_the_settings(backend: Backend) -> None:
    assert repr(nn.Conv2d(3, 4, 5)) == "Conv2d(3, 4, kernel_size=(5, 5), stride=(1, 1), padding=(0, 0))"
    assert repr(nn.Conv2d(3, 4, 5, bias=False)).endswith("padding=(0, 0), bias=False)")
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"
    assert repr(nn.BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1)"
    assert repr(nn.Flatten()) == "Flatten(start_dim=1)"
