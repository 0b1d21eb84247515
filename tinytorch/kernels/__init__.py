"""Fused operations, a file each: portable forward and backward, which a backend may override by name."""

from tinytorch.kernels.append_rows import append_rows
from tinytorch.kernels.attention import attention, packed_attention
from tinytorch.kernels.conv2d import col2im, conv2d, im2col
from tinytorch.kernels.cross_entropy import cross_entropy
from tinytorch.kernels.dropout import dropout
from tinytorch.kernels.embedding import embedding
from tinytorch.kernels.fused import Fused, portable_kernels
from tinytorch.kernels.gelu import gelu
from tinytorch.kernels.layer_norm import layer_norm
from tinytorch.kernels.linear import linear
from tinytorch.kernels.pooling import avg_pool2d, max_pool2d
from tinytorch.kernels.put_row import put_row
from tinytorch.kernels.relu import relu
from tinytorch.kernels.softmax import softmax
from tinytorch.kernels.updates import adam, clip_by_norm, sgd

__all__ = [
    "Fused",
    "adam",
    "append_rows",
    "attention",
    "avg_pool2d",
    "clip_by_norm",
    "col2im",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "im2col",
    "layer_norm",
    "linear",
    "max_pool2d",
    "packed_attention",
    "portable_kernels",
    "put_row",
    "relu",
    "sgd",
    "softmax",
]
