"""The notation of `einsum`: an equation and shapes become a label for each axis."""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int, ...]
Labels = tuple[str, ...]  #: a letter for each named axis; "...0", "...1" for axes of an ellipsis, counted from the last one


def parse(equation: str, shapes: Sequence[Shape]) -> tuple[list[Labels], Labels, dict[str, int]]:
    """The labels of the axes of each operand and of the result, and the size of each label.

    Raises:
        ValueError: the equation is not valid, or does not fit the shapes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes) or not shapes:
        raise ValueError(f"einsum: {equation!r} has {len(terms)} terms for {len(shapes)} operands; write one term for each operand")
    inputs = [_labels(equation, term, len(shape)) for term, shape in zip(terms, shapes, strict=True)]
    sizes = _sizes(equation, inputs, shapes)
    ellipsis = tuple(sorted((label for label in sizes if label.startswith("...")), key=lambda label: -int(label[3:])))
    if not arrow:
        letters = [label for labels in inputs for label in labels if len(label) == 1]
        return inputs, (*ellipsis, *sorted(label for label in letters if letters.count(label) == 1)), sizes
    output = _expand(equation, right, ellipsis)
    if len(set(output)) < len(output):
        raise ValueError(f"einsum: {equation!r} has a letter twice after '->'; every axis of the result needs its own letter")
    unknown = [label for label in output if label not in sizes]
    if unknown:
        raise ValueError(f"einsum: {unknown[0]!r} after '->' in {equation!r} is in no operand")
    return inputs, output, sizes


def _expand(equation: str, term: str, ellipsis: Labels) -> Labels:
    """The labels of a term; ``...`` is replaced by the given labels."""
    before, dots, after = term.partition("...")
    if not all(letter.isascii() and letter.isalpha() for letter in before + after):
        raise ValueError(f"einsum: expected letters, ',', '...' and '->' as in 'ij,jk->ik', got {equation!r}")
    return (*before, *ellipsis, *after) if dots else tuple(before)


def _labels(equation: str, term: str, ndim: int) -> Labels:
    """The labels of the axes of one operand."""
    letters = len(term.replace("...", "", 1))
    count = ndim - letters
    if count < 0 or (count and "..." not in term):
        raise ValueError(f"einsum: {term!r} in {equation!r} names {letters} axes, but its operand has {ndim}")
    return _expand(equation, term, tuple(f"...{i}" for i in reversed(range(count))))


def _sizes(equation: str, inputs: Sequence[Labels], shapes: Sequence[Shape]) -> dict[str, int]:
    """The size of each label; an axis of size 1 broadcasts."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                what = f"{label!r}" if len(label) == 1 else "an axis of '...'"
                raise ValueError(f"einsum: {what} in {equation!r} has size {known} in one operand and {size} in another")
    return sizes
