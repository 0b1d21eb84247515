"""Operations: differentiable functions of Tensors, with their derivative rules.

An operation is written once as Array API code, ``forward(xp, *arrays, **settings)``. Called on Tensors it runs on the backend's raw
arrays and adds a node to the graph. It has one rule for each input (`Operation.derivatives`) or one for all of them
(`Operation.joint_derivative`). Rules are Array API code too: on raw arrays they give first derivatives, and on Tensors derivatives that
can be differentiated again.

A fused operation (`fused_operation`) is one that a backend may override by name with a `tinytorch.backend.Kernel`. Its forward also
returns residuals for its joint rule. The implementation that ran forward also runs backward. Where the backward pass is itself recorded,
the portable forward is run again on Tensors and differentiated, so that higher derivatives do not depend on the implementation.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

from tinytorch.autograd.arguments import (
    PLAIN,
    NotDifferentiableError,
    are_plain,
    plain,
    refuse_gradients,
    rewrap,
    shape_dtype,
    types_of,
    unwrap,
    unwrap_settings,
)
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Gradient, Node, backpropagate, kept, next_id, output_node, topological_order
from tinytorch.backend import Array, Backend, Kernel, Namespace
from tinytorch.tensor import Tensor, check_same_backend, wrap

P = ParamSpec("P")
R = TypeVar("R")

#: ``rule(xp, g, out, *inputs, **settings)``: the gradient of one input, given the gradient ``g`` of the output.
Rule: TypeAlias = Callable[..., Gradient]

#: ``rule(xp, g, saved, inputs, needs, **settings)``: the gradients of all inputs, ``None`` where one is not needed; ``saved`` is the
#: output, or the residuals of a fused operation.
JointRule: TypeAlias = Callable[..., Sequence[Gradient | None]]

# Whether backends' kernels are used. The environment is read once, as this is asked at every call of a fused operation.
_use_kernels = ContextVar("tinytorch_use_kernels", default=os.environ.get("TINYTORCH_KERNELS") != "portable")


@contextmanager
def portable_kernels() -> Iterator[None]:
    """Run the portable implementation of every fused operation inside a ``with`` block."""
    token = _use_kernels.set(False)
    try:
        yield
    finally:
        _use_kernels.reset(token)


class Saves(Enum):
    """What an operation's rules use besides shapes and dtypes; the rest is not kept alive for them."""

    NOTHING = 0
    OUTPUT = 1
    OTHERS = 2  #: the rule of each input uses the other inputs only, as in a product
    INPUTS = 3
    BOTH = 4


class Operation(Generic[P, R]):
    """A differentiable function of Tensors. Made by `operation` and `fused_operation`.

    Attributes:
        forward: the portable implementation, ``forward(xp, *arrays, **settings)``.
        fused: whether a backend may override it, and forward returns ``(out, residuals)``.
    """

    def __init__(self, forward: Callable[..., Any], saves: Saves = Saves.INPUTS, fused: bool = False) -> None:
        self.forward = forward
        self.fused = fused
        self.saves_inputs = saves in (Saves.INPUTS, Saves.BOTH)
        self.saves_output = saves in (Saves.OUTPUT, Saves.BOTH)
        self.saves_others = saves is Saves.OTHERS
        self.rules: dict[int, Rule] = {}
        self.joint_rule: JointRule | None = None
        self.reason: str | None = "its rule has not been written"
        self.recordable = True
        self.__name__: str = forward.__name__
        self.__qualname__: str = forward.__name__
        self.__module__: str = forward.__module__
        self.__doc__ = forward.__doc__

    def __repr__(self) -> str:
        return f"<operation {self.__name__}>"

    def __get__(self, instance: object, owner: type | None = None) -> Operation[P, R]:
        """Makes `help` show the operation as a function. As a class attribute it is not bound, as numpy's functions are not."""
        return self

    @property
    def __signature__(self) -> inspect.Signature:
        """What a caller passes: everything but the namespace, which comes from the operands."""
        signature = inspect.signature(self.forward)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def derivatives(self, **rules: Rule) -> None:
        """Set a rule for each differentiable parameter, by its name."""
        names = list(self.__signature__.parameters)
        self.reason = None
        self.rules = {names.index(name): rule for name, rule in rules.items()}

    def joint_derivative(self, rule: JointRule) -> JointRule:
        """Set one rule for all array arguments (a decorator)."""
        self.reason = None
        self.joint_rule = rule
        return rule

    def no_derivative(self, reason: str) -> None:
        """Say why there is no derivative; asking for one raises `NotDifferentiableError` with this reason."""
        self.reason = reason

    def piecewise_constant(self) -> None:
        """Declare the derivative zero wherever it exists, so that calls are not recorded."""
        self.reason = None
        self.recordable = False

    def run(self, backend: Backend, *arrays: Any, **settings: Any) -> tuple[Any, Any, Kernel | None]:
        """Run a fused operation on raw arrays: the result, the residuals, and the backend's kernel, ``None`` for the portable one."""
        kernel = backend.kernels.get(self.__name__)
        if kernel is not None and _use_kernels.get():
            result = kernel.forward(*arrays, **settings)
            if result is not NotImplemented:
                return *result, kernel
        return *self.forward(backend.xp, *arrays, **settings), None

    def __call__(self, *args: P.args, **settings: P.kwargs) -> R:
        backend: Any = None
        recorded = unusual = False  # unusual: a tuple, a dtype or the like, which the backend takes in another form
        raws: list[Any] = []
        for arg in args:
            if type(arg) is Tensor or isinstance(arg, Tensor):  # the first is faster, and nearly always true
                if arg.backend is not backend:
                    if backend is not None:
                        check_same_backend(self.__name__, backend, arg)
                    backend = arg.backend
                if arg.node is not None:
                    recorded = True
                raws.append(arg.raw)
            else:
                raws.append(arg)
                if type(arg) not in PLAIN:
                    unusual = True
        if backend is None:
            raise TypeError(f"{self.__name__} needs a Tensor, got {_type_names(args)}; make one with tinytorch.asarray")
        if unusual:
            raws = [unwrap(self.__name__, backend, arg) for arg in args]
        named: dict[str, Any] = settings
        own: dict[str, Any] = settings  # as the backend takes them
        if settings and not are_plain(settings):
            if self.recordable:
                refuse_gradients(self.__name__, settings)
            named = {key: plain(value) for key, value in settings.items()}
            own = unwrap_settings(self.__name__, backend, named)
        saved = kernel = None
        if self.fused:
            out, saved, kernel = self.run(backend, *raws, **own)
        elif own or len(raws) != 2:
            out = self.forward(backend.xp, *raws, **own)
        else:  # most operations are binary, and a call without unpacking takes a twentieth less of a small addition's time
            out = self.forward(backend.xp, raws[0], raws[1])
        if not (recorded and self.recordable and is_grad_enabled()):
            return wrap(out, backend) if type(out) is not tuple else wrap_outputs(out, backend, None)  # type: ignore[return-value]

        node: Call = _new(Call)  # without a constructor, which would take a fifth of the time that recording takes
        node.id = next_id()
        node.parents = parents = tuple([arg.node if isinstance(arg, Tensor) else None for arg in args])
        node.operation = self
        node.kernel = kernel
        node.backend = backend
        node.settings = named
        node.kinds = types_of(args) if unusual else None
        node.saved = out if self.saves_output else saved
        if self.saves_inputs or (self.saves_others and len(parents) - parents.count(None) > 1):
            node.inputs = raws  # where several inputs need gradients, each of them is an "other" to the rule of the next
        elif self.saves_others:
            node.inputs = [raw if p is None else shape_dtype(backend, raw.shape, raw.dtype) for p, raw in zip(parents, raws)]  # noqa: B905
        else:
            node.inputs = [shape_dtype(backend, raw.shape, raw.dtype) if isinstance(a, Tensor) else raw for a, raw in zip(args, raws)]  # noqa: B905
        return wrap(out, backend, node) if type(out) is not tuple else wrap_outputs(out, backend, node)  # type: ignore[return-value]


@overload
def operation(forward: Callable[Concatenate[Any, P], R], /) -> Operation[P, R]: ...
@overload
def operation(*, saves: Saves) -> Callable[[Callable[Concatenate[Any, P], R]], Operation[P, R]]: ...
def operation(forward: Callable[..., Any] | None = None, /, *, saves: Saves = Saves.INPUTS) -> Any:
    """Turn ``forward(xp, *arrays, **settings)``, written in Array API code, into a function of Tensors; callers leave ``xp`` out."""
    if forward is None:
        return lambda f: Operation(f, saves)
    return Operation(forward, saves)


def fused_operation(forward: Callable[Concatenate[Any, P], tuple[R, Any]], /) -> Operation[P, R]:
    """Turn ``forward(xp, *arrays, **settings) -> (out, residuals)`` into a function of Tensors that a backend may override by its name.

    The settings are the keyword-only parameters, the same in every implementation. ``None`` stands for an array that is left out.
    """
    return Operation(forward, fused=True)


class Call(Node):
    """The node of one call of an operation: what its rules use, as values and nodes, never Tensors, which may be rebound.

    Attributes:
        kernel: the backend's kernel that ran, ``None`` for the portable implementation.
        inputs: raw arrays, or their `ShapeDtype`.
        saved: the output or the residuals.
        kinds: types of the arguments when they were passed, which say which of them were Tensors; ``None`` where the others are
            Python numbers and the like.
    """

    __slots__ = ("backend", "inputs", "kernel", "kinds", "operation", "saved", "settings")

    operation: Operation[..., Any]
    kernel: Kernel | None
    backend: Backend
    settings: dict[str, Any]
    inputs: Sequence[Any] | None
    saved: Any
    kinds: list[Any] | None

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        operation, backend, saved = self.operation, self.backend, self.saved
        inputs = kept(self.inputs)
        if operation.reason is not None:
            raise NotDifferentiableError(f"{operation.__name__} has no derivative: {operation.reason}")
        if operation.fused and create_graph:
            return self._replay(g, needs, inputs)
        if self.kernel is not None:
            if self.kernel.backward is None:
                raise NotDifferentiableError(f"the kernel {operation.__name__} of {backend.spec} has no backward")
            return self.kernel.backward(g, saved, inputs, needs, **self.settings)
        xp: Namespace
        if create_graph:
            xp, settings = backend.namespace, self.settings
            inputs = self._rewrapped(inputs, self.parents)
            if saved is not None:
                saved = wrap_outputs(saved, backend, self) if type(saved) is tuple else wrap(saved, backend, self)
        else:  # reading `backend.xp` makes its device the current one, for a library of several devices
            xp, settings = backend.xp, unwrap_settings(operation.__name__, backend, self.settings)
        if operation.joint_rule is not None:
            grads = operation.joint_rule(xp, g, saved, inputs, needs, **settings)
        else:
            grads = [self._rule(i)(xp, g, saved, *inputs, **settings) if needed else None for i, needed in enumerate(needs)]
        return [None if grad is None else unbroadcast(xp, grad, array) for grad, array in zip(grads, inputs, strict=True)]

    def _rule(self, i: int) -> Rule:
        try:
            return self.operation.rules[i]
        except KeyError:
            operation = self.operation
            name = list(operation.__signature__.parameters)[i]
            raise NotDifferentiableError(f"{operation.__name__} has no derivative with respect to {name}; use .detach() on it") from None

    def _rewrapped(self, inputs: Sequence[Any], nodes: Sequence[Node | None]) -> list[Any]:
        """The inputs as Tensors with these nodes, where they were Tensors."""
        kinds = self.kinds or [type(raw) if type(raw) in PLAIN else Tensor for raw in inputs]
        return [rewrap(self.backend, *saved) for saved in zip(inputs, kinds, nodes, strict=True)]

    def _replay(self, g: Tensor, needs: Sequence[bool], inputs: Sequence[Any]) -> Sequence[Tensor | None]:
        """Differentiate the portable forward at the saved inputs, on Tensors, so that the result can be differentiated again."""
        leaves = [Node((parent,)) if needed else None for parent, needed in zip(self.parents, needs, strict=True)]
        nodes = [leaf or parent for leaf, parent in zip(leaves, self.parents, strict=True)]
        out, _ = self.operation.forward(self.backend.namespace, *self._rewrapped(inputs, nodes), **self.settings)
        targets = [leaf for leaf in leaves if leaf is not None]
        if out.node is None:
            return [None for _ in leaves]
        order = topological_order(out.node, floor=targets[0].id)
        found = backpropagate(order, {out.node: g}, set(targets), create_graph=True, release=False)
        return [None if leaf is None else found.get(leaf) for leaf in leaves]

    def release(self) -> None:
        self.inputs = self.saved = None


_new: Any = object.__new__


def unbroadcast(xp: Namespace, g: Gradient, array: Any) -> Gradient:
    """``g`` summed over the axes along which ``array`` was broadcast, and converted to its dtype; its real part, if that is real."""
    if g.shape != array.shape:
        extra = len(g.shape) - len(array.shape)
        axes = tuple(i for i, n in enumerate(g.shape) if i < extra or (array.shape[i - extra] == 1 and n != 1))
        g = xp.reshape(xp.sum(g, axis=axes, dtype=g.dtype), array.shape)
    if g.dtype != array.dtype:
        if xp.isdtype(g.dtype, "complex floating") and not xp.isdtype(array.dtype, "complex floating"):
            g = xp.real(g)
        g = xp.astype(g, array.dtype, copy=False)
    return g


def wrap_outputs(out: Sequence[Array], backend: Backend, node: Node | None) -> tuple[Tensor, ...]:
    """Tensors for the outputs of an operation that has several."""
    if node is None:
        return tuple([wrap(value, backend) for value in out])
    # integers among the outputs, such as indices, carry no gradient
    return tuple([wrap(v, backend, output_node(node, i) if backend.dtype_of(v).is_floating else None) for i, v in enumerate(out)])


def _type_names(args: Sequence[Any]) -> str:
    return ", ".join(type(arg).__name__ for arg in args) or "nothing"
