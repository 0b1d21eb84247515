"""Fused operations compared with PyTorch: values and first derivatives in float64, and 20 steps of each optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch import ops
from tinytorch.backend import Backend

torch = pytest.importorskip("torch", reason="PyTorch, the reference for these tests, is not installed")
functional = torch.nn.functional

_random = numpy.random.default_rng(5)


def normal(*shape: int) -> Any:
    return numpy.asarray(_random.normal(size=shape))


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *inputs: Any, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """Compare value and gradients with respect to each float64 input, of a sum with random weights so that errors do not cancel."""
    floats = tuple(i for i, x in enumerate(inputs) if x.dtype == numpy.float64)
    peers = [torch.tensor(x, requires_grad=i in floats) for i, x in enumerate(inputs)]
    expected = theirs(*peers)
    weights = numpy.asarray(numpy.random.default_rng(0).normal(size=tuple(expected.shape)))
    (expected * torch.tensor(weights)).sum().backward()

    def loss(*tensors: Any) -> Any:
        out = ours(*tensors)
        return tt.sum(out * frozen(weights)), out

    gradients, out = tt.grad(loss, floats, has_aux=True)(*[frozen(x) for x in inputs])
    assert_close(out, expected.detach().numpy(), rtol=rtol, atol=atol)
    for i, gradient in zip(floats, gradients, strict=True):
        assert_close(gradient, peers[i].grad.numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 4)])
def test_linear(backend: Backend, shape: tuple[int, ...]) -> None:
    compare(ops.linear, functional.linear, normal(*shape), normal(5, 4), normal(5))
    compare(lambda x, w: ops.linear(x, w, None), functional.linear, normal(*shape), normal(5, 4))


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_layer_norm(backend: Backend, scale: float) -> None:
    compare(
        lambda x, w, b: ops.layer_norm(x, w, b, eps=1e-5),
        lambda x, w, b: functional.layer_norm(x, (6,), w, b, eps=1e-5),
        *(normal(2, 3, 6) * scale + scale, normal(6), normal(6)),
        rtol=1e-8,
    )


@pytest.mark.parametrize("form", ["tanh", "none"])
def test_gelu(backend: Backend, form: str) -> None:
    x = numpy.concatenate([normal(20) * 3, [0.0, 40.0, -40.0]])
    compare(lambda x: ops.gelu(x, approximate=form), lambda x: functional.gelu(x, approximate=form), x)


def test_gelu_in_float32_is_accurate_to_rounding(backend: Backend) -> None:
    x = numpy.linspace(-6, 6, 2001)
    expected = functional.gelu(torch.tensor(x)).numpy().astype("float32")
    assert_close(ops.gelu(frozen(x.astype("float32")), approximate="none"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(backend: Backend, axis: int) -> None:
    compare(lambda x: ops.softmax(x, axis=axis), lambda x: torch.softmax(x, axis), normal(2, 3, 4) * 20)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy(backend: Backend, ignore: int, smoothing: float) -> None:
    targets = numpy.array([0, 4, ignore, 2, 1, ignore])
    compare(
        lambda x, y: ops.cross_entropy(x, y, ignore_index=ignore, label_smoothing=smoothing),
        lambda x, y: functional.cross_entropy(x, y, ignore_index=ignore, label_smoothing=smoothing, reduction="none"),
        *(normal(6, 5) * 10, targets),
    )


@pytest.mark.parametrize("rows", [5, 300])
def test_embedding(backend: Backend, rows: int) -> None:
    compare(ops.embedding, lambda w, i: functional.embedding(i, w), normal(rows, 3), numpy.array([[0, 4, 4], [2, 4, rows - 1]]))


_LOWER = numpy.tril(numpy.ones((4, 4), bool))
_PADDED = numpy.array([[True, True, True, False], [True, False, True, False]])[:, None, None, :]


def _heads(x: Any, count: int) -> Any:
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("mask", [None, _LOWER, _PADDED], ids=["all", "lower", "padded"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(backend: Backend, heads: int, mask: Any, causal: bool) -> None:
    settings = {"num_heads": heads, "causal": causal, "p": 0.0, "site": 0}
    ours_mask = None if mask is None else frozen(mask)
    both = mask if not causal else _LOWER if mask is None else _LOWER & mask

    def theirs(q: Any, k: Any, v: Any) -> Any:
        parts = [_heads(x, heads) for x in (q, k, v)]
        out = functional.scaled_dot_product_attention(*parts, attn_mask=None if both is None else torch.tensor(both))
        return out.transpose(1, 2).flatten(2)

    q, k, v = normal(2, 4, 6), normal(2, 4, 6), normal(2, 4, 6)
    compare(lambda q, k, v: ops.attention(q, k, v, ours_mask, None, **settings), theirs, q, k, v)
    packed = numpy.concatenate([q, k, v], axis=-1)
    compare(lambda qkv: ops.packed_attention(qkv, ours_mask, None, **settings), lambda qkv: theirs(*qkv.split(6, dim=-1)), packed)


# ---- optimizers ----

SHAPES = [(3, 4), (4,), (2, 2, 2)]


def compare_steps(make: Callable[[Any], Any], update: Callable[..., Any], backend: Backend, slots: int, max_norm: float | None) -> None:
    """Compare 20 steps with PyTorch, from the same weights and with the same gradients."""
    random = numpy.random.default_rng(1)
    start = [random.normal(size=shape) for shape in SHAPES]
    peers = [torch.nn.Parameter(torch.tensor(x)) for x in start]
    optimizer = make(peers)
    params = [backend.from_host(x) for x in start]
    state = [[backend.from_host(numpy.zeros(shape)) for shape in SHAPES] for _ in range(slots)]
    for step in range(1, 21):
        lr = 0.1 / step
        grads = [random.normal(size=shape) * 3 for shape in SHAPES]
        for peer, grad in zip(peers, grads, strict=True):
            peer.grad = torch.tensor(grad)
        norm = torch.nn.utils.clip_grad_norm_(peers, numpy.inf if max_norm is None else max_norm)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        ours_grads = [backend.from_host(grad) for grad in grads]
        params, state, ours_norm = update(
            params, ours_grads, state, backend.from_host(numpy.array(lr)), backend.from_host(numpy.array(step))
        )
        assert float(ours_norm) == pytest.approx(norm.item(), rel=1e-12)
    for ours, theirs in zip(params, peers, strict=True):
        numpy.testing.assert_allclose(backend.to_host(ours), theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("max_norm", [None, 5.0, 1000.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
def test_adam(backend: Backend, decoupled: bool, decay: float, max_norm: float | None) -> None:
    def update(params: Any, grads: Any, state: Sequence[Any], lr: Any, step: Any) -> Any:
        settings = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decays": (decay,) * 3, "decoupled": decoupled, "max_norm": max_norm}
        (params, first, second, norm), _, _ = ops.adam.run(backend, params, grads, *state, lr, step, **settings)
        return params, [first, second], norm

    peer = torch.optim.AdamW if decoupled else torch.optim.Adam
    compare_steps(lambda p: peer(p, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay), update, backend, 2, max_norm)


@pytest.mark.parametrize("max_norm", [None, 5.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(backend: Backend, momentum: float, nesterov: bool, decay: float, max_norm: float | None) -> None:
    def update(params: Any, grads: Any, state: Sequence[Any], lr: Any, step: Any) -> Any:
        settings = {"momentum": momentum, "nesterov": nesterov, "weight_decays": (decay,) * 3, "max_norm": max_norm}
        (params, velocities, norm), _, _ = ops.sgd.run(backend, params, grads, state[0] if momentum else [], lr, **settings)
        return params, [velocities], norm

    peer = torch.optim.SGD
    compare_steps(lambda p: peer(p, lr=1, momentum=momentum, nesterov=nesterov, weight_decay=decay), update, backend, 1, max_norm)
