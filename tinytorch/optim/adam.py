"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.optim.optimizer import Optimizer, Parameters
from tinytorch.optim.schedules import Schedule


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1); ``weight_decay`` is added to the gradient, as in PyTorch.

    Args:
        parameters, lr, weight_decay, schedule, max_norm: see `Optimizer`.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
    """

    decoupled = False

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
            raise ValueError(f"betas must lie in [0, 1) and eps must not be negative, got {betas} and {eps}")
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
        rate: Array,
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
            rate,
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
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).

    All parameters decay, as in PyTorch. To leave out biases and the scales of normalization, pass `weight_decay_groups`.
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
