"""Fused operations written for CUDA, by the operation's name; the portable ones run where there is none."""

from __future__ import annotations

from tinytorch.backend.contract import Kernel
from tinytorch_cupy.kernels.linear import linear

KERNELS: dict[str, Kernel] = {
    "linear": linear,
}
