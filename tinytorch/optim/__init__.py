"""Optimizers, parameter groups and learning rate schedules."""

from typing import TYPE_CHECKING

from tinytorch.nn.hints import OPTIMIZERS, missing_name
from tinytorch.optim.adam import Adam, AdamW
from tinytorch.optim.groups import ParameterGroup, weight_decay_groups
from tinytorch.optim.optimizer import Optimizer, ParameterState
from tinytorch.optim.schedules import Schedule, WarmupCosine
from tinytorch.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ParameterGroup", "ParameterState", "Schedule", "WarmupCosine", "weight_decay_groups"]

if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = missing_name("tinytorch.optim", __all__, OPTIMIZERS)
