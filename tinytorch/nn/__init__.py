"""Neural network layers, losses, and the `Module` and `Parameter` classes that they are built from."""

from tinytorch.nn import init
from tinytorch.nn.activation import GELU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinytorch.nn.attention import MultiHeadAttention, SelfAttention, causal_mask
from tinytorch.nn.binding import bind
from tinytorch.nn.containers import ModuleList, Sequential
from tinytorch.nn.convolution import AvgPool2d, Conv2d, Flatten, MaxPool2d
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.embedding import Embedding
from tinytorch.nn.linear import Dense, Linear
from tinytorch.nn.losses import CrossEntropyLoss, LanguageModelLoss, Loss, MSELoss
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
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "LanguageModelLoss",
    "LayerNorm",
    "LearnedPositionalEncoding",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
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
    "functional_call",
    "init",
]
