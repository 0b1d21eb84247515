"""Calls of every fused operation with at least two values of each setting, to compare kernels with the portable implementation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy

from tinytorch.backend import Backend, Kernel
from tinytorch.testing.kernel_check import OPERATIONS

#: Relative to the largest element of a float32 array. Results of different settings differ by more than four times as much.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Example:
    """One call, and other values of its settings.

    Attributes:
        arrays: operands as host arrays, lists of them or None.
        settings: settings of the call, including those with a default.
        others: other values by setting; each value changes the result.
        gradients: number of leading arrays that are differentiated.
    """

    arrays: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, list[Any]] = field(default_factory=dict)
    gradients: int = 1


#: Settings that only allow memory to be reused and do not change results.
WITHOUT_EFFECT = frozenset({"donate"})

_random = numpy.random.default_rng(3)
_KEY = numpy.asarray([12345, 678], numpy.int32)
_LEARNING_RATE, _STEP_NUMBER = numpy.asarray(0.1, numpy.float32), numpy.asarray(3, numpy.int32)


def _normal(*shape: int) -> Any:
    return _random.normal(size=shape).astype(numpy.float32)


def _arrays_like(*shapes: tuple[int, ...]) -> list[Any]:
    return [numpy.abs(_normal(*shape)) for shape in shapes]


_SHAPES = ((3, 5), (7,))
_ATTENTION: dict[str, Any] = {"num_heads": 2, "causal": False, "p": 0.0, "site": 7, "first": 0}
_DROPPED: dict[str, Any] = _ATTENTION | {"p": 0.5, "first": 3}
_HEADS: dict[str, list[Any]] = {"num_heads": [1, 4], "causal": [True]}
_DRAWN: dict[str, list[Any]] = {"p": [0.25, 0.75], "site": [0, 8], "first": [4, 2**31, 2**32 - 7, 5 * 2**32 + 1]}
_UPDATE: dict[str, Any] = {"weight_decays": [0.1, 0.0], "max_norm": None, "donate": False}
_UPDATES: dict[str, list[Any]] = {"weight_decays": [[0.0, 0.2]], "max_norm": [0.5]}
_POOL = Example(
    (_normal(2, 3, 6, 7),),
    {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)},
    {"kernel_size": [(2, 3), (3, 2)], "stride": [(1, 2), (2, 1)], "padding": [(0, 1), (1, 0)]},
)

#: Calls by operation name. Several are needed if one call cannot test all settings: without dropout, no random bits are used.
EXAMPLES: dict[str, list[Example]] = {
    "adam": [
        Example(
            (_arrays_like(*_SHAPES), _arrays_like(*_SHAPES), _arrays_like(*_SHAPES), _arrays_like(*_SHAPES), _LEARNING_RATE, _STEP_NUMBER),
            {"betas": (0.9, 0.99), "eps": 1e-8, "decoupled": True, **_UPDATE},
            {"betas": [(0.5, 0.99), (0.9, 0.5), (0.0, 0.9)], "eps": [0.1], "decoupled": [False], "donate": [True], **_UPDATES},
        )
    ],
    "append_rows": [Example((_normal(2, 5, 3), _normal(2, 2, 3)), {"at": 1}, {"at": [0, 3]})],
    "attention": [
        Example((_normal(2, 3, 8), _normal(2, 5, 8), _normal(2, 5, 8), None, _KEY), _DROPPED, _HEADS | _DRAWN, 3),
        Example((_normal(2, 3, 8), _normal(2, 5, 8), _normal(2, 5, 8), None, None), _ATTENTION, _HEADS, 3),
        Example((_normal(2, 6, 8), _normal(2, 6, 8), _normal(2, 6, 8), _random.random((2, 1, 6, 6)) < 0.7, None), _ATTENTION, _HEADS, 3),
    ],
    "avg_pool2d": [_POOL],
    "conv2d": [
        Example(
            (_normal(2, 3, 6, 7), _normal(4, 3, 3, 2), _normal(4)),
            {"stride": (1, 1), "padding": (0, 0)},
            {"stride": [(1, 2), (2, 1)], "padding": [(0, 1), (1, 0)]},
            3,
        )
    ],
    "cross_entropy": [
        Example(
            (_normal(5, 7), numpy.asarray([0, 4, 2, 2, 6])),
            {"ignore_index": -100, "label_smoothing": 0.0},
            {"ignore_index": [2, 4], "label_smoothing": [0.1]},
        )
    ],
    "dropout": [Example((_normal(4, 5), _KEY), {"p": 0.5, "site": 7, "first": 3}, _DRAWN)],
    "embedding": [Example((_normal(7, 5), _random.integers(0, 7, (3, 4))))],
    "gelu": [Example((_normal(3, 40),), {"approximate": "tanh"}, {"approximate": ["none"]})],
    "layer_norm": [Example((_normal(2, 3, 8), _normal(8), _normal(8)), {"eps": 1e-5}, {"eps": [0.5]}, 3)],
    "linear": [Example((_normal(2, 3, 5), _normal(4, 5), _normal(4)), gradients=3)],
    "max_pool2d": [_POOL],
    "packed_attention": [
        Example((_normal(2, 5, 24), None, _KEY), _DROPPED, _HEADS | _DRAWN),
        Example((_normal(2, 5, 24), None, None), _ATTENTION, _HEADS),
    ],
    "put_row": [Example((_normal(2, 5, 3), _normal(2, 1, 3), numpy.asarray(2, numpy.int32)))],
    "relu": [Example((_normal(4, 5),))],
    "sgd": [
        Example(
            (_arrays_like(*_SHAPES), _arrays_like(*_SHAPES), _arrays_like(*_SHAPES), _LEARNING_RATE),
            {"momentum": 0.9, "nesterov": False, **_UPDATE},
            {"momentum": [0.5], "nesterov": [True], "donate": [True], **_UPDATES},
        ),
        Example(  # without momentum there are no velocities
            (_arrays_like(*_SHAPES), _arrays_like(*_SHAPES), [], _LEARNING_RATE), {"momentum": 0.0, "nesterov": False, **_UPDATE}, _UPDATES
        ),
    ],
    "softmax": [Example((_normal(2, 3, 4),), {"axis": -1}, {"axis": [0, 1]})],
}


def settings_of(function: Any) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of each setting of a function; ``**settings`` counts as a setting with this name."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return {p.name: (p.annotation, p.default) for p in parameters if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)}


def calls(name: str) -> Iterator[tuple[Example, dict[str, Any]]]:
    """All calls of an operation: each value of each setting, and each optional setting omitted."""
    declared = settings_of(OPERATIONS[name].forward)
    optional = [setting for setting, (_, default) in declared.items() if default is not inspect.Parameter.empty]
    for example in EXAMPLES[name]:
        yield example, example.settings
        for setting, values in example.others.items():
            for value in values:
                yield example, example.settings | {setting: value}
        for omitted in optional:
            yield example, {setting: value for setting, value in example.settings.items() if setting != omitted}


def portable(name: str, example: Example, settings: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Result and gradients of the portable implementation, on numpy in float64."""
    operation, arrays = OPERATIONS[name], _mapped(example.arrays, _to_float64)
    out, residuals = operation.forward(numpy, *arrays, **settings)
    if operation.joint_rule is None:
        return out, []
    needs = _needs(example)
    grads = operation.joint_rule(numpy, _to_float64(_gradient(out.shape)), residuals, arrays, needs, **settings)
    return out, [grad if needed else None for grad, needed in zip(grads, needs, strict=True)]


def run(backend: Backend, kernel: Kernel, example: Example, settings: dict[str, Any]) -> tuple[Any, list[Any]] | None:
    """Result and gradients of a kernel, as host arrays; None if it does not support the call."""
    arrays = _mapped(example.arrays, backend.from_host)
    result = kernel.forward(*arrays, **settings)
    if result is NotImplemented:
        return None
    out, residuals = result
    grads: list[Any] = []
    if kernel.backward is not None:
        g = backend.from_host(_gradient(out.shape))
        grads = list(kernel.backward(g, residuals, arrays, _needs(example), **settings))
    return _mapped(out, backend.to_host), _mapped(grads, backend.to_host)


def same(actual: Any, expected: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether arrays, or lists and tuples of arrays, are equal up to ``tolerance`` times the largest element of each array."""
    if isinstance(expected, list | tuple):
        return len(actual) == len(expected) and all(same(a, e, tolerance) for a, e in zip(actual, expected, strict=True))
    if actual is None or expected is None:
        return actual is expected
    size = float(numpy.max(numpy.abs(expected), initial=1e-3))
    return actual.shape == expected.shape and numpy.allclose(actual, expected, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def check_kernel(name: str, backend: Backend, kernel: Kernel) -> None:
    """Compare a kernel with the portable implementation in every call that it supports; it must support at least one."""
    supported = 0
    for example, settings in calls(name):
        actual = run(backend, kernel, example, settings)
        if actual is not None:
            supported += 1
            expected = portable(name, example, settings)
            assert same(actual, expected), f"{name} with {settings} differs from the portable implementation"
    assert supported, f"the kernel {name} supports none of the calls"


def _mapped(value: Any, change: Any) -> Any:
    """Apply ``change`` to a copy of every array, also in lists and tuples."""
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    return None if value is None else change(value.copy())


def _to_float64(array: Any) -> Any:
    return array.astype(numpy.float64) if array.dtype.kind == "f" else array


def _gradient(shape: tuple[int, ...]) -> Any:
    return numpy.random.default_rng(5).normal(size=shape).astype(numpy.float32)


def _needs(example: Example) -> list[bool]:
    return [i < example.gradients for i in range(len(example.arrays))]
