"""Module: the base class of layers and models, which consist of parameters, buffers and submodules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, TypeAlias, TypeVar

from tinytorch.array_api import asarray, reshape
from tinytorch.backend.device import Device
from tinytorch.backend.host import as_host_array, is_host_array
from tinytorch.nn.binding import bound_values, previous_buffers
from tinytorch.tensor import Tensor

#: Identifies a value that `bind` can replace: a parameter, or a buffer by its module and name.
Slot: TypeAlias = "Parameter | tuple[Module, str]"

_R = TypeVar("_R", covariant=True)


class Parameter(Tensor):
    """A Tensor that is trained: a Module that has it as an attribute lists it in ``parameters()``.

    Args:
        data: a Tensor, an array, or numbers.
        dtype: dtype. Defaults to that of ``data``.
        device: device. Defaults to that of ``data``, or else the current backend's.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight = nn.Parameter([[1.0, 2.0]])
        >>> layer.weight.requires_grad
        True
    """

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, device: Any = None) -> None:
        super().__init__(data, dtype=dtype, device=device, requires_grad=True)


class _Callable(Protocol[_R]):
    """A module as type checkers see it: calling it returns the type that its ``forward`` returns."""

    def forward(self, *args: Any, **kwargs: Any) -> _R: ...

    def _convert_host_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


class Module:
    """Base class of all layers and models, as in PyTorch.

    A subclass assigns Parameters and submodules to attributes in ``__init__`` and implements ``forward``, which runs when the module is
    called. `register_buffer` adds a Tensor that is part of the module but not trained. A numpy array as an argument of a call is copied
    to the module's device; for a module without parameters and buffers, to the device of the other arguments.

    Attributes:
        training: true in training mode, false in evaluation mode; see `train` and `eval`.
        batch_independent: true if every example of a batch (its first axis) is processed independently and forward updates no buffer
            (Linear: yes, BatchNorm: no). A batch may be sharded if this is true for all modules of a model.

    Example:
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = nn.Parameter(2.0)
        ...
        ...     def forward(self, x):
        ...         return self.factor * x
        >>> Scale()(tt.asarray([1.0, 3.0])).detach()
        Tensor([2., 6.], dtype=float32, device='numpy:cpu')
    """

    training: bool
    batch_independent: bool = False

    _parameters: dict[str, Parameter]
    _buffers: dict[str, Tensor]
    _non_persistent_buffers: set[str]
    _modules: dict[str, Module]

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _non_persistent_buffers=set(), _modules={}, training=True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; called by ``module(...)``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def __call__(self: _Callable[_R], *args: Any, **kwargs: Any) -> _R:
        for value in (*args, *kwargs.values()):
            if type(value) is not Tensor and is_host_array(value):  # the type test is faster and decides nearly always
                args, kwargs = self._convert_host_arrays(args, kwargs)
                break
        return self.forward(*args, **kwargs)

    def _convert_host_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, with numpy arrays converted to Tensors."""
        device = next((value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        return (
            tuple([self.prepare_input(arg, device) if is_host_array(arg) else arg for arg in args]),
            {name: self.prepare_input(value, device) if is_host_array(value) else value for name, value in kwargs.items()},
        )

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """Convert a numpy array that was passed as input to a Tensor on the module's device, or on ``device`` if the module has none."""
        return asarray(array, device=self.device or device)

    # ---- parameters, buffers and submodules as attributes ----

    def __setattr__(self, name: str, value: Any) -> None:
        members: dict[str, dict[str, Any]] = self.__dict__
        if "_parameters" not in members:
            raise AttributeError(f"{type(self).__name__} must call super().__init__() before it assigns attributes")
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if kind is None and isinstance(value, Tensor):
            if name in members["_parameters"]:
                raise TypeError(
                    f"{name} is a parameter of {type(self).__name__} and cannot be replaced by a Tensor; "
                    f"assign nn.Parameter(...), or change its value with load_state_dict"
                )
            if name in members["_buffers"]:
                bound = bound_values.get()
                if bound is not None and (self, name) in bound:
                    bound[self, name] = value
                else:
                    for previous in previous_buffers.get():
                        previous.setdefault((self, name), members["_buffers"][name])
                    members["_buffers"][name] = value
                return
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                members[other].pop(name, None)
        if kind is None:
            object.__setattr__(self, name, value)
        else:
            members[kind][name] = value  # a replaced member keeps its position
            members.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        members = self.__dict__
        if "_modules" in members:  # false before `Module.__init__`
            found = members["_modules"].get(name)
            if found is not None:
                return found
            bound = bound_values.get()
            found = members["_parameters"].get(name)
            if found is not None:
                return found if bound is None else bound.get(found, found)
            found = members["_buffers"].get(name)
            if found is not None:
                return found if bound is None else bound.get((self, name), found)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_buffer(self, name: str, value: Tensor, persistent: bool = True) -> None:
        """Add a Tensor that is part of the module but not trained, such as running statistics.

        Args:
            name: attribute name.
            value: the Tensor.
            persistent: whether ``state_dict`` includes it.

        Raises:
            TypeError: the value is not a Tensor, or is a Parameter.
            ValueError: the module already has another attribute of this name.
        """
        if not isinstance(value, Tensor) or isinstance(value, Parameter):
            raise TypeError(f"the buffer {name!r} must be a Tensor that is not a Parameter, got {type(value).__name__}")
        if name not in self._buffers and hasattr(self, name):
            raise ValueError(f"{type(self).__name__} already has an attribute {name!r}; choose another name for the buffer")
        self._buffers[name] = value
        self._non_persistent_buffers.discard(name)
        if not persistent:
            self._non_persistent_buffers.add(name)

    # ---- iteration ----

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the module and all submodules with dotted names; a shared module is listed once, under its first name."""
        yield from self._walk("", set())

    def _walk(self, prefix: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """Iterate over the module and all submodules."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over parameters with dotted names; a shared parameter is listed once, under its first name."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter not in seen:
                    seen.add(parameter)
                    yield (f"{prefix}.{name}" if prefix else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the parameters of the module and all submodules."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, persistent_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Iterate over buffers with dotted names."""
        for name, (module, attribute) in self._buffer_slots(persistent_only):
            yield name, module._buffers[attribute]

    def _buffer_slots(self, persistent_only: bool = False) -> Iterator[tuple[str, tuple[Module, str]]]:
        for prefix, module in self.named_modules():
            for name in module._buffers:
                if not (persistent_only and name in module._non_persistent_buffers):
                    yield (f"{prefix}.{name}" if prefix else name), (module, name)

    def slots(self) -> dict[str, Slot]:
        """Return the slots for `bind` by dotted name: every parameter and every persistent buffer."""
        slots: dict[str, Slot] = dict(self.named_parameters())
        slots.update(self._buffer_slots(persistent_only=True))
        return slots

    def count_parameters(self) -> int:
        """Return the total number of elements in all parameters."""
        return sum(parameter.size for parameter in self.parameters())

    @property
    def device(self) -> Device | None:
        """The device of the first parameter or buffer; ``None`` if there are none."""
        for parameter in self.parameters():
            return parameter.device
        for _, buffer in self.named_buffers():
            return buffer.device
        return None

    # ---- state ----

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all parameters and persistent buffers by dotted name."""
        tensors: dict[str, Tensor] = dict(self.named_parameters())
        tensors.update(self.named_buffers(persistent_only=True))
        return {name: asarray(tensor.detach(), copy=True) for name, tensor in tensors.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy values into parameters and buffers by dotted name, converted to the module's dtypes.

        If this raises, the module is not changed. Each value is looked up twice, first to check it and then to copy it. To save memory,
        pass a mapping that reads an array from a file at each look-up, such as `tinytorch.io.files.StoredArrays`.

        Args:
            state: Tensors, numpy arrays, or what numpy can convert, such as a state dict of PyTorch on the CPU.
            strict: whether missing and unknown names raise ``KeyError``.

        Raises:
            KeyError: with ``strict``, names are missing or unknown; the message lists all.
            ValueError: shapes differ; the message lists all.
            TypeError: a value is not numeric.
        """
        slots = self.slots()
        missing, unknown = [n for n in slots if n not in state], [n for n in state if n not in slots]
        if strict and (missing or unknown):
            raise KeyError(f"the state dict does not match {type(self).__name__}: missing names {missing}, unknown names {unknown}")
        given = [n for n in slots if n in state]
        mismatched = []
        for name in given:
            own, value = own_value(slots[name]), _as_array(state[name])
            if tuple(value.shape) != tuple(own.shape):
                mismatched.append(f"{name} must have shape {tuple(own.shape)}, got {tuple(value.shape)}")
            asarray(value.reshape(-1)[:0] if is_host_array(value) else reshape(value, (-1,))[:0], dtype=own.dtype, device=own.device)
        if mismatched:
            raise ValueError(f"the state dict does not match {type(self).__name__}: {'; '.join(mismatched)}")
        # one at a time, the largest first, so that the peak memory is little more than the module itself
        for name in sorted(given, key=lambda name: -own_value(slots[name]).size):
            own = own_value(slots[name])
            own.raw = asarray(_as_array(state[name]), dtype=own.dtype, device=own.device, copy=True).raw

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or evaluation mode, if ``mode`` is false) for the module and all submodules; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode: no dropout, and batch normalization with running statistics; returns the module."""
        return self.train(False)

    def to(self, device: Any) -> Self:
        """Move all parameters and buffers to a backend or device (``model.to("cupy")``) and drop the gradients; returns the module."""
        tensors = [*self.parameters(), *(buffer for _, buffer in self.named_buffers())]
        moved = [tensor.detach().to(device) for tensor in tensors]
        for tensor, new in zip(tensors, moved, strict=True):  # after all copies succeeded, so that a failure changes nothing
            tensor.raw, tensor.backend, tensor.grad = new.raw, new.backend, None
        return self

    def zero_grad(self) -> None:
        """Set ``.grad`` of all parameters to ``None``."""
        for parameter in self.parameters():
            parameter.grad = None

    # ---- printing ----

    def extra_repr(self) -> str:
        """Return the settings to show in ``repr``, such as ``"3, 4, bias=True"``."""
        return ""

    def __repr__(self) -> str:
        if not self._modules:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *lines]) + "\n)"


def _as_array(value: Any) -> Any:
    """Convert a value of a state dict to a Tensor or a numpy array."""
    if isinstance(value, Tensor):
        return value.detach()
    return as_host_array(value.__array__() if hasattr(value, "__array__") else value)


def own_value(slot: Slot) -> Tensor:
    """Return the module's own Tensor in a slot, whether or not another value is bound to it."""
    return slot if isinstance(slot, Parameter) else slot[0]._buffers[slot[1]]
