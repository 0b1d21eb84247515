"""The tape: what it remembers, in which order it is walked, and when it lets go."""

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

# ---- shapes of graphs ----


def test_a_shared_intermediate_gets_the_gradients_of_all_its_uses(backend: Backend) -> None:
    x = frozen(2.0, requires_grad=True)
    y = 3 * x
    (2 * y + 5 * y).backward()
    assert_close(x.grad, numpy.float32(21))


def test_an_operand_used_twice_gets_both_gradients(backend: Backend) -> None:
    x = frozen([3.0, 4.0], requires_grad=True)
    tt.sum(x * x).backward()
    assert_close(x.grad, numpy.float32([6, 8]))


def test_a_node_is_visited_once_however_many_paths_lead_to_it() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y  # 2^60 paths
    y.backward()
    assert x.grad.item() == 2.0**60


def test_a_gradient_is_complete_before_it_is_passed_on() -> None:
    x = frozen(1.0, requires_grad=True)
    a = x * 2
    long_way = a
    for _ in range(5):
        long_way = long_way * 1
    (a + long_way).backward()  # a's rule must wait for the long way round
    assert x.grad.item() == 4


def test_a_chain_of_100_000_steps_is_walked_and_freed_without_recursion() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1
    del y
    gc.collect()


def test_a_recorded_chain_is_as_deep_as_it_likes() -> None:
    def deep(x: Tensor) -> Tensor:
        y = x * x
        for _ in range(5_000):
            y = y + 0.0
        return y

    assert tt.grad(tt.grad(deep))(frozen(3.0)).item() == 2


def test_all_outputs_of_an_operation_bring_their_gradients(backend: Backend) -> None:
    x = frozen([1.0, 2.0, 3.0], requires_grad=True)
    first, _, third = tt.unstack(x)
    (first * 10 + third * third).backward()
    assert_close(x.grad, numpy.float32([10, 0, 6]))


def test_nodes_come_children_before_parents() -> None:
    x = frozen(1.0, requires_grad=True)
    y = x * 2
    z = y + x
    assert topological_order(z.node) == [z.node, y.node, x.node]
    assert topological_order(z.node, floor=y.node.id) == [z.node, y.node]


def test_rules_that_lead_to_no_target_do_not_run() -> None:
    class Trap(Node):
        __slots__ = ()

        def vjp(self, g: Any, needs: Any, create_graph: bool) -> Any:
            raise AssertionError("this rule was not needed")

    target = Node(())
    root = _Sum((Trap(()), target))
    assert backpropagate([root, *root.parents[::-1]], {root: 1.0}, {target}, create_graph=False, release=False) == {target: 1.0}


class _Sum(Node):
    __slots__ = ()

    def vjp(self, g: Any, needs: Any, create_graph: bool) -> Any:
        return [g if needed else None for needed in needs]


# ---- what is kept, and for how long ----


class Saved(numpy.ndarray):  # type: ignore[type-arg]
    """An array that can be watched."""


def watched(values: Any) -> tuple[Tensor, weakref.ref[Any]]:
    tensor = tt.asarray(values)
    tensor.raw = tensor.raw.view(Saved)
    return tensor, weakref.ref(tensor.raw)


@pytest.fixture
def on_numpy() -> Any:
    with tt.use_backend("numpy"):
        yield


@pytest.mark.usefixtures("on_numpy")
def test_backward_frees_what_was_saved() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    other, saved = watched([3.0, 4.0])
    y = tt.sum(x * other)
    del other
    assert saved() is not None
    y.backward()
    assert saved() is None


@pytest.mark.usefixtures("on_numpy")
def test_what_nobody_can_reach_is_freed_without_a_backward() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    other, saved = watched([3.0, 4.0])
    y = tt.sum(x * other)
    del other, y
    assert saved() is None


@pytest.mark.usefixtures("on_numpy")
def test_an_operation_keeps_only_what_its_rules_look_at() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    left, saved = watched([3.0, 4.0])
    y = x + left
    product, unused = watched([1.0, 1.0])
    product.requires_grad = True
    z = product * 2.0
    del left, product
    assert (saved(), unused()) == (None, None)
    assert (y.shape, z.shape) == ((2,), (2,))


@pytest.mark.usefixtures("on_numpy")
def test_nothing_is_saved_without_a_gradient() -> None:
    x, saved = watched([1.0, 2.0])
    y = tt.exp(x * x)
    del x
    assert saved() is None
    assert y.node is None


@pytest.mark.parametrize("function", [tt.exp, tt.square, lambda x: x * x, lambda x: x @ x])
def test_a_second_backward_says_how_to_ask_for_one(backend: Backend, function: Any) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = tt.sum(function(x))
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\); pass retain_graph=True to the earlier one"):
        y.backward()


def test_retain_graph_keeps_it_for_a_second_backward(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = tt.sum(tt.square(x))
    y.backward(retain_graph=True)
    y.backward()
    assert_close(x.grad, numpy.float32([4, 8]))


# ---- turning it off and on ----


def test_no_grad_records_nothing_and_enable_grad_records_again() -> None:
    x = frozen(1.0, requires_grad=True)
    with tt.no_grad():
        assert (x * 2).node is None
        with tt.enable_grad():
            assert (x * 2).node is not None
        assert (x * 2).node is None
    assert (x * 2).node is not None


def test_they_decorate_functions() -> None:
    x = frozen(1.0, requires_grad=True)

    @tt.no_grad()
    def quiet() -> Tensor:
        """Its own docstring."""
        return loud() if x.ndim else x * 2

    @tt.enable_grad()
    def loud() -> Tensor:
        return x * 2

    assert quiet().node is None
    assert quiet.__doc__ == "Its own docstring."
    with tt.no_grad():
        assert loud().node is not None


def test_an_error_inside_turns_recording_back_on() -> None:
    with pytest.raises(ZeroDivisionError), tt.no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_no_grad_is_a_matter_of_one_thread() -> None:
    seen = []
    with tt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
        copy_context().run(lambda: seen.append(is_grad_enabled()))  # a thread that is handed the context has its state
    assert seen == [True, False]


def test_every_thread_has_a_tape_of_its_own() -> None:
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


def test_no_grad_refuses_what_would_record_after_it_has_ended() -> None:
    def batches() -> Any:
        yield 1

    async def later() -> None: ...

    for function in (batches, later):
        with pytest.raises(TypeError, match="cannot decorate a generator or coroutine"):
            tt.no_grad()(function)


def test_one_no_grad_object_serves_several_threads_at_once() -> None:
    shared, inside, leave = tt.no_grad(), threading.Event(), threading.Event()
    found: list[bool] = []

    def work() -> None:
        with shared:
            found.append(is_grad_enabled())
            inside.set()
            leave.wait(5)
        found.append(is_grad_enabled())

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(5)
    with shared, shared:
        leave.set()
        thread.join()
        found.append(is_grad_enabled())
    assert [*found, is_grad_enabled()] == [False, True, False, True]


# ---- assigning .grad ----


def test_grad_takes_a_tensor_of_its_own_shape_type_and_backend_only(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    for shape in ((3,), (2, 1), (1,), ()):
        with pytest.raises(ValueError, match=r"grad must have the Tensor's shape \(2,\), got"):
            x.grad = tt.ones(shape)
    with pytest.raises(TypeError, match="grad must have the Tensor's type float32, got int32"):
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


def test_a_gradient_to_start_from_must_have_the_tensors_type(backend: Backend) -> None:
    """Otherwise `.grad` would get that type."""
    x = frozen([1.0, 2.0], requires_grad=True)
    for start in (x, x * 2.0):
        with pytest.raises(TypeError, match=r"gradient must have the Tensor.s type float32, got int32; use tinytorch\.astype"):
            start.backward(tt.ones((2,), dtype="int32"))
    assert x.grad is None


def test_grad_from_another_backend_is_refused() -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    x = tt.Tensor([1.0], device="numpy", requires_grad=True)
    with pytest.raises(tt.BackendMismatchError, match="grad"):
        x.grad = tt.ones((1,), device="strict")
