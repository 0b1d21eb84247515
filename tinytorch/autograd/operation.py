"""Operations: differentiable functions of Tensors, with their derivative rules.

An operation is written once as Array API code, ``forward(xp, *arrays, **settings)``. Called on Tensors, it runs on their raw arrays (those
of the backend's library) and, if one of the Tensors requires a gradient, adds a node to the graph. It has one rule for each input
(`Operation.derivatives`) or one for all inputs (`Operation.joint_derivative`). Rules are Array API code too: applied to raw arrays they
compute first derivatives, and applied to Tensors derivatives that can be differentiated again.

A fused operation (`fused_operation`) can be overridden by a backend with a `tinytorch.backend.Kernel` of the same name. Its own forward,
which runs on every backend, is called the portable implementation. Forward also returns residuals for the joint rule. Backward is
run by the implementation that ran forward. If the backward pass is itself recorded, the portable forward runs again on Tensors and
is differentiated, so that higher derivatives do not depend on the implementation.
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
    PASS_THROUGH,
    NotDifferentiableError,
    all_pass_through,
    argument_types,
    reject_gradients,
    shape_dtype,
    to_python_numbers,
    unwrap,
    unwrap_settings,
    wrap_saved,
)
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Gradient, Node, backpropagate, next_id, output_node, topological_order, unpack_saved
from tinytorch.backend import Array, Backend, Kernel, Namespace
from tinytorch.tensor import Tensor, check_same_backend, wrap

P = ParamSpec("P")
R = TypeVar("R")

#: ``rule(xp, g, out, *inputs, **settings)``: the gradient of one input, given the gradient ``g`` of the output.
Rule: TypeAlias = Callable[..., Gradient]

#: ``rule(xp, g, saved, inputs, needs, **settings)``: the gradients of all inputs, ``None`` where one is not needed; ``saved`` is the
#: output, or the residuals of a fused operation.
JointRule: TypeAlias = Callable[..., Sequence[Gradient | None]]

# Whether kernels of backends are used. The environment is read once, since every call of a fused operation checks this.
_use_kernels = ContextVar("tinytorch_use_kernels", default=os.environ.get("TINYTORCH_KERNELS") != "portable")


@contextmanager
def portable_kernels() -> Iterator[None]:
    """Disable the kernels of backends inside a ``with`` block: fused operations run their portable implementation (Array API code).

    ``TINYTORCH_KERNELS=portable`` does the same for a whole process.

    Example:
        >>> with tt.ops.portable_kernels():
        ...     tt.ops.relu(tt.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32, device='numpy:cpu')
    """
    token = _use_kernels.set(False)
    try:
        yield
    finally:
        _use_kernels.reset(token)


class Saves(Enum):
    """The arrays that an operation saves for its rules; of other arrays only the shape and dtype are saved."""

    NOTHING = 0
    OUTPUT = 1
    OTHERS = 2  #: the rule of each input uses only the other inputs, as in multiplication
    INPUTS = 3
    BOTH = 4


class Operation(Generic[P, R]):
    """A differentiable function of Tensors, created by `operation` or `fused_operation`.

    Attributes:
        forward: the portable implementation, ``forward(xp, *arrays, **settings)``.
        fused: whether a backend may override it; forward then returns ``(out, residuals)``.
        reason: why there is no derivative, ``None`` if there is one.
        recordable: whether calls are added to the graph; false for piecewise constant functions.
    """

    def __init__(self, forward: Callable[..., Any], saves: Saves = Saves.INPUTS, fused: bool = False) -> None:
        self.forward = forward
        self.fused = fused
        self.saves_inputs = saves in (Saves.INPUTS, Saves.BOTH)
        self.saves_output = saves in (Saves.OUTPUT, Saves.BOTH)
        self.saves_others = saves is Saves.OTHERS
        self.rules: dict[int, Rule] = {}
        self.joint_rule: JointRule | None = None
        self.reason: str | None = "no rule is defined"
        self.recordable = True
        self.__name__: str = forward.__name__
        self.__qualname__: str = forward.__name__
        self.__module__: str = forward.__module__
        self.__doc__ = forward.__doc__

    def __repr__(self) -> str:
        return f"<operation {self.__name__}>"

    def __get__(self, instance: object, owner: type | None = None) -> Operation[P, R]:
        """Return the operation itself, not a bound method. With this method defined, `help` shows the operation as a function."""
        return self

    @property
    def __signature__(self) -> inspect.Signature:
        """The parameters that a caller passes: all except the namespace ``xp``, which is that of the operands."""
        signature = inspect.signature(self.forward)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def derivatives(self, **rules: Rule) -> None:
        """Set the rule of each differentiable parameter by name."""
        names = list(self.__signature__.parameters)
        self.reason = None
        self.rules = {names.index(name): rule for name, rule in rules.items()}

    def joint_derivative(self, rule: JointRule) -> JointRule:
        """Set one rule for all array arguments; a decorator."""
        self.reason = None
        self.joint_rule = rule
        return rule

    def no_derivative(self, reason: str) -> None:
        """Declare that there is no derivative; differentiating raises `NotDifferentiableError` with this reason."""
        self.reason = reason

    def piecewise_constant(self) -> None:
        """Declare that the derivative is zero wherever it exists, so that calls are not recorded."""
        self.reason = None
        self.recordable = False

    def run(self, backend: Backend, *arrays: Any, **settings: Any) -> tuple[Any, Any, Kernel | None]:
        """Run a fused operation on raw arrays. Returns the result, the residuals, and the kernel that ran (``None``: the portable code)."""
        kernel = backend.kernels.get(self.__name__)
        if kernel is not None and _use_kernels.get():
            result = kernel.forward(*arrays, **settings)
            if result is not NotImplemented:
                return *result, kernel
        return *self.forward(backend.xp, *arrays, **settings), None

    def __call__(self, *args: P.args, **settings: P.kwargs) -> R:
        backend: Any = None
        recorded = needs_unwrap = False  # needs_unwrap: an argument such as a tuple or a dtype must be converted for the backend
        raws: list[Any] = []
        for arg in args:
            if type(arg) is Tensor or isinstance(arg, Tensor):  # the first check is faster and almost always true
                if arg.backend is not backend:
                    if backend is not None:
                        check_same_backend(self.__name__, backend, arg)
                    backend = arg.backend
                if arg.node is not None:
                    recorded = True
                raws.append(arg.raw)
            else:
                raws.append(arg)
                if type(arg) not in PASS_THROUGH:
                    needs_unwrap = True
        if backend is None:
            raise TypeError(f"{self.__name__} expected a Tensor, got {_type_names(args)}; create one with tinytorch.asarray")
        if needs_unwrap:
            raws = [unwrap(self.__name__, backend, arg) for arg in args]
        kwargs: dict[str, Any] = settings  # with the dtypes of tinytorch
        raw_kwargs: dict[str, Any] = settings  # with the dtypes of the backend
        if settings and not all_pass_through(settings):
            if self.recordable:
                reject_gradients(self.__name__, settings)
            kwargs = {key: to_python_numbers(value) for key, value in settings.items()}
            raw_kwargs = unwrap_settings(self.__name__, backend, kwargs)
        saved = kernel = None
        if self.fused:
            out, saved, kernel = self.run(backend, *raws, **raw_kwargs)
        elif raw_kwargs or len(raws) != 2:
            out = self.forward(backend.xp, *raws, **raw_kwargs)
        else:  # most operations are binary; a call without unpacking makes a small addition 5% faster
            out = self.forward(backend.xp, raws[0], raws[1])
        if not (recorded and self.recordable and is_grad_enabled()):
            return wrap(out, backend) if type(out) is not tuple else wrap_outputs(out, backend, None)  # type: ignore[return-value]

        node: Call = _new(Call)  # without a constructor, which would take a fifth of the recording time
        node.id = next_id()
        node.parents = parents = tuple([arg.node if isinstance(arg, Tensor) else None for arg in args])
        node.operation = self
        node.kernel = kernel
        node.backend = backend
        node.settings = kwargs
        node.arg_types = argument_types(args) if needs_unwrap else None
        node.saved = out if self.saves_output else saved
        if self.saves_inputs or (self.saves_others and len(parents) - parents.count(None) > 1):
            node.inputs = raws  # if several inputs need gradients, the rule of each one uses the others
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
    """Make a differentiable function of Tensors from ``forward(xp, *arrays, **settings)``, Array API code; callers do not pass ``xp``."""
    if forward is None:
        return lambda f: Operation(f, saves)
    return Operation(forward, saves)


def fused_operation(forward: Callable[Concatenate[Any, P], tuple[R, Any]], /) -> Operation[P, R]:
    """Make a function of Tensors from ``forward(xp, *arrays, **settings) -> (out, residuals)``; a backend may override it by name.

    The settings are the keyword-only parameters, the same in every implementation. An optional array may be ``None``.
    """
    return Operation(forward, fused=True)


class Call(Node):
    """The node of one call of an operation. It saves raw arrays and nodes, not Tensors, since in-place operators rebind Tensors.

    Attributes:
        kernel: the kernel of the backend that ran, ``None`` for the portable implementation.
        inputs: raw arrays, or the `ShapeDtype` of arrays that were not saved.
        saved: the output or the residuals.
        arg_types: types of the arguments, to know which were Tensors; ``None`` if every argument is a Tensor or of a `PASS_THROUGH` type.
    """

    __slots__ = ("arg_types", "backend", "inputs", "kernel", "operation", "saved", "settings")

    operation: Operation[..., Any]
    kernel: Kernel | None
    backend: Backend
    settings: dict[str, Any]
    inputs: Sequence[Any] | None
    saved: Any
    arg_types: list[Any] | None

    def vjp(self, g: Gradient, needs: Sequence[bool], create_graph: bool) -> Sequence[Gradient | None]:
        operation, backend, saved = self.operation, self.backend, self.saved
        inputs = unpack_saved(self.inputs)
        if operation.reason is not None:
            raise NotDifferentiableError(f"{operation.__name__} has no derivative: {operation.reason}")
        if operation.fused and create_graph:
            return self._differentiate_portable(g, needs, inputs)
        if self.kernel is not None:
            if self.kernel.backward is None:
                raise NotDifferentiableError(f"the kernel {operation.__name__} of {backend.spec} has no backward")
            grads = self.kernel.backward(g, saved, inputs, needs, **self.settings)
            if grads is not NotImplemented:
                return grads
            _, saved = operation.forward(backend.xp, *inputs, **unwrap_settings(operation.__name__, backend, self.settings))
        xp: Namespace
        if create_graph:
            xp, settings = backend.namespace, self.settings
            inputs = self._wrap_inputs(inputs, self.parents)
            if saved is not None:
                saved = wrap_outputs(saved, backend, self) if type(saved) is tuple else wrap(saved, backend, self)
        else:  # reading `backend.xp` sets the current device of a library with several devices
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

    def _wrap_inputs(self, inputs: Sequence[Any], nodes: Sequence[Node | None]) -> list[Any]:
        """The saved inputs; those that were Tensors become Tensors again, with these nodes."""
        arg_types = self.arg_types or [type(raw) if type(raw) in PASS_THROUGH else Tensor for raw in inputs]
        return [wrap_saved(self.backend, *saved) for saved in zip(inputs, arg_types, nodes, strict=True)]

    def _differentiate_portable(self, g: Tensor, needs: Sequence[bool], inputs: Sequence[Any]) -> Sequence[Tensor | None]:
        """Differentiate the portable forward on Tensors at the saved inputs, so that the result can be differentiated again."""
        leaves = [Node((parent,)) if needed else None for parent, needed in zip(self.parents, needs, strict=True)]
        nodes = [leaf or parent for leaf, parent in zip(leaves, self.parents, strict=True)]
        out, _ = self.operation.forward(self.backend.namespace, *self._wrap_inputs(inputs, nodes), **self.settings)
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
    """Sum ``g`` over the axes along which ``array`` was broadcast, and convert it to its dtype (a real ``array`` gets the real part)."""
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
    """The Tensors of an operation with several outputs."""
    if node is None:
        return tuple([wrap(value, backend) for value in out])
    # integer outputs, such as indices, have no gradient
    return tuple([wrap(v, backend, output_node(node, i) if backend.dtype_of(v).is_floating else None) for i, v in enumerate(out)])


def _type_names(args: Sequence[Any]) -> str:
    return ", ".join(type(arg).__name__ for arg in args) or "nothing"
