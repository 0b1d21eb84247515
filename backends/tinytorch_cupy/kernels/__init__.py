"""Fused operations written for CUDA, by the operation's name; the portable ones run where there is none."""

from __future__ import annotations

from tinytorch.backend.contract import Kernel
from tinytorch_cupy.kernels.linear import linear
from tinytorch_cupy.kernels.put_row import put_row

KERNELS: dict[str, Kernel] = {
    "linear": linear,
    "put_row": put_row,
}
