"""The contestant for PyTorch, written as is usual there: 16-bit autocast, fused AdamW, flash attention, a preallocated cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.workloads import BETAS, DECAY, EPS, NORM, RATE, Workload, batches, prompt

#: Options of `torch.compile`; ``None`` is eager.
MODES: dict[str, dict[str, Any] | None] = {"torch": None, "torch-compile": {}, "torch-graphs": {"mode": "reduce-overhead"}}


class Block(nn.Module):
    """Pre-norm attention and feed-forward network."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        width = workload.width
        self.heads = workload.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, cache: torch.Tensor | None, at: torch.Tensor | None) -> torch.Tensor:
        """``cache`` (2, B, H, T, D) stores keys and values at positions ``at``; queries attend to all positions up to their own."""
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=-1))
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            assert at is not None
            cache[0].index_copy_(2, at, k)
            cache[1].index_copy_(2, at, v)
            allowed = torch.arange(cache.shape[3], device=x.device) <= at[:, None]  # (length, T)
            y = F.scaled_dot_product_attention(q, cache[0], cache[1], attn_mask=allowed)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    """The GPT."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.embedding = nn.Embedding(workload.vocab, workload.width)
        self.positions = nn.Embedding(workload.context, workload.width)
        self.blocks = nn.ModuleList(Block(workload) for _ in range(workload.layers))
        self.norm = nn.LayerNorm(workload.width)

    def forward(self, ids: torch.Tensor, cache: torch.Tensor | None = None, at: torch.Tensor | None = None) -> torch.Tensor:
        """Logits; ``cache`` is (layers, 2, B, H, T, D), and then the logits are those of the last position."""
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device) if at is None else at)
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache[i], at)
        return F.linear(self.norm(x if at is None else x[:, -1:]), self.embedding.weight)


#: Names of a block's parameters: tinytorch's, and those of this module.
_NAMES = {"attention.in_proj_": "qkv.", "attention.out_proj.": "out.", "linear1.": "up.", "linear2.": "down."}


def new_model(workload: Workload, weights: Path, device: str) -> Model:
    """The GPT with these weights."""
    state = {}
    for name, value in load_file(weights).items():
        for theirs, own in _NAMES.items():
            name = name.replace(theirs, own)
        state[name] = value
    model = Model(workload)
    model.load_state_dict(state)
    return model.to(device)


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Matmuls in bfloat16 or float16."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=getattr(torch, precision))


def gradient_scaler(precision: str, device: str) -> torch.amp.GradScaler:
    """Dynamic loss scaling in float16, and nothing in other precisions."""
    return torch.amp.GradScaler(device.partition(":")[0], enabled=precision == "float16")


def contestant(workload: Workload, weights: Path, name: str, device: str) -> Callable[[int], list[float]]:
    """A function that runs steps, or generates tokens, synchronizes, and returns the losses or tokens."""
    model = new_model(workload, weights, device)
    if workload.kind == "decode":
        return _decoder(workload, model, MODES[name], device)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, RATE, BETAS, EPS, fused=True)
    scaler = gradient_scaler(workload.precision, device)

    def loss_of(window: torch.Tensor) -> torch.Tensor:
        with autocast(workload.precision, device):
            logits = model(window[:, :-1])
            return F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())

    options = MODES[name]
    forward: Callable[..., torch.Tensor] = loss_of if options is None else torch.compile(loss_of, **options)
    on_gpu = device.startswith("cuda")
    host = [torch.from_numpy(array) for array in batches(workload)]
    source = itertools.cycle([array.pin_memory() if on_gpu else array for array in host])

    def run(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            window = next(source).to(device, non_blocking=True)
            if name == "torch-graphs":
                torch.compiler.cudagraph_mark_step_begin()
            loss = forward(window)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), NORM)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach().clone())  # a graph's output is overwritten by the next step
        return [float(loss) for loss in torch.stack(losses).cpu()]

    return run


def _decoder(workload: Workload, model: Model, options: dict[str, Any] | None, device: str) -> Callable[[int], list[float]]:
    kind = getattr(torch, workload.precision)
    model = model.to(kind).eval()
    forward: Callable[..., torch.Tensor] = model if options is None else torch.compile(model, **options)
    start = prompt(workload)
    shape = (workload.layers, 2, 1, workload.heads, workload.context, workload.width // workload.heads)
    cache = torch.zeros(shape, device=device, dtype=kind)

    @torch.inference_mode()
    def run(count: int) -> list[float]:
        at = torch.arange(len(start), device=device)
        token = model(torch.tensor([start], device=device), cache, at)[:, -1].argmax(dim=-1)
        tokens = [token]
        place = torch.tensor([len(start)], device=device)
        while len(tokens) < count:
            token = forward(token[:, None], cache, place)[:, -1].argmax(dim=-1).clone()
            tokens.append(token)
            place = place + 1
        return [float(i) for i in torch.cat(tokens).cpu()]

    return run
