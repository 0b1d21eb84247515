"""The computation graph: topological order, saved values, `no_grad`, and `.grad`."""

from __future__ import annotations

import gc
import threading
import weakref
from contextvars import copy_context
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node, backpropagate, topological_order
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

# ---- backpropagation ----


def test_gradients_of_all_uses_of_an_intermediate_are_summed(backend: Backend) -> None:
    x = frozen(2.0, requires_grad=True)
    y = 3 * x
    (2 * y + 5 * y).backward()
    assert_close(x.grad, numpy.float32(21))


def test_gradients_of_an_operand_used_twice_are_summed(backend: Backend) -> None:
    x = frozen([3.0, 4.0], requires_grad=True)
    tt.sum(x * x).backward()
    assert_close(x.grad, numpy.float32([6, 8]))


def test_each_node_is_visited_once() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y  # 2^60 paths
    y.backward()
    assert x.grad.item() == 2.0**60


def test_a_rule_runs_after_the_rules_of_all_children() -> None:
    x = frozen(1.0, requires_grad=True)
    a = x * 2
    long_path = a
    for _ in range(5):
        long_path = long_path * 1
    (a + long_path).backward()  # the rule of a must run after those of the long path
    assert x.grad.item() == 4


def test_a_chain_of_100_000_operations_is_traversed_and_freed_without_recursion() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1
    del y
    gc.collect()


def test_second_derivatives_of_a_deep_graph_do_not_recurse() -> None:
    def deep(x: Tensor) -> Tensor:
        y = x * x
        for _ in range(5_000):
            y = y + 0.0
        return y

    assert tt.grad(tt.grad(deep))(frozen(3.0)).item() == 2


def test_gradients_of_all_outputs_of_an_operation_are_used(backend: Backend) -> None:
    x = frozen([1.0, 2.0, 3.0], requires_grad=True)
    first, _, third = tt.unstack(x)
    (first * 10 + third * third).backward()
    assert_close(x.grad, numpy.float32([10, 0, 6]))


def test_topological_order_has_children_before_parents() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x * 2
    z = y + x
    assert topological_order(z.node) == [z.node, y.node, x.node]
    assert topological_order(z.node, floor=y.node.id) == [z.node, y.node]


def test_rules_without_a_path_to_a_target_do_not_run() -> None:
    class Unused(Node):
        __slots__ = ()

        def vjp(self, g: Any, needs: Any, create_graph: bool) -> Any:
            raise AssertionError("this rule was not needed")

    target = Node(())
    root = _Sum((Unused(()), target))
    assert backpropagate([root, *root.parents[::-1]], {root: 1.0}, {target}, create_graph=False, release=False) == {target: 1.0}


class _Sum(Node):
    __slots__ = ()

    def vjp(self, g: Any, needs: Any, create_graph: bool) -> Any:
        return [g if needed else None for needed in needs]


# ---- saved values ----


class Saved(numpy.ndarray):  # type: ignore[type-arg]
    """An array that supports weak references."""


def with_weakref(values: Any) -> tuple[Tensor, weakref.ref[Any]]:
    tensor = tt.asarray(values)
    tensor.raw = tensor.raw.view(Saved)
    return tensor, weakref.ref(tensor.raw)


@pytest.fixture
def on_numpy() -> Any:
    with tt.use_backend("numpy"):
        yield


@pytest.mark.usefixtures("on_numpy")
def test_backward_frees_saved_values() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    other, saved = with_weakref([3.0, 4.0])
    y = tt.sum(x * other)
    del other
    assert saved() is not None
    y.backward()
    assert saved() is None


@pytest.mark.usefixtures("on_numpy")
def test_an_unreachable_graph_is_freed_without_backward() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    other, saved = with_weakref([3.0, 4.0])
    y = tt.sum(x * other)
    del other, y
    assert saved() is None


@pytest.mark.usefixtures("on_numpy")
def test_an_operation_saves_only_the_arrays_that_its_rules_use() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    left, saved = with_weakref([3.0, 4.0])
    y = x + left
    product, unused = with_weakref([1.0, 1.0])
    product.requires_grad = True
    z = product * 2.0
    del left, product
    assert (saved(), unused()) == (None, None)
    assert (y.shape, z.shape) == ((2,), (2,))


@pytest.mark.usefixtures("on_numpy")
def test_nothing_is_saved_if_no_gradient_is_required() -> None:
    x, saved = with_weakref([1.0, 2.0])
    y = tt.exp(x * x)
    del x
    assert saved() is None
    assert y.node is None


@pytest.mark.parametrize("function", [tt.exp, tt.square, lambda x: x * x, lambda x: x @ x])
def test_a_second_backward_raises_with_a_hint(backend: Backend, function: Any) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = tt.sum(function(x))
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\); pass retain_graph=True to the earlier one"):
        y.backward()


def test_retain_graph_allows_a_second_backward(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = tt.sum(tt.square(x))
    y.backward(retain_graph=True)
    y.backward()
    assert_close(x.grad, numpy.float32([4, 8]))


# ---- no_grad and enable_grad ----


def test_no_grad_disables_recording_and_enable_grad_enables_it() -> None:
    x = frozen(1.0, requires_grad=True)
    with tt.no_grad():
        assert (x * 2).node is None
        with tt.enable_grad():
            assert (x * 2).node is not None
        assert (x * 2).node is None
    assert (x * 2).node is not None


def test_both_can_decorate_functions() -> None:
    x = frozen(1.0, requires_grad=True)

    @tt.no_grad()
    def unrecorded() -> Tensor:
        """Its own docstring."""
        return recorded() if x.ndim else x * 2

    @tt.enable_grad()
    def recorded() -> Tensor:
        return x * 2

    assert unrecorded().node is None
    assert unrecorded.__doc__ == "Its own docstring."
    with tt.no_grad():
        assert recorded().node is not None


def test_an_error_inside_no_grad_restores_recording() -> None:
    with pytest.raises(ZeroDivisionError), tt.no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_no_grad_affects_its_own_thread_only() -> None:
    seen = []
    with tt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
        copy_context().run(lambda: seen.append(is_grad_enabled()))  # a copied context has the state of this thread
    assert seen == [True, False]


def test_threads_build_graphs_concurrently() -> None:
    results: dict[int, float] = {}

    def work(n: int) -> None:
        x = frozen(float(n), requires_grad=True)
        for _ in range(50):
            y = x
            for _ in range(20):
                y = y + x
            y.backward()
        results[n] = x.grad.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), 50 * 21.0)


def test_no_grad_cannot_decorate_generators_and_coroutines() -> None:
    def batches() -> Any:
        yield 1

    async def later() -> None: ...

    for function in (batches, later):
        with pytest.raises(TypeError, match="cannot decorate a generator or coroutine"):
            tt.no_grad()(function)


def test_one_no_grad_object_can_be_used_by_several_threads() -> None:
    shared, inside, finish = tt.no_grad(), threading.Event(), threading.Event()
    found: list[bool] = []

    def work() -> None:
        with shared:
            found.append(is_grad_enabled())
            inside.set()
            finish.wait(5)
        found.append(is_grad_enabled())

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(5)
    with shared, shared:
        finish.set()
        thread.join()
        found.append(is_grad_enabled())
    assert [*found, is_grad_enabled()] == [False, True, False, True]


# ---- assigning .grad ----


def test_grad_must_have_the_shape_dtype_and_backend_of_the_tensor(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    for shape in ((3,), (2, 1), (1,), ()):
        with pytest.raises(ValueError, match=r"grad must have shape \(2,\), got"):
            x.grad = tt.ones(shape)
    with pytest.raises(TypeError, match="grad must have dtype float32, got int32"):
        x.grad = tt.ones((2,), dtype="int32")
    with pytest.raises(TypeError, match="grad must be a Tensor or None, got ndarray"):
        x.grad = numpy.ones(2, "float32")  # type: ignore[assignment]
    with pytest.raises(TypeError, match="got float"):
        x.grad = 1.0  # type: ignore[assignment]
    assert x.grad is None
    x.grad = tt.ones((2,))
    tt.sum(x).backward()
    assert_close(x.grad, numpy.float32([2, 2]))
    x.grad = None
    assert x.grad is None


def test_an_initial_gradient_must_have_the_dtype_of_the_tensor(backend: Backend) -> None:
    """Otherwise `.grad` would get another dtype."""
    x = frozen([1.0, 2.0], requires_grad=True)
    for start in (x, x * 2.0):
        with pytest.raises(TypeError, match=r"gradient must have dtype float32, got int32; use tinytorch\.astype"):
            start.backward(tt.ones((2,), dtype="int32"))
    assert x.grad is None


def test_grad_on_another_backend_raises() -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    x = tt.Tensor([1.0], device="numpy", requires_grad=True)
    with pytest.raises(tt.BackendMismatchError, match="grad"):
        x.grad = tt.ones((1,), device="strict")
