// Images as columns for a matmul, and back (Chellapilla, Puri and Simard 2006, section 2.1); pooling.
//
// A thread makes one number of the result, also where the result is a sum over windows: it asks which windows its pixel lies in, so that no
// two threads add to the same place. Columns are (C kh kw, N Ho Wo): neighbours in a row of an image are neighbours there too.
#include "common.cuh"

struct Windows {  // Pairs of the vertical and the horizontal direction.
    int batch, channels, height, width;
    int rows, columns;  // how many windows there are
    int kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
};

// Calls f(k, row, column) for each window in which pixel (y, x) lies, at place k of that window.
template <class F> __device__ inline void windows_of(const Windows& w, int y, int x, F f) {
    for (int i = 0; i < w.kernel_y; ++i)
        for (int j = 0; j < w.kernel_x; ++j) {
            int down = y + w.pad_y - i, along = x + w.pad_x - j;
            if (down < 0 || along < 0 || down % w.stride_y || along % w.stride_x) continue;
            int row = down / w.stride_y, column = along / w.stride_x;
            if (row < w.rows && column < w.columns) f(i * w.kernel_x + j, row, column);
        }
}

// Calls f(k, i) for each place k of window (row, column); i is its pixel's number in the image, or -1 in the padding.
template <class F> __device__ inline void pixels_of(const Windows& w, int row, int column, F f) {
    for (int i = 0; i < w.kernel_y; ++i)
        for (int j = 0; j < w.kernel_x; ++j) {
            int y = row * w.stride_y - w.pad_y + i, x = column * w.stride_x - w.pad_x + j;
            bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
            f(i * w.kernel_x + j, inside ? y * w.width + x : -1);
        }
}

// Block (., r) makes row r of the columns.
extern "C" __global__ void im2col(const T* x, T* columns, const Windows w) {
    int p = blockIdx.x * blockDim.x + threadIdx.x, count = w.batch * w.rows * w.columns;
    if (p >= count) return;
    int image = p / (w.rows * w.columns), row = p / w.columns % w.rows, column = p % w.columns;
    int channel = blockIdx.y / (w.kernel_y * w.kernel_x), k = blockIdx.y % (w.kernel_y * w.kernel_x);
    int y = row * w.stride_y - w.pad_y + k / w.kernel_x, z = column * w.stride_x - w.pad_x + k % w.kernel_x;
    T* place = &columns[(Size)blockIdx.y * count + p];
    if (y >= 0 && y < w.height && z >= 0 && z < w.width)
        *place = x[(((Size)image * w.channels + channel) * w.height + y) * w.width + z];
    else
        put(place, 0.0f);
}

extern "C" __global__ void col2im(const T* columns, T* x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    int image = i / pixels / w.channels, channel = i / pixels % w.channels, count = w.batch * w.rows * w.columns;
    const T* of_channel = columns + (Size)channel * w.kernel_y * w.kernel_x * count + image * w.rows * w.columns;
    float sum = 0.0f;
    windows_of(w, i % pixels / w.width, i % w.width,
               [&](int k, int row, int column) { sum += wide(of_channel[(Size)k * count + row * w.columns + column]); });
    put(&x[i], sum);
}

// (A, B, P) to (B, A, P), plus bias (A) where there is one.
extern "C" __global__ void swap_leading(const T* x, const T* bias, T* out, int a, int b, int p) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a * b * p) return;
    int place = i % p, first = i / p % a, second = i / p / a;
    float value = wide(x[((Size)first * b + second) * p + place]);
    put(&out[i], bias == nullptr ? value : value + wide(bias[first]));
}

// The sum of each row of x (rows, width), a block a row.
extern "C" __global__ void row_sums(const T* x, T* out, int width) {
    x += (Size)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += wide(x[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) put(&out[blockIdx.x], sum);
}

// The largest element of each window and its place there; of equal ones the first, and NaN before all. Padding is never chosen.
extern "C" __global__ void max_pool2d_forward(const T* x, T* out, int* places, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, count = w.rows * w.columns;
    if (i >= w.batch * w.channels * count) return;
    x += (Size)(i / count) * w.height * w.width;
    float best = -INF;
    int where = -1;
    pixels_of(w, i % count / w.columns, i % w.columns, [&](int k, int pixel) {
        if (pixel < 0) return;
        float a = wide(x[pixel]);
        if (where < 0 || a > best || a != a) {
            best = a;
            where = k;
        }
    });
    put(&out[i], best);
    places[i] = where;
}

extern "C" __global__ void max_pool2d_backward(const T* g, const int* places, T* g_x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    Size first = (Size)(i / pixels) * w.rows * w.columns;
    float sum = 0.0f;
    windows_of(w, i % pixels / w.width, i % w.width, [&](int k, int row, int column) {
        Size window = first + row * w.columns + column;
        if (places[window] == k) sum += wide(g[window]);
    });
    put(&g_x[i], sum);
}

// The mean of each window; zeros that were padded count too.
extern "C" __global__ void avg_pool2d_forward(const T* x, T* out, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, count = w.rows * w.columns;
    if (i >= w.batch * w.channels * count) return;
    x += (Size)(i / count) * w.height * w.width;
    float sum = 0.0f;
    pixels_of(w, i % count / w.columns, i % w.columns, [&](int, int pixel) { sum += pixel < 0 ? 0.0f : wide(x[pixel]); });
    put(&out[i], sum / (w.kernel_y * w.kernel_x));
}

extern "C" __global__ void avg_pool2d_backward(const T* g, T* g_x, const Windows w) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, pixels = w.height * w.width;
    if (i >= w.batch * w.channels * pixels) return;
    Size first = (Size)(i / pixels) * w.rows * w.columns;
    float sum = 0.0f;
    windows_of(w, i % pixels / w.width, i % w.width,
               [&](int, int row, int column) { sum += wide(g[first + row * w.columns + column]); });
    put(&g_x[i], sum / (w.kernel_y * w.kernel_x));
}
