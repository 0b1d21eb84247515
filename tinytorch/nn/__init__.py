"""Neural network layers, losses, and the `Module` and `Parameter` classes that they are built from."""

from typing import TYPE_CHECKING

from tinytorch.nn import functional, init, utils
from tinytorch.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinytorch.nn.attention import MultiHeadAttention, SelfAttention, causal_mask
from tinytorch.nn.binding import bind
from tinytorch.nn.containers import Identity, ModuleDict, ModuleList, Sequential
from tinytorch.nn.convolution import AvgPool2d, Conv2d, Flatten, MaxPool2d
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.embedding import Embedding
from tinytorch.nn.hints import LAYERS, missing_name
from tinytorch.nn.linear import Dense, Linear
from tinytorch.nn.losses import BCELoss, CrossEntropyLoss, LanguageModelLoss, Loss, MSELoss
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from tinytorch.nn.positions import LearnedPositionalEncoding, PositionalEncoding
from tinytorch.nn.precision import PRECISIONS, Precision
from tinytorch.nn.stateless import functional_call
from tinytorch.nn.transformer import TransformerBlock

__all__ = [
    "GELU",
    "PRECISIONS",
    "AvgPool2d",
    "BCELoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LanguageModelLoss",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositionalEncoding",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "Precision",
    "PositionalEncoding",
    "ReLU",
    "SelfAttention",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TransformerBlock",
    "bind",
    "causal_mask",
    "functional",
    "functional_call",
    "init",
    "utils",
]

if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = missing_name("tinytorch.nn", __all__, LAYERS)
