"""Optimizers, parameter groups and learning rate schedules."""

from tinytorch.optim.adam import Adam, AdamW
from tinytorch.optim.groups import weight_decay_groups
from tinytorch.optim.optimizer import Optimizer, ParameterState
from tinytorch.optim.schedules import Schedule, WarmupCosine
from tinytorch.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ParameterState", "Schedule", "WarmupCosine", "weight_decay_groups"]
