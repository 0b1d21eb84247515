"""The contestant for PyTorch, written as is usual there: fused AdamW, scaled_dot_product_attention, a preallocated cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from benchmarks.cpu.workloads import BETAS, DECAY, EPS, GPT, NORM, RATE, Workload, batches, image_order, prompt

#: Keys and values of a layer, (B, H, T, D) each: separate tensors, which a compiled step can update in place.
Cache = tuple[torch.Tensor, torch.Tensor]


class Block(nn.Module):
    """Pre-norm attention and feed-forward network."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        width = gpt.width
        self.heads = gpt.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, cache: Cache | None = None, at: torch.Tensor | None = None) -> torch.Tensor:
        """``cache`` stores keys and values at positions ``at``; queries attend to all positions up to their own."""
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=-1))
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            assert at is not None
            cache[0].index_copy_(2, at, k)
            cache[1].index_copy_(2, at, v)
            allowed = torch.arange(cache[0].shape[2]) <= at[:, None]  # (length, T)
            y = F.scaled_dot_product_attention(q, cache[0], cache[1], attn_mask=allowed)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    """The GPT."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt
        self.embedding = nn.Embedding(gpt.vocab, gpt.width)
        self.register_buffer("positions", torch.zeros(gpt.context, gpt.width))
        self.blocks = nn.ModuleList(Block(gpt) for _ in range(gpt.layers))
        self.norm = nn.LayerNorm(gpt.width)
        self.head = nn.Linear(gpt.width, gpt.vocab, bias=False)

    def forward(self, ids: torch.Tensor, caches: list[Cache] | None = None, at: torch.Tensor | None = None) -> torch.Tensor:
        """Logits; ``caches`` has one cache per layer."""
        places = self.positions[: ids.shape[1]] if at is None else self.positions[at]
        x = self.embedding(ids) + places
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i], at)
        return self.head(self.norm(x if at is None else x[:, -1:]))  # type: ignore[no-any-return]


#: Names of a block's parameters: tinytorch's, and those of this module.
_NAMES = {"attention.in_proj_": "qkv.", "attention.out_proj.": "out.", "linear1.": "up.", "linear2.": "down."}


def gpt_model(gpt: GPT, weights: Path) -> Model:
    """The GPT with these weights."""
    state = {}
    for name, value in load_file(weights).items():
        for theirs, own in _NAMES.items():
            name = name.replace(theirs, own)
        state[name] = value
    model = Model(gpt)
    model.load_state_dict(state)
    return model


def image_model(workload: Workload, weights: Path) -> nn.Module:
    """LeNet-5 or the MLP with these weights. Its parameters are in the order of the layers."""
    layers: list[nn.Module]
    if workload.kind == "mlp":
        layers = [nn.Flatten(), nn.Linear(3072, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)]
    else:
        layers = [nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    model = nn.Sequential(*layers)
    state = load_file(weights)
    order = sorted(state, key=image_order)
    with torch.no_grad():
        for parameter, name in zip(model.parameters(), order, strict=True):
            parameter.copy_(state[name])
    return model


def contestant(workload: Workload, weights: Path, compiled: bool = False) -> Callable[[int], list[float]]:
    """A function that runs a number of steps, or generates a number of tokens, and returns the losses or tokens."""
    if workload.kind == "decode":
        return _decoder(workload, weights, compiled)
    model = image_model(workload, weights) if workload.gpt is None else gpt_model(workload.gpt, weights)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, RATE, BETAS, EPS, fused=True)
    forward: Callable[..., Any] = torch.compile(model) if compiled else model
    source = itertools.cycle([tuple(torch.from_numpy(array) for array in batch) for batch in batches(workload)])

    def run(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            batch = next(source)
            inputs, targets = (batch[0][:, :-1], batch[0][:, 1:]) if len(batch) == 1 else batch
            loss = F.cross_entropy(forward(inputs).flatten(0, -2), targets.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), NORM)
            optimizer.step()
            losses.append(loss.detach())
        return [float(loss) for loss in losses]

    return run


def _decoder(workload: Workload, weights: Path, compiled: bool) -> Callable[[int], list[float]]:
    assert workload.gpt is not None
    gpt = workload.gpt
    model = gpt_model(gpt, weights).eval()
    forward: Callable[..., Any] = torch.compile(model) if compiled else model
    start = prompt(workload)

    @torch.inference_mode()
    def run(count: int) -> list[float]:
        size = (1, gpt.heads, gpt.context, gpt.width // gpt.heads)
        caches = [(torch.zeros(size), torch.zeros(size)) for _ in range(gpt.layers)]
        at = torch.arange(len(start))
        logits = model(torch.tensor([start]), caches, at)
        tokens = []
        for i in range(count):
            token = logits[:, -1].argmax(dim=-1)
            tokens.append(token)
            if i + 1 < count:
                logits = forward(token[:, None], caches, torch.tensor([len(start) + i]))
        return torch.cat(tokens).tolist()  # type: ignore[no-any-return]

    return run
