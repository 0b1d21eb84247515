"""The SGD optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.optim.groups import Parameters
from tinytorch.optim.optimizer import Optimizer
from tinytorch.optim.schedules import Schedule


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum, as in PyTorch (Sutskever et al. 2013, ICML, section 2).

    Args:
        parameters, lr, schedule, max_norm: see `Optimizer`.
        momentum: factor on the previous velocity: ``velocity = momentum * velocity + gradient``.
        weight_decay: L2 regularization: ``weight_decay * parameter`` is added to the gradient.
        nesterov: use Nesterov momentum.

    Raises:
        TypeError, ValueError: see `Optimizer`; also if ``momentum`` is not valid, or ``nesterov`` is set without momentum.

    Example:
        >>> weight = nn.Parameter([1.0])
        >>> optimizer = optim.SGD([weight], lr=0.5)
        >>> tt.sum(2 * weight).backward()
        >>> optimizer.step()  # 1 - 0.5 * 2
        >>> weight.item()
        0.0
    """

    settings = ("momentum", "nesterov")

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
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs momentum; pass momentum=0.9, for example")
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
        lr: Array,
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
            lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decays=weight_decays,
            max_norm=max_norm,
            donate=donate,
        )
        return new_params, velocities, norm
