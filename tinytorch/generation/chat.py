"""Conversations with a language model."""

from __future__ import annotations

from collections.abc import Iterator

from tinytorch.generation.config import SamplingConfig
from tinytorch.generation.decoding import crop_prompt
from tinytorch.generation.generate import Stop, stream
from tinytorch.io.errors import InputError
from tinytorch.nn.module import Module
from tinytorch.text.protocol import Tokenizer


class Conversation:
    """A conversation: each answer continues the last ``model.max_length`` tokens of all messages and answers so far.

    Args:
        model: see `generate`.
        tokenizer: the model's tokenizer.
        template: the prompt of a message, with ``{}`` in place of the message.
        max_new_tokens: maximum number of tokens of an answer.
        config: sampling settings.
        stop: ends an answer, see `generate`; defaults to an empty line.
        seed: the seed of the first answer, increased by 1 for each further answer. Defaults to random seeds, drawn from the
            global generator (`tinytorch.seed`).
        precision: see `generate`.

    Raises:
        InputError: the template does not contain ``{}`` exactly once, or a setting is out of range.

    Example:
        >>> from tinytorch.generation import Conversation
        >>> from tinytorch.models import TinyGPT
        >>> from tinytorch.text import CharTokenizer
        >>> tokenizer = CharTokenizer().fit("to be or not to be")
        >>> model = TinyGPT(tokenizer.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=16)
        >>> conversation = Conversation(model, tokenizer, max_new_tokens=5, seed=0)
        >>> answer = "".join(conversation.answer("to be"))
        >>> len(answer)
        5
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
            raise InputError(f"`template` must contain {{}} exactly once, for the message, such as 'You: {{}}\\nI: ', got {template!r}")
        self._model = model
        self._tokenizer = tokenizer
        # lines end without a newline if it is not in the vocabulary
        self._line_end = "" if tokenizer.unknown_characters("\n") else "\n"
        self._template = template if self._line_end else template.replace("\n", "")
        self._max_new_tokens = max_new_tokens
        self._config = config or SamplingConfig()
        self._stop = stop
        self._seed = seed
        self._precision = precision
        self._tokens: list[int] = []

    def reset(self) -> None:
        """Remove all messages and answers."""
        self._tokens = []

    def answer(self, message: str) -> Iterator[str]:
        """Yield the parts of the model's answer to a message as they are generated.

        If the caller stops iterating, the answer is what was yielded. With an empty message the model continues its last answer.

        Raises:
            InputError: there is nothing to continue, or the message has characters that are not in the tokenizer's vocabulary; the
                conversation is then unchanged.
        """
        prompt = self._template.replace("{}", message) if message else ""
        unknown = self._tokenizer.unknown_characters(prompt)
        if unknown:
            listed = " ".join(map(repr, unknown))
            raise InputError(f"the message has characters that are not in the tokenizer's vocabulary: {listed}; leave them out")
        tokens = [*self._tokens, *(self._tokenizer.encode(prompt) if prompt else [])]
        if not tokens:
            raise InputError("the conversation is empty, so there is no answer to continue; enter a message")
        self._tokens = crop_prompt(tokens, self._model.max_length)[0]
        seed = self._seed
        self._seed = None if seed is None else seed + 1
        answer = ""
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
                answer += text
                yield text
        finally:
            if not answer.endswith("\n"):
                answer += self._line_end
            if answer:
                self._tokens = crop_prompt([*self._tokens, *self._tokenizer.encode(answer)], self._model.max_length)[0]
