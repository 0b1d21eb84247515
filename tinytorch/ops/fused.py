"""Fused operations: several steps under one name, written once in portable Array API code, which a backend may do better.

The contract is `tinytorch.backend.Kernel`. A portable pair gets the namespace first, ``forward(xp, *arrays, **static)`` and
``backward(xp, g, residuals, inputs, needs, **static)``; a backend's override works on its own arrays and is found by name in
``Backend.kernels``. Whichever ran forward also runs backward. Where the backward pass is itself recorded, the portable forward is
replayed on the saved inputs and differentiated, so that derivatives of second and higher order do not depend on who did the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from tinytorch.autograd.graph import Gradient, Leaf, Node, backpropagate, is_recording, reachable
from tinytorch.autograd.operation import NotDifferentiableError, plain_settings
from tinytorch.backend import Array, Backend, Kernel
from tinytorch.tensor import Tensor, check_same_backend, wrap

# Whether backends' own kernels are used. The variable is read once, as this is asked at every call.
_overrides = ContextVar("tinytorch_kernel_overrides", default=os.environ.get("TINYTORCH_KERNELS") != "portable")


@contextmanager
def portable_kernels() -> Iterator[None]:
    """Run the portable implementation of every fused operation inside a ``with`` block."""
    token = _overrides.set(False)
    try:
        yield
    finally:
        _overrides.reset(token)


class Fused:
    """A fused operation on Tensors; ``None`` stands for an operand that is left out."""

    def __init__(self, name: str, forward: Callable[..., Any], backward: Callable[..., Sequence[Array | None]] | None = None) -> None:
        self.name = name
        self.forward = forward
        self.backward = backward
        self.__doc__ = forward.__doc__

    def __repr__(self) -> str:
        return f"<fused operation {self.name}>"

    def run(self, backend: Backend, *arrays: Any, **static: Any) -> tuple[Array, Any, Kernel]:
        """Run on raw arrays: the result, what the backward pass needs, and the kernel that did it."""
        kernel = backend.kernels.get(self.name)
        if kernel is not None and _overrides.get():
            result = kernel.forward(*arrays, **static)
            if result is not NotImplemented:
                return *result, kernel
        kernel = Kernel(partial(self.forward, backend.xp), None if self.backward is None else partial(self._portable_backward, backend))
        return *kernel.forward(*arrays, **static), kernel

    def _portable_backward(self, backend: Backend, *args: Any, **static: Any) -> Sequence[Array | None]:
        assert self.backward is not None
        return self.backward(backend.xp, *args, **static)  # taken now: a backend of several devices makes its own the current one

    def __call__(self, *args: Tensor | None, **static: Any) -> Tensor:
        backend = None
        recorded = False
        for arg in args:
            if arg is not None:
                if backend is None:
                    backend = arg.backend
                elif arg.backend is not backend:
                    check_same_backend(self.name, backend, arg)
                recorded = recorded or arg.node is not None
        if backend is None:
            raise TypeError(f"{self.name} needs a Tensor")
        static = plain_settings(static)
        raws = tuple([None if arg is None else arg.raw for arg in args])
        out, residuals, kernel = self.run(backend, *raws, **static)
        node = None
        if recorded and is_recording():
            node = FusedCall(self, kernel, backend, args, raws, static, residuals)
        return wrap(out, backend, node)


class FusedCall(Node):
    """One recorded call of a fused operation: its inputs by value, and whatever the kernel that ran wants back."""

    __slots__ = ("backend", "fused", "inputs", "kernel", "residuals", "static")

    def __init__(
        self,
        fused: Fused,
        kernel: Kernel,
        backend: Backend,
        args: Sequence[Tensor | None],
        raws: tuple[Any, ...],
        static: dict[str, Any],
        residuals: Any,
    ) -> None:
        super().__init__(tuple([None if arg is None else arg.node for arg in args]))
        self.fused = fused
        self.kernel = kernel
        self.backend = backend
        self.inputs: tuple[Any, ...] | None = raws
        self.static = static
        self.residuals = residuals

    def pullback(self, g: Gradient, needs: Sequence[bool], recorded: bool) -> Sequence[Gradient | None]:
        if self.inputs is None:
            raise RuntimeError("what backward() needs was freed by an earlier backward(); pass retain_graph=True to the earlier one")
        if recorded:
            return self._replay(g, needs)
        if self.kernel.backward is None:
            raise NotDifferentiableError(f"{self.fused.name} has no derivative")
        return self.kernel.backward(g, self.residuals, self.inputs, needs, **self.static)

    def _replay(self, g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        """Differentiate the portable forward at the saved inputs, on Tensors, so that the result can be differentiated again."""
        assert self.inputs is not None
        backend = self.backend
        leaves = [Leaf(parent) if needed else None for parent, needed in zip(self.parents, needs, strict=True)]
        inputs = [
            None if raw is None else wrap(raw, backend, leaf or parent)
            for raw, leaf, parent in zip(self.inputs, leaves, self.parents, strict=True)
        ]
        out, _ = self.fused.forward(backend.namespace, *inputs, **self.static)
        targets = [leaf for leaf in leaves if leaf is not None]
        if out.node is None:
            return [None for _ in leaves]
        found = backpropagate(reachable(out.node, floor=targets[0].id), {out.node: g}, set(targets), recorded=True, release=False)
        return [None if leaf is None else found.get(leaf) for leaf in leaves]

    def release(self) -> None:
        self.inputs = self.residuals = None
