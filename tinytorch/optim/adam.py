"""The Adam and AdamW optimizers."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.optim.groups import Parameters
from tinytorch.optim.optimizer import Optimizer
from tinytorch.optim.schedules import Schedule


class Adam(Optimizer):
    """Adam, with L2 regularization as in PyTorch (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Args:
        parameters, lr, schedule, max_norm: see `Optimizer`.
        betas: decay rates of the first and second moment.
        eps: added to the square root of the second moment.
        weight_decay: L2 regularization: ``weight_decay * parameter`` is added to the gradient.

    Raises:
        TypeError, ValueError: see `Optimizer`; also if ``betas`` or ``eps`` are not valid.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = optim.Adam(model.parameters(), lr=0.1)
        >>> tt.sum(model(tt.ones((1, 2)))).backward()
        >>> optimizer.step()
    """

    decoupled = False
    settings = ("betas", "eps")

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, schedule, max_norm)
        if not (all(0.0 <= beta < 1.0 for beta in betas) and eps >= 0.0):
            raise ValueError(f"betas must be in [0, 1) and eps must not be negative, got {betas} and {eps}")
        self.betas = betas
        self.eps = eps

    def slots(self) -> tuple[str, ...]:
        return ("first", "second")

    def apply(
        self,
        backend: Backend,
        params: Sequence[Array],
        grads: Sequence[Array],
        state: Sequence[Array],
        lr: Array,
        step: Array,
        weight_decays: Sequence[float],
        max_norm: float | None,
        donate: bool,
    ) -> tuple[list[Array], list[Array], Array]:
        n = len(params)
        (new_params, first, second, norm), _, _ = ops.adam.run(
            backend,
            params,
            grads,
            state[:n],
            state[n:],
            lr,
            step,
            betas=self.betas,
            eps=self.eps,
            weight_decays=weight_decays,
            decoupled=self.decoupled,
            max_norm=max_norm,
            donate=donate,
        )
        return new_params, [*first, *second], norm


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).

    Weight decay applies to all parameters, as in PyTorch; use `weight_decay_groups` to exclude biases and normalization weights.

    Args:
        parameters, lr, schedule, max_norm: see `Optimizer`.
        betas, eps: see `Adam`.
        weight_decay: each step multiplies the parameter by ``1 - lr * weight_decay``.

    Raises:
        TypeError, ValueError: see `Adam`.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = optim.AdamW(optim.weight_decay_groups(model.parameters(), 0.1), lr=3e-4)
        >>> [parameter.shape for parameter in optimizer.parameters]
        [(1, 2), (1,)]
    """

    decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        schedule: Schedule | None = None,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, schedule, max_norm)
