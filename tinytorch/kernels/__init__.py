"""Fused operations, a file each: portable forward and backward, which a backend may override by name."""

from tinytorch.kernels.append_rows import append_rows
from tinytorch.kernels.attention import attention, packed_attention
from tinytorch.kernels.cross_entropy import cross_entropy
from tinytorch.kernels.dropout import dropout
from tinytorch.kernels.embedding import embedding
from tinytorch.kernels.fused import Fused, overrides_enabled, portable_kernels
from tinytorch.kernels.gelu import gelu
from tinytorch.kernels.layer_norm import layer_norm
from tinytorch.kernels.linear import linear
from tinytorch.kernels.softmax import softmax
from tinytorch.kernels.updates import adam, sgd

__all__ = [
    "Fused",
    "adam",
    "append_rows",
    "attention",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "linear",
    "overrides_enabled",
    "packed_attention",
    "portable_kernels",
    "sgd",
    "softmax",
]
