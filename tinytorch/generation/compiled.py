"""The decoding step as a function of arrays of fixed shapes, which a backend compiles, for example to a CUDA graph."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from tinytorch.array_api import asarray, astype, expand_dims
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend import Array, Backend, Step
from tinytorch.generation.caches import DynamicCache, StaticCache
from tinytorch.generation.sampling import greedy
from tinytorch.nn.binding import bind
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor, wrap

#: Compiled steps by model, shared by all decoders of a model.
_steps: weakref.WeakKeyDictionary[Module, dict[Backend, Step]] = weakref.WeakKeyDictionary()


class CompiledDecoding:
    """Decodes token by token with a compiled step, starting from the cache that the forward pass of the prompts (prefill) has filled.

    Args:
        model: see `Decoder`.
        cache: the cache of the prompts; its buffers are donated: the step may overwrite them.

    Attributes:
        length: number of columns in the cache.
        greedy_tokens: (B), the result of `greedy` for the last logits; ``None`` before the first step.
    """

    def __init__(self, model: Module, cache: DynamicCache) -> None:
        buffers = [buffer for layer in cache.layers for buffer in layer.buffers]
        backend = buffers[0].backend
        steps = _steps.setdefault(model, {})
        if backend not in steps:
            steps[backend] = backend.compile(_decoding_step(weakref.ref(model), list(model.parameters())), donate=True)
        self._step = steps[backend]
        self._backend = backend
        self.length = cache.length
        self.greedy_tokens: Tensor | None = None
        starts = asarray([0] * buffers[0].shape[0], device=backend) if cache.starts is None else cache.starts
        self._starts = astype(starts, "int32").raw
        length = asarray(cache.length, dtype="int32", device=backend)
        self._state: tuple[Array, ...] = (*[buffer.raw for buffer in buffers], length.raw)

    def logits(self, tokens: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Append integers (B) and return the logits (B, V) of the next token.

        Args:
            tokens: one token for each row.
            parameters: the model's parameters in the dtype to compute in.
        """
        batch = (tokens.raw, self._starts, *[parameter.raw for parameter in parameters])
        self._state, (logits, greedy_tokens) = self._step(self._state, batch)
        self.length += 1
        self.greedy_tokens = wrap(greedy_tokens, self._backend)
        return wrap(logits, self._backend)


def _decoding_step(reference: weakref.ref[Module], slots: Sequence[Tensor]) -> Step:
    def step(state: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        model, backend = reference(), slots[0].backend
        assert model is not None  # the caller of a step holds a reference to the model
        *buffers, length, token, starts = [wrap(raw, backend) for raw in (*state, *batch[:2])]
        cache = StaticCache(buffers, length, starts)
        parameters = [wrap(raw, backend) for raw in batch[2:]]
        with no_grad(), bind(slots, parameters):
            logits = astype(model(expand_dims(token, axis=1), cache=cache)[:, -1, :], "float32").raw  # (B, V)
        written = [buffer.raw for layer in cache.layers for buffer in layer.buffers]
        return (*written, (length + 1).raw), (logits, greedy(backend.xp, logits))

    return step
