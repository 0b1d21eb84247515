"""A conversation with a model."""

from __future__ import annotations

from collections.abc import Iterator

from tinytorch.generation.config import SamplingConfig
from tinytorch.generation.decoding import crop_prompt
from tinytorch.generation.generate import Stop, stream
from tinytorch.io.errors import InputError
from tinytorch.nn.module import Module
from tinytorch.text.protocol import Tokenizer


class Conversation:
    """Messages and answers so far, as tokens, of which the model sees the last ``model.max_length``; each answer continues them.

    Args:
        model: see `generate`.
        tokenizer: the model's.
        template: what the model reads of a message, which stands for ``{}``.
        max_new_tokens: the most tokens of an answer.
        config: settings of sampling.
        stop: what ends an answer, as for `generate`; an empty line where left out.
        seed: of the first answer; each further answer takes the next number. Without one, `tinytorch.seed` decides.
        precision: see `generate`.

    Raises:
        InputError: the template does not hold ``{}`` exactly once, or a setting is out of its range.
    """

    def __init__(
        self,
        model: Module,
        tokenizer: Tokenizer,
        *,
        template: str = "{}\n",
        max_new_tokens: int = 200,
        config: SamplingConfig | None = None,
        stop: Stop = "\n\n",
        seed: int | None = None,
        precision: str = "float32",
    ) -> None:
        if template.count("{}") != 1:
            raise InputError(f"`template` must hold {{}} exactly once, where the message goes, such as 'You: {{}}\\nI: ', got {template!r}")
        self._model = model
        self._tokenizer = tokenizer
        # a model that never saw a new line does without
        self._line_end = "" if tokenizer.unknown_characters("\n") else "\n"
        self._template = template if self._line_end else template.replace("\n", "")
        self._max_new_tokens = max_new_tokens
        self._config = config or SamplingConfig()
        self._stop = stop
        self._seed = seed
        self._precision = precision
        self._tokens: list[int] = []

    def reset(self) -> None:
        """Forget all messages and answers."""
        self._tokens = []

    def answer(self, message: str) -> Iterator[str]:
        """Yield the model's answer to a message as it is generated. What was yielded counts as said, if the caller stops asking.

        An empty message lets the model continue its last answer.

        Raises:
            InputError: there is nothing to continue, or the message has a character that the model never saw; the conversation is as it
                was before.
        """
        asked = self._template.replace("{}", message) if message else ""
        unknown = self._tokenizer.unknown_characters(asked)
        if unknown:
            raise InputError(f"the model never saw {' '.join(map(repr, unknown))}; say it without")
        tokens = [*self._tokens, *(self._tokenizer.encode(asked) if asked else [])]
        if not tokens:
            raise InputError("nothing was said yet; type a line to go on from")
        self._tokens = crop_prompt(tokens, self._model.max_length)[0]
        seed = self._seed
        self._seed = None if seed is None else seed + 1
        said = ""
        try:
            for text in stream(
                self._model,
                self._tokens,
                self._max_new_tokens,
                config=self._config,
                tokenizer=self._tokenizer,
                stop=self._stop,
                seed=seed,
                precision=self._precision,
            ):
                said += text
                yield text
        finally:
            if not said.endswith("\n"):
                said += self._line_end
            if said:
                self._tokens = crop_prompt([*self._tokens, *self._tokenizer.encode(said)], self._model.max_length)[0]
