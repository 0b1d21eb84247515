"""The baby GPT's recipe in PyTorch: same model, text, batches, schedule and number of steps, compiled, in 16-bit autocast."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.torch_peer import autocast, gradient_scaler
from benchmarks.gpu.workloads import WORKLOADS, Gpu, Workload, workload
from tinytorch.optim import WarmupCosine
from tinytorch.text import CharTokenizer, random_windows, sequential_windows, split_text
from tinytorch.training.config import TrainingConfig

_DECAY, _VAL_SPLIT = 0.1, 0.1


class Block(nn.Module):
    """A transformer block with dropout on both residual branches."""

    def __init__(self, workload: Workload, p: float) -> None:
        super().__init__()
        width = workload.width
        self.heads, self.p = workload.heads, p
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> the same."""
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.p if self.training else 0.0)
        x = x + F.dropout(self.out(y.transpose(1, 2).reshape(batch, length, width)), self.p, self.training)
        inner = self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return x + F.dropout(inner, self.p, self.training)


class Model(nn.Module):
    """The GPT."""

    def __init__(self, workload: Workload, p: float) -> None:
        super().__init__()
        self.p = p
        self.embedding = nn.Embedding(workload.vocab, workload.width)
        self.positions = nn.Embedding(workload.context, workload.width)
        self.blocks = nn.ModuleList(Block(workload, p) for _ in range(workload.layers))
        self.norm = nn.LayerNorm(workload.width)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                ends_residual_branch = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * workload.layers) ** 0.5 if ends_residual_branch else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = F.dropout(x, self.p, self.training)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)


def train(path: Path, gpu: Gpu | None) -> Iterator[dict[str, Any]]:
    """Train to the end of the schedule, with evaluations at the same steps as tinytorch; ``None`` is a rehearsal on the CPU."""
    torch.manual_seed(0)
    text = path.read_text(encoding="utf-8")
    tokenizer = CharTokenizer().fit(text)
    training, validation = split_text(tokenizer.encode_array(text), _VAL_SPLIT)
    preset, device = TrainingConfig.from_preset("nano" if gpu is None else "baby"), "cpu" if gpu is None else "cuda"
    size = workload("baby", gpu)
    size = Workload(
        **{
            **vars(size),
            "vocab": tokenizer.get_vocab_size(),
            "layers": preset.num_layers,
            "heads": preset.num_heads,
            "width": preset.d_model,
            "context": preset.block_size,
        }
    )
    start = time.perf_counter()
    model = Model(size, preset.dropout).to(device)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": _DECAY},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, preset.learning_rate, (0.9, preset.beta2), fused=True)
    schedule = WarmupCosine(preset.warmup_steps, preset.steps)

    def loss_of(window: torch.Tensor) -> torch.Tensor:
        with autocast(size.precision, device):
            return F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())

    scaler = gradient_scaler(size.precision, device)
    compiled = loss_of if gpu is None else torch.compile(loss_of)
    random = numpy.random.default_rng(0)
    steps = 5 if gpu is None else preset.steps
    val_losses: dict[int, float] = {}
    for step in range(1, steps + 1):
        window = torch.from_numpy(random_windows(training, preset.block_size, preset.batch_size, random)).to(device, non_blocking=True)
        for group in optimizer.param_groups:
            group["lr"] = preset.learning_rate * float(schedule(numpy, numpy.float32(step)))
        optimizer.zero_grad(set_to_none=True)
        loss = compiled(window)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        if step == steps or step % preset.eval_every == 0:
            val_losses[step] = _evaluate(model, loss_of, validation, preset.block_size, device, None if step == steps else 200)
    yield {
        "torch-shakespeare": path.name,
        "precision": size.precision,
        "steps": steps,
        "val_loss": val_losses[steps],
        "seconds": time.perf_counter() - start,
        "val_losses": val_losses,
        "model": WORKLOADS["baby"].what,
    }


@torch.no_grad()
def _evaluate(model: Model, loss_of: Any, tokens: Any, length: int, device: str, max_windows: int | None) -> float:
    """The mean loss over windows of the validation split."""
    windows = sequential_windows(tokens, length)
    if max_windows is not None and max_windows < len(windows):
        windows = windows[[i * len(windows) // max_windows for i in range(max_windows)]]
    model.eval()
    total = torch.zeros((), device=device)
    for first in range(0, len(windows), 32):
        part = torch.from_numpy(numpy.ascontiguousarray(windows[first : first + 32])).to(device)
        total += loss_of(part) * len(part)
    model.train()
    return float(total) / len(windows)
