"""The last chapter: the same parts read text."""

from __future__ import annotations

import time
from collections.abc import Callable

from tinytorch.evolution.classifier import Outcome
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import AdamW, WarmupCosine, weight_decay_groups
from tinytorch.text import CharTokenizer, python_reference, split_text
from tinytorch.training import LanguageModelTrainer, StepRecord
from tinytorch.training.language_model import evaluation_batches, random_batches

_BLOCK, _BATCH = 64, 12
#: Windows of the validation split that are evaluated after an epoch, and of the training split for its accuracy at the end.
_SOME = 200


class GPTChapter:
    """A TinyGPT of 4 layers that learns the Python language reference.

    Args:
        seed: of weights, batches and samples.
        epochs: how often each character is seen, on average.
    """

    def __init__(self, seed: int, epochs: int) -> None:
        random.seed(seed)
        text = python_reference()
        tokenizer = CharTokenizer().fit(text)
        model = TinyGPT(tokenizer.get_vocab_size(), 128, 4, 4, max_length=_BLOCK, dropout=0.0, positional="learned", tie_weights=True)
        self.train_tokens, self.held_out = split_text(tokenizer.encode_array(text), 0.1)
        self.epoch = len(self.train_tokens) // (_BLOCK * _BATCH)
        self.steps = epochs * self.epoch
        self.tokens_per_step = _BLOCK * _BATCH
        self.seed = seed
        schedule = WarmupCosine(min(100, self.steps), self.steps)
        groups = weight_decay_groups(model.parameters(), 0.1)
        optimizer = AdamW(groups, 3e-3, betas=(0.9, 0.99), schedule=schedule, max_norm=1.0)
        self.language_model = LanguageModelTrainer(model, tokenizer, optimizer)

    def train(self, on_records: Callable[[list[StepRecord]], None], on_epoch: Callable[[int, float], None]) -> Outcome:
        """Train; the accuracy is that of the next character."""
        began = time.perf_counter()
        trainer = self.language_model.trainer
        measured: dict[int, float] = {}

        def on_eval(step: int) -> None:
            measured[step] = trainer.evaluate(evaluation_batches(self.held_out, _BLOCK, _SOME))["accuracy"]
            on_epoch(step, measured[step])

        next_batch = random_batches(self.train_tokens, _BLOCK, _BATCH)
        eval_steps = range(self.epoch, self.steps + 1, self.epoch)
        records = trainer.fit(next_batch, self.steps, on_records=on_records, on_eval=on_eval, eval_steps=eval_steps)
        return Outcome(
            name="TinyGPT",
            year=2018,
            data="python",
            model=trainer.model,
            parameters=trainer.model.count_parameters(),
            seconds=time.perf_counter() - began,
            train_accuracy=trainer.evaluate(evaluation_batches(self.train_tokens, _BLOCK, _SOME))["accuracy"],
            test_accuracy=trainer.evaluate(evaluation_batches(self.held_out, _BLOCK))["accuracy"],
            train_losses=[record.train_loss for record in records],
            validation=measured,
            tokenizer=self.language_model.tokenizer,
        )

    def sample(self, length: int = 240) -> str:
        """A text that the model writes."""
        return self.language_model.generate_text("The ", length, temperature=0.7, seed=self.seed)
