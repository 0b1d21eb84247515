"""The emulator detects faults in kernels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.checks import in_every_order

HEAD = 'extern "C" __global__ void kernel(float* x) {'


def run(cuda: ModuleType, body: str, size: int = 64, threads: int = 64, args: tuple[Any, ...] = ()) -> Any:
    function = cuda.RawModule(code=f"{HEAD} {body} }}", options=()).get_function("kernel").kernel
    x = cuda.zeros(size)
    function((1,), (threads,), args or (x,))
    return x


def test_a_kernel_runs(cuda: ModuleType) -> None:
    assert run(cuda, "x[threadIdx.x] = threadIdx.x;").tolist() == list(range(64))


def test_threads_exchange_values_in_a_warp_and_in_shared_memory(cuda: ModuleType) -> None:
    shuffled = run(cuda, "x[threadIdx.x] = __shfl_xor_sync(~0u, (float)threadIdx.x, 1);")
    assert shuffled[:4].tolist() == [1, 0, 3, 2]
    mirrored = run(cuda, "__shared__ float s[64]; s[threadIdx.x] = threadIdx.x; __syncthreads(); x[threadIdx.x] = s[63 - threadIdx.x];")
    assert mirrored[:3].tolist() == [63, 62, 61]


def test_a_missing_barrier_is_a_race(cuda: ModuleType) -> None:
    body = "__shared__ float s[64]; s[threadIdx.x] = threadIdx.x; x[threadIdx.x] = s[63 - threadIdx.x];"
    with pytest.raises(AssertionError, match="race"):
        in_every_order(lambda: run(cuda, body))


def test_uninitialized_shared_memory_is_nan(cuda: ModuleType) -> None:
    assert numpy.isnan(run(cuda, "__shared__ float s[64]; x[threadIdx.x] = s[threadIdx.x];")).all()


def test_a_barrier_that_some_threads_never_reach_is_an_error(cuda: ModuleType) -> None:
    with pytest.raises(AssertionError, match="wait at a barrier that others never reach"):
        run(cuda, "if (threadIdx.x < 5) __syncthreads();")
    assert run(cuda, "x[threadIdx.x] = 1;").sum() == 64  # the emulator still works afterwards


def test_access_past_the_end_of_an_array_is_an_error(cuda: ModuleType) -> None:
    with pytest.raises(AssertionError, match="outside of all arrays"):
        run(cuda, "x[threadIdx.x] = 1;", size=60)
    assert run(cuda, "x[threadIdx.x] = 1;").sum() == 64


@pytest.mark.parametrize(
    ("grid", "block"), [((1, 2**16), (1,)), ((1, 1, 2**16), (1,)), ((2**31,), (1,)), ((1,), (1025,)), ((1,), (32, 33))]
)
def test_a_launch_beyond_cudas_limits_is_an_error(cuda: ModuleType, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
    function = cuda.RawModule(code=f"{HEAD} }}", options=()).get_function("kernel").kernel
    with pytest.raises(AssertionError, match="exceeds CUDA's limits"):
        function(grid, block, (cuda.zeros(1),))


def test_only_bfloat16_variants_can_include_its_header(cuda: ModuleType) -> None:
    code = f"#include <cuda_bf16.h>\n{HEAD} x[0] = sizeof(__nv_bfloat16); }}"
    cuda.RawModule(code=code, options=("-DELEMENT=__nv_bfloat16",))
    with pytest.raises(RuntimeError, match=r"cuda_bf16\.h: No such file"):
        cuda.RawModule(code=code, options=("-DELEMENT=__half",))


def test_an_argument_of_the_wrong_type_is_an_error(cuda: ModuleType) -> None:
    with pytest.raises(AssertionError, match="points to float32, got an array of float16"):
        run(cuda, "", args=(cuda.zeros(3, "float16"),))
    with pytest.raises(AssertionError, match="is a pointer, got 3"):
        run(cuda, "", args=(3,))
    with pytest.raises(AssertionError, match="expects 1 arguments, got 2"):
        run(cuda, "", args=(cuda.zeros(3), cuda.zeros(3)))


def test_reading_a_value_on_the_host_is_an_error(cuda: ModuleType) -> None:
    x = cuda.zeros(1)
    for read in (float, int, bool, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.max() > 1 and None):
        with pytest.raises(AssertionError, match="reads a value from the GPU"):
            in_every_order(lambda read=read: read(x))
    assert float(x[0]) == 0.0
