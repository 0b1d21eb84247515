"""Module: the base class of layers and models, which consist of parameters, buffers and submodules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

from tinytorch.array_api import asarray
from tinytorch.backend import DType
from tinytorch.backend.device import Device
from tinytorch.nn.binding import bound_values, previous_buffers
from tinytorch.nn.hints import missing_attribute_hint
from tinytorch.nn.host_input import HOST_INPUT_TYPES, convert_call, input_tensor
from tinytorch.nn.moving import moved_tensors, reset_gradients
from tinytorch.nn.state import LoadedNames, load_state
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


class Module:
    """Base class of all layers and models, as in PyTorch.

    A subclass assigns Parameters and submodules to attributes in ``__init__`` and implements ``forward``, which runs when the module is
    called. `register_buffer` adds a Tensor that is part of the module but not trained. A numpy array as an argument of a call is copied
    to the module's device and, if it is floating-point, converted to the dtype of the parameters; for a module without parameters, to the
    device and dtype of the other arguments.

    Attributes:
        data_arguments: number of leading arguments of ``forward`` in which lists and numbers are input data too, and are converted like
            numpy arrays. It is 0 by default, so that a module of your own gets its arguments unchanged.
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
    data_arguments: int = 0

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
            if type(value) in HOST_INPUT_TYPES:
                args, kwargs = convert_call(cast(Module, self), args, kwargs)
                break
        return self.forward(*args, **kwargs)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """Convert host input of a call to a Tensor on the module's device, or on ``device`` if the module has none.

        Floating-point numbers get the dtype of the module's parameters, and so do integers in lists; integer arrays keep their dtype.
        """
        return input_tensor(array, self.device or device, self.dtype)

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
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{missing_attribute_hint(name, dir(self))}")

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(kind, ()):
                del self.__dict__[kind][name]
                self._non_persistent_buffers.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        members = [self.__dict__.get(kind, {}) for kind in ("_parameters", "_buffers", "_modules")]
        return sorted({*object.__dir__(self), *[name for kind in members for name in kind if name.isidentifier()]})

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

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over direct submodules with their names; a shared module is listed once, under its first name."""
        seen = set()
        for name, module in self._modules.items():
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Iterate over direct submodules."""
        return (module for _, module in self.named_children())

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

    def buffers(self) -> Iterator[Tensor]:
        """Iterate over the buffers of the module and all submodules."""
        return (buffer for _, buffer in self.named_buffers())

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

    @property
    def dtype(self) -> DType | None:
        """The dtype of the first floating-point parameter; ``None`` if there is none."""
        return next((parameter.dtype for parameter in self.parameters() if parameter.dtype.kind == "real floating"), None)

    # ---- state ----

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all parameters and persistent buffers by dotted name; a shared parameter has its first name only."""
        tensors: dict[str, Tensor] = dict(self.named_parameters())
        tensors.update(self.named_buffers(persistent_only=True))
        return {name: asarray(tensor.detach(), copy=True) for name, tensor in tensors.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedNames:
        """Copy values into parameters and buffers by dotted name, converted to the module's dtypes.

        If this raises, the module is not changed. Each value is looked up twice, first to check it and then to copy it. To save memory,
        pass a mapping that reads an array from a file at each look-up, such as `tinytorch.io.files.StoredArrays`.

        Args:
            state: Tensors, arrays of any library, or lists of numbers, such as a state dict of PyTorch. A shared parameter may have any of
                its names, or several if their values are equal.
            strict: whether missing and unexpected names raise ``KeyError``.

        Returns:
            The pair ``(missing_keys, unexpected_keys)``, as in PyTorch: both are empty with ``strict``.

        Raises:
            KeyError: with ``strict``, names are missing or unexpected; the message lists all.
            ValueError: shapes differ, or a shared parameter has two values; the message lists all.
            TypeError: a value is not numeric.

        Example:
            >>> layer = nn.Linear(2, 1)
            >>> layer.load_state_dict({"weight": [[1.0, 2.0]]}, strict=False)
            LoadedNames(missing_keys=['bias'], unexpected_keys=[])
        """
        own = {name: own_value(slot) for name, slot in self.slots().items()}
        return load_state(type(self).__name__, own, self._names_of_shared_slots(), state, strict)

    def _names_of_shared_slots(self) -> dict[str, str]:
        """The first name of each parameter and buffer that is shared, by its other names."""
        first = {slot: name for name, slot in self.slots().items()}
        others: dict[str, str] = {}

        def walk(module: Module, prefix: str, path: tuple[Module, ...]) -> None:
            if module in path:
                return
            slots: list[tuple[str, Slot]] = [*module._parameters.items(), *[(name, (module, name)) for name in module._buffers]]
            for name, slot in slots:
                if first.get(slot, prefix + name) != prefix + name:
                    others[prefix + name] = first[slot]
            for name, child in module._modules.items():
                walk(child, f"{prefix}{name}.", (*path, module))

        walk(self, "", ())
        return others

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or evaluation mode, if ``mode`` is false) for the module and all submodules; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode: no dropout, and batch normalization with running statistics; returns the module."""
        return self.train(False)

    def to(self, device: Any = None, dtype: Any = None) -> Self:
        """Move all parameters and buffers to a backend or device, or convert the floating-point ones to a dtype; drops the gradients.

        Args:
            device: the name of a backend (``model.to("cupy")``) or a `Device`. A dtype is also accepted here, as in PyTorch.
            dtype: dtype of floating-point parameters and buffers; the others keep theirs.

        Returns:
            The module itself.

        Raises:
            TypeError: ``dtype`` is not a real floating-point dtype.
        """
        tensors = [*self.parameters(), *self.buffers()]
        moved = moved_tensors(tensors, device, dtype)
        for tensor, new in zip(tensors, moved, strict=True):  # after all copies succeeded, so that a failure changes nothing
            tensor.grad = None
            tensor.raw, tensor.backend = new.raw, new.backend
        return self

    def float(self) -> Self:
        """Convert floating-point parameters and buffers to float32; returns the module."""
        return self.to(dtype="float32")

    def double(self) -> Self:
        """Convert floating-point parameters and buffers to float64; returns the module."""
        return self.to(dtype="float64")

    def half(self) -> Self:
        """Convert floating-point parameters and buffers to float16; returns the module."""
        return self.to(dtype="float16")

    def bfloat16(self) -> Self:
        """Convert floating-point parameters and buffers to bfloat16; returns the module."""
        return self.to(dtype="bfloat16")

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` of all parameters, to freeze them or to train them again; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set ``.grad`` of all parameters to ``None``, or to zeros with ``set_to_none=False``."""
        reset_gradients(self.parameters(), set_to_none)

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call ``function`` on all submodules, children first, and on the module, such as to initialize weights; returns the module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ---- printing ----

    def extra_repr(self) -> str:
        """Return the settings to show in ``repr``, such as ``"3, 4, bias=True"``."""
        return ""

    def __repr__(self) -> str:
        if not self._modules:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *lines]) + "\n)"


def own_value(slot: Slot) -> Tensor:
    """Return the module's own Tensor in a slot, whether or not another value is bound to it."""
    return slot if isinstance(slot, Parameter) else slot[0]._buffers[slot[1]]
