"""Host input of modules: numpy arrays, lists and numbers become Tensors in the dtype of the model."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

ROWS = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x", [ROWS, [[1, 2], [3, 4]], numpy.float64(ROWS), numpy.float32(ROWS)], ids=["floats", "ints", "64", "32"])
def test_input_has_the_dtype_of_the_parameters(backend: Backend, dtype: str, x: Any) -> None:
    for model in (nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3), nn.ReLU())):
        model.to(dtype=dtype)
        assert_close(model(x), model(tt.asarray(ROWS, dtype=dtype)), rtol=0)


def test_a_first_layer_without_parameters_does_not_keep_float64(backend: Backend) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    assert model(numpy.float64(ROWS)).dtype is tt.float32


def test_ids_stay_integers(backend: Backend) -> None:
    layer = nn.Embedding(10, 4)
    for ids in ([[1, 2, 3]], numpy.array([[1, 2, 3]]), ((1, 2, 3),)):
        assert_close(layer(ids), layer(tt.asarray([[1, 2, 3]])), rtol=0)
    assert nn.Sequential(layer, nn.Linear(4, 2))([[1]]).shape == (1, 1, 2)
    with pytest.raises(ValueError, match="ids must be between 0 and 9, got 10"):
        layer([10])
    with pytest.raises(TypeError, match="ids must be integers, got float64"):
        layer([1.0])


def test_a_language_model_takes_a_list_of_ids(backend: Backend) -> None:
    model = tt.models.TinyGPT(vocab_size=7, d_model=8, num_heads=2, num_layers=1, max_length=4).eval()
    assert_close(model([[1, 2, 3]]), model(tt.asarray([[1, 2, 3]])), rtol=0)


def test_a_layer_without_parameters_takes_lists_and_numbers(backend: Backend) -> None:
    assert_close(nn.ReLU()([-1.0, 2.0]), numpy.float32([0, 2]))
    assert_close(nn.ReLU()(2.0), numpy.float32(2))


def test_integer_arrays_keep_their_dtype(backend: Backend) -> None:
    with pytest.raises(TypeError, match="Linear expects a floating-point dtype, got int64"):
        nn.Linear(2, 3)(numpy.array([[1, 2]]))


class Scale(nn.Module):
    """A module of a user, with a list as a setting."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter([2.0])

    def forward(self, x: Tensor, sizes: list[int]) -> tuple[Tensor, Any]:
        return x * self.weight, sizes


def test_a_module_of_a_user_gets_lists_and_numbers_unchanged(backend: Backend) -> None:
    sizes = [1, 2]
    out, given = Scale()(numpy.float64([3.0]), sizes)
    assert_close(out, numpy.float32([6]))
    assert given is sizes
    assert Scale()(3.0, sizes)[0].shape == (1,)


def test_the_parts_of_a_users_module_take_lists(backend: Backend) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: Any) -> Tensor:
            return self.layer(x)

    model = Net()
    assert_close(model(ROWS), host(model(tt.asarray(ROWS))), rtol=0)


def test_a_mask_may_be_a_list(backend: Backend) -> None:
    layer, x = nn.MultiHeadAttention(4, 2, dropout=0.0), tt.ones((1, 2, 4))
    assert_close(layer(x, mask=[[True, False], [True, True]]), layer(x, is_causal=True), rtol=1e-6)
