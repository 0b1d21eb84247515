"""The base class of optimizers: learning rate, state, `step` (in place) and `update` (as a function of arrays)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinytorch import ops
from tinytorch.backend import Array, Backend
from tinytorch.backend.host import as_host_array
from tinytorch.nn.module import Parameter
from tinytorch.nn.moving import reset_gradients
from tinytorch.optim.groups import ParameterGroup, Parameters, parse_groups
from tinytorch.optim.schedules import Schedule
from tinytorch.optim.state import load_state, save_state
from tinytorch.tensor import Tensor


@dataclass
class ParameterState:
    """The optimizer state of one parameter.

    Attributes:
        steps: number of updates of the parameter. It is less than the optimizer's if the parameter was frozen or had no gradient.
        arrays: state arrays, such as the moments of Adam, in the order of `Optimizer.slots`.

    Example:
        >>> weight = nn.Parameter([1.0])
        >>> optimizer = optim.SGD([weight], momentum=0.9)
        >>> tt.sum(2 * weight).backward()
        >>> optimizer.step()
        >>> optimizer.state[weight]
        ParameterState(steps=1, arrays=[array([2.], dtype=float32)])
    """

    steps: int
    arrays: list[Array]


class Optimizer(ABC):
    """Base class of optimizers.

    `step` updates the parameters in place after ``loss.backward()``, for a training loop written by hand. `update` computes the same step
    as a function of arrays, which a backend can compile. Neither changes a frozen parameter (``requires_grad = False``).

    Args:
        parameters: parameters, or parameter groups as in PyTorch: dictionaries with ``"params"`` and optionally ``"weight_decay"``.
        lr: learning rate.
        weight_decay: default for groups that do not set it.
        schedule: learning rate schedule, a function that returns a factor on ``lr`` for each step, such as `WarmupCosine`.
        max_norm: clip the global norm of the gradient, over all parameters, to this value (Pascanu et al. 2013, arXiv:1211.5063).

    Attributes:
        parameters: all parameters, in order.
        param_groups: a `ParameterGroup` for each group, whose ``"lr"`` and ``"weight_decay"`` can be changed between steps.
        settings: names of the attributes that are saved in a state dict, such as ``betas``.
        steps: number of steps, including skipped ones.
        skipped: number of steps that changed nothing, because the gradient overflowed in float16.
        state: the `ParameterState` of each parameter that was updated at least once.

    Raises:
        TypeError: a parameter is not a Tensor, or a group has an unknown key.
        ValueError: there are no parameters, one is listed twice, or a setting is out of range.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> for x, y in [(tt.ones((4, 2)), tt.zeros((4, 1)))]:
        ...     optimizer.zero_grad()
        ...     nn.MSELoss()(model(x), y).backward()
        ...     optimizer.step()
        >>> optimizer.steps
        1
    """

    settings: tuple[str, ...] = ()

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
        max_norm: float | None = None,
    ) -> None:
        groups = parse_groups(parameters, weight_decay)
        self.parameters = [parameter for params, _ in groups for parameter in params]
        if not self.parameters:
            raise ValueError("the optimizer got no parameters; pass model.parameters() (an iterator, so call it again for each optimizer)")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError("a parameter is listed twice and would be updated twice in each step; pass each parameter once")
        if not lr >= 0.0 or (max_norm is not None and not max_norm > 0.0):  # NaN too
            raise ValueError(f"lr must not be negative and max_norm must be positive, got {lr} and {max_norm}")
        self.param_groups = [ParameterGroup(params, lr, decay) for params, decay in groups]
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_norm = max_norm
        self.steps = 0
        self.skipped = 0
        self.state: dict[Parameter, ParameterState] = {}

    @property
    def lr(self) -> float:
        """The learning rate of all groups; raises ``ValueError`` if they have different ones. Setting it sets it for all groups."""
        rates: list[float] = [group["lr"] for group in self.param_groups]
        if any(rate != rates[0] for rate in rates):
            raise ValueError(f"param_groups have different learning rates, {rates}; use an optimizer for each learning rate")
        return rates[0]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Return the names of the state arrays of a parameter, such as ``("first", "second")`` for the moments of Adam."""

    @abstractmethod
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
        """Compute one step on raw arrays.

        Args:
            backend: backend of the arrays.
            params, grads: parameters and their gradients.
            state: state arrays, in the order of `state_arrays`.
            lr: learning rate after the schedule, a 0-d array.
            step: number of the step, counted from 1, a 0-d array.
            weight_decays: weight decay of each parameter.
            max_norm: clip the gradient to this norm; ``None`` for no clipping.
            donate: whether ``params`` are donated: their memory may be overwritten.

        Returns:
            New parameters, new state, and the norm of the gradient before clipping.
        """

    def state_arrays(self, parameters: Sequence[Parameter]) -> list[Array]:
        """Return the state arrays of ``parameters``: those of the first slot for all parameters, then those of the next slot.

        They are zeros for a parameter that was not updated yet.

        Raises:
            RuntimeError: a parameter was moved to another backend than its state.
        """
        for parameter in parameters:
            own = self.state.get(parameter)
            if own is not None and not all(parameter.backend.owns(array) for array in own.arrays):
                spec = parameter.backend.spec
                raise RuntimeError(f"the parameters are on {spec}, but the optimizer state is not; create the optimizer after model.to()")
        return [
            self.state[parameter].arrays[i] if parameter in self.state else parameter.backend.xp.zeros_like(parameter.raw)
            for i in range(len(self.slots()))
            for parameter in parameters
        ]

    def store_state(self, parameters: Sequence[Parameter], arrays: Iterable[Array], steps: int, skipped: int = 0) -> None:
        """Store new state arrays and count steps.

        Args:
            parameters: the parameters that were updated.
            arrays: their state, in the order of `state_arrays`. An iterator is consumed one array at a time, so that old and new state are
                not both in memory.
            steps: number of steps since the last call.
            skipped: how many of them were skipped.
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
        """Compute one step on raw arrays, without copying values to the CPU, so that the step can be compiled.

        Args:
            backend: backend of the arrays.
            parameters: the parameters that the arrays belong to. Their own values are not used.
            params, grads: their values and gradients.
            state: their state, in the order of `state_arrays`. It is donated: it may be overwritten.
            lr: learning rate before the schedule, a 0-d array of dtype `learning_rate_dtype`.
            step: number of this step, counted from 1 without skipped steps, a 0-d int32 array.
            donate: whether ``params`` are donated too.

        Returns:
            New parameters, new state, and the pair of the learning rate after the schedule and the norm of the gradient before clipping.
        """
        xp = backend.xp
        scheduled_lr = lr if self.schedule is None else lr * self.schedule(xp, xp.astype(step, lr.dtype))
        by_parameter = {parameter: group["weight_decay"] for group in self.param_groups for parameter in group["params"]}
        decays = [by_parameter[parameter] for parameter in parameters]
        groups = self._indices_by_missed_steps(parameters)
        if len(groups) == 1:
            (missed,) = groups
            own_step = step - missed if missed else step
            new, state, norm = self.apply(backend, params, grads, state, scheduled_lr, own_step, decays, self.max_norm, donate)
            return new, state, (scheduled_lr, norm)
        # bias correction needs a parameter's own step count: one update for each group of parameters with equal counts, after clipping
        grads, norm = ops.clip_by_norm(xp, grads, self.max_norm)
        n = len(parameters)
        new_params, new_state = list(params), list(state)
        for missed, members in groups.items():
            state_indices = [slot * n + i for slot in range(len(self.slots())) for i in members]
            updated, updated_state, _ = self.apply(
                backend,
                [params[i] for i in members],
                [grads[i] for i in members],
                [state[j] for j in state_indices],
                scheduled_lr,
                step - missed if missed else step,
                [decays[i] for i in members],
                None,
                donate,
            )
            for i, array in zip(members, updated, strict=True):
                new_params[i] = array
            for j, array in zip(state_indices, updated_state, strict=True):
                new_state[j] = array
        return new_params, new_state, (scheduled_lr, norm)

    def _indices_by_missed_steps(self, parameters: Sequence[Parameter]) -> dict[int, list[int]]:
        """Return indices into ``parameters``, grouped by how many steps of the optimizer did not update the parameter."""
        groups: dict[int, list[int]] = {}
        for i, parameter in enumerate(parameters):
            taken = self.state[parameter].steps if parameter in self.state else 0
            groups.setdefault(self.steps - self.skipped - taken, []).append(i)
        return groups

    def step(self) -> None:
        """Update the parameters with the gradients in ``.grad``; frozen ones and those without a gradient are skipped, as in PyTorch.

        Raises:
            RuntimeError: no parameter has a gradient, or parameters were moved to another backend than their state.
        """
        parameters = [p for p in self.parameters if p.requires_grad and p.grad is not None]
        if not parameters:
            raise RuntimeError("no parameter has a gradient; call loss.backward() before step(), and check that requires_grad is true")
        backend = parameters[0].backend
        params = [parameter.raw for parameter in parameters]
        grads = [parameter.grad.raw for parameter in parameters if parameter.grad is not None]
        state = self.state_arrays(parameters)
        lr, step = scalar(backend, self.lr, learning_rate_dtype(parameters)), scalar(backend, self.steps - self.skipped + 1, "int32")
        params, state, _ = self.update(backend, parameters, params, grads, state, lr, step)
        for parameter, raw in zip(parameters, params, strict=True):
            parameter.raw = raw
        self.store_state(parameters, state, 1)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set ``.grad`` of all parameters to ``None``, or to zeros with ``set_to_none=False``."""
        reset_gradients(self.parameters, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the state arrays and the settings, in the format of PyTorch.

        Returns:
            ``"state"``, a dictionary with the step count and the state arrays of each parameter that was updated, by its index;
            ``"param_groups"``; and ``"steps"`` and ``"skipped"``.

        Example:
            >>> weight = nn.Parameter([1.0])
            >>> optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
            >>> tt.sum(2 * weight).backward()
            >>> optimizer.step()
            >>> optimizer.state_dict()["state"]
            {0: {'step': 1, 'momentum_buffer': Tensor([2.], dtype=float32, device='numpy:cpu')}}
        """
        return save_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state dict of `state_dict`, or of the optimizer of the same name in PyTorch.

        Args:
            state: the state dict; arrays may be of any library, such as PyTorch on the CPU.

        Raises:
            KeyError: an entry or a state array is missing.
            ValueError: the number of parameters, a shape or a setting does not fit. If this raises, the optimizer is not changed.
        """
        load_state(self, state)

    def restore(self, state: Mapping[Parameter, tuple[int, list[Array]]], steps: int, skipped: int) -> None:
        """Replace the state: the number of steps and the state arrays of each parameter, and the counts of the optimizer."""
        self.state = {parameter: ParameterState(taken, arrays) for parameter, (taken, arrays) in state.items()}
        self.steps, self.skipped = steps, skipped


def learning_rate_dtype(parameters: Iterable[Tensor]) -> str:
    """Return float64 if a parameter is float64, else float32. A float32 learning rate would be rounded too much for float64."""
    return "float64" if any(parameter.dtype.name == "float64" for parameter in parameters) else "float32"


def scalar(backend: Backend, value: Any, dtype: str) -> Array:
    """Copy a number, or a list of numbers, to the device."""
    return backend.from_host(as_host_array(value), dtype)
