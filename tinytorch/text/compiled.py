"""One step of decoding as a function of arrays of fixed shapes, for backends that turn such a step into one launch."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from tinytorch.array_api import asarray, astype, expand_dims
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend import Array, Backend, Step
from tinytorch.nn.binding import bind
from tinytorch.nn.cache import KVCache, StepCache
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor, wrap
from tinytorch.text.sampling import next_tokens

#: A step serves all decoders of a model, so that a backend compiles it once.
_steps: weakref.WeakKeyDictionary[Module, dict[Backend, Step]] = weakref.WeakKeyDictionary()


class CompiledDecoding:
    """Reads one token after another in the cache that was filled by a model's first pass.

    Args:
        model: as `tinytorch.text.Decoder` wants it.
        cache: what was read so far; its buffers are given for good.

    Attributes:
        length: how many columns have been read.
        likeliest: (B), the likeliest token after the last, as `next_tokens` at temperature 0 gives it; ``None`` before the first step.
    """

    def __init__(self, model: Module, cache: KVCache) -> None:
        backend = cache.backend
        steps = _steps.setdefault(model, {})
        if backend not in steps:
            steps[backend] = backend.compile(_decoding_step(weakref.ref(model), list(model.parameters())), donate=True)
        self._step = steps[backend]
        self._backend = backend
        self.length = cache.length
        self.likeliest: Tensor | None = None
        buffers = [raw for layer in cache.layers for raw in layer.buffers]
        batch = buffers[0].shape[0]
        starts = asarray([0] * batch, device=backend) if cache.starts is None else cache.starts
        self._starts = astype(starts, "int32").raw
        self._state: tuple[Array, ...] = (*buffers, asarray(cache.length, dtype="int32", device=backend).raw)

    def logits(self, new: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Read whole numbers (B) with the model's ``parameters`` as they are to be used; the logits (B, V) of what comes next."""
        batch = (new.raw, self._starts, *[parameter.raw for parameter in parameters])
        self._state, (logits, likeliest) = self._step(self._state, batch)
        self.length += 1
        self.likeliest = wrap(likeliest, self._backend)
        return wrap(logits, self._backend)


def _decoding_step(reference: weakref.ref[Module], slots: Sequence[Tensor]) -> Step:
    def step(state: tuple[Array, ...], batch: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        model, backend = reference(), slots[0].backend
        assert model is not None  # who takes a step holds the model
        *buffers, length, token, starts = [wrap(raw, backend) for raw in (*state, *batch[:2])]
        cache = StepCache(buffers, length, starts)
        parameters = [wrap(raw, backend) for raw in batch[2:]]
        with no_grad(), bind(slots, parameters):
            logits = astype(model(expand_dims(token, axis=1), cache=cache)[:, -1, :], "float32")  # (B, V)
            likeliest = next_tokens(logits, temperature=0.0)
        written = [buffer.raw for layer in cache.layers for buffer in layer.buffers]
        return (*written, (length + 1).raw), (logits.raw, likeliest.raw)

    return step
