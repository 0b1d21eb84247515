"""Whole matrices of derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from tinytorch.autograd.arguments import plain
from tinytorch.autograd.forward import Pushforward
from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.pytrees import map_tensors
from tinytorch.autograd.reverse import grad
from tinytorch.autograd.traced import Traced, results_of, zeros_like
from tinytorch.tensor import Tensor

P = ParamSpec("P")


def jacobian(function: Callable[P, Any], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """A function that returns every derivative of each result with respect to each argument.

    The function runs once. Then each element of the results is carried back, or each element of the arguments forward, whichever are fewer;
    back for real results of complex arguments, and forward for complex results of real ones, as the other way would see real parts alone.

    Args:
        function: returns Tensors in any structure; complex results of complex arguments must be holomorphic functions of them.
        argnums: which positional arguments to differentiate with respect to: Tensors, or structures of them.

    Returns:
        ``wrapped(*args, **kwargs)``, which returns the structure of the results, with the structure of the argument in place of each Tensor
        (a tuple of these where ``argnums`` is a sequence), and there Tensors of shape ``(*result.shape, *argument.shape)``; ``None`` in
        place of whole numbers and truth values.

    Raises:
        TypeError: there is no floating-point Tensor among the arguments or the results.
    """
    argnums = plain(argnums)
    single = isinstance(argnums, int)
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        traced = Traced(function, args, positions, kwargs)
        outputs = results_of("jacobian", traced.result)
        blocks = iter(_blocks(traced, outputs))

        def block(output: Tensor) -> Any:
            if not output.dtype.is_floating:
                return None
            trees = traced.like_inputs([args[p] for p in positions], next(blocks))
            return trees[0] if single else tuple(trees)

        return map_tensors(block, traced.result)

    return wrapped


def hessian(function: Callable[P, Any], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """A function that returns every second derivative of ``function``, which returns a Tensor of one element.

    The result has the structure of `jacobian` of `grad`: for Tensors x and y among the arguments a block of shape ``(*x.shape, *y.shape)``.
    """
    return jacobian(grad(function, argnums), argnums)


def _blocks(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """For each output and each input the block of derivatives, by the way that is shorter or the one that is right."""
    fewer_rows = sum(o.size for o in outputs) <= sum(i.size for i in traced.inputs)

    def by_rows(output: Tensor, tensor: Tensor) -> bool:
        kinds = output.dtype.kind, tensor.dtype.kind
        return fewer_rows if kinds[0] == kinds[1] else kinds[1] == "complex floating"

    ways = [[by_rows(output, tensor) for tensor in traced.inputs] for output in outputs]
    rows = _rows(traced, outputs) if any(map(any, ways)) else None
    columns = _columns(traced, outputs) if not all(map(all, ways)) else None
    return [
        [(rows if way else columns)[o][i] for i, way in enumerate(row)]  # type: ignore[index]  # what a way needs was computed
        for o, row in enumerate(ways)
    ]


def _rows(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """For each output and each input the block of derivatives, by a pullback for each element of the output."""
    create_graph = is_grad_enabled() and bool(traced.kept)
    blocks = []
    for output in outputs:
        node = output.node
        if node is None:
            rows: list[list[Tensor | None]] = []
        else:
            rows = [traced.pull({node: unit}, create_graph) for unit in _units(output)]
        blocks.append([_joined(output, tensor, [row[i] for row in rows], 0) for i, tensor in enumerate(traced.inputs)])
    return blocks


def _columns(traced: Traced, outputs: Sequence[Tensor]) -> list[list[Tensor | None]]:
    """For each output and each input the block of derivatives, by a pushforward for each element of the input."""
    push = Pushforward(traced, outputs)
    blocks: list[list[Tensor | None]] = [[] for _ in outputs]
    for i, tensor in enumerate(traced.inputs):
        still = [zeros_like(other) for other in traced.inputs]
        columns = [push([*still[:i], unit, *still[i + 1 :]]) for unit in _units(tensor)]
        for output, block in zip(outputs, blocks, strict=True):
            found = [None if output.node is None else column.get(output.node) for column in columns]
            block.append(_joined(output, tensor, found, -1))
    return blocks


def _units(tensor: Tensor) -> list[Tensor]:
    """For each element a Tensor that is one there and zero elsewhere."""
    xp = tensor.backend.namespace
    places = xp.reshape(xp.arange(tensor.size), tensor.shape)
    return [xp.astype(places == i, tensor.dtype) for i in range(tensor.size)]


def _joined(output: Tensor, tensor: Tensor, parts: Sequence[Tensor | None], axis: int) -> Tensor | None:
    """Rows (axis 0) or columns (axis -1) as one Tensor of shape ``(*output.shape, *tensor.shape)``."""
    shape = (*output.shape, *tensor.shape)
    xp = tensor.backend.namespace
    if not any(part is not None for part in parts):
        return xp.zeros(shape, dtype=tensor.dtype)  # type: ignore[no-any-return]
    blank = zeros_like(tensor if axis == 0 else output)
    return xp.reshape(xp.stack([blank if part is None else part for part in parts], axis=axis), shape)  # type: ignore[no-any-return]
