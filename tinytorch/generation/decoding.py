"""Reading tokens with a model one at a time, with what was read before in a cache."""

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
    """The last ``max_length`` ids of a prompt, and how many were dropped before them."""
    dropped = max(0, len(ids) - max_length)
    return list(ids[dropped:]), dropped


class Decoder:
    """Runs a model on a batch of growing rows of tokens and gives the logits of each row's next token.

    The model attends to a window of its last tokens. When a token is added to a window of ``max_length``, the window's older half is
    dropped and the rest is read again, from position 0. So logits always equal those of one pass over the current window, and a token
    costs one step, except one longer step in every ``max_length / 2``. Where the backend compiles steps, those of one token are compiled.

    Args:
        model: a Module with ``max_length`` and ``num_layers`` that is called as ``model(ids, cache=...)`` with a `Cache`; its last logits
            in each row count. `TinyGPT` is one. During a call it behaves as in `Module.eval`, and afterwards as before.
        prompts: B rows of ids. A row that is longer than ``max_length`` is cropped as by `crop_prompt`. Where lengths differ, shorter rows
            are padded on the left, and their padding is dropped with the older half of the others.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`; logits are float32.

    Raises:
        InputError: there are no prompts, one is empty, or the backend cannot compute in ``precision``.
        TypeError: ids are not integers.
        ValueError: an id is outside the vocabulary.
    """

    def __init__(self, model: Module, prompts: Sequence[Sequence[int]], precision: str = "float32") -> None:
        rows = [crop_prompt(row, model.max_length)[0] for row in prompts]
        if not rows or not all(rows):
            raise InputError("a prompt is empty: give at least one token to go on from")
        width = max(len(row) for row in rows)
        self._model = model
        self._modules = list(model.modules())
        self._slots = list(model.parameters())
        self._used: list[Array] = []  # the parameters' arrays when they were cast last
        self._parameters: list[Tensor] = []
        self._starts = [width - len(row) for row in rows]  # the column of each row's first token
        padded = [[0] * start + row for start, row in zip(self._starts, rows, strict=True)]
        self._columns = [model.prepare_input(as_host_array(padded))]  # the window, (B, T) and then (B, 1) for each token that was added
        self._cache = self._new_cache()
        self._compiled: CompiledDecoding | None = None
        self._precision = Precision(precision, self.backend)

    @property
    def backend(self) -> Backend:
        """Where the logits are."""
        return self._columns[0].backend

    @property
    def greedy_tokens(self) -> Tensor | None:
        """(B), the argmax of the last logits as `greedy` gives it, where a compiled step has computed it already."""
        return None if self._compiled is None else self._compiled.greedy_tokens

    def logits(self, tokens: Tensor | None = None) -> Tensor:
        """Read what was not read yet; the first call reads the prompts.

        Args:
            tokens: integers (B), a token to add to each row; left out in the first call only.

        Returns:
            (B, V), for the token after the window.
        """
        if (tokens is None) is not (self._cache.length == 0):
            raise ValueError("the first call reads the prompts and takes no tokens; every later one takes a token for each row")
        if tokens is not None:
            self._columns.append(tokens[:, None])
            if (self._compiled or self._cache).length == self._model.max_length:
                self._drop_older_half()
        with no_grad(), _evaluating(self._modules), self._precision.matmul_precision():
            if self._compiled is not None:
                return self._compiled.logits(self._columns[-1][:, 0], self._current_parameters())
            with bind(self._slots, self._current_parameters()) if self._precision.casts else nullcontext():
                logits: Tensor = self._model(self._columns[-1], cache=self._cache)  # (B, 1, V), or (B, T, V)
        if self.backend.capabilities.graph:
            self._compiled = CompiledDecoding(self._model, self._cache)
        return astype(logits[:, -1, :], "float32", copy=False)

    def window(self) -> list[list[int]]:
        """The tokens that the model attends to, row by row, without padding."""
        rows: list[list[int]] = concat(self._columns, axis=1).tolist()
        return [row[start:] for start, row in zip(self._starts, rows, strict=True)]

    def _current_parameters(self) -> list[Tensor]:
        """The parameters in the type to compute in; cast again where the model has been trained since."""
        raws = [parameter.raw for parameter in self._slots]
        if len(self._used) != len(raws) or any(old is not new for old, new in zip(self._used, raws, strict=True)):
            self._used, self._parameters = raws, self._precision.cast(self._slots)
        return self._parameters

    def _drop_older_half(self) -> None:
        """Cut the window to its newer half, and begin an empty cache. Positions restart at 0."""
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
def _evaluating(modules: Sequence[Module]) -> Iterator[None]:
    """Run modules without dropout inside a ``with`` block, and leave each in the mode it was in."""
    switched = [module for module in modules if module.training]
    for module in switched:
        vars(module)["training"] = False  # not through Module.__setattr__, which is slow: there are many modules, at each token
    try:
        yield
    finally:
        for module in switched:
            vars(module)["training"] = True
