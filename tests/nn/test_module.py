"""Module: parameters, buffers, submodules and their names, state dicts, copies, devices and numpy input."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tests.nn.modules import Tied
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor


class Counter(nn.Module):
    """Multiplies by a weight and counts its calls in a buffer, as batch normalization would."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter([2.0])
        self.register_buffer("calls", tt.zeros(()))
        self.register_buffer("scratch", tt.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x * self.weight


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


# ---- parameters, buffers and submodules ----


def test_parameters_and_modules_have_dotted_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False)))
    assert names(model) == ["0.weight", "0.bias", "1.1.weight"]
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "1.0", "1.1"]
    assert model.count_parameters() == 2 * 3 + 3 + 3


def test_buffers_are_not_parameters_and_only_persistent_ones_are_in_the_state_dict() -> None:
    counter = Counter()
    assert names(counter) == ["weight"]
    assert [name for name, _ in counter.named_buffers()] == ["calls", "scratch"]
    assert list(counter.state_dict()) == ["weight", "calls"]


def test_a_shared_parameter_is_listed_once_under_its_first_name() -> None:
    assert names(Tied()) == ["first.weight", "second.bias"]
    assert Tied().count_parameters() == 9 + 3


def test_a_shared_module_is_listed_once_with_its_buffers() -> None:
    counter = Counter()
    model = nn.Sequential(counter, counter)
    assert names(model) == ["0.weight"]
    assert list(model.state_dict()) == ["0.weight", "0.calls"]
    assert len(list(model.modules())) == 2


def test_a_replaced_module_keeps_its_position() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    setattr(model, "0", nn.Tanh())
    assert [type(module) for module in model] == [nn.Tanh, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("value", [None, 5, nn.ReLU(), nn.Parameter([1.0])])
def test_assigning_another_kind_of_value_removes_the_previous_one(value: Any) -> None:
    counter = Counter()
    counter.calls = value
    assert counter.calls is value
    assert "calls" not in dict(counter.named_buffers())
    counter.weight = None
    assert "weight" not in names(counter)


def test_assigning_a_tensor_to_a_parameter_raises() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"weight is a parameter of Linear.*Parameter"):
        layer.weight = tt.ones((2, 2))
    with tt.no_grad():
        layer.weight -= 0.1  # an in-place update keeps the Parameter
    assert names(layer) == ["weight", "bias"]


def test_a_buffer_must_be_a_tensor_and_its_name_unused() -> None:
    counter = Counter()
    with pytest.raises(TypeError, match="got list"):
        counter.register_buffer("mean", [0.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="already has an attribute 'weight'"):
        counter.register_buffer("weight", tt.zeros(1))


def test_assigning_attributes_before_super_init_raises() -> None:
    class NoSuperInit(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter([1.0])

    with pytest.raises(AttributeError, match=r"NoSuperInit must call super\(\).__init__\(\)"):
        NoSuperInit()


def test_the_error_for_a_missing_attribute_names_the_module() -> None:
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = nn.Linear(1, 1).wieght


def test_containers_accept_modules_only() -> None:
    with pytest.raises(TypeError, match="Sequential takes modules, got 3 at index 1"):
        nn.Sequential(nn.ReLU(), 3)  # type: ignore[arg-type]
    modules = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    assert len(modules) == 2
    assert isinstance(modules[-1], nn.Tanh)


def test_repr_shows_submodules_and_settings() -> None:
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Dropout(0.1)))) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): Sequential(\n    (0): Dropout(p=0.1)\n  )\n)"
    )


def test_train_and_eval_set_the_mode_of_all_submodules_and_return_the_model() -> None:
    model = nn.Sequential(nn.Sequential(nn.Dropout()))
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


# ---- state ----


def test_state_dict_returns_copies() -> None:
    layer = nn.Linear(2, 1)
    before = host(layer.weight)
    state = layer.state_dict()
    with tt.no_grad():
        layer.weight += 1.0
    numpy.testing.assert_array_equal(host(state["weight"]), before)
    state["weight"][...] = 7.0
    numpy.testing.assert_array_equal(host(layer.weight), before + 1.0)
    assert all(tensor.node is None for tensor in state.values())


def test_load_state_dict_copies_parameters_and_buffers(backend: Backend) -> None:
    source, target = Counter(), Counter()
    source(tt.ones(1))
    source.weight = nn.Parameter([5.0])
    target.load_state_dict(source.state_dict())
    assert_close(target.weight, numpy.float32([5]))
    assert_close(target.calls, numpy.float32(1))
    assert target.weight.requires_grad


def test_load_state_dict_copies_numpy_arrays_and_lists() -> None:
    layer = nn.Linear(2, 1)
    weight = numpy.float64([[1, 2]])
    layer.load_state_dict({"weight": weight, "bias": [3.0]})
    weight[:] = 0.0
    assert_close(layer.weight, numpy.float32([[1, 2]]))
    assert_close(layer.bias, numpy.float32([3]))


def test_a_pytorch_state_dict_can_be_loaded(backend: Backend) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, whose state dict is loaded here, is not installed")
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    assert_close(ours.weight, theirs.weight.detach().numpy())


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"weight": [[9.0, 9.0]], "wait": [0.0], "size": 1.0}, KeyError, r"missing names \['bias'\], unknown names \['wait', 'size'\]"),
        (
            {"weight": [[9.0], [9.0]], "bias": [9.0, 9.0]},
            ValueError,
            r"weight must have shape \(1, 2\), got \(2, 1\); bias must have shape \(1,\)",
        ),
        ({"weight": [[9.0, 9.0]], "bias": ["x"]}, TypeError, "numbers"),
    ],
)
def test_a_state_dict_that_does_not_match_raises_and_changes_nothing(state: Any, error: type[Exception], message: str) -> None:
    layer = nn.Linear(2, 1)
    before = host(layer.weight)
    with pytest.raises(error, match=message):
        layer.load_state_dict(state)
    numpy.testing.assert_array_equal(host(layer.weight), before)


def test_without_strict_only_matching_names_are_loaded() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"bias": [4.0], "other": [0.0]}, strict=False)
    assert_close(layer.bias, numpy.float32([4]))


def test_a_deep_copy_has_its_own_values_and_keeps_sharing(backend: Backend) -> None:
    model = Tied()
    copied = copy.deepcopy(model)
    assert copied.first.weight is copied.second.weight
    assert copied.first.weight is not model.first.weight
    assert_close(copied.first.weight, model.first.weight)
    tt.sum(copied(tt.ones((1, 3)))).backward()
    assert copied.first.weight.grad is not None
    assert model.first.weight.grad is None


def test_a_module_can_be_pickled(backend: Backend) -> None:
    counter = pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(2, 2), nn.PositionalEncoding(2, 4))))
    assert names(counter) == ["0.weight", "0.bias"]
    assert counter[0].weight.requires_grad
    assert counter[1].pe.backend is backend


def test_to_moves_parameters_and_buffers() -> None:
    pytest.importorskip("array_api_strict", reason="array-api-strict, the second backend here, is not installed")
    with tt.use_backend("numpy"):
        model = nn.Sequential(nn.Linear(4, 4), nn.PositionalEncoding(4, 8))
        x = numpy.ones((1, 3, 4), numpy.float32)
        expected = host(model(x))
        parameters = list(model.parameters())
        assert model.to("strict") is model
        strict = tt.get_backend("strict")
        assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))  # an optimizer may hold them
        assert {tensor.backend for tensor in (*parameters, model[1].pe)} == {strict}
        assert_close(model(x).detach(), expected, rtol=1e-6, backend=strict)
        assert_close(model.to("numpy")(x).detach(), expected, rtol=0)


def test_a_failing_move_changes_nothing() -> None:
    pytest.importorskip("array_api_strict", reason="array-api-strict, the second backend here, is not installed")
    with tt.use_backend("numpy"):
        model = nn.Linear(2, 2)
        model.register_buffer("table", tt.zeros(2, dtype="float16"))
        with pytest.raises(TypeError, match="float16"):
            model.to("strict")
        assert model.weight.backend is tt.get_backend("numpy")


# ---- numpy input ----


def test_a_numpy_array_is_copied_to_the_device_of_the_module(backend: Backend) -> None:
    layer = nn.Linear(2, 1)
    x = numpy.ones((3, 2), numpy.float32)
    with tt.use_backend("numpy"):  # the device of the module counts, not the current backend
        assert_close(layer(x), layer(tt.asarray(x, device=backend)), backend=backend)
        assert_close(layer(x=x), layer(x), backend=backend)


def test_without_parameters_a_numpy_array_is_copied_to_the_device_of_the_tensors(backend: Backend) -> None:
    outputs = tt.asarray([[1.0, 2.0]])
    with tt.use_backend("numpy"):
        assert_close(nn.MSELoss()(outputs, numpy.float32([[1, 4]])), numpy.float32(2), backend=backend)
