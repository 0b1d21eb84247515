// GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2), exact and with the paper's tanh approximation.
//
// Memory-bound: each element is read once and written once, 16 bytes at a time.
#include "spans.cuh"

#define SCALE 0.7978845608028654f  // sqrt(2 / pi)
#define CUBIC 0.044715f
#define ROOT_HALF 0.7071067811865476f
#define DENSITY 0.3989422804014327f  // 1 / sqrt(2 pi)

extern "C" __global__ void gelu_tanh_forward(const T* x, T* out, Size n) {
    map(x, out, n, thread_of_grid(), threads_of_grid(),
        [](Size, float a) { return a * (0.5f * (1.0f + tanhf(SCALE * (a + CUBIC * (a * a * a))))); });
}

extern "C" __global__ void gelu_tanh_backward(const T* g, const T* x, T* g_x, Size n) {
    map(g, x, g_x, n, thread_of_grid(), threads_of_grid(), [](Size, float a, float b) {
        float square = b * b, t = tanhf(SCALE * b * (1.0f + CUBIC * square));
        return a * (0.5f * (1.0f + t) + 0.5f * b * (1.0f - t * t) * (SCALE * (1.0f + 3.0f * CUBIC * square)));
    });
}

extern "C" __global__ void gelu_forward(const T* x, T* out, Size n) {
    map(x, out, n, thread_of_grid(), threads_of_grid(), [](Size, float a) { return a * (0.5f * (1.0f + erff(a * ROOT_HALF))); });
}

extern "C" __global__ void gelu_backward(const T* g, const T* x, T* g_x, Size n) {
    map(g, x, g_x, n, thread_of_grid(), threads_of_grid(), [](Size, float a, float b) {
        return a * (0.5f * (1.0f + erff(b * ROOT_HALF)) + b * (DENSITY * expf(-0.5f * b * b)));
    });
}
