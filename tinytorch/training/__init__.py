"""Training: one training loop for every model, and language-model runs with checkpoints and metrics on disk."""

from tinytorch.training.config import TrainingConfig
from tinytorch.training.engine import DivergedError, StepRecord
from tinytorch.training.language_model import LanguageModelTrainer
from tinytorch.training.metrics import Accuracy, LanguageModelAccuracy, Metric
from tinytorch.training.pretrained import load_pretrained
from tinytorch.training.run import Run
from tinytorch.training.run_directory import RunWarning
from tinytorch.training.trainer import Trainer

__all__ = [
    "Accuracy",
    "DivergedError",
    "LanguageModelAccuracy",
    "LanguageModelTrainer",
    "Metric",
    "Run",
    "RunWarning",
    "StepRecord",
    "Trainer",
    "TrainingConfig",
    "load_pretrained",
]
