"""`tinytorch.checkpoint`: the same results with less saved memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen, host
from tinytorch import nn
from tinytorch.autograd.graph import Node, topological_order
from tinytorch.backend import Backend
from tinytorch.nn import functional_call
from tinytorch.ops import random


def wave(x: tt.Tensor) -> tt.Tensor:
    return tt.sin(x) * tt.exp(x)


def test_derivatives_of_any_order_are_the_same(backend: Backend) -> None:
    plain: Callable[..., Any] = wave
    saved: Callable[..., Any] = tt.checkpoint(wave)
    x = frozen(0.3)
    for _ in range(3):
        plain, saved = tt.grad(plain), tt.grad(saved)
        assert_close(saved(x), plain(x), rtol=1e-5)


def test_it_can_be_nested_and_combined_with_other_transformations(backend: Backend) -> None:
    def twice(inner: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: inner(x) * 2 + inner(inner(x))

    inside = tt.checkpoint(twice(tt.checkpoint(wave)))
    x, v = frozen([0.3, 0.5]), frozen([1.0, -2.0])
    for transform in (lambda f: tt.jvp(f, (x,), (v,))[1], lambda f: tt.jacobian(f)(x), lambda f: tt.vjp(f, x)[1](v)[0]):
        assert_close(transform(inside), transform(twice(wave)), rtol=1e-5)


def test_arguments_and_results_may_be_pytrees(backend: Backend) -> None:
    ids = frozen([1, 0])

    def function(table: dict[str, tt.Tensor], ids: tt.Tensor, scale: float = 1.0) -> tuple[tt.Tensor, dict[str, Any]]:
        rows = tt.take(table["rows"], ids, axis=0) * scale
        return rows, {"ids": ids, "sum": tt.sum(rows * rows)}

    def total(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(table: dict[str, tt.Tensor]) -> tt.Tensor:
            rows, more = call(table, ids, scale=3.0)
            assert more["ids"] is ids or more["ids"].tolist() == [1, 0]
            return tt.sum(rows) + more["sum"]

        return run

    table = {"rows": frozen([[1.0, 2.0], [3.0, 4.0]])}
    assert_close(tt.grad(total(tt.checkpoint(function)))(table)["rows"], tt.grad(total(function))(table)["rows"])


def test_tensors_that_the_function_uses_as_globals_get_gradients(backend: Backend) -> None:
    tt.seed(0)
    layer = nn.Linear(2, 2)
    x = frozen([[1.0, 2.0]])
    tt.sum(tt.checkpoint(layer)(x) ** 2).backward()  # x requires no gradient
    found = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    tt.sum(layer(x) ** 2).backward()
    for ours, parameter in zip(found, layer.parameters(), strict=True):
        assert_close(ours, parameter.grad)


def test_values_bound_by_functional_call_get_gradients(backend: Backend) -> None:
    tt.seed(0)
    layer = nn.Linear(2, 2)
    x = frozen([[1.0, 2.0]])
    state = {name: frozen(host(p) + 1) for name, p in layer.named_parameters()}

    def loss(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda state: tt.sum(functional_call(nn.Sequential(call), {f"0.{n}": v for n, v in state.items()}, x) ** 2)

    class Saved(nn.Module):
        """A module with the parameters of the layer, under the same names."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = layer.weight, layer.bias

        def forward(self, x: tt.Tensor) -> tt.Tensor:
            return tt.checkpoint(lambda x: x @ tt.matrix_transpose(self.weight) + self.bias)(x)  # type: ignore[no-any-return]

    ours, plain = tt.grad(loss(Saved()))(state), tt.grad(loss(layer))(state)
    for name in state:
        assert_close(ours[name], plain[name], rtol=1e-5)


def test_nothing_is_recorded_if_no_gradient_is_required(backend: Backend) -> None:
    x = frozen([1.0])
    assert tt.checkpoint(wave)(x).node is None
    with tt.no_grad():
        assert tt.checkpoint(wave)(frozen([1.0], requires_grad=True)).node is None


# ---- a transformer ----


class Transformer(nn.Module):
    """Four transformer blocks, with or without checkpointing."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        tt.seed(0)
        self.blocks = nn.ModuleList(nn.TransformerBlock(16, 2, dropout=0.2) for _ in range(4))
        self.checkpointed = checkpointed

    def forward(self, x: tt.Tensor) -> tt.Tensor:
        for block in self.blocks:

            def run(x: tt.Tensor, block: nn.Module = block) -> tt.Tensor:
                return block(x, is_causal=True)  # type: ignore[no-any-return]

            x = (tt.checkpoint(run) if self.checkpointed else run)(x)
        return x


def bytes_saved(root: Node | None) -> int:
    """The size of all arrays that the graph saves."""
    assert root is not None
    sizes: dict[int, int] = {}

    def count(value: Any) -> None:
        if isinstance(value, list | tuple):
            for item in value:
                count(item)
        elif hasattr(value, "nbytes"):
            sizes[id(value)] = value.nbytes

    for node in topological_order(root):
        for name in ("inputs", "out", "residuals", "arguments"):
            count(getattr(node, name, None))
    return sum(sizes.values())


@pytest.mark.parametrize("inside_a_step", [False, True])
def test_with_dropout_the_loss_is_identical_and_much_less_is_saved(inside_a_step: bool) -> None:
    with tt.use_backend("numpy"):
        x = frozen(numpy.random.default_rng(0).normal(size=(4, 12, 16)), dtype=tt.float32)
        outcomes = []
        for checkpointed in (False, True):
            model = Transformer(checkpointed)
            tt.seed(1)
            if inside_a_step:
                with random.step_draws(tt.asarray([7, 1], dtype=tt.int32)):
                    loss = tt.sum(model(x) ** 2)
            else:
                loss = tt.sum(model(x) ** 2)
            saved = bytes_saved(loss.node)
            tt.sum(nn.Dropout(0.5)(x))  # other uses of random bits have no effect
            loss.backward()
            outcomes.append((loss.item(), [host(p.grad) for p in model.parameters() if p.grad is not None], saved))
        (plain, plain_gradients, all_of_it), (again, gradients, little) = outcomes
        assert plain == again
        assert len(gradients) == len(plain_gradients) == len(list(model.parameters()))
        for a, b in zip(gradients, plain_gradients, strict=True):
            numpy.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert little < all_of_it / 8


class Normalized(nn.Module):
    """Batch normalization, with or without checkpointing."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.checkpointed = checkpointed

    def forward(self, x: tt.Tensor) -> tt.Tensor:
        return (tt.checkpoint(self.norm) if self.checkpointed else self.norm)(x)  # type: ignore[no-any-return]


def test_running_statistics_bound_by_functional_call_are_updated_once(backend: Backend) -> None:
    x = frozen(numpy.random.default_rng(0).normal(size=(5, 3)), dtype=tt.float32)
    found = []
    for checkpointed in (False, True):
        module = Normalized(checkpointed)
        state = dict(module.named_buffers(persistent_only=True))

        def loss(x: tt.Tensor, module: nn.Module = module, state: dict[str, tt.Tensor] = state) -> tt.Tensor:
            return tt.sum(functional_call(module, state, x) ** 3)

        gradient = tt.grad(loss)(x)
        found.append((gradient, state["norm.running_mean"].detach(), state["norm.num_batches_tracked"].detach()))
    for plain, again in zip(*found, strict=True):
        assert_close(again, plain, rtol=1e-5, atol=1e-6)


# ---- buffers that the function updates ----


class Counting(nn.Module):
    """Multiplies by a buffer and then updates the buffer."""

    scale: tt.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", tt.asarray(2.0))

    def forward(self, x: tt.Tensor) -> tt.Tensor:
        out = x * self.scale
        self.scale = self.scale * 3.0
        return tt.sin(out)


@pytest.mark.parametrize("nested", [False, True])
def test_running_statistics_are_updated_once(backend: Backend, nested: bool) -> None:
    random.seed(0)
    plain, saved = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    x = frozen(numpy.random.default_rng(0).normal(size=(4, 3)).astype("float32"))
    inner = tt.checkpoint(saved)
    for model, call in ((plain, plain), (saved, tt.checkpoint(lambda x: inner(x) * 1.0) if nested else inner)):
        tt.sum(call(x) ** 3).backward()
        assert model.num_batches_tracked.item() == 1
    for name, buffer in plain.named_buffers():
        assert_close(dict(saved.named_buffers())[name], buffer)
    for ours, parameter in zip(saved.parameters(), plain.parameters(), strict=True):
        assert_close(ours.grad, parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_the_second_run_sees_the_buffers_from_before_the_first(backend: Backend, nested: bool) -> None:
    module = Counting()
    inner = tt.checkpoint(module)
    call = tt.checkpoint(lambda x: inner(inner(x))) if nested else inner
    x = frozen(0.3, requires_grad=True)
    out = call(x)
    module.scale = tt.asarray(100.0)  # a change before the backward pass has no effect
    out.backward()
    expected = tt.grad(lambda x: tt.sin(tt.sin(x * 2.0) * 6.0) if nested else tt.sin(x * 2.0))(x.detach())
    assert_close(x.grad, expected, rtol=1e-5)
    assert module.scale.item() == 100.0
