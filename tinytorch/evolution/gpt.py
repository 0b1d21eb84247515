"""Train TinyGPT, the last model of the comparison."""

from __future__ import annotations

import time
from collections.abc import Callable

from tinytorch.evolution.classifier import TrainingResult
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import AdamW, WarmupCosine, weight_decay_groups
from tinytorch.text import CharTokenizer, python_reference, split_text
from tinytorch.training import LanguageModelTrainer, StepRecord
from tinytorch.training.language_model import evaluation_batches, random_batches

_BLOCK, _BATCH = 64, 12
#: Number of windows in the evaluations after each epoch, and in the final evaluation on the training split.
_EVAL_WINDOWS = 200


class GPTTraining:
    """Trains a TinyGPT with 4 layers on the Python language reference.

    Args:
        seed: seed of weights, batches and samples.
        epochs: number of epochs.
    """

    def __init__(self, seed: int, epochs: int) -> None:
        random.seed(seed)
        text = python_reference()
        tokenizer = CharTokenizer().fit(text)
        model = TinyGPT(tokenizer.get_vocab_size(), 128, 4, 4, max_length=_BLOCK, dropout=0.0, positional="learned", tie_weights=True)
        self.train_tokens, self.validation_tokens = split_text(tokenizer.encode_array(text), 0.1)
        self.epoch_steps = len(self.train_tokens) // (_BLOCK * _BATCH)
        self.steps = epochs * self.epoch_steps
        self.tokens_per_step = _BLOCK * _BATCH
        self.seed = seed
        schedule = WarmupCosine(min(100, self.steps), self.steps)
        groups = weight_decay_groups(model.parameters(), 0.1)
        optimizer = AdamW(groups, 3e-3, betas=(0.9, 0.99), schedule=schedule, max_norm=1.0)
        self.language_model = LanguageModelTrainer(model, tokenizer, optimizer)

    def train(self, on_records: Callable[[list[StepRecord]], None], on_epoch: Callable[[int, float], None]) -> TrainingResult:
        """Train the model. The accuracies in the result are those of next-character prediction."""
        start = time.perf_counter()
        trainer = self.language_model.trainer
        measured: dict[int, float] = {}

        def on_eval(step: int) -> None:
            measured[step] = trainer.evaluate(evaluation_batches(self.validation_tokens, _BLOCK, _EVAL_WINDOWS))["accuracy"]
            on_epoch(step, measured[step])

        next_batch = random_batches(self.train_tokens, _BLOCK, _BATCH)
        eval_steps = range(self.epoch_steps, self.steps + 1, self.epoch_steps)
        records = trainer.fit(next_batch, self.steps, on_records=on_records, on_eval=on_eval, eval_steps=eval_steps)
        return TrainingResult(
            name="TinyGPT",
            year=2018,
            data="python",
            model=trainer.model,
            parameters=trainer.model.count_parameters(),
            seconds=time.perf_counter() - start,
            train_accuracy=trainer.evaluate(evaluation_batches(self.train_tokens, _BLOCK, _EVAL_WINDOWS))["accuracy"],
            test_accuracy=trainer.evaluate(evaluation_batches(self.validation_tokens, _BLOCK))["accuracy"],
            train_losses=[record.train_loss for record in records],
            validation=measured,
            tokenizer=self.language_model.tokenizer,
        )

    def sample(self, length: int = 240) -> str:
        """Generate a text."""
        return self.language_model.generate_text("The ", length, temperature=0.7, seed=self.seed)
