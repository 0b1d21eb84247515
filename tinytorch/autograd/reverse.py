"""Reverse mode: gradients, and products with a transposed Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from tinytorch.autograd.arguments import plain
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node, accumulate
from tinytorch.autograd.traced import Traced, matching, results_of
from tinytorch.tensor import Tensor

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


# The gradient has the type of its argument. The signatures overlap, as 0 is an int too; the first that fits is taken.
@overload
def value_and_grad(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[A, P], R], argnums: Literal[0] = 0, has_aux: bool = False, materialize_grads: Literal[True] = True
) -> Callable[Concatenate[A, P], tuple[R, A]]: ...
@overload
def value_and_grad(
    function: Callable[P, R], argnums: Sequence[int], has_aux: bool = False, materialize_grads: bool = True
) -> Callable[P, tuple[R, tuple[Any, ...]]]: ...
@overload
def value_and_grad(
    function: Callable[P, R], argnums: int, has_aux: bool = False, materialize_grads: bool = True
) -> Callable[P, tuple[R, Any]]: ...
@overload
def value_and_grad(
    function: Callable[P, R], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, materialize_grads: bool
) -> Callable[P, tuple[R, Any]]: ...
def value_and_grad(
    function: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, materialize_grads: bool = True
) -> Callable[..., Any]:
    """A function that returns both what ``function`` returns and its gradient.

    Args:
        function: returns a Tensor of one real number; with ``has_aux`` a pair of that and anything else.
        argnums: which positional arguments to differentiate with respect to: Tensors, or nested lists, tuples and dictionaries of them.
        has_aux: whether ``function`` returns a pair.
        materialize_grads: whether the gradient of a Tensor that the value does not depend on is zero, or else ``None``.

    Returns:
        ``wrapped(*args, **kwargs) -> (value, gradient)``, or ``((value, aux), gradient)``; the gradient has the structure of the argument
        (a tuple of gradients where ``argnums`` is a sequence). It is ``None`` for a Tensor of integers or booleans.

    Raises:
        TypeError: an argument to differentiate holds no floating-point Tensor, or the value is not a Tensor of one real number.
    """
    argnums = plain(argnums)
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        traced = Traced(function, args, positions, kwargs)
        value, aux = traced.result if has_aux else (traced.result, None)
        if not isinstance(value, Tensor) or value.size != 1:
            what = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"the function to differentiate must return a Tensor of one element, it returned {what}")
        if value.dtype.kind != "real floating":
            what = "; take tinytorch.real of it, or vjp or jacobian" if value.dtype.is_floating else ""
            raise TypeError(f"the function to differentiate must return a real number, it returned {value.dtype.name}{what}")
        found: Sequence[Tensor | None] = [None] * len(traced.inputs)
        if value.node is not None:
            one = value.backend.namespace.ones_like(value.detach())
            found = traced.pull({value.node: one}, create_graph=value.node in traced.kept, release=not traced.kept)
        gradients = traced.like_inputs([args[p] for p in positions], found, materialize_grads)
        value, aux = traced.released((value, aux))
        return ((value, aux) if has_aux else value), (gradients[0] if single else tuple(gradients))

    return wrapped


@overload
def grad(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[A, P], Any], argnums: Literal[0] = 0, has_aux: Literal[False] = False
) -> Callable[Concatenate[A, P], A]: ...
@overload
def grad(
    function: Callable[Concatenate[A, P], tuple[Any, S]], argnums: Literal[0] = 0, *, has_aux: Literal[True]
) -> Callable[Concatenate[A, P], tuple[A, S]]: ...
@overload
def grad(function: Callable[P, Any], argnums: Sequence[int], has_aux: Literal[False] = False) -> Callable[P, tuple[Any, ...]]: ...
@overload
def grad(function: Callable[P, Any], argnums: int | Sequence[int], has_aux: bool = False) -> Callable[P, Any]: ...
@overload
def grad(function: Callable[P, Any], argnums: int | Sequence[int] = 0, *, has_aux: bool) -> Callable[P, Any]: ...
def grad(function: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``function``; with ``has_aux`` the pair of gradient and aux. See `value_and_grad`."""
    both: Callable[..., Any] = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


@overload
def vjp(function: Callable[..., R], *primals: Any, has_aux: Literal[False] = False) -> tuple[R, Callable[[R], tuple[Any, ...]]]: ...
@overload
def vjp(function: Callable[..., tuple[R, S]], *primals: Any, has_aux: Literal[True]) -> tuple[R, Callable[[R], tuple[Any, ...]], S]: ...
def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Call a function, and get the linear map that carries gradients of its results to gradients of its arguments.

    Args:
        function: takes ``primals`` and returns Tensors in any structure; with ``has_aux`` a pair of these and anything else.
        primals: Tensors, or structures of them.

    Returns:
        ``(results, pullback)``, and aux behind them with ``has_aux``. ``pullback(cotangents)`` takes Tensors in the results' structure
        (what stands in the place of whole numbers and truth values is not looked at) and returns a tuple with a gradient for each argument:
        the transposed Jacobian times the cotangents. It may be called many times.

    Raises:
        TypeError: there is no floating-point Tensor among the arguments, or among the results.
    """
    traced = Traced(function, primals, range(len(primals)), {})
    result, aux = traced.result if has_aux else (traced.result, None)
    outputs = results_of("vjp", result)

    def pullback(cotangents: Any) -> tuple[Any, ...]:
        given = matching("the pullback of vjp", "cotangent", cotangents, outputs)
        seeds: dict[Node, Tensor] = {}
        for output, cotangent in zip(outputs, given, strict=True):
            if output.node is not None:
                accumulate(seeds, output.node, cotangent)
        create_graph = is_grad_enabled() and (bool(traced.kept) or any(cotangent.node is not None for cotangent in given))
        found = traced.pull(seeds, create_graph) if seeds else [None] * len(traced.inputs)
        return tuple(traced.like_inputs(primals, found))

    results = traced.released(result)
    return (results, pullback, traced.released(aux)) if has_aux else (results, pullback)
