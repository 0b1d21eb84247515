"""Differentiate functions of other libraries: `array_api_extra.cov` and `scipy.special.logsumexp`, which do not know tinytorch.

They are written for the Python Array API standard, so they run on Tensors of any backend: ``TINYTORCH_BACKEND=torch python
examples/borrowed_functions.py``. Needs scipy. The first part computes how a covariance depends on the data. The second part fits a
mixture of three normal distributions with the gradient of its log-likelihood.
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scipy reads this once, at import

import array_api_extra as xpx
import numpy
from scipy.special import logsumexp

import tinytorch as tt
from tinytorch import nn, optim

COMPONENTS = {"mean": [-4.0, 0.0, 3.0], "deviation": [0.5, 1.0, 0.8], "weight": [0.3, 0.5, 0.2]}


def show_influence() -> None:
    """Print how the covariance of two variables depends on each of five points."""
    points = tt.asarray([[0.0, 1.0, 2.0, 3.0, 9.0], [0.5, 0.8, 2.1, 2.9, 4.0]])  # (variables, observations)
    covariance, influence = tt.value_and_grad(lambda x: xpx.cov(x)[0, 1])(points)
    print(f"covariance {float(covariance):.2f}; its derivative with respect to each point's first coordinate:")
    print("  ".join(f"{change:+.2f}" for change in influence[0, :].tolist()))


def sample(count: int) -> numpy.ndarray:
    """Draw numbers from the mixture."""
    random = numpy.random.default_rng(0)
    component = random.choice(3, count, p=COMPONENTS["weight"])
    return random.normal(numpy.asarray(COMPONENTS["mean"])[component], numpy.asarray(COMPONENTS["deviation"])[component])


def log_density(x: tt.Tensor, mean: tt.Tensor, log_deviation: tt.Tensor, logits: tt.Tensor) -> tt.Tensor:
    """Return the log-density of the mixture at each x (N,); its weights are the softmax of ``logits`` (3,)."""
    z = (x[:, None] - mean) / tt.exp(log_deviation)  # (N, 3)
    log_weight = logits - logsumexp(logits)
    return logsumexp(log_weight - log_deviation - 0.5 * math.log(2 * math.pi) - 0.5 * z * z, axis=-1)


def fit_mixture(steps: int = 300) -> dict[str, list[float]]:
    """Fit the mixture by maximum likelihood with Adam. Returns the parameters in the format of `COMPONENTS`."""
    x = tt.asarray(sample(10_000), dtype=tt.float32)
    parameters = [nn.Parameter([-2.0, 0.5, 2.0]), nn.Parameter([0.0, 0.0, 0.0]), nn.Parameter([0.0, 0.0, 0.0])]
    optimizer = optim.Adam(parameters, lr=0.1)
    for step in range(1, steps + 1):
        loss = -tt.mean(log_density(x, *parameters))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f} nats per number")
    mean, log_deviation, logits = [parameter.detach() for parameter in parameters]
    weight = tt.exp(logits - logsumexp(logits))
    found = {"mean": mean, "deviation": tt.exp(log_deviation), "weight": weight}
    order = tt.argsort(mean)
    return {name: tt.take(values, order).tolist() for name, values in found.items()}


def main() -> None:
    """Run both parts."""
    print(f"on {tt.current_backend().spec}")
    show_influence()
    found = fit_mixture()
    for name, true in COMPONENTS.items():
        print(f"{name:>9}  true {'  '.join(f'{v:6.2f}' for v in true)}   found {'  '.join(f'{v:6.2f}' for v in found[name])}")


if __name__ == "__main__":
    main()
