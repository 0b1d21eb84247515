"""Fused operations written for numpy, by the operation's name. Operations that are not listed use the portable version."""

from __future__ import annotations

from tinytorch.backend.contract import Kernel
from tinytorch_numpy.kernels.append_rows import append_rows
from tinytorch_numpy.kernels.attention import attention, packed_attention
from tinytorch_numpy.kernels.conv2d import conv2d
from tinytorch_numpy.kernels.cross_entropy import cross_entropy
from tinytorch_numpy.kernels.dropout import dropout
from tinytorch_numpy.kernels.embedding import embedding
from tinytorch_numpy.kernels.gelu import gelu
from tinytorch_numpy.kernels.layer_norm import layer_norm
from tinytorch_numpy.kernels.linear import linear
from tinytorch_numpy.kernels.pooling import avg_pool2d, max_pool2d
from tinytorch_numpy.kernels.relu import relu
from tinytorch_numpy.kernels.updates import adam, sgd

KERNELS: dict[str, Kernel] = {
    "adam": adam,
    "append_rows": append_rows,
    "attention": attention,
    "avg_pool2d": avg_pool2d,
    "conv2d": conv2d,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
    "embedding": embedding,
    "gelu": gelu,
    "layer_norm": layer_norm,
    "linear": linear,
    "max_pool2d": max_pool2d,
    "packed_attention": packed_attention,
    "relu": relu,
    "sgd": sgd,
}
