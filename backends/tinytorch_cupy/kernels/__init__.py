"""Fused operations written for CUDA, by the operation's name. Operations that are not listed use the portable version."""

from __future__ import annotations

from tinytorch.backend.contract import Kernel
from tinytorch_cupy.kernels.append_rows import append_rows
from tinytorch_cupy.kernels.attention import attention, packed_attention
from tinytorch_cupy.kernels.conv2d import conv2d
from tinytorch_cupy.kernels.cross_entropy import cross_entropy
from tinytorch_cupy.kernels.dropout import dropout
from tinytorch_cupy.kernels.embedding import embedding
from tinytorch_cupy.kernels.gelu import gelu
from tinytorch_cupy.kernels.launch import with_fallback
from tinytorch_cupy.kernels.layer_norm import layer_norm
from tinytorch_cupy.kernels.linear import linear
from tinytorch_cupy.kernels.pooling import avg_pool2d, max_pool2d
from tinytorch_cupy.kernels.put_row import put_row
from tinytorch_cupy.kernels.relu import relu
from tinytorch_cupy.kernels.updates import adam, sgd

_KERNELS: dict[str, Kernel] = {
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
    "put_row": put_row,
    "relu": relu,
    "sgd": sgd,
}

#: A kernel whose CUDA code cannot be compiled returns ``NotImplemented``.
KERNELS: dict[str, Kernel] = {name: with_fallback(name, kernel) for name, kernel in _KERNELS.items()}
