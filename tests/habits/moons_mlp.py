"""Two moons with an MLP, hinge loss and an update by hand, in the style of micrograd's demo. `test_scripts.py` runs it on PyTorch and here."""

import numpy as np
import torch
from torch import nn


class Neuron(nn.Module):
    def __init__(self, nin, nonlin=True):
        super().__init__()
        self.w = nn.Parameter(torch.rand(nin) * 2 - 1)
        self.b = nn.Parameter(torch.zeros(1))
        self.nonlin = nonlin

    def forward(self, x):
        act = (x * self.w).sum(dim=1) + self.b
        return act.relu() if self.nonlin else act


class Layer(nn.Module):
    def __init__(self, nin, nout, **kwargs):
        super().__init__()
        self.neurons = nn.ModuleList([Neuron(nin, **kwargs) for _ in range(nout)])

    def forward(self, x):
        out = [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else torch.stack(out, dim=1)


class MLP(nn.Module):
    def __init__(self, nin, nouts):
        super().__init__()
        sz = [nin, *nouts]
        self.layers = nn.ModuleList([Layer(sz[i], sz[i + 1], nonlin=i != len(nouts) - 1) for i in range(len(nouts))])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def moons(count):
    random = np.random.RandomState(1)
    angle = np.pi * random.rand(count)
    y = random.randint(0, 2, count) * 2 - 1  # -1 or 1
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * y[:, None] + (y[:, None] < 0) * np.array([1.0, 0.5])
    return (x + 0.1 * random.randn(count, 2)).astype(np.float32), y.astype(np.float32)


def build():
    torch.manual_seed(1337)
    return MLP(2, [8, 8, 1])


def train(model, steps):
    inputs, targets = moons(50)
    X, y = torch.tensor(inputs), torch.tensor(targets)
    losses = []
    for k in range(steps):
        scores = model(X)
        data_loss = (1 + -y * scores).relu().mean()
        reg_loss = 1e-4 * sum((p * p).sum() for p in model.parameters())
        total_loss = data_loss + reg_loss
        accuracy = ((y > 0) == (scores > 0)).float().mean()
        model.zero_grad()
        total_loss.backward()
        learning_rate = 1.0 - 0.9 * k / 100
        for p in model.parameters():
            p.data -= 0.1 * learning_rate * p.grad
        losses.append(total_loss.item())
    assert 0.0 <= accuracy.item() <= 1.0
    return losses
