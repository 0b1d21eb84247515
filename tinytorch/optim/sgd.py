"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.optim.optimizer import Optimizer, Parameters
from tinytorch.optim.schedules import Schedule


class SGD(Optimizer):
    """Steps against the gradient, with momentum where it is not 0 (Sutskever et al. 2013, ICML, section 2), as in PyTorch.

    Args:
        parameters, lr, schedule, max_norm: see `Optimizer`.
        momentum: share of the last direction that is kept.
        weight_decay: factor of the parameters that is added to the gradient; see `Optimizer`.
        nesterov: look ahead along the new direction.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        schedule: Schedule | None = None,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, schedule, max_norm)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the momentum, so give it one, such as momentum=0.9")
        self.momentum = momentum
        self.nesterov = nesterov

    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

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
        (new_params, velocities, norm), _, _ = ops.sgd.run(
            backend,
            params,
            grads,
            state,
            rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decays=weight_decays,
            max_norm=max_norm,
            donate=donate,
        )
        return new_params, velocities, norm
