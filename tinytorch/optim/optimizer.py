"""What all optimizers share: parameters and their groups, learning rate, state, and the two ways to take a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.backend.host import as_host_array
from tinytorch.nn.module import Parameter
from tinytorch.optim.schedules import Schedule
from tinytorch.tensor import Tensor

#: What an optimizer is given: parameters, or groups of them, ``{"params": [...], "weight_decay": 0.0}``.
Parameters: TypeAlias = Iterable[Parameter] | Iterable[Mapping[str, Any]]


@dataclass
class ParameterState:
    """What an optimizer keeps for one parameter.

    Attributes:
        steps: how many steps the parameter has taken; fewer than the optimizer where it was frozen, or had no gradient.
        arrays: the optimizer's arrays for it, in the order of `Optimizer.slots`.
    """

    steps: int
    arrays: list[Array]


class Optimizer(ABC):
    """Changes parameters to make a loss smaller.

    `step` is for a training loop by hand, after ``loss.backward()``. `update` is the same as a function of arrays, for a step that a
    backend compiles. A parameter that is frozen (``requires_grad = False``) keeps its value in both.

    Args:
        parameters: what to optimize, or parameter groups as in PyTorch: dictionaries with ``"params"`` and, where it differs from the
            optimizer's own, ``"weight_decay"``.
        lr: learning rate.
        weight_decay: of the parameters whose group sets none.
        schedule: a factor on the learning rate, by step; see `tinytorch.optim.WarmupCosine`.
        max_norm: clip the gradient, all parameters taken together, to this norm (Pascanu et al. 2013, arXiv:1211.5063).

    Attributes:
        parameters: all parameters, in the order they were given.
        steps: how many steps there have been.
        skipped: how many of them changed nothing, as the gradient overflowed float16.
        state: what is kept for each parameter that has taken a step.

    Raises:
        TypeError: something is no parameter, or a group sets what groups cannot set.
        ValueError: there are no parameters, one comes twice, or a number is negative.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
        max_norm: float | None = None,
    ) -> None:
        groups = _groups(parameters, weight_decay)
        self.parameters = [parameter for params, _ in groups for parameter in params]
        if not self.parameters:
            raise ValueError("the optimizer was given no parameters; pass model.parameters(), and a fresh one to each optimizer")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError("the optimizer was given a parameter twice, which would change it twice a step; pass each one once")
        if not lr >= 0.0 or (max_norm is not None and not max_norm > 0.0):  # NaN too
            raise ValueError(f"lr must not be negative and max_norm must be positive, got {lr} and {max_norm}")
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_norm = max_norm
        self.steps = 0
        self.skipped = 0
        self.state: dict[Parameter, ParameterState] = {}
        self._weight_decays = {parameter: decay for params, decay in groups for parameter in params}

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
        weight_decays: Sequence[float],
        max_norm: float | None,
        donate: bool,
    ) -> tuple[list[Array], list[Array], Array]:
        """One step at learning rate ``rate``: new parameters, new state, and the norm of the gradient before clipping."""

    def state_arrays(self, parameters: Sequence[Parameter]) -> list[Array]:
        """The state that the next step of ``parameters`` starts from: all arrays of the first of `slots`, then of the next.

        It is zero for a parameter that has taken no step. Raises ``RuntimeError`` where one has left the backend that its state is on.
        """
        for parameter in parameters:
            kept = self.state.get(parameter)
            if kept is not None and not all(parameter.backend.owns(array) for array in kept.arrays):
                spec = parameter.backend.spec
                raise RuntimeError(f"the optimizer's state is not on {spec}, where the parameters are; make a new one after model.to()")
        return [
            self.state[parameter].arrays[i] if parameter in self.state else parameter.backend.xp.zeros_like(parameter.raw)
            for i in range(len(self.slots()))
            for parameter in parameters
        ]

    def keep_state(self, parameters: Sequence[Parameter], arrays: Iterable[Array], steps: int, skipped: int = 0) -> None:
        """Keep ``arrays``, in the order of `state_arrays`, as the state of ``parameters`` after ``steps`` more, some of them ``skipped``.

        They are taken one by one, so that an iterator that makes them need not hold all in memory beside those they replace.
        """
        slots, remaining = len(self.slots()), iter(arrays)
        for parameter in parameters:
            self.state.setdefault(parameter, ParameterState(0, [None] * slots)).steps += steps - skipped
        for slot in range(slots):
            for parameter in parameters:
                self.state[parameter].arrays[slot] = next(remaining)
        self.steps += steps
        self.skipped += skipped

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Parameter],
        params: Sequence[Array],
        grads: Sequence[Array],
        state: Sequence[Array],
        lr: Array,
        step: Array,
        donate: bool = False,
    ) -> tuple[list[Array], list[Array], tuple[Array, Array]]:
        """One step of some parameters on raw arrays, without reading any of them.

        Args:
            backend: where the arrays live.
            parameters: which parameters the arrays belong to; their own values are not looked at.
            params, grads: one for each of them.
            state: as `state_arrays` made it. It is donated: it may be overwritten.
            lr: learning rate before the schedule, a 0-d array of the type `rate_dtype`.
            step: the number of this step among those that were not skipped, counting from 1, a 0-d array of int32.
            donate: whether ``params`` are donated too.

        Returns:
            New parameters, new state, and the pair of the learning rate used and the norm of the gradient before clipping.
        """
        xp = backend.xp
        rate = lr if self.schedule is None else lr * self.schedule(xp, xp.astype(step, lr.dtype))
        decays = [self._weight_decays[parameter] for parameter in parameters]
        late = self._late(parameters)
        if len(late) == 1:
            (behind,) = late
            own_step = step - behind if behind else step
            new, state, norm = self.apply(backend, params, grads, state, rate, own_step, decays, self.max_norm, donate)
            return new, state, (rate, norm)
        # bias corrections count a parameter's own steps, so those with equal counts are updated together; clipping takes all at once
        grads, norm = ops.clip_by_norm(xp, grads, self.max_norm)
        n = len(parameters)
        new_params, new_state = list(params), list(state)
        for behind, members in late.items():
            places = [slot * n + i for slot in range(len(self.slots())) for i in members]
            some, some_state, _ = self.apply(
                backend,
                [params[i] for i in members],
                [grads[i] for i in members],
                [state[place] for place in places],
                rate,
                step - behind if behind else step,
                [decays[i] for i in members],
                None,
                donate,
            )
            for i, array in zip(members, some, strict=True):
                new_params[i] = array
            for place, array in zip(places, some_state, strict=True):
                new_state[place] = array
        return new_params, new_state, (rate, norm)

    def _late(self, parameters: Sequence[Parameter]) -> dict[int, list[int]]:
        """The places of ``parameters`` by how many of the optimizer's steps they have missed."""
        late: dict[int, list[int]] = {}
        for i, parameter in enumerate(parameters):
            taken = self.state[parameter].steps if parameter in self.state else 0
            late.setdefault(self.steps - self.skipped - taken, []).append(i)
        return late

    def step(self) -> None:
        """Take a step with the gradients in ``.grad``; a parameter without one, or a frozen one, is skipped, as in PyTorch.

        Raises ``RuntimeError`` where no parameter is left, or they were moved to another backend.
        """
        parameters = [p for p in self.parameters if p.requires_grad and p.grad is not None]
        if not parameters:
            raise RuntimeError("no parameter has a gradient; call loss.backward() before step(), and see that some have requires_grad")
        backend = parameters[0].backend
        params = [parameter.raw for parameter in parameters]
        grads = [parameter.grad.raw for parameter in parameters if parameter.grad is not None]
        state = self.state_arrays(parameters)
        lr, step = scalar(backend, self.lr, rate_dtype(parameters)), scalar(backend, self.steps - self.skipped + 1, "int32")
        params, state, _ = self.update(backend, parameters, params, grads, state, lr, step)
        for parameter, raw in zip(parameters, params, strict=True):
            parameter.raw = raw
        self.keep_state(parameters, state, 1)

    def zero_grad(self) -> None:
        """Set ``.grad`` of all parameters to ``None``."""
        for parameter in self.parameters:
            parameter.grad = None


def weight_decay_groups(parameters: Iterable[Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups, of which only the first decays: matrices and filters; biases and scales of normalization, which are 1-d."""
    params = list(parameters)
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


def rate_dtype(parameters: Iterable[Tensor]) -> str:
    """The type to keep a learning rate in: float64 for float64 parameters, where 0.1 in float32 would be another number."""
    return "float64" if any(parameter.dtype.name == "float64" for parameter in parameters) else "float32"


def scalar(backend: Backend, value: Any, dtype: str) -> Array:
    """A number, or a list of them, on the device."""
    return backend.from_host(as_host_array(value), dtype)


def _groups(parameters: Parameters, weight_decay: float) -> list[tuple[list[Parameter], float]]:
    """The parameters of each group and their weight decay. Plain parameters are one group."""
    if isinstance(parameters, Tensor | Mapping):
        raise TypeError(f"an optimizer takes a list of parameters or of groups, got a single {type(parameters).__name__}; put it in a list")
    given = list(parameters)
    groups = [entry for entry in given if isinstance(entry, Mapping)]
    if groups and len(groups) < len(given):
        raise TypeError("an optimizer takes parameters, or groups of them, and not both in one list")
    found: list[tuple[list[Parameter], float]] = []
    for group in groups or [{"params": given}]:
        unknown = sorted(set(group) - {"params", "weight_decay"})
        if unknown or "params" not in group:
            raise TypeError(f'a parameter group has "params" and may set "weight_decay", got {", ".join(map(repr, group)) or "nothing"}')
        params: list[Any] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        for parameter in params:
            if not isinstance(parameter, Tensor):
                raise TypeError(f"an optimizer takes parameters, such as model.parameters(), got {type(parameter).__name__} among them")
        decay = group.get("weight_decay", weight_decay)
        if not decay >= 0.0:  # NaN too
            raise ValueError(f"weight_decay must not be negative, got {decay}")
        found.append((params, decay))
    return found
