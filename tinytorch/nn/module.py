"""Module: a layer or model, made of parameters, buffers and other modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, TypeAlias, TypeVar

from tinytorch.array_api import asarray, reshape
from tinytorch.backend.device import Device
from tinytorch.backend.host import as_host_array, is_host_array
from tinytorch.nn.binding import bound_values, former_buffers
from tinytorch.tensor import Tensor

#: Identifies a value that a module owns, so that `bind` can replace it: a parameter, or a buffer by its module and name.
Slot: TypeAlias = "Parameter | tuple[Module, str]"

_R = TypeVar("_R", covariant=True)


class Parameter(Tensor):
    """A Tensor that a Module learns: set as an attribute, it joins ``parameters()``."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, device: Any = None) -> None:
        super().__init__(data, dtype=dtype, device=device, requires_grad=True)


class _Callable(Protocol[_R]):
    """A module by the result of its ``forward``, so that type checkers know what calling it returns."""

    def forward(self, *args: Any, **kwargs: Any) -> _R: ...

    def _received(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


class Module:
    """Base of all layers and models.

    A subclass sets Parameters and Modules as attributes in ``__init__`` and computes in ``forward``; calling the module runs it. A Tensor
    that belongs to the module but is not learned is given to `register_buffer`. A numpy array that is passed to a call is sent to the
    module's device, or beside the call's Tensors where the module holds none.

    Attributes:
        training: whether layers such as `Dropout` behave as in training; see `train` and `eval`.
        batch_independent: true if every example of a batch (its first axis) is processed independently and forward updates no buffer
            (Linear: yes, BatchNorm: no). A batch may be sharded where this holds for all modules of a model.
    """

    training: bool
    batch_independent: bool = False

    _parameters: dict[str, Parameter]
    _buffers: dict[str, Tensor]
    _transient: set[str]  # names of buffers that are not persistent
    _modules: dict[str, Module]

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _transient=set(), _modules={}, training=True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self: _Callable[_R], *args: Any, **kwargs: Any) -> _R:
        for value in (*args, *kwargs.values()):
            if type(value) is not Tensor and is_host_array(value):  # the first is quicker, and nearly always false
                args, kwargs = self._received(args, kwargs)
                break
        return self.forward(*args, **kwargs)

    def _received(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's arguments, with Tensors in place of host arrays."""
        beside = next((value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        return (
            tuple([self.prepare_input(arg, beside) if is_host_array(arg) else arg for arg in args]),
            {name: self.prepare_input(value, beside) if is_host_array(value) else value for name, value in kwargs.items()},
        )

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """A host array that was passed as input, as a Tensor on the module's device; on ``device`` where it has none."""
        return asarray(array, device=self.device or device)

    # ---- parts, set and read as attributes ----

    def __setattr__(self, name: str, value: Any) -> None:
        parts: dict[str, dict[str, Any]] = self.__dict__
        if "_parameters" not in parts:
            raise AttributeError(f"{type(self).__name__} must call super().__init__() before it sets attributes")
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if kind is None and isinstance(value, Tensor):
            if name in parts["_parameters"]:
                raise TypeError(
                    f"{name} is a parameter of {type(self).__name__}: set nn.Parameter(...) in its place, "
                    f"or change its value with load_state_dict"
                )
            if name in parts["_buffers"]:
                bound = bound_values.get()
                if bound is not None and (self, name) in bound:
                    bound[self, name] = value
                else:
                    for former in former_buffers.get():
                        former.setdefault((self, name), parts["_buffers"][name])
                    parts["_buffers"][name] = value
                return
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                parts[other].pop(name, None)
        if kind is None:
            object.__setattr__(self, name, value)
        else:
            parts[kind][name] = value  # a part that takes the place of another keeps its position among them
            parts.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__
        if "_modules" in parts:  # it is not before `Module.__init__`
            found = parts["_modules"].get(name)
            if found is not None:
                return found
            bound = bound_values.get()
            found = parts["_parameters"].get(name)
            if found is not None:
                return found if bound is None else bound.get(found, found)
            found = parts["_buffers"].get(name)
            if found is not None:
                return found if bound is None else bound.get((self, name), found)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_buffer(self, name: str, value: Tensor, persistent: bool = True) -> None:
        """Add a Tensor that is part of the module but not learned; ``state_dict`` holds it where ``persistent``.

        Raises ``TypeError`` for anything but a Tensor, and ``ValueError`` where the name is taken.
        """
        if not isinstance(value, Tensor) or isinstance(value, Parameter):
            raise TypeError(f"the buffer {name!r} must be a Tensor, and not a Parameter, got {type(value).__name__}")
        if name not in self._buffers and hasattr(self, name):
            raise ValueError(f"{type(self).__name__} already has an attribute {name!r}; choose another name for the buffer")
        self._buffers[name] = value
        self._transient.discard(name)
        if not persistent:
            self._transient.add(name)

    # ---- walking over the parts ----

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """The module itself and all inside it, with dotted names; one that is used in several places comes once, under its first name."""
        yield from self._walk("", set())

    def _walk(self, prefix: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

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

        They are copied, and converted to the module's own data types. When this raises, nothing has been changed. Each is looked up twice,
        to be checked and to be copied, so a mapping that reads a file when it is asked (`tinytorch.io.files.StoredArrays`) saves memory.

        Raises:
            KeyError: with ``strict``, a name is missing or unknown; all of them are listed.
            ValueError: shapes differ; all that do are listed.
            TypeError: a value is not made of numbers.
        """
        slots = self.slots()
        missing, unknown = [n for n in slots if n not in state], [n for n in state if n not in slots]
        if strict and (missing or unknown):
            raise KeyError(f"the state does not fit {type(self).__name__}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        given = [n for n in slots if n in state]
        unequal = []
        for name in given:
            own, value = own_value(slots[name]), _readable(state[name])
            if tuple(value.shape) != tuple(own.shape):
                unequal.append(f"{name} has shape {tuple(own.shape)}, the state holds {tuple(value.shape)}")
            asarray(value.reshape(-1)[:0] if is_host_array(value) else reshape(value, (-1,))[:0], dtype=own.dtype, device=own.device)
        if unequal:
            raise ValueError(f"the state does not fit {type(self).__name__}: {'; '.join(unequal)}")
        # one after another, the largest first: little more than the module itself is in memory at any time
        for name in sorted(given, key=lambda name: -own_value(slots[name]).size):
            own = own_value(slots[name])
            own.raw = asarray(_readable(state[name]), dtype=own.dtype, device=own.device, copy=True).raw

    def train(self, mode: bool = True) -> Self:
        """Switch the module and all inside it to training behaviour; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to the behaviour for use rather than training: no dropout. Returns the module."""
        return self.train(False)

    def to(self, device: Any) -> Self:
        """Move all parameters and buffers to a backend or device (``model.to("cupy")``), without their gradients; returns the module."""
        tensors = [*self.parameters(), *(buffer for _, buffer in self.named_buffers())]
        moved = [tensor.detach().to(device) for tensor in tensors]
        for tensor, new in zip(tensors, moved, strict=True):  # all of them or, where a move fails, none
            tensor.raw, tensor.backend, tensor.grad = new.raw, new.backend, None
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


def _readable(value: Any) -> Any:
    """A value of a state as a Tensor or a host array."""
    if isinstance(value, Tensor):
        return value.detach()
    return as_host_array(value.__array__() if hasattr(value, "__array__") else value)


def own_value(slot: Slot) -> Tensor:
    """The module's own Tensor in this slot."""
    return slot if isinstance(slot, Parameter) else slot[0]._buffers[slot[1]]
