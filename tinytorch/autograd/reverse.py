"""Reverse mode: gradients and vector-Jacobian products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from tinytorch.autograd.arguments import to_python_numbers
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node, accumulate
from tinytorch.autograd.traced import Traced, flatten_like, floating_results
from tinytorch.tensor import Tensor

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


# The gradient has the type of its argument. The overloads overlap, since 0 is an int; type checkers use the first that matches.
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
    """Create a function that returns both the value of ``function`` and its gradient, as ``jax.value_and_grad``.

    Args:
        function: returns a real floating-point Tensor with one element; with ``has_aux`` a pair of this Tensor and any other value.
        argnums: index or indices of the positional arguments to differentiate: Tensors, or pytrees of Tensors. On the host they may also be
            NumPy arrays, which keep their dtype, and Python floats; the function gets Tensors.
        has_aux: whether ``function`` returns a pair.
        materialize_grads: if true, the gradient of a Tensor that the value does not depend on is zero; otherwise ``None``.

    Returns:
        A function ``wrapped(*args, **kwargs) -> (value, gradient)``; with ``has_aux`` ``((value, aux), gradient)``. The gradient has the
        structure of the argument, with ``None`` for integer and boolean Tensors; it is a tuple if ``argnums`` is a sequence.

    Raises:
        TypeError: the arguments contain no floating-point Tensor, or the value is not a real floating-point Tensor with one element.

    Example:
        >>> tt.value_and_grad(lambda x: tt.sum(x * x))(tt.asarray([1.0, 2.0]))
        (Tensor(5., dtype=float32, device='numpy:cpu'), Tensor([2., 4.], dtype=float32, device='numpy:cpu'))
        >>> tt.value_and_grad(lambda x: x**2)(3.0)
        (Tensor(9., dtype=float32, device='numpy:cpu'), Tensor(6., dtype=float32, device='numpy:cpu'))
    """
    argnums = to_python_numbers(argnums)
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        traced = Traced(function, args, positions, kwargs)
        value, aux = traced.result if has_aux else (traced.result, None)
        if not isinstance(value, Tensor) or value.size != 1:
            what = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"the function to differentiate must return a Tensor with one element, got {what}")
        if value.dtype.kind != "real floating":
            what = "; return tinytorch.real of it, or use vjp or jacobian" if value.dtype.is_floating else ""
            raise TypeError(f"the function to differentiate must return a real floating-point Tensor, got {value.dtype.name}{what}")
        found: Sequence[Tensor | None] = [None] * len(traced.inputs)
        if value.node is not None:
            one = value.backend.namespace.ones_like(value.detach())
            found = traced.backpropagate({value.node: one}, create_graph=value.node in traced.attached, release=not traced.attached)
        gradients = traced.unflatten(found, materialize_grads)
        value, aux = traced.detach((value, aux))
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
    """Create a function that returns the gradient of ``function``, as ``jax.grad``.

    Args and Raises are those of `value_and_grad`.

    Returns:
        A function ``wrapped(*args, **kwargs) -> gradient``; with ``has_aux`` ``(gradient, aux)``.

    Example:
        >>> tt.grad(lambda x: tt.sum(x * x))(tt.asarray([1.0, 2.0]))
        Tensor([2., 4.], dtype=float32, device='numpy:cpu')
        >>> tt.grad(tt.grad(lambda x: x**3))(tt.asarray(2.0)).item()
        12.0
    """
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
    """Call a function and return its results and its vector-Jacobian product, as ``torch.func.vjp`` and ``jax.vjp``.

    Args:
        function: takes ``primals`` and returns a pytree of Tensors; with ``has_aux`` a pair of this pytree and any other value.
        primals: the arguments: Tensors, or pytrees of Tensors; also NumPy arrays and Python floats, as for `grad`.
        has_aux: whether ``function`` returns a pair.

    Returns:
        ``(results, vjp_fn)``; with ``has_aux`` ``(results, vjp_fn, aux)``. ``vjp_fn(cotangents)`` takes a pytree with the structure of the
        results, in which the cotangents of integer and boolean Tensors are ignored. It returns a tuple with a gradient for each argument:
        the transposed Jacobian times the cotangents. It may be called several times.

    Raises:
        TypeError: the arguments or the results contain no floating-point Tensor.

    Example:
        >>> results, vjp_fn = tt.vjp(lambda x: x * x, tt.asarray([1.0, 2.0]))
        >>> vjp_fn(tt.asarray([1.0, 10.0]))
        (Tensor([ 2., 40.], dtype=float32, device='numpy:cpu'),)
    """
    traced = Traced(function, primals, range(len(primals)), {})
    result, aux = traced.result if has_aux else (traced.result, None)
    outputs = floating_results("vjp", result)

    def vjp_fn(cotangents: Any) -> tuple[Any, ...]:
        given = flatten_like("vjp_fn", "cotangent", cotangents, outputs)
        seeds: dict[Node, Tensor] = {}
        for output, cotangent in zip(outputs, given, strict=True):
            if output.node is not None:
                accumulate(seeds, output.node, cotangent)
        create_graph = is_grad_enabled() and (bool(traced.attached) or any(cotangent.node is not None for cotangent in given))
        found = traced.backpropagate(seeds, create_graph) if seeds else [None] * len(traced.inputs)
        return tuple(traced.unflatten(found))

    results = traced.detach(result)
    return (results, vjp_fn, traced.detach(aux)) if has_aux else (results, vjp_fn)
