// im2col and col2im for convolution by matmul (Chellapilla, Puri and Simard 2006, section 2.1), and pooling.
//
// Each thread computes one element of the result, also in gradients: it loops over the windows that contain its pixel, so no two threads
// write to the same address. Columns are (C kh kw, N Ho Wo): adjacent pixels of an image row stay adjacent.
#include "common.cuh"

struct Windows {  // Pairs are (vertical, horizontal).
    int batch, channels, height, width;
    int rows, columns;  // number of windows
    int kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
};

// Calls f(k, row, column) for each window that contains pixel (y, x), at index k within the window.
template <class F> __device__ inline void for_each_window(const Windows& w, int y, int x, F f) {
    for (int i = 0; i < w.kernel_y; ++i)
        for (int j = 0; j < w.kernel_x; ++j) {
            int offset_y = y + w.pad_y - i, offset_x = x + w.pad_x - j;
            if (offset_y < 0 || offset_x < 0 || offset_y % w.stride_y || offset_x % w.stride_x) continue;
            int row = offset_y / w.stride_y, column = offset_x / w.stride_x;
            if (row < w.rows && column < w.columns) f(i * w.kernel_x + j, row, column);
        }
}

// Calls f(k, i) for each index k within window (row, column). i is the pixel's index in the image, or -1 in the padding.
template <class F> __device__ inline void for_each_pixel(const Windows& w, int row, int column, F f) {
    for (int i = 0; i < w.kernel_y; ++i)
        for (int j = 0; j < w.kernel_x; ++j) {
            int y = row * w.stride_y - w.pad_y + i, x = column * w.stride_x - w.pad_x + j;
            bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
            f(i * w.kernel_x + j, inside ? y * w.width + x : -1);
        }
}

// Block (., r) computes row r of the columns.
extern "C" __global__ void im2col(const T* x, T* columns, const Windows w) {
    int p = blockIdx.x * blockDim.x + threadIdx.x, count = w.batch * w.rows * w.columns;
    if (p >= count) return;
    int image = p / (w.rows * w.columns), row = p / w.columns % w.rows, column = p % w.columns;
    int channel = blockIdx.y / (w.kernel_y * w.kernel_x), k = blockIdx.y % (w.kernel_y * w.kernel_x);
    int y = row * w.stride_y - w.pad_y + k / w.kernel_x, z = column * w.stride_x - w.pad_x + k % w.kernel_x;
    T* target = &columns[(Size)blockIdx.y * count + p];
    if (y >= 0 && y < w.height && z >= 0 && z < w.width)
        *target = x[(((Size)image * w.channels + channel) * w.height + y) * w.width + z];
    else
        store(target, 0.0f);
}

extern "C" __global__ void col2im(const T* columns, T* x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    int image = i / pixels / w.channels, channel = i / pixels % w.channels, count = w.batch * w.rows * w.columns;
    const T* of_channel = columns + (Size)channel * w.kernel_y * w.kernel_x * count + image * w.rows * w.columns;
    float sum = 0.0f;
    for_each_window(w, i % pixels / w.width, i % w.width,
               [&](int k, int row, int column) { sum += to_float(of_channel[(Size)k * count + row * w.columns + column]); });
    store(&x[i], sum);
}

// Transposes (A, B, P) to (B, A, P) and adds bias (A), if any.
extern "C" __global__ void swap_leading(const T* x, const T* bias, T* out, int a, int b, int p) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a * b * p) return;
    int position = i % p, first = i / p % a, second = i / p / a;
    float value = to_float(x[((Size)first * b + second) * p + position]);
    store(&out[i], bias == nullptr ? value : value + to_float(bias[first]));
}

// The sum of each row of x (rows, width), one block per row.
extern "C" __global__ void row_sums(const T* x, T* out, int width) {
    x += (Size)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += to_float(x[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) store(&out[blockIdx.x], sum);
}

// The maximum of each window and its index: the first one of equal elements. NaN counts as the maximum. Padding is ignored.
extern "C" __global__ void max_pool2d_forward(const T* x, T* out, int* indices, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, count = w.rows * w.columns;
    if (i >= w.batch * w.channels * count) return;
    x += (Size)(i / count) * w.height * w.width;
    float best = -INF;
    int best_index = -1;
    for_each_pixel(w, i % count / w.columns, i % w.columns, [&](int k, int pixel) {
        if (pixel < 0) return;
        float a = to_float(x[pixel]);
        if (best_index < 0 || a > best || a != a) {
            best = a;
            best_index = k;
        }
    });
    store(&out[i], best);
    indices[i] = best_index;
}

extern "C" __global__ void max_pool2d_backward(const T* g, const int* indices, T* g_x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    Size first = (Size)(i / pixels) * w.rows * w.columns;
    float sum = 0.0f;
    for_each_window(w, i % pixels / w.width, i % w.width, [&](int k, int row, int column) {
        Size window = first + row * w.columns + column;
        if (indices[window] == k) sum += to_float(g[window]);
    });
    store(&g_x[i], sum);
}

// The mean of each window, including padding.
extern "C" __global__ void avg_pool2d_forward(const T* x, T* out, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, count = w.rows * w.columns;
    if (i >= w.batch * w.channels * count) return;
    x += (Size)(i / count) * w.height * w.width;
    float sum = 0.0f;
    for_each_pixel(w, i % count / w.columns, i % w.columns, [&](int, int pixel) { sum += pixel < 0 ? 0.0f : to_float(x[pixel]); });
    store(&out[i], sum / (w.kernel_y * w.kernel_x));
}

extern "C" __global__ void avg_pool2d_backward(const T* g, T* g_x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    Size first = (Size)(i / pixels) * w.rows * w.columns;
    float sum = 0.0f;
    for_each_window(w, i % pixels / w.width, i % w.width,
               [&](int, int row, int column) { sum += to_float(g[first + row * w.columns + column]); });
    store(&g_x[i], sum / (w.kernel_y * w.kernel_x));
}
