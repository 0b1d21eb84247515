"""Training: one loop for every model, with metrics, progress and checkpoints."""

from tinytorch.training.language_model import LanguageModelTrainer
from tinytorch.training.metrics import Accuracy, LanguageModelAccuracy, Metric
from tinytorch.training.pretrained import load_pretrained
from tinytorch.training.trainer import DivergedError, StepRecord, Trainer

__all__ = [
    "Accuracy",
    "DivergedError",
    "LanguageModelAccuracy",
    "LanguageModelTrainer",
    "Metric",
    "StepRecord",
    "Trainer",
    "load_pretrained",
]
