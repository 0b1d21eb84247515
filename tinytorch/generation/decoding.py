"""Autoregressive decoding with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from tinytorch.array_api import asarray, astype, concat
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend import Array, Backend
from tinytorch.backend.host import as_host_array
from tinytorch.generation.caches import DynamicCache
from tinytorch.generation.compiled import CompiledDecoding
from tinytorch.io.errors import InputError
from tinytorch.nn.binding import bind
from tinytorch.nn.module import Module
from tinytorch.nn.precision import Precision
from tinytorch.tensor import Tensor


def crop_prompt(ids: Sequence[int], max_length: int) -> tuple[list[int], int]:
    """Keep the last ``max_length`` ids of a prompt.

    Args:
        ids: the prompt.
        max_length: maximum number of ids to keep.

    Returns:
        The ids that are kept, and the number of ids that were dropped.

    Example:
        >>> from tinytorch.generation import crop_prompt
        >>> crop_prompt([1, 2, 3, 4, 5], max_length=3)
        ([3, 4, 5], 2)
    """
    dropped = max(0, len(ids) - max_length)
    return list(ids[dropped:]), dropped


class Decoder:
    """Computes the next-token logits of a batch of growing sequences with a key-value cache.

    The model attends to a window of the last tokens. When a token is appended to a full window, of ``max_length`` tokens, the older half is
    dropped and the cache is computed again for the rest, with positions from 0. So the logits always equal those of one forward pass over
    the current window, and each token costs one single-token step, except one longer step for every ``max_length / 2`` tokens. A backend
    that compiles steps compiles the single-token step.

    Args:
        model: a Module with attributes ``max_length`` and ``num_layers`` that is called as ``model(ids, cache=...)`` with a `Cache` and
            returns logits, such as `TinyGPT`. It runs in evaluation mode; its mode is restored after each call.
        prompts: B rows of ids. Rows longer than ``max_length`` are cropped as by `crop_prompt`. Shorter rows are padded on the left; their
            padding is dropped with the older half of the window.
        precision: the precision to compute in, one of `tinytorch.nn.PRECISIONS`; logits are float32.

    Raises:
        InputError: there are no prompts, a prompt is empty, or the backend cannot compute in ``precision``.
        TypeError: ids are not integers.
        ValueError: an id is outside the vocabulary.

    Example:
        >>> from tinytorch.generation import Decoder
        >>> from tinytorch.models import TinyGPT
        >>> decoder = Decoder(TinyGPT(10, d_model=8, num_heads=2, num_layers=1, max_length=16), [[1, 2, 3]])
        >>> decoder.logits().shape
        (1, 10)
        >>> decoder.logits(tt.asarray([4])).shape, decoder.window()
        ((1, 10), [[1, 2, 3, 4]])
    """

    def __init__(self, model: Module, prompts: Sequence[Sequence[int]], precision: str = "float32") -> None:
        rows = [crop_prompt(row, model.max_length)[0] for row in prompts]
        if not rows or not all(rows):
            raise InputError("a prompt is empty: pass at least one token to continue")
        width = max(len(row) for row in rows)
        self._model = model
        self._modules = list(model.modules())
        self._slots = list(model.parameters())
        self._used: list[Array] = []  # the parameters' arrays at the last cast
        self._parameters: list[Tensor] = []
        self._starts = [width - len(row) for row in rows]  # the column of each row's first token
        padded = [[0] * start + row for start, row in zip(self._starts, rows, strict=True)]
        self._columns = [model.prepare_input(as_host_array(padded))]  # the window: (B, T), then (B, 1) for each appended token
        self._cache = self._new_cache()
        self._compiled: CompiledDecoding | None = None
        self._precision = Precision(precision, self.backend)

    @property
    def backend(self) -> Backend:
        """The backend of the logits."""
        return self._columns[0].backend

    @property
    def greedy_tokens(self) -> Tensor | None:
        """(B), the result of `greedy` for the last logits if a compiled step has computed it, else ``None``."""
        return None if self._compiled is None else self._compiled.greedy_tokens

    def logits(self, tokens: Tensor | None = None) -> Tensor:
        """Append a token to each row and return the logits of the next one; the first call processes the prompts.

        Args:
            tokens: integers (B), the token to append to each row; left out in the first call only.

        Returns:
            Logits (B, V) of the token after the window, float32.

        Raises:
            ValueError: the first call has ``tokens``, or a later one has none.
        """
        if (tokens is None) is not (self._cache.length == 0):
            raise ValueError("the first call processes the prompts and takes no `tokens`; every later call takes one token for each row")
        if tokens is not None:
            self._columns.append(tokens[:, None])
            if (self._compiled or self._cache).length == self._model.max_length:
                self._drop_older_half()
        with no_grad(), _eval_mode(self._modules), self._precision.matmul_precision():
            if self._compiled is not None:
                return self._compiled.logits(self._columns[-1][:, 0], self._current_parameters())
            with bind(self._slots, self._current_parameters()) if self._precision.casts else nullcontext():
                logits: Tensor = self._model(self._columns[-1], cache=self._cache)  # (B, 1, V), or (B, T, V)
        if self.backend.capabilities.graph:
            self._compiled = CompiledDecoding(self._model, self._cache)
        return astype(logits[:, -1, :], "float32", copy=False)

    def window(self) -> list[list[int]]:
        """The tokens of each row that the model attends to, without padding."""
        rows: list[list[int]] = concat(self._columns, axis=1).tolist()
        return [row[start:] for start, row in zip(self._starts, rows, strict=True)]

    def _current_parameters(self) -> list[Tensor]:
        """The parameters in the dtype to compute in; cast again if they have changed since the last call."""
        raws = [parameter.raw for parameter in self._slots]
        if len(self._used) != len(raws) or any(old is not new for old, new in zip(self._used, raws, strict=True)):
            self._used, self._parameters = raws, self._precision.cast(self._slots)
        return self._parameters

    def _drop_older_half(self) -> None:
        """Drop the older half of the window and start an empty cache. Positions restart at 0."""
        drop = max(1, self._model.max_length // 2)
        self._columns = [concat(self._columns, axis=1)[:, drop:]]
        self._starts = [max(0, start - drop) for start in self._starts]
        self._cache, self._compiled = self._new_cache(), None

    def _new_cache(self) -> DynamicCache:
        columns = self._columns[0]
        # rows without padding need no mask
        starts = asarray(self._starts, dtype=columns.dtype, device=columns.device) if any(self._starts) else None
        return DynamicCache(self._model.num_layers, self._model.max_length, starts)


@contextmanager
def _eval_mode(modules: Sequence[Module]) -> Iterator[None]:
    """Put modules into evaluation mode inside a ``with`` block, and restore the mode of each."""
    switched = [module for module in modules if module.training]
    for module in switched:
        vars(module)["training"] = False  # bypasses Module.__setattr__, which is too slow to run for all modules at every token
    try:
        yield
    finally:
        for module in switched:
            vars(module)["training"] = True
