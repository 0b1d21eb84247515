"""Sums of products in Einstein's notation: `einsum`, which is not in the standard.

It is composed of differentiable functions of the standard (diagonals, sums, transpositions, matmuls), so it has derivatives of any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from tinytorch.array_api.arithmetic import multiply, positive
from tinytorch.array_api.einsum_notation import Labels, parse
from tinytorch.array_api.linalg.products import diagonal
from tinytorch.array_api.linear_algebra import matmul
from tinytorch.array_api.manipulation import permute_dims, reshape, squeeze
from tinytorch.array_api.statistics import sum
from tinytorch.tensor import Tensor

__all__ = ["einsum"]

Labelled = tuple[Tensor, Labels]  #: a Tensor and the label of each of its axes


def einsum(equation: str, /, *operands: Tensor) -> Tensor:
    """The sum of products that the equation describes, as ``numpy.einsum`` and ``torch.einsum``.

    More than two operands are contracted in pairs, in the order that `opt_einsum <https://pypi.org/project/opt-einsum>`_ finds if it is
    installed, and otherwise from left to right.

    Args:
        equation: a letter for each axis of each operand, with commas between operands, such as ``"ij,jk->ik"``. Equal letters are the same
            axis; a letter that appears twice in one operand selects the diagonal. Letters missing after ``->`` are summed over. Without
            ``->``, the result has the letters that appear once, in alphabetical order. ``...`` stands for axes that broadcast.
        operands: Tensors.

    Returns:
        A Tensor with the axes given after ``->``.

    Raises:
        TypeError: the first argument is not a string.
        ValueError: the equation is not valid, or does not fit the operands.

    Example:
        >>> a, b = tt.asarray([[1.0, 2.0], [3.0, 4.0]]), tt.asarray([10.0, 1.0])
        >>> tt.einsum("ij,j->i", a, b)
        Tensor([12., 34.], dtype=float32, device='numpy:cpu')
        >>> tt.einsum("ii", a)  # the trace
        Tensor(5., dtype=float32, device='numpy:cpu')
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum expected an equation such as 'ij,jk->ik' first, got {type(equation).__name__}; then the Tensors")
    inputs, output, sizes = parse(equation, [tuple(operand.shape) for operand in operands])
    terms = [_drop_repeated(operand, labels, sizes) for operand, labels in zip(operands, inputs, strict=True)]
    for step in _path(terms, output, sizes):
        chosen = [terms[i] for i in step]
        terms = [term for i, term in enumerate(terms) if i not in step]
        while len(chosen) > 1:
            left, right, *chosen = chosen
            kept = set(output).union(*(labels for _, labels in [*terms, *chosen]))
            chosen.insert(0, _contract(left, right, kept, sizes))
        terms += chosen
    ((result, labels),) = terms
    result, labels = _sum_out((result, labels), set(output))
    order = tuple(labels.index(label) for label in output if label in labels)
    result = permute_dims(result, order) if order != tuple(range(len(order))) else result
    return positive(result) if any(result is operand for operand in operands) else result


def _path(terms: Sequence[Labelled], output: Labels, sizes: dict[str, int]) -> list[tuple[int, ...]]:
    """The terms to contract in each step, as positions; the result of a step is appended to the remaining terms."""
    if len(terms) < 3 or not find_spec("opt_einsum"):
        return [tuple(range(len(terms)))]
    letters = {label: chr(0x4E00 + i) for i, label in enumerate(sizes)}  # one character for each label
    names = ["".join(letters[label] for label in labels) for _, labels in terms]
    equation = f"{','.join(names)}->{''.join(letters[label] for label in output)}"
    path, _ = import_module("opt_einsum").contract_path(equation, *[tensor.shape for tensor, _ in terms], shapes=True)
    return [tuple(step) for step in path]


def _drop_repeated(x: Tensor, labels: Labels, sizes: dict[str, int]) -> Labelled:
    """Take the diagonal of axes with the same label, and drop axes of size 1 that broadcast to the size of their label."""
    stretched = tuple(i for i, label in enumerate(labels) if x.shape[i] == 1 and sizes[label] != 1)
    if stretched:
        x, labels = squeeze(x, axis=stretched), tuple(label for i, label in enumerate(labels) if i not in stretched)
    while len(set(labels)) < len(labels):
        label = next(label for label in labels if labels.count(label) > 1)
        first = labels.index(label)
        second = labels.index(label, first + 1)
        others = [i for i in range(len(labels)) if i not in (first, second)]
        x = diagonal(permute_dims(x, (*others, first, second)))
        labels = (*(labels[i] for i in others), label)
    return x, labels


def _sum_out(term: Labelled, kept: set[str]) -> Labelled:
    """Sum over the axes that are not kept."""
    x, labels = term
    gone = tuple(i for i, label in enumerate(labels) if label not in kept)
    return (sum(x, axis=gone, dtype=x.dtype), tuple(label for label in labels if label in kept)) if gone else term


def _contract(left: Labelled, right: Labelled, kept: set[str], sizes: dict[str, int]) -> Labelled:
    """The product of two terms, summed over the labels that are not kept, as one batched matmul."""
    left = _sum_out(left, kept | set(right[1]))
    right = _sum_out(right, kept | set(left[1]))
    batch = [label for label in left[1] if label in right[1] and label in kept]
    summed = [label for label in left[1] if label in right[1] and label not in kept]
    rows = [label for label in left[1] if label not in right[1]]
    columns = [label for label in right[1] if label not in left[1]]

    def size(labels: Sequence[str]) -> int:
        return math.prod(sizes[label] for label in labels)

    def shape(labels: Sequence[str]) -> tuple[int, ...]:
        return tuple(sizes[label] for label in labels)

    if not summed:
        first = reshape(_ordered(left, [*batch, *rows]), (*shape(batch), *shape(rows), *[1] * len(columns)))
        second = reshape(_ordered(right, [*batch, *columns]), (*shape(batch), *[1] * len(rows), *shape(columns)))
        return multiply(first, second), (*batch, *rows, *columns)
    first = reshape(_ordered(left, [*batch, *rows, *summed]), (*shape(batch), size(rows), size(summed)))
    second = reshape(_ordered(right, [*batch, *summed, *columns]), (*shape(batch), size(summed), size(columns)))
    return reshape(matmul(first, second), (*shape(batch), *shape(rows), *shape(columns))), (*batch, *rows, *columns)


def _ordered(term: Labelled, wanted: Sequence[str]) -> Tensor:
    x, labels = term
    order = tuple(labels.index(label) for label in wanted)
    return permute_dims(x, order) if order != tuple(range(len(order))) else x
