// Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450, equations 3 and 4).
//
// One warp per row, several warps per block: a sum over a row is a few shuffles, without barriers. A row is read three times, once from
// memory and then from the L1 cache, so that the variance is a sum of squared differences, not a difference of sums.
//
// The gradients of weight and bias are sums over all rows. They are computed in two steps, partial sums and then totals, in a fixed order.
//
// ELEMENT: type of x; WEIGHT: type of weight and bias.
#include "spans.cuh"

typedef WEIGHT W;

extern "C" __global__ void layer_norm_forward(
    const T* x, const W* weight, const W* bias, T* out, float* mean, float* rstd, int rows, int width, float eps) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;  // the whole warp returns
    x += (Size)row * width;
    out += (Size)row * width;
    float sum = 0.0f, squares = 0.0f;
    for_each(x, width, lane, WARP, [&](Size i, float a) { sum += a; });
    float center = warp_sum(sum) / width;
    for_each(x, width, lane, WARP, [&](Size i, float a) { squares += (a - center) * (a - center); });
    float scale = 1.0f / sqrtf(warp_sum(squares) / width + eps);
    map(x, out, width, lane, WARP, [&](Size i, float a) { return (a - center) * scale * to_float(weight[i]) + to_float(bias[i]); });
    if (lane == 0) {
        mean[row] = center;
        rstd[row] = scale;
    }
}

// Removes the components along the mean and along x: normalization cancels changes in these two directions.
extern "C" __global__ void layer_norm_backward(
    const T* g, const T* x, const W* weight, const float* mean, const float* rstd, T* g_x, int rows, int width) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    g += (Size)row * width;
    x += (Size)row * width;
    g_x += (Size)row * width;
    float center = mean[row], scale = rstd[row], mean_component = 0.0f, x_component = 0.0f;
    for_each(g, x, width, lane, WARP, [&](Size i, float a, float b) {
        float scaled = a * to_float(weight[i]);
        mean_component += scaled;
        x_component += scaled * (b - center) * scale;
    });
    mean_component = warp_sum(mean_component) / width;
    x_component = warp_sum(x_component) / width;
    map(g, x, g_x, width, lane, WARP, [&](Size i, float a, float b) {
        return (a * to_float(weight[i]) - mean_component - (b - center) * scale * x_component) * scale;
    });
}

// Partial sums over the rows of block blockIdx.y, for 32 columns: partials (2, blocks, width), of g times the normalized x and of g.
extern "C" __global__ void layer_norm_columns(
    const T* g, const T* x, const float* mean, const float* rstd, float* partials, int rows, int width, int rows_of_block) {
    __shared__ float sums[2][8][WARP + 1];  // blockDim is (32, 8)
    int column = blockIdx.x * WARP + threadIdx.x, thread_row = threadIdx.y;
    int first = blockIdx.y * rows_of_block, last = min(rows, first + rows_of_block);
    float weighted_sum = 0.0f, g_sum = 0.0f;
    if (column < width)
        for (int row = first + thread_row; row < last; row += blockDim.y) {
            Size i = (Size)row * width + column;
            float a = to_float(g[i]);
            weighted_sum += a * (to_float(x[i]) - mean[row]) * rstd[row];
            g_sum += a;
        }
    sums[0][thread_row][threadIdx.x] = weighted_sum;
    sums[1][thread_row][threadIdx.x] = g_sum;
    __syncthreads();
    if (thread_row < 2 && column < width) {
        float total = 0.0f;
        for (int i = 0; i < blockDim.y; ++i) total += sums[thread_row][i][threadIdx.x];
        partials[((Size)thread_row * gridDim.y + blockIdx.y) * width + column] = total;
    }
}

// Totals of the partial sums of `layer_norm_columns`, one thread per column. blockIdx.y selects weight or bias.
extern "C" __global__ void layer_norm_totals(const float* partials, W* g_weight, W* g_bias, int count, int width) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    W* out = blockIdx.y == 0 ? g_weight : g_bias;
    if (column >= width || out == nullptr) return;
    partials += (Size)blockIdx.y * count * width + column;
    float total = 0.0f;
    for (int i = 0; i < count; ++i) total += partials[(Size)i * width];
    store(&out[column], total);
}
