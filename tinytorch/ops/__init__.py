"""Fused operations, one in each file: portable forward and backward, which a backend may override by name."""

from tinytorch.array_api.softmax_functions import _softmax as softmax
from tinytorch.autograd.operation import portable_kernels
from tinytorch.ops.append_rows import append_rows
from tinytorch.ops.attention import attention, packed_attention
from tinytorch.ops.conv2d import col2im, conv2d, im2col
from tinytorch.ops.cross_entropy import cross_entropy
from tinytorch.ops.dropout import dropout
from tinytorch.ops.embedding import embedding
from tinytorch.ops.gelu import gelu
from tinytorch.ops.layer_norm import layer_norm
from tinytorch.ops.linear import linear
from tinytorch.ops.pooling import avg_pool2d, max_pool2d
from tinytorch.ops.put_row import put_row
from tinytorch.ops.relu import relu
from tinytorch.ops.updates import adam, clip_by_norm, sgd

__all__ = [
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
