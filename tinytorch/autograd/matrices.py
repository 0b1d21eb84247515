"""Jacobian and Hessian matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from tinytorch.autograd.arguments import to_python_numbers
from tinytorch.autograd.forward import JVPFunction
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.pytrees import map_tensors
from tinytorch.autograd.reverse import grad
from tinytorch.autograd.traced import Traced, floating_results, zeros_like
from tinytorch.tensor import Tensor

P = ParamSpec("P")


def jacobian(function: Callable[P, Any], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """Create a function that returns the Jacobian of ``function``, as ``torch.func.jacrev`` and ``jax.jacobian``.

    The function runs once. Then reverse mode computes a row for each element of the results, or forward mode a column for each element of
    the arguments; the mode that needs fewer passes is used. Real results of complex arguments always use reverse mode and complex results
    of real arguments forward mode, since the other mode would lose the imaginary part.

    Args:
        function: returns a pytree of Tensors; complex results of complex arguments must be holomorphic functions of the arguments.
        argnums: index or indices of the positional arguments to differentiate, as for `grad`.

    Returns:
        A function ``wrapped(*args, **kwargs)``. As in JAX, it returns a pytree of pytrees: the outer one has the structure of the results
        of ``function``, and each inner one the structure of the argument (a tuple of arguments if ``argnums`` is a sequence). Its leaves
        have shape ``(*result.shape, *argument.shape)``, and are ``None`` for integer and boolean Tensors.

    Raises:
        TypeError: the arguments or the results contain no floating-point Tensor.

    Example:
        >>> tt.jacobian(lambda x: x * x)(tt.asarray([1.0, 2.0]))
        Tensor([[2., 0.],
                [0., 4.]], dtype=float32, device='numpy:cpu')
    """
    argnums = to_python_numbers(argnums)
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        traced = Traced(function, args, positions, kwargs)
        outputs = floating_results("jacobian", traced.result)
        blocks = iter(_blocks(traced, outputs))

        def block(output: Tensor) -> Any:
            if not output.dtype.is_floating:
                return None
            trees = traced.unflatten(next(blocks))
            return trees[0] if single else tuple(trees)

        return map_tensors(block, traced.result)

    return wrapped


def hessian(function: Callable[P, Any], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """Create a function that returns the Hessian of ``function``, as ``torch.func.hessian`` and ``jax.hessian``.

    Args:
        function: returns a real floating-point Tensor with one element.
        argnums: as for `jacobian`.

    Returns:
        A function whose result has the structure of ``jacobian(grad(function))``: for Tensors x and y among the arguments a Tensor of shape
        ``(*x.shape, *y.shape)``.

    Raises:
        TypeError: as `grad` and `jacobian`.

    Example:
        >>> tt.hessian(lambda x: x[0] * x[1])(tt.asarray([1.0, 2.0]))
        Tensor([[0., 1.],
                [1., 0.]], dtype=float32, device='numpy:cpu')
    """
    return jacobian(grad(function, argnums), argnums)


def _blocks(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """The Jacobian block of each output and each input, in the mode that needs fewer passes or keeps imaginary parts."""
    fewer_rows = sum(o.size for o in outputs) <= sum(i.size for i in traced.inputs)

    def is_reverse(output: Tensor, tensor: Tensor) -> bool:
        if output.dtype.kind == tensor.dtype.kind:
            return fewer_rows
        return tensor.dtype.kind == "complex floating"

    modes = [[is_reverse(output, tensor) for tensor in traced.inputs] for output in outputs]
    rows = _rows(traced, outputs) if any(map(any, modes)) else None
    columns = _columns(traced, outputs) if not all(map(all, modes)) else None
    return [
        [(rows if reverse else columns)[o][i] for i, reverse in enumerate(row)]  # type: ignore[index]  # computed above if needed
        for o, row in enumerate(modes)
    ]


def _rows(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """The Jacobian block of each output and each input, by reverse mode: a pass for each element of the output."""
    create_graph = is_grad_enabled() and bool(traced.attached)
    blocks = []
    for output in outputs:
        node = output.node
        if node is None:
            rows: list[list[Tensor | None]] = []
        else:
            rows = [traced.backpropagate({node: unit}, create_graph) for unit in _standard_basis(output)]
        blocks.append([_stack(output, tensor, [row[i] for row in rows], 0) for i, tensor in enumerate(traced.inputs)])
    return blocks


def _columns(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """The Jacobian block of each output and each input, by forward mode: a pass for each element of the input."""
    jvp = JVPFunction(traced, outputs)
    blocks: list[list[Tensor | None]] = [[] for _ in outputs]
    for i, tensor in enumerate(traced.inputs):
        zeros = [zeros_like(other) for other in traced.inputs]
        columns = [jvp([*zeros[:i], unit, *zeros[i + 1 :]]) for unit in _standard_basis(tensor)]
        for output, block in zip(outputs, blocks, strict=True):
            found = [None if output.node is None else column.get(output.node) for column in columns]
            block.append(_stack(output, tensor, found, -1))
    return blocks


def _standard_basis(tensor: Tensor) -> list[Tensor]:
    """For each element of ``tensor`` a one-hot Tensor of its shape and dtype."""
    xp = tensor.backend.namespace
    indices = xp.reshape(xp.arange(tensor.size), tensor.shape)
    return [xp.astype(indices == i, tensor.dtype) for i in range(tensor.size)]


def _stack(output: Tensor, tensor: Tensor, vectors: Sequence[Tensor | None], axis: int) -> Tensor | None:
    """Stack rows (axis 0) or columns (axis -1) into a Tensor of shape ``(*output.shape, *tensor.shape)``; ``None`` counts as zero."""
    shape = (*output.shape, *tensor.shape)
    xp = tensor.backend.namespace
    if not any(vector is not None for vector in vectors):
        return xp.zeros(shape, dtype=tensor.dtype)  # type: ignore[no-any-return]
    zero = zeros_like(tensor if axis == 0 else output)
    return xp.reshape(xp.stack([zero if vector is None else vector for vector in vectors], axis=axis), shape)  # type: ignore[no-any-return]
