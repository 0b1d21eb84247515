"""Operations: functions of arrays that come with their derivative rules.

An operation is written once as Array API code, ``forward(xp, *arrays, **static)``. Called on Tensors it runs on the backend's raw
arrays and leaves a node on the tape. Its rules are Array API code too: on raw arrays they give first derivatives, and on Tensors
derivatives that can be differentiated again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from types import EllipsisType, NoneType
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

from tinytorch.autograd.graph import Gradient, Node, Output, is_recording, next_id
from tinytorch.backend import Array, Backend, BackendMismatchError, DType, Namespace
from tinytorch.backend.device import Device
from tinytorch.backend.host import is_host_scalar
from tinytorch.tensor import Tensor, check_same_backend, wrap

P = ParamSpec("P")
R = TypeVar("R")

#: ``rule(xp, g, out, *inputs, **static)``: the gradient of one input, given the gradient ``g`` of the output.
Rule: TypeAlias = Callable[..., Gradient]

#: ``rule(xp, g, out, inputs, needs, **static)``: the gradients of all inputs at once.
JointRule: TypeAlias = Callable[..., Sequence[Gradient | None]]

_PLAIN = frozenset({int, float, bool, complex, str, NoneType, EllipsisType})


class Saves(Enum):
    """What an operation's rules look at besides shapes and types; the rest is not kept alive for them."""

    NOTHING = 0
    OUTPUT = 1
    OTHERS = 2  #: the rule of each input looks at the other inputs only, as in a product
    INPUTS = 3
    BOTH = 4


class NotDifferentiableError(RuntimeError):
    """A derivative was asked for where there is none."""


class Like:
    """Stands in a rule for an array of which only shape and type are kept."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


@lru_cache(maxsize=4096)
def _like(backend: Backend, shape: tuple[int, ...], dtype: Any) -> Like:
    """One for each shape and type, which takes longer to make than to find; types of two libraries must not be compared."""
    return Like(shape, dtype)


class Operation(Generic[P, R]):
    """A function of the standard on Tensors. Made by `operation`, differentiated by the rules that `derivatives` adds."""

    def __init__(self, forward: Callable[..., Any], saves: Saves) -> None:
        self.forward = forward
        self.saves_inputs = saves in (Saves.INPUTS, Saves.BOTH)
        self.saves_output = saves in (Saves.OUTPUT, Saves.BOTH)
        self.saves_others = saves is Saves.OTHERS
        self.rules: dict[int, Rule] | None = None
        self.joint_rule: JointRule | None = None
        self.reason: str | None = "its rule has not been written"
        self.recordable = True
        self.__name__: str = forward.__name__
        self.__qualname__: str = forward.__name__
        self.__module__: str = forward.__module__
        self.__doc__ = forward.__doc__

    def __repr__(self) -> str:
        return f"<operation {self.__name__}>"

    @property
    def __signature__(self) -> inspect.Signature:
        """What a caller passes: everything but the namespace, which comes from the operands."""
        signature = inspect.signature(self.forward)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def derivatives(self, **rules: Rule) -> None:
        """Give a rule for each parameter that is differentiable, by its name."""
        names = list(self.__signature__.parameters)
        self.reason = None
        self.rules = {names.index(name): rule for name, rule in rules.items()}

    def joint_derivative(self, rule: JointRule) -> JointRule:
        """Give one rule for all array arguments (a decorator), for operations on any number of them."""
        self.reason = None
        self.joint_rule = rule
        return rule

    def no_derivative(self, reason: str) -> None:
        """Say why there is no derivative; asking for one raises `NotDifferentiableError` with this reason."""
        self.reason = reason

    def piecewise_constant(self) -> None:
        """Say that the derivative is zero wherever there is one, so that nothing need be recorded."""
        self.reason = None
        self.recordable = False

    def __call__(self, *args: P.args, **static: P.kwargs) -> R:
        backend: Any = None
        recorded = unusual = False  # unusual is a tuple, a data type or the like, which the backend takes in another form
        raws = []
        for arg in args:
            if type(arg) is Tensor or isinstance(arg, Tensor):  # the first is quicker, and nearly always true
                if arg.backend is not backend:
                    if backend is not None:
                        check_same_backend(self.__name__, backend, arg)
                    backend = arg.backend
                if arg.node is not None:
                    recorded = True
                raws.append(arg.raw)
            else:
                raws.append(arg)
                if type(arg) not in _PLAIN:
                    unusual = True
        if backend is None:
            raise TypeError(f"{self.__name__} needs a Tensor, got {_type_names(args)}; make one with tinytorch.asarray")
        if unusual:
            raws = [lower(self.__name__, backend, arg) for arg in args]
        settings: dict[str, Any] = static
        if static:
            settings = plain_settings(static)
            if self.recordable:
                _refuse_gradients(self.__name__, settings)
            out = self.forward(backend.xp, *raws, **lower_all(self.__name__, backend, settings))
        else:
            out = self.forward(backend.xp, *raws)
        node = None
        if recorded and self.recordable and is_recording():
            node = _recorded(self, backend, args, raws, settings, out)
            node.kinds = _kinds(args) if unusual else None
        return wrap_all(out, backend, node) if type(out) is tuple else wrap(out, backend, node)  # type: ignore[return-value]


@overload
def operation(forward: Callable[Concatenate[Any, P], R], /) -> Operation[P, R]: ...
@overload
def operation(*, saves: Saves) -> Callable[[Callable[Concatenate[Any, P], R]], Operation[P, R]]: ...
def operation(forward: Callable[..., Any] | None = None, /, *, saves: Saves = Saves.INPUTS) -> Any:
    """Turn ``forward(xp, *arrays, **static)``, written in Array API code, into a function of Tensors; callers leave ``xp`` out."""
    if forward is None:
        return lambda f: Operation(f, saves)
    return Operation(forward, saves)


class Call(Node):
    """One recorded call of an operation, with what its rules look at: values and nodes, never the Tensors, which may be rebound.

    ``kinds`` are the types of the inputs when they were passed, which say which of them were Tensors; ``None`` where the others are numbers
    and the like of Python's.
    """

    __slots__ = ("backend", "inputs", "kinds", "operation", "out", "static")

    operation: Operation[..., Any]
    backend: Backend
    static: dict[str, Any]
    out: Any
    inputs: Sequence[Any] | None
    kinds: list[Any] | None

    def pullback(self, g: Gradient, needs: Sequence[bool], recorded: bool) -> Sequence[Gradient | None]:
        operation = self.operation
        if operation.reason is not None:
            raise NotDifferentiableError(f"{operation.__name__} has no derivative: {operation.reason}")
        if self.inputs is None:
            raise RuntimeError("what backward() needs was freed by an earlier backward(); pass retain_graph=True to the earlier one")
        backend = self.backend
        xp: Namespace
        if recorded:
            xp = backend.namespace
            kinds = self.kinds or [type(raw) if type(raw) in _PLAIN else Tensor for raw in self.inputs]
            inputs = [_box(backend, *saved) for saved in zip(self.inputs, kinds, self.parents, strict=True)]
            static = self.static
            out = self.out
            if out is not None:
                out = wrap_all(out, backend, self) if type(out) is tuple else wrap(out, backend, self)
        else:
            xp = backend.xp
            inputs = list(self.inputs)
            static = lower_all(operation.__name__, backend, self.static)
            out = self.out
        if operation.joint_rule is not None:
            return [
                grad if grad is None else match(xp, grad, array)
                for grad, array in zip(operation.joint_rule(xp, g, out, inputs, needs, **static), inputs, strict=True)
            ]
        rules = operation.rules or {}
        grads: list[Gradient | None] = []
        for i, needed in enumerate(needs):
            if not needed:
                grads.append(None)
            elif i not in rules:
                name = list(operation.__signature__.parameters)[i]
                raise NotDifferentiableError(f"{operation.__name__} has no derivative with respect to {name}; use .detach() on it")
            else:
                grads.append(match(xp, rules[i](xp, g, out, *inputs, **static), inputs[i]))
        return grads

    def release(self) -> None:
        self.inputs = self.out = None


def _recorded(
    operation: Operation[..., Any], backend: Backend, args: Sequence[Any], raws: list[Any], static: dict[str, Any], out: Any
) -> Call:
    """The node of a call. It is made without a constructor, which would take a fifth of the time that recording takes."""
    node: Call = _blank(Call)
    node.id = next_id()
    node.parents = parents = tuple([arg.node if isinstance(arg, Tensor) else None for arg in args])
    node.operation = operation
    node.backend = backend
    node.static = static
    node.out = out if operation.saves_output else None
    if operation.saves_inputs:
        node.inputs = raws
    elif not operation.saves_others:
        node.inputs = [_like(backend, raw.shape, raw.dtype) if isinstance(arg, Tensor) else raw for arg, raw in zip(args, raws)]  # noqa: B905
    elif len(parents) - parents.count(None) > 1:  # each of them is an "other" to the rule of the next
        node.inputs = raws
    else:
        node.inputs = [raw if parent is None else _like(backend, raw.shape, raw.dtype) for parent, raw in zip(parents, raws)]  # noqa: B905
    return node


_blank: Any = object.__new__


def match(xp: Namespace, g: Gradient, array: Any) -> Gradient:
    """``g`` summed over the dimensions along which ``array`` was broadcast, and converted to its type; its real part, if that is real."""
    if g.shape != array.shape:
        extra = len(g.shape) - len(array.shape)
        axes = tuple(i for i, n in enumerate(g.shape) if i < extra or (array.shape[i - extra] == 1 and n != 1))
        g = xp.reshape(xp.sum(g, axis=axes, dtype=g.dtype), array.shape)
    if g.dtype != array.dtype:
        if xp.isdtype(g.dtype, "complex floating") and not xp.isdtype(array.dtype, "complex floating"):
            g = xp.real(g)
        g = xp.astype(g, array.dtype, copy=False)
    return g


def wrap_all(out: Sequence[Array], backend: Backend, node: Node | None) -> tuple[Tensor, ...]:
    """Tensors around the outputs of an operation that has several."""
    if node is None:
        return tuple([wrap(value, backend) for value in out])
    # whole numbers among the outputs, such as indices, carry no gradient
    return tuple([wrap(v, backend, Output(node, i) if backend.dtype_of(v).is_floating else None) for i, v in enumerate(out)])


def lower(name: str, backend: Backend, value: Any) -> Any:
    """An argument as the backend's own functions take it: dtypes translated, Tensors in an index unwrapped, numpy's numbers made plain."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        check_same_backend(name, backend, value)
        return value.raw
    if isinstance(value, DType):
        return backend.dtype(value.name)
    if isinstance(value, tuple):
        return tuple([lower(name, backend, item) for item in value])
    if isinstance(value, list):
        return [lower(name, backend, item) for item in value]
    if isinstance(value, Device):
        raise TypeError(f"{name}: moving between devices is spelled x.to(device)")
    if is_host_scalar(value):
        return value.item()
    if not isinstance(value, type) and (hasattr(value, "__array__") or hasattr(value, "__array_namespace__")):
        raise BackendMismatchError(
            f"{name}: got a {type(value).__module__}.{type(value).__name__} beside a Tensor on {backend.spec}; "
            f"convert it first with tinytorch.asarray(x, device={backend.spec!r})"
        )
    return value


def lower_all(name: str, backend: Backend, static: dict[str, Any]) -> dict[str, Any]:
    """`lower` for arguments that were passed by name."""
    return {key: lower(name, backend, value) for key, value in static.items()}


def _refuse_gradients(name: str, static: dict[str, Any]) -> None:
    """Raise `NotDifferentiableError` for a setting that carries a gradient: there are no rules for settings, so it would be lost."""
    for key, value in static.items():
        if isinstance(value, Tensor) and value.node is not None and is_recording():
            raise NotDifferentiableError(f"{name} has no derivative with respect to {key}; use .detach() on it")


def plain(value: Any) -> Any:
    """A setting with Python's numbers in place of numpy's, in tuples, lists and slices too."""
    if type(value) in _PLAIN:
        return value
    if is_host_scalar(value):
        return value.item()
    if isinstance(value, tuple):
        return tuple([plain(item) for item in value])
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def plain_settings(static: dict[str, Any]) -> dict[str, Any]:
    """`plain` for arguments that were passed by name. They are recorded so: rules ask whether an axis is an ``int``."""
    for value in static.values():
        if type(value) not in _PLAIN:
            return {key: plain(value) for key, value in static.items()}
    return static


def _kinds(args: Sequence[Any]) -> list[Any]:
    """The type of each argument; for a tuple or a list, such as an index, a tuple of those of what it holds."""
    return [tuple(map(type, arg)) if type(arg) is tuple or type(arg) is list else type(arg) for arg in args]


def _box(backend: Backend, value: Any, kind: Any, node: Node | None) -> Any:
    """The reverse of `lower` for a saved input: a Tensor at its place on the tape, where it was one."""
    if isinstance(value, Like):
        return Like(value.shape, backend._dtypes[value.dtype])
    if isinstance(kind, tuple):
        return type(value)([_box(backend, item, each, None) for item, each in zip(value, kind, strict=True)])
    return wrap(value, backend, node) if issubclass(kind, Tensor) else value


def _type_names(args: Sequence[Any]) -> str:
    return ", ".join(type(arg).__name__ for arg in args) or "nothing"
