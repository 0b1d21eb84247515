// ReLU: max(x, 0). NaN stays NaN, and the derivative at 0 is 0.
#include "spans.cuh"

extern "C" __global__ void relu_forward(const T* x, T* out, Size n) {
    map(x, out, n, thread_of_grid(), threads_of_grid(), [](Size, float a) { return a <= 0.0f ? 0.0f : a; });
}

extern "C" __global__ void relu_backward(const T* g, const T* x, T* g_x, Size n) {
    map(g, x, g_x, n, thread_of_grid(), threads_of_grid(), [](Size, float a, float b) { return b <= 0.0f ? 0.0f : a; });
}
