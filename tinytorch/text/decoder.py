"""Reading tokens with a model one at a time, remembering what was read before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from tinytorch.array_api import asarray, astype, concat, expand_dims
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend import Array
from tinytorch.backend.host import as_host_array
from tinytorch.io.errors import InputError
from tinytorch.nn.binding import bind
from tinytorch.nn.cache import KVCache
from tinytorch.nn.module import Module
from tinytorch.nn.precision import Precision
from tinytorch.tensor import Tensor
from tinytorch.text.compiled import CompiledDecoding


def crop_prompt(ids: Sequence[int], max_length: int) -> tuple[list[int], int]:
    """The last ``max_length`` ids of a prompt, and how many were dropped in front of them."""
    dropped = max(0, len(ids) - max_length)
    return list(ids[dropped:]), dropped


class Decoder:
    """A model at work on a batch of growing rows of tokens; gives the logits of what comes next in each.

    The model looks at a window of its last tokens. When a token is added to a window of ``max_length``, the window's older half is dropped
    and the model reads the rest afresh, from position 0. So logits always equal those of one pass over the current window, and a token
    costs one step, but for one longer step in every ``max_length / 2``. Where the backend compiles steps, those of one token are.

    Args:
        model: a Module with ``max_length``, ``new_cache(starts)`` and ``model(ids, cache=...)``, whose last logits in each row count,
            such as `TinyGPT`. During a call it behaves as in `Module.eval`, and afterwards as before.
        prompts: B rows of ids. A row that is longer than ``max_length`` is cropped as by `crop_prompt`. Where lengths differ, shorter rows
            are padded on the left, and their padding is dropped with the older half of the others.
        precision: what to compute in, one of `tinytorch.nn.PRECISIONS`; logits are float32.

    Raises:
        InputError: there are no prompts, one is empty, or the backend cannot compute in ``precision``.
        TypeError, ValueError: what is no whole number, or an id outside the vocabulary.
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
        self._columns = [model.receive(as_host_array(padded))]  # the window, (B, T) and then (B, 1) for each token that was added
        self._cache: KVCache | None = None
        self._compiled: CompiledDecoding | None = None
        self._precision = Precision(precision, self._columns[0].backend)

    def logits(self, new: Tensor | None = None) -> Tensor:
        """Read what was not read yet; the first call reads the prompts.

        Args:
            new: whole numbers (B), a token to add to each row; left out in the first call only.

        Returns:
            (B, V), for the token after the window.
        """
        if (new is None) is not (self._cache is None):
            raise ValueError("the first call reads the prompts and takes no tokens; every later one takes a token for each row")
        if new is not None:
            self._columns.append(expand_dims(new, axis=1))
        read = self._compiled or self._cache
        if read is None or read.length == self._model.max_length:
            self._start_window()
        with no_grad(), _evaluating(self._modules), self._precision.products():
            if self._compiled is not None:
                return self._compiled.logits(self._columns[-1][:, 0], self._current_parameters())
            with bind(self._slots, self._current_parameters()) if self._precision.casts else nullcontext():
                logits: Tensor = self._model(self._columns[-1], cache=self._cache)  # (B, 1, V), or (B, T, V)
        assert self._cache is not None
        if self._precision.backend.capabilities.graph:
            self._compiled = CompiledDecoding(self._model, self._cache)
        return astype(logits[:, -1, :], "float32", copy=False)

    def _current_parameters(self) -> list[Tensor]:
        """The parameters in the type to compute in; cast again where the model has learned since."""
        raws = [parameter.raw for parameter in self._slots]
        if len(self._used) != len(raws) or any(old is not new for old, new in zip(self._used, raws, strict=True)):
            self._used, self._parameters = raws, self._precision.cast(self._slots)
        return self._parameters

    @property
    def likeliest(self) -> Tensor | None:
        """(B), what `next_tokens` at temperature 0 makes of the last logits, where a compiled step has worked it out already."""
        return None if self._compiled is None else self._compiled.likeliest

    def window(self) -> list[list[int]]:
        """The tokens that the model looks at, row by row, without padding."""
        rows: list[list[int]] = concat(self._columns, axis=1).tolist()
        return [row[start:] for start, row in zip(self._starts, rows, strict=True)]

    def _start_window(self) -> None:
        """Put an empty cache under the window, cut to its newer half if it is too long. Positions restart at 0."""
        columns = concat(self._columns, axis=1)
        longest = self._model.max_length
        if columns.shape[1] > longest:
            drop = max(1, longest // 2)
            columns = columns[:, drop:]
            self._starts = [max(0, start - drop) for start in self._starts]
        self._columns = [columns]
        uneven = any(self._starts)  # rows without padding need no mask
        self._compiled = None
        self._cache = self._model.new_cache(asarray(self._starts, dtype=columns.dtype, device=columns.device) if uneven else None)


@contextmanager
def _evaluating(modules: Sequence[Module]) -> Iterator[None]:
    """Run modules without dropout inside a ``with`` block, and leave each in the mode it was in."""
    switched = [module for module in modules if module.training]
    for module in switched:
        vars(module)["training"] = False  # not by Module's own way to set an attribute: there are many, at each token
    try:
        yield
    finally:
        for module in switched:
            vars(module)["training"] = True
