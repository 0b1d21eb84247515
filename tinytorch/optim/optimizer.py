"""What all optimizers share: parameters, learning rate, state, and the two ways to take a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from tinytorch.backend import Array, Backend
from tinytorch.backend.host import as_host_array
from tinytorch.nn.module import Parameter
from tinytorch.optim.schedules import Schedule


class Optimizer(ABC):
    """Changes parameters to make a loss smaller.

    `step` is for a training loop by hand, after ``loss.backward()``. `update` is the same as a function of arrays, for a step that a
    backend compiles.

    Args:
        parameters: what to optimize.
        lr: learning rate.
        schedule: a factor on the learning rate, by step; see `tinytorch.optim.WarmupCosine`.
        max_norm: clip the gradient, all parameters taken together, to this length (Pascanu et al. 2013, arXiv:1211.5063).

    Attributes:
        steps: how many steps have been taken.
        state: the optimizer's own arrays, as `init` made them, or ``None`` before the first step.

    Raises:
        ValueError: there are no parameters, one comes twice, or a number is negative.
    """

    def __init__(self, parameters: Iterable[Parameter], lr: float, schedule: Schedule | None = None, max_norm: float | None = None) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("the optimizer was given no parameters; pass model.parameters(), and a fresh one to each optimizer")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError("the optimizer was given a parameter twice, which would change it twice a step; pass each one once")
        if not lr >= 0.0 or (max_norm is not None and not max_norm > 0.0):  # NaN too
            raise ValueError(f"lr must not be negative and max_norm must be positive, got {lr} and {max_norm}")
        self.lr = lr
        self.schedule = schedule
        self.max_norm = max_norm
        self.steps = 0
        self.state: list[Array] | None = None

    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays that are kept for each parameter, such as ``("first", "second")``."""

    @abstractmethod
    def apply(
        self,
        backend: Backend,
        params: Sequence[Array],
        grads: Sequence[Array],
        state: Sequence[Array],
        rate: Array,
        step: Array,
        donate: bool,
    ) -> tuple[list[Array], list[Array], Array]:
        """One step at learning rate ``rate``: new parameters, new state, and the length of the gradient before clipping."""

    def init(self, backend: Backend, params: Sequence[Array]) -> list[Array]:
        """The state before the first step: zeros like every parameter, for the first of `slots`, then the next."""
        return [backend.xp.zeros_like(param) for _ in self.slots() for param in params]

    def current_state(self, backend: Backend, params: Sequence[Array]) -> list[Array]:
        """The state that the next step starts from. Raises ``RuntimeError`` where the parameters have left the backend it is on."""
        if self.state is None:
            return self.init(backend, params)
        if not all(backend.owns(array) for array in self.state):
            raise RuntimeError(f"the optimizer's state is not on {backend.spec}, where the parameters are; make a new one after model.to()")
        return self.state

    def update(
        self,
        backend: Backend,
        params: Sequence[Array],
        grads: Sequence[Array],
        state: Sequence[Array],
        lr: Array,
        step: Array,
        donate: bool = False,
    ) -> tuple[list[Array], list[Array], tuple[Array, Array]]:
        """One step on raw arrays, without reading any of them.

        Args:
            backend: where the arrays live.
            params, grads, state: in the order of `parameters`, and as `init` made them. State may be overwritten.
            lr: learning rate before the schedule, float32 without dimensions.
            step: the number of this step, counting from 1, int32 without dimensions.
            donate: whether parameters may be overwritten too.

        Returns:
            New parameters, new state, and the pair of the learning rate used and the length of the gradient before clipping.
        """
        xp = backend.xp
        rate = lr if self.schedule is None else lr * self.schedule(xp, xp.astype(step, lr.dtype))
        params, state, norm = self.apply(backend, params, grads, state, rate, step, donate)
        return params, state, (rate, norm)

    def step(self) -> None:
        """Take a step from the parameters' ``.grad``. Raises ``RuntimeError`` where one has none, or they were moved to another backend."""
        missing = sum(parameter.grad is None for parameter in self.parameters)
        if missing:
            raise RuntimeError(f"{missing} of {len(self.parameters)} parameters have no gradient; call loss.backward() first")
        backend = self.parameters[0].backend
        params = [parameter.raw for parameter in self.parameters]
        grads = [parameter.grad.raw for parameter in self.parameters if parameter.grad is not None]
        state = self.current_state(backend, params)
        lr, step = scalar(backend, self.lr, "float32"), scalar(backend, self.steps + 1, "int32")
        params, self.state, _ = self.update(backend, params, grads, state, lr, step)
        for parameter, raw in zip(self.parameters, params, strict=True):
            parameter.raw = raw
        self.steps += 1

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None


def scalar(backend: Backend, value: Any, dtype: str) -> Array:
    """A number, or a list of them, on the device."""
    return backend.from_host(as_host_array(value), dtype)
