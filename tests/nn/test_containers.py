"""Containers, and the methods of Module that visit, change and convert parts, as in PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tests.nn.modules import Tied
from tinytorch import nn
from tinytorch.backend import Backend


def kinds(modules: Any) -> list[str]:
    return [type(module).__name__ for module in modules]


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


# ---- containers ----


def test_a_slice_of_a_sequential_is_a_sequential_with_the_same_modules_and_names() -> None:
    model = chain()
    head = model[1:]
    assert type(head) is nn.Sequential
    assert [name for name, _ in head.named_parameters()] == ["2.weight", "2.bias"]
    assert head[1] is model[2]
    assert head(tt.ones((4, 3))).shape == (4, 1)


def test_a_slice_of_a_module_list_is_a_module_list_numbered_from_0() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2), nn.ReLU(), nn.Tanh()])
    assert type(layers[1:]) is nn.ModuleList
    assert kinds(layers[::-1]) == ["Tanh", "ReLU", "Linear"]
    assert [name for name, _ in layers[1:].named_children()] == ["0", "1"]


def test_modules_can_be_appended_inserted_replaced_and_deleted() -> None:
    layers = nn.ModuleList()
    assert layers.append(nn.ReLU()) is layers
    layers.extend([nn.Tanh(), nn.Sigmoid()]).insert(1, nn.Linear(2, 2))
    assert kinds(layers) == ["ReLU", "Linear", "Tanh", "Sigmoid"]
    assert [name for name, _ in layers.named_parameters()] == ["1.weight", "1.bias"]
    layers[-1] = nn.GELU()
    del layers[0]
    assert kinds(layers) == ["Linear", "Tanh", "GELU"]
    assert type(layers.pop()) is nn.GELU
    assert [name for name, _ in layers.named_parameters()] == ["0.weight", "0.bias"]
    with pytest.raises(TypeError, match="ModuleList takes modules, got 5 at index 2"):
        layers.append(5)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        layers[7]


def test_a_sequential_takes_a_dictionary_of_named_modules() -> None:
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU()))
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    assert type(model.act) is nn.ReLU
    assert model(tt.ones((4, 2))).shape == (4, 3)


def test_a_module_dict_is_a_dictionary_whose_modules_are_submodules() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    heads["keys"] = nn.Tanh()  # also the name of a method
    heads.update({"b": nn.GELU()})
    assert list(heads) == list(heads.keys()) == ["a", "b", "keys"]
    assert kinds(heads.values()) == ["Linear", "GELU", "Tanh"]
    assert "a" in heads
    assert len(heads) == 3
    assert [name for name, _ in heads.named_parameters()] == ["a.weight", "a.bias"]
    assert type(heads.pop("keys")) is nn.Tanh
    del heads["b"]
    assert list(heads.items()) == [("a", heads["a"])]


@pytest.mark.parametrize(("name", "module", "error"), [("x.y", nn.ReLU(), KeyError), ("", nn.ReLU(), KeyError), ("x", 5, TypeError)])
def test_a_module_dict_checks_names_and_modules(name: str, module: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="module"):
        nn.ModuleDict({name: module})


def test_identity_returns_its_input_and_takes_the_arguments_of_any_layer() -> None:
    x = tt.ones(2)
    assert nn.Identity(3, kernel_size=5)(x) is x


# ---- visiting and changing parts ----


def test_children_are_direct_submodules_listed_once() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), relu, relu)
    assert kinds(model.children()) == ["Sequential", "ReLU"]
    assert [name for name, _ in model.named_children()] == ["0", "1"]


def test_apply_visits_children_first_and_returns_the_module() -> None:
    visited: list[str] = []
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    assert model.apply(lambda module: visited.append(type(module).__name__)) is model
    assert visited == ["Linear", "Sequential", "ReLU", "Sequential"]


def test_parameters_buffers_and_submodules_can_be_deleted() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    del model[0].bias
    del model[0].running_mean
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    assert len(list(model.buffers())) == 2
    model.extra = nn.ReLU()
    del model.extra
    assert kinds(model.children()) == ["BatchNorm1d"]
    with pytest.raises(AttributeError, match="extra"):
        del model.extra


def test_dir_lists_parameters_buffers_and_submodules() -> None:
    layer = nn.BatchNorm1d(2)
    layer.inner = nn.ReLU()
    assert {"weight", "running_mean", "inner", "eps", "forward"} <= set(dir(layer))


def test_requires_grad_freezes_and_unfreezes_all_parameters() -> None:
    model = chain()
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad for p in model.requires_grad_().parameters())


def test_zero_grad_sets_gradients_to_none_or_to_zeros() -> None:
    model = nn.Linear(2, 1)
    for zero_grad in (model.zero_grad, tt.optim.SGD(model.parameters()).zero_grad):
        tt.sum(model(tt.ones((1, 2)))).backward()
        zero_grad(set_to_none=False)
        assert_close(model.weight.grad, numpy.zeros((1, 2), numpy.float32), backend=model.weight.backend)
        zero_grad(set_to_none=True)
        assert model.weight.grad is None


@pytest.mark.parametrize("convert", [lambda m: m.double(), lambda m: m.to(tt.float64), lambda m: m.to(dtype="float64")])
def test_dtype_conversions_keep_integers_and_the_parameter_objects(backend: Backend, convert: Callable[[nn.Module], nn.Module]) -> None:
    layer = nn.BatchNorm1d(2)
    weight = layer.weight
    assert convert(layer) is layer
    assert layer.weight is weight
    assert layer.weight.dtype is layer.running_mean.dtype is layer.dtype is tt.float64
    assert layer.num_batches_tracked.dtype.kind == "signed integer"
    assert layer(tt.ones((3, 2), dtype="float64")).dtype is tt.float64
    assert layer.float().dtype is tt.float32


@pytest.mark.parametrize("name", ["half", "bfloat16"])
def test_half_and_bfloat16_convert_where_the_backend_has_the_dtype(backend: Backend, name: str) -> None:
    dtype = {"half": "float16"}.get(name, name)
    if dtype not in backend.capabilities.dtypes:
        pytest.skip(f"{backend.spec} has no {dtype}")
    layer = getattr(nn.Linear(2, 2), name)()
    assert layer.weight.dtype.name == dtype


def test_a_module_is_not_converted_to_integers() -> None:
    with pytest.raises(TypeError, match="real floating-point dtype, got int64"):
        nn.Linear(2, 2).to(tt.int64)
    with pytest.raises(TypeError, match="two dtypes"):
        nn.Linear(2, 2).to(tt.float32, dtype=tt.float64)


def test_the_settings_of_layers_are_attributes_under_pytorchs_names() -> None:
    conv = nn.Conv2d(4, 6, 3, padding="same", groups=2, dilation=2)
    expected: list[tuple[nn.Module, dict[str, Any]]] = [
        (nn.Linear(3, 2), {"in_features": 3, "out_features": 2}),
        (nn.Embedding(5, 2, padding_idx=-1), {"num_embeddings": 5, "embedding_dim": 2, "padding_idx": 4}),
        (conv, {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 3), "padding": "same", "groups": 2, "dilation": (2, 2)}),
        (nn.MaxPool2d(2, ceil_mode=True), {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": True}),
        (nn.LayerNorm(3), {"normalized_shape": (3,), "eps": 1e-5, "elementwise_affine": True}),
        (nn.BatchNorm1d(3), {"num_features": 3, "eps": 1e-5, "momentum": 0.1}),
        (nn.Dropout(0.1), {"p": 0.1, "inplace": False}),
        (nn.MultiHeadAttention(6, 2, 0.1), {"embed_dim": 6, "num_heads": 2, "head_dim": 3, "dropout": 0.1}),
        (nn.Flatten(), {"start_dim": 1, "end_dim": -1}),
        (nn.Softmax(1), {"dim": 1}),
        (nn.GELU("tanh"), {"approximate": "tanh"}),
        (nn.LeakyReLU(0.2), {"negative_slope": 0.2}),
        (nn.ReLU(inplace=True), {"inplace": True}),
        (nn.CrossEntropyLoss(ignore_index=3), {"ignore_index": 3, "reduction": "mean", "label_smoothing": 0.0}),
    ]
    for module, settings in expected:
        assert {name: getattr(module, name) for name in settings} == settings


# ---- state dicts ----


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch, whose state dicts are loaded here, is not installed")


def test_a_bfloat16_state_of_pytorch_is_loaded(backend: Backend, torch: Any) -> None:
    theirs, ours = torch.nn.Linear(3, 2).to(torch.bfloat16), nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    assert_close(ours.weight, theirs.weight.detach().float().numpy(), rtol=0)


def test_values_that_require_a_gradient_in_pytorch_are_loaded(torch: Any) -> None:
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(dict(theirs.named_parameters()))
    numpy.testing.assert_array_equal(host(ours.bias), theirs.bias.detach().numpy())


def test_a_state_with_all_names_of_a_tied_parameter_is_loaded(backend: Backend) -> None:
    weight, bias = numpy.ones((3, 3), numpy.float32), numpy.zeros(3, numpy.float32)
    for names in (["first.weight"], ["second.weight"], ["first.weight", "second.weight"]):
        model = Tied()
        assert model.load_state_dict({**dict.fromkeys(names, weight), "second.bias": bias}) == ([], [])
        assert_close(model.first.weight, weight)
        assert model.first.weight is model.second.weight


def test_two_values_for_one_tied_parameter_raise() -> None:
    weight = numpy.ones((3, 3), numpy.float32)
    with pytest.raises(ValueError, match=r"first\.weight and second\.weight share one parameter, but have different values"):
        Tied().load_state_dict({"first.weight": weight, "second.weight": 2 * weight, "second.bias": numpy.zeros(3)})


def test_load_state_dict_returns_missing_and_unexpected_names() -> None:
    missing, unexpected = nn.Linear(2, 1).load_state_dict({"weight": [[1.0, 2.0]], "wait": [0.0]}, strict=False)
    assert missing == ["bias"]
    assert unexpected == ["wait"]


# ---- names that do not exist ----


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: nn.Liner, "'tinytorch.nn' has no attribute 'Liner'; did you mean Linear?"),
        (lambda: nn.MultiheadAttention, r"use nn\.MultiHeadAttention\(d_model, num_heads\)"),
        (lambda: nn.BCEWithLogitsLoss, r"use nn\.BCELoss"),
        (lambda: tt.optim.lr_scheduler, "pass schedule= to the optimizer"),
        (lambda: tt.optim.AdmaW, "did you mean AdamW?"),
        (lambda: nn.Linear(1, 1).wieght, "Linear has no attribute 'wieght'; did you mean weight?"),
        (lambda: nn.Linear(1, 1).cuda, r"use model\.to\('cupy'\)"),
    ],
)
def test_an_unknown_name_suggests_what_to_write(read: Callable[[], Any], message: str) -> None:
    with pytest.raises(AttributeError, match=message.replace("?", r"\?")):
        read()
