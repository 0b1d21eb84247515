"""TinyGPT: causality, positions, initialization, errors, and agreement with the same model in PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.generation import DynamicCache
from tinytorch.models import GPTConfig, TinyGPT
from tinytorch.ops import portable_kernels, random
from tinytorch.optim import AdamW, weight_decay_groups
from tinytorch.tensor import Tensor

SMALL: dict[str, Any] = {"vocab_size": 11, "d_model": 12, "num_heads": 3, "num_layers": 2, "max_length": 8, "dropout": 0.0}


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    module.set_num_threads(1)  # these models are too small for more
    return module


both_positions = pytest.mark.parametrize("positional", ["sinusoidal", "learned"])


def small_model(**settings: Any) -> TinyGPT:
    random.seed(0)
    return TinyGPT(**(SMALL | settings))


def large_weights_model(**settings: Any) -> TinyGPT:
    """A model with weights and biases that are large enough to affect the logits, as after training."""
    model = small_model(**settings)
    draws = numpy.random.default_rng(1)
    model.load_state_dict({name: host(p) + 0.3 * draws.normal(size=p.shape) for name, p in model.named_parameters()})
    return model


def tokens(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).integers(0, SMALL["vocab_size"], shape)


# ---- causality and positions ----


@both_positions
@pytest.mark.parametrize("k", [0, 3, 6])
def test_logits_do_not_depend_on_later_tokens(backend: Backend, positional: str, k: int) -> None:
    model = large_weights_model(positional=positional)
    ids = tokens(2, 8)
    changed = ids.copy()
    changed[:, k + 1 :] = (changed[:, k + 1 :] + 1) % 11
    a, b = host(model(ids)), host(model(changed))
    numpy.testing.assert_allclose(a[:, : k + 1], b[:, : k + 1], rtol=0, atol=1e-5)
    assert (abs(a[:, k + 1 :] - b[:, k + 1 :]) > 1e-2).any()


def test_the_last_logits_depend_on_every_token(backend: Backend) -> None:
    model, ids = large_weights_model(), tokens(1, 6)
    last = host(model(ids))[0, -1]
    for i in range(6):
        changed = ids.copy()
        changed[0, i] = (changed[0, i] + 1) % 11
        assert abs(host(model(changed))[0, -1] - last).max() > 1e-3


@both_positions
def test_a_repeated_token_has_different_logits_at_each_position(backend: Backend, positional: str) -> None:
    logits = host(large_weights_model(positional=positional)(numpy.full((1, 8), 5)))[0]
    distances = abs(logits[:, None] - logits[None]).max(-1)
    assert (distances[~numpy.eye(8, dtype=bool)] > 1e-3).all()


def test_examples_of_a_batch_are_independent(backend: Backend) -> None:
    model, ids = large_weights_model(), tokens(4, 8)
    together = host(model(ids))
    for i in range(4):
        numpy.testing.assert_allclose(host(model(ids[i : i + 1]))[0], together[i], rtol=1e-6, atol=2e-6)


# ---- initialization ----


@both_positions
@pytest.mark.parametrize("tie_weights", [False, True])
def test_the_initial_loss_is_that_of_a_uniform_prediction(backend: Backend, positional: str, tie_weights: bool) -> None:
    random.seed(0)
    model = TinyGPT(65, 32, 4, 2, max_length=16, dropout=0.0, positional=positional, tie_weights=tie_weights)
    ids = numpy.random.default_rng(0).integers(0, 65, (8, 17))
    assert float(nn.LanguageModelLoss()(model(ids[:, :-1]), ids)) == pytest.approx(math.log(65), abs=0.05)


def test_a_seed_gives_the_same_weights_on_every_backend(backend: Backend) -> None:
    with tt.use_backend("numpy"):
        expected = small_model(positional="learned").state_dict()
    for name, value in small_model(positional="learned").state_dict().items():
        assert_close(value, host(expected[name]), rtol=0)


def test_residual_projections_are_initialized_smaller() -> None:
    random.seed(0)
    model = TinyGPT(65, 64, 4, 8)
    assert host(model.blocks[0].linear1.weight).std() == pytest.approx(0.02, rel=0.05)
    for layer in (model.blocks[0].linear2, model.blocks[0].attention.out_proj):
        assert host(layer.weight).std() == pytest.approx(0.02 / 4, rel=0.05)
    assert all((host(p) == 0).all() for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("tie_weights", [False, True])
@both_positions
@pytest.mark.parametrize("d_ff", [None, 20])
def test_parameter_counts(tie_weights: bool, positional: str, d_ff: int | None) -> None:
    vocab, width, layers, length = SMALL["vocab_size"], SMALL["d_model"], SMALL["num_layers"], SMALL["max_length"]
    inner = 4 * width if d_ff is None else d_ff
    attention = 3 * width * width + 3 * width + width * width + width
    feed_forward = width * inner + inner + inner * width + width
    norm = 2 * width
    total = vocab * width + layers * (attention + feed_forward + 2 * norm) + norm
    total += 0 if tie_weights else vocab * width
    total += length * width if positional == "learned" else 0
    model = small_model(tie_weights=tie_weights, positional=positional, d_ff=d_ff)
    assert model.count_parameters() == total
    assert f"{total:,} parameters" in repr(model)


def test_a_config_has_the_defaults_of_the_constructor() -> None:
    assert TinyGPT(8).config == GPTConfig(8)


def test_gpt2_has_124_million_parameters() -> None:
    one, two = (TinyGPT(1, 768, 12, n, max_length=1024, positional="learned", tie_weights=True).count_parameters() for n in (1, 2))
    assert one + 11 * (two - one) + 50_256 * 768 == 124_439_808  # 12 blocks and a vocabulary of 50,257, without building them


# ---- errors ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 10}, "multiple of num_heads, got 10 and 3"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"max_length": -1}, "max_length must be at least 1, got -1"),
        ({"d_ff": 0}, "d_ff must be at least 1, got 0"),
        ({"dropout": 1.5}, "less than 1, got 1.5"),
        ({"positional": "rotary"}, "'sinusoidal' or 'learned', got 'rotary'"),
    ],
)
def test_bad_settings_raise(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_model(**settings)


def test_bad_input_raises(backend: Backend) -> None:
    model = small_model()
    with pytest.raises(ValueError, match="max_length is 8 tokens, got 9; crop the input"):
        model(tokens(1, 9))
    for shape in ((3,), (2, 0), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"token ids must have shape \(B, T\)"):
            model(tokens(*shape))
    with pytest.raises(TypeError, match="ids must be integers, got float64"):
        model(numpy.zeros((1, 2)))


def test_with_a_cache_the_logits_are_those_of_the_last_position(backend: Backend) -> None:
    model = TinyGPT(11, d_model=8, num_heads=2, num_layers=2, max_length=6, dropout=0.0).eval()
    ids = numpy.asarray([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    all_logits = host(model(ids))
    with tt.no_grad():
        cache = DynamicCache(model.num_layers, model.max_length)
        for first, last in ((0, 3), (3, 5)):
            logits = model(ids[:, first:last], cache=cache)
            assert logits.shape == (2, 1, 11)
            assert_close(logits[:, 0, :], all_logits[:, last - 1])


@pytest.mark.parametrize("bad", [11, -1])
def test_out_of_bounds_ids_raise_in_a_numpy_array_and_give_nan_in_a_tensor(backend: Backend, bad: int) -> None:
    model = small_model()
    ids = numpy.array([[1, 2, bad, 3], [1, 2, 3, 3]])
    with pytest.raises(ValueError, match=f"ids must be between 0 and 10, got {bad}"):
        model(ids)
    with numpy.errstate(invalid="ignore"):
        nan = numpy.isnan(host(model(tt.asarray(ids)))).any(axis=-1)
    assert nan[0, 2:].all()
    assert not nan[1].any()


# ---- the same model in PyTorch ----


def torch_gpt(model: TinyGPT) -> Any:
    """The same GPT written in PyTorch, with the weights of ``model`` under the same names."""
    import torch
    from torch.nn import functional

    s = asdict(model.config)
    width, heads = s["d_model"], s["num_heads"]

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * width, width))
            self.in_proj_bias = torch.nn.Parameter(torch.empty(3 * width))
            self.out_proj = torch.nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            qkv = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
            q, k, v = [x.view(batch, length, heads, -1).transpose(1, 2) for x in qkv.chunk(3, dim=-1)]
            scores = q @ k.transpose(-2, -1) / math.sqrt(width // heads)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
            return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = s["d_ff"] or 4 * width
            self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
            self.attention = Attention()
            self.linear1, self.linear2 = torch.nn.Linear(width, inner), torch.nn.Linear(inner, width)

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.linear2(functional.gelu(self.linear1(self.norm2(x)), approximate="tanh"))

    class GPT(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(s["vocab_size"], width)
            if s["positional"] == "learned":
                self.positions = torch.nn.Embedding(s["max_length"], width)
            self.blocks = torch.nn.ModuleList(Block() for _ in range(s["num_layers"]))
            self.norm = torch.nn.LayerNorm(width)
            self.head = torch.nn.Linear(width, s["vocab_size"], bias=False)
            if s["tie_weights"]:
                self.head.weight = self.embedding.weight

        def forward(self, ids: Any) -> Any:
            x = self.embedding(ids) + self.position_table(ids.shape[1])
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

        def position_table(self, length: int) -> Any:
            if s["positional"] == "learned":
                return self.positions.weight[:length]
            frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            angles = torch.arange(length)[:, None] * frequencies
            return (0.02 * math.sqrt(2) * torch.stack([angles.sin(), angles.cos()], -1).view(length, -1)[:, :width]).float()

    theirs = GPT()
    state = {name: torch.tensor(host(p)) for name, p in model.named_parameters()}
    if s["tie_weights"]:
        state["head.weight"] = state["embedding.weight"]
    theirs.load_state_dict(state)
    return theirs


def next_token_loss(theirs: Any, ids: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(theirs(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


@both_positions
@pytest.mark.parametrize("tie_weights", [False, True])
@pytest.mark.parametrize("make", [small_model, large_weights_model])
def test_logits_and_gradients_match_pytorch(
    backend: Backend, torch: Any, make: Callable[..., TinyGPT], positional: str, tie_weights: bool
) -> None:
    model = make(positional=positional, tie_weights=tie_weights)
    theirs = torch_gpt(model)
    ids = tokens(3, 9)
    logits = model(ids[:, :-1])
    assert_close(logits.detach(), theirs(torch.tensor(ids[:, :-1])).detach().numpy(), rtol=1e-5, atol=1e-5)
    nn.LanguageModelLoss()(logits, ids).backward()
    next_token_loss(theirs, torch.tensor(ids)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_close(parameter.grad, theirs.get_parameter(name).grad.numpy(), rtol=1e-4, atol=2e-6)


def test_twenty_steps_of_adamw_match_pytorch(backend: Backend, torch: Any) -> None:
    model = small_model(tie_weights=True, positional="learned")
    theirs = torch_gpt(model)
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    their_optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.99))
    our_optimizer = AdamW(weight_decay_groups(model.parameters(), 0.1), lr=3e-3, betas=(0.9, 0.99))
    ours, expected = [], []
    for step in range(20):
        ids = tokens(4, 9, seed=step % 3)
        model.zero_grad()
        loss = nn.LanguageModelLoss()(model(ids[:, :-1]), ids)
        loss.backward()
        our_optimizer.step()
        ours.append(float(loss.detach()))
        their_optimizer.zero_grad()
        their_loss = next_token_loss(theirs, torch.tensor(ids))
        their_loss.backward()
        their_optimizer.step()
        expected.append(float(their_loss.detach()))
    numpy.testing.assert_allclose(ours, expected, rtol=0, atol=3e-5)
    assert ours[-1] < ours[0] - 0.1


# ---- functional calls, dtypes, dropout, devices, checkpointing ----


def test_second_derivatives_of_the_whole_model(backend: Backend) -> None:
    model = large_weights_model(vocab_size=5, d_model=4, num_heads=2, num_layers=1, d_ff=6, max_length=4, positional="learned")
    ids = numpy.array([[0, 3, 3, 1, 4], [2, 2, 0, 1, 3]])
    draws = numpy.random.default_rng(2)
    point = {name: tt.astype(p.detach(), "float64") for name, p in model.named_parameters()}
    directions = {name: tt.asarray(draws.normal(size=p.shape)) for name, p in point.items()}

    def loss(params: dict[str, Tensor]) -> Tensor:
        return nn.LanguageModelLoss()(nn.functional_call(model, params, ids[:, :-1]), ids)

    def directional_derivative(params: dict[str, Tensor]) -> Tensor:
        """The derivative of the loss along ``directions``."""
        gradient = tt.grad(loss)(params)
        total = tt.asarray(0.0, dtype="float64")
        for name, direction in directions.items():
            total = total + tt.sum(gradient[name] * direction)
        return total

    hessian_product = tt.grad(directional_derivative)(point)
    step = 1e-5
    ahead, behind = ({name: p + sign * step * directions[name] for name, p in point.items()} for sign in (1, -1))
    high, low = tt.grad(loss)(ahead), tt.grad(loss)(behind)
    for name, value in hessian_product.items():
        assert_close(value, (high[name] - low[name]) / (2 * step), rtol=1e-5, atol=1e-7)


@both_positions
def test_the_model_computes_in_the_dtype_of_its_parameters(positional: str) -> None:
    with tt.use_backend("numpy"):
        model, ids = large_weights_model(positional=positional), tokens(2, 8)
        full = host(model(ids))
        for dtype, tolerance in (("float64", 1e-5), ("float16", 0.05)):
            state = {name: tt.astype(p.detach(), dtype) for name, p in model.named_parameters()}
            with portable_kernels():
                assert_close(nn.functional_call(model, state, ids), full.astype(dtype), rtol=0.01, atol=tolerance)


def test_dropout_depends_on_the_seed_and_is_off_in_evaluation_mode(backend: Backend) -> None:
    model, ids = large_weights_model(dropout=0.5), tokens(2, 8)

    def run() -> numpy.ndarray[Any, Any]:
        random.seed(3)
        return host(model(ids))

    numpy.testing.assert_array_equal(run(), run())
    dropped = run()
    assert (dropped != host(model(ids))).any()
    model.eval()
    numpy.testing.assert_array_equal(host(model(ids)), host(model(ids)))
    assert_close(model(ids).detach(), host(copy.deepcopy(model)(ids)), rtol=0)


def test_a_state_dict_can_be_loaded_on_another_backend(backend: Backend) -> None:
    ids = tokens(2, 8)
    with tt.use_backend("numpy"):
        source = large_weights_model(tie_weights=True)
        expected = host(source(ids))
        state = {name: value.numpy() for name, value in source.state_dict().items()}
    target = small_model(tie_weights=True)
    target.load_state_dict(state)
    assert_close(target(ids).detach(), expected, rtol=1e-5, atol=1e-5)


def test_checkpoint_activations_gives_the_same_gradients(backend: Backend) -> None:
    gradients = []
    for recompute in (False, True):
        random.seed(0)
        model = TinyGPT(11, d_model=8, num_heads=2, num_layers=2, max_length=8, dropout=0.5)
        model.checkpoint_activations = recompute
        tt.sum(model(numpy.asarray([[1, 2, 3, 4]])) ** 2).backward()
        gradients.append([host(parameter.grad) for parameter in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
