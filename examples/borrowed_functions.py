"""Other people's functions, differentiated: `array_api_extra.cov` and `scipy.special.logsumexp`, which know nothing of tinytorch.

They are written for the Python Array API standard, and so run on Tensors of any backend: ``TINYTORCH_BACKEND=torch python
examples/borrowed_functions.py``. Needs scipy. The first part asks how a covariance depends on the data; the second fits a mixture of three
normal distributions by the gradient of its likelihood.
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scipy reads it once, when it is loaded

import array_api_extra as xpx
import numpy
from scipy.special import logsumexp

import tinytorch as tt
from tinytorch import nn, optim

COMPONENTS = {"mean": [-4.0, 0.0, 3.0], "deviation": [0.5, 1.0, 0.8], "share": [0.3, 0.5, 0.2]}


def which_point_matters() -> None:
    """How much each of five points pulls on the covariance of two variables."""
    points = tt.asarray([[0.0, 1.0, 2.0, 3.0, 9.0], [0.5, 0.8, 2.1, 2.9, 4.0]])  # (variables, observations)
    covariance, pull = tt.value_and_grad(lambda x: xpx.cov(x)[0, 1])(points)
    print(f"covariance {float(covariance):.2f}; moving a point's first coordinate by 1 adds")
    print("  ".join(f"{change:+.2f}" for change in pull[0, :].tolist()))


def sample(count: int) -> numpy.ndarray:
    """Numbers from the mixture."""
    random = numpy.random.default_rng(0)
    which = random.choice(3, count, p=COMPONENTS["share"])
    return random.normal(numpy.asarray(COMPONENTS["mean"])[which], numpy.asarray(COMPONENTS["deviation"])[which])


def log_density(x: tt.Tensor, mean: tt.Tensor, log_deviation: tt.Tensor, weight: tt.Tensor) -> tt.Tensor:
    """Logarithm of the mixture's density at each x (N); the shares are the softmax of ``weight`` (3)."""
    z = (x[:, None] - mean) / tt.exp(log_deviation)  # (N, 3)
    log_share = weight - logsumexp(weight)
    return logsumexp(log_share - log_deviation - 0.5 * math.log(2 * math.pi) - 0.5 * z * z, axis=-1)


def fit_a_mixture(steps: int = 300) -> dict[str, list[float]]:
    """The maximum likelihood fit, by Adam; returns what `COMPONENTS` holds."""
    x = tt.asarray(sample(10_000), dtype=tt.float32)
    parameters = [nn.Parameter([-2.0, 0.5, 2.0]), nn.Parameter([0.0, 0.0, 0.0]), nn.Parameter([0.0, 0.0, 0.0])]
    optimizer = optim.Adam(parameters, lr=0.1)
    for step in range(1, steps + 1):
        loss = -tt.mean(log_density(x, *parameters))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f} nats a number")
    mean, log_deviation, weight = [parameter.detach() for parameter in parameters]
    share = tt.exp(weight - logsumexp(weight))
    found = {"mean": mean, "deviation": tt.exp(log_deviation), "share": share}
    order = tt.argsort(mean)
    return {name: tt.take(values, order).tolist() for name, values in found.items()}


def main() -> None:
    """Both parts."""
    print(f"on {tt.current_backend().spec}")
    which_point_matters()
    found = fit_a_mixture()
    for name, true in COMPONENTS.items():
        print(f"{name:>9}  true {'  '.join(f'{v:6.2f}' for v in true)}   found {'  '.join(f'{v:6.2f}' for v in found[name])}")


if __name__ == "__main__":
    main()
