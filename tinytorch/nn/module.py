"""Module: a layer or model, made of parameters, buffers and other modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeAlias

from tinytorch.array_api import asarray
from tinytorch.backend.host import is_host_array
from tinytorch.device import Device
from tinytorch.tensor import Tensor

#: What a step binds in place of a module's own value: a parameter, or a buffer by its module and name.
Slot: TypeAlias = "Parameter | tuple[Module, str]"

# Bound values live in the context, not on the module, so that threads can run the same module on values of their own.
_bound: ContextVar[dict[Slot, Tensor] | None] = ContextVar("tinytorch_bound", default=None)


class Parameter(Tensor):
    """A Tensor that a Module learns: set as an attribute, it joins ``parameters()``."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, device: Any = None) -> None:
        super().__init__(data, dtype=dtype, device=device, requires_grad=True)


class Module:
    """Base of all layers and models.

    A subclass sets Parameters and Modules as attributes in ``__init__`` and computes in ``forward``; calling the module runs it. A
    numpy array given to a call is sent to the module's device.

    Attributes:
        training: whether layers such as `Dropout` behave as in training; see `train` and `eval`.
    """

    training: bool

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _transient=set(), _modules={}, training=True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(is_host_array(arg) for arg in args):
            args = tuple([self.receive(arg) if is_host_array(arg) else arg for arg in args])
        return self.forward(*args, **kwargs)

    def receive(self, array: Any) -> Tensor:
        """A host array that was passed as input, as a Tensor on the module's device."""
        return asarray(array, device=self.device)

    # ---- parts, set and read as attributes ----

    def __setattr__(self, name: str, value: Any) -> None:
        parts: dict[str, dict[str, Any]] = self.__dict__
        if "_parameters" not in parts:
            raise AttributeError(f"{type(self).__name__} must call super().__init__() before it sets attributes")
        if name in parts["_buffers"] and isinstance(value, Tensor):
            bound = _bound.get()
            if bound is not None and (self, name) in bound:
                bound[self, name] = value
            else:
                parts["_buffers"][name] = value
            return
        for kind in ("_parameters", "_modules"):
            parts[kind].pop(name, None)
        if isinstance(value, Parameter):
            parts["_parameters"][name] = value
        elif isinstance(value, Module):
            parts["_modules"][name] = value
        else:
            object.__setattr__(self, name, value)
            return
        parts.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__
        bound = _bound.get()
        if name in parts.get("_parameters", ()):
            parameter = parts["_parameters"][name]
            return parameter if bound is None else bound.get(parameter, parameter)
        if name in parts.get("_buffers", ()):
            buffer = parts["_buffers"][name]
            return buffer if bound is None else bound.get((self, name), buffer)
        if name in parts.get("_modules", ()):
            return parts["_modules"][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_buffer(self, name: str, value: Tensor, persistent: bool = True) -> None:
        """Add a Tensor that is part of the module but not learned; ``state_dict`` holds it where ``persistent``."""
        self._buffers[name] = value
        if not persistent:
            self._transient.add(name)

    # ---- walking over the parts ----

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and all inside it, with dotted names."""
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """The module itself and all inside it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names; one that is used in several places comes once, under its first name."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter not in seen:
                    seen.add(parameter)
                    yield (f"{prefix}.{name}" if prefix else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Everything the module learns."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, persistent_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names."""
        for name, (module, attribute) in self._buffer_slots(persistent_only):
            yield name, module._buffers[attribute]

    def _buffer_slots(self, persistent_only: bool = False) -> Iterator[tuple[str, tuple[Module, str]]]:
        for prefix, module in self.named_modules():
            for name in module._buffers:
                if not (persistent_only and name in module._transient):
                    yield (f"{prefix}.{name}" if prefix else name), (module, name)

    def slots(self) -> dict[str, Slot]:
        """Where `bind` puts values: every parameter, and every buffer that `state_dict` holds, by dotted name."""
        slots: dict[str, Slot] = dict(self.named_parameters())
        slots.update(self._buffer_slots(persistent_only=True))
        return slots

    def count_parameters(self) -> int:
        """How many numbers the module learns."""
        return sum(parameter.size for parameter in self.parameters())

    @property
    def device(self) -> Device | None:
        """Where the module's first parameter or buffer lives; ``None`` without any."""
        for parameter in self.parameters():
            return parameter.device
        for _, buffer in self.named_buffers():
            return buffer.device
        return None

    # ---- state ----

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all parameters and persistent buffers, by dotted name."""
        tensors: dict[str, Tensor] = dict(self.named_parameters())
        tensors.update(self.named_buffers(persistent_only=True))
        return {name: asarray(tensor.detach(), copy=True) for name, tensor in tensors.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over values by name: Tensors, numpy arrays, or anything numpy can read (a PyTorch CPU state dict, say).

        Raises:
            KeyError: with ``strict``, a name is missing or unknown; all of them are listed.
            ValueError: a shape differs. Nothing has been changed then.
        """
        slots = self.slots()
        missing, unknown = [n for n in slots if n not in state], [n for n in state if n not in slots]
        if strict and (missing or unknown):
            raise KeyError(f"the state does not fit {type(self).__name__}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        values: list[tuple[Slot, Tensor]] = []
        for name, slot in slots.items():
            if name in state:
                values.append((slot, self._fitting(name, _own(slot), state[name])))
        for slot, value in values:
            _own(slot).raw = value.raw

    def _fitting(self, name: str, own: Tensor, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            value = value if is_host_array(value) else value.__array__()
        new = asarray(value, dtype=own.dtype, device=own.device, copy=True)
        if new.shape != own.shape:
            raise ValueError(f"{name} has shape {tuple(own.shape)}, the state holds {tuple(new.shape)}")
        return new

    def train(self, mode: bool = True) -> Self:
        """Switch the module and all inside it to training behaviour; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to the behaviour for use rather than training: no dropout. Returns the module."""
        return self.train(False)

    def to(self, device: Any) -> Self:
        """Move all parameters and buffers to a backend or device (``model.to("cupy")``); returns the module."""
        for tensor in [*self.parameters(), *(buffer for _, buffer in self.named_buffers())]:
            moved = tensor.detach().to(device)
            tensor.raw, tensor.backend, tensor.grad = moved.raw, moved.backend, None
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    # ---- printing ----

    def extra_repr(self) -> str:
        """The settings to show in ``repr``, such as ``"3, 4, bias=True"``."""
        return ""

    def __repr__(self) -> str:
        if not self._modules:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *lines]) + "\n)"


def _own(slot: Slot) -> Tensor:
    """The module's own Tensor in this place."""
    return slot if isinstance(slot, Parameter) else slot[0]._buffers[slot[1]]


@contextmanager
def bind(slots: Sequence[Slot], values: Sequence[Tensor]) -> Iterator[dict[Slot, Tensor]]:
    """Run modules on ``values`` in place of their own inside a ``with`` block, in this thread alone.

    Yields the values by slot; a buffer that the module sets meanwhile is replaced there, and not on the module.
    """
    bound = dict(zip(slots, values, strict=True))
    token = _bound.set({**(_bound.get() or {}), **bound})
    try:
        current = _bound.get()
        assert current is not None
        yield current
    finally:
        _bound.reset(token)


def functional_call(module: Module, state: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """Call ``module`` with the parameters and buffers in ``state``, by dotted name, in place of its own; those left out stay.

    The module is not changed. A buffer that the call would update (running statistics) is updated in ``state`` instead, if it is there.
    Raises ``KeyError`` for a name that the module does not have.
    """
    slots = module.slots()
    unknown = [name for name in state if name not in slots]
    if unknown:
        raise KeyError(f"{type(module).__name__} has no parameter or buffer called {', '.join(unknown)}")
    with bind([slots[name] for name in state], list(state.values())) as bound:
        result = module(*args, **kwargs)
        state.update({name: bound[slots[name]] for name in state})
    return result
