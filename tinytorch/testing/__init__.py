"""Checks of a backend: its kernels against the portable implementations, and its matmul against numpy's."""

from tinytorch.testing.kernel_check import KernelCheck, check_kernel
from tinytorch.testing.matmul_check import check_matmul
from tinytorch.testing.processes import CheckReport, run_checks

__all__ = ["CheckReport", "KernelCheck", "check_kernel", "check_matmul", "run_checks"]
