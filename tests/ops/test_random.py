"""Random numbers from one seed: host generator and dropout, reproducible and resumable."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.backend.shard import Shard
from tinytorch.ops import random


def new_module() -> Any:
    """A new import of the module, as in a new process."""
    spec = importlib.util.find_spec("tinytorch.ops.random")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_default_seed_is_zero(backend: Backend) -> None:
    untouched, seeded = new_module(), new_module()
    seeded.seed(0)
    assert untouched.generator().random() == seeded.generator().random()
    numpy.testing.assert_array_equal(host(untouched.draws(backend).key), host(seeded.draws(backend).key))


def test_the_seed_determines_weights_and_dropout(backend: Backend) -> None:
    def run(n: int) -> list[Any]:
        random.seed(n)
        return [host(nn.Linear(3, 2).weight), host(nn.Dropout()(tt.ones((4, 5))))]

    for first, again, other in zip(run(1), run(1), run(2), strict=True):
        numpy.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_a_state_saved_as_json_can_be_restored() -> None:
    random.seed(4)
    random.generator().random(3)
    state = json.loads(json.dumps(random.get_state()))
    expected = random.generator().random(5)
    random.seed(9)
    random.set_state(state)
    numpy.testing.assert_array_equal(random.generator().random(5), expected)


def test_random_bits_of_a_step_depend_on_its_key_and_the_call_site(backend: Backend) -> None:
    key, next_key = (tt.asarray(numpy.array([7, step], numpy.int32)) for step in (1, 2))
    layers = [nn.Dropout(), nn.Dropout()]
    x = tt.ones((6, 7))

    def step(key: Any) -> list[Any]:
        with random.step_draws(key):
            return [host(layer(x)) for layer in layers]

    first, replayed, following = step(key), step(key), step(next_key)
    numpy.testing.assert_array_equal(first, replayed)
    assert (first[0] != first[1]).any()
    assert (first[0] != following[0]).any()


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.MultiHeadAttention(4, num_heads=2, dropout=0.5)], ids=["dropout", "attention"])
def test_shards_use_the_random_bits_of_the_whole_batch(backend: Backend, layer: nn.Module) -> None:
    key = tt.asarray(numpy.array([7, 1], numpy.int32))
    layer.load_state_dict({name: numpy.ones(tensor.shape) for name, tensor in layer.state_dict().items()})
    layer.to(backend.spec)
    x = tt.asarray(numpy.random.default_rng(0).normal(size=(5, 3, 4)), dtype=tt.float32)

    def run(shard: Shard) -> Any:
        with random.step_draws(key, shard):
            return numpy.stack([host(layer(*shard.take([x]))) for _ in range(2)])

    whole = Shard.whole(5)
    shards = numpy.concatenate([run(shard) for shard in whole.split(3)], axis=1)
    numpy.testing.assert_allclose(shards, run(whole), rtol=1e-6, atol=1e-6)  # another mask would differ by factors of 2


def test_a_negative_seed_raises() -> None:
    with pytest.raises(ValueError, match="must be a non-negative integer, got -1"):
        random.seed(-1)
