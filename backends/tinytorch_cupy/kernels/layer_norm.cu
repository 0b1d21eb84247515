// Layer normalisation (Ba, Kiros and Hinton 2016, arXiv:1607.06450, equations 3 and 4).
//
// A warp takes a row, several rows a block: sums over a row are then a few shuffles, with no barrier. A row is read three times, from memory
// once and then from the L1 cache, so that the variance can be a sum of squared differences and not a difference of sums.
//
// The gradients of weight and bias are sums over all rows. They are taken in two steps, some rows each and then the results, in an order
// that is always the same.
//
// ELEMENT: type of x; WEIGHT: type of weight and bias.
#include "spans.cuh"

typedef WEIGHT W;

extern "C" __global__ void layer_norm_forward(
    const T* x, const W* weight, const W* bias, T* out, float* mean, float* rstd, int rows, int width, float eps) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;  // the whole warp does
    x += (Size)row * width;
    out += (Size)row * width;
    float sum = 0.0f, squares = 0.0f;
    each(x, width, lane, WARP, [&](Size i, float a) { sum += a; });
    float centre = warp_sum(sum) / width;
    each(x, width, lane, WARP, [&](Size i, float a) { squares += (a - centre) * (a - centre); });
    float scale = 1.0f / sqrtf(warp_sum(squares) / width + eps);
    map(x, out, width, lane, WARP, [&](Size i, float a) { return (a - centre) * scale * wide(weight[i]) + wide(bias[i]); });
    if (lane == 0) {
        mean[row] = centre;
        rstd[row] = scale;
    }
}

// What points along the mean and along x itself is removed: normalisation undoes changes in these two directions.
extern "C" __global__ void layer_norm_backward(
    const T* g, const T* x, const W* weight, const float* mean, const float* rstd, T* g_x, int rows, int width) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    g += (Size)row * width;
    x += (Size)row * width;
    g_x += (Size)row * width;
    float centre = mean[row], scale = rstd[row], along_mean = 0.0f, along_x = 0.0f;
    each(g, x, width, lane, WARP, [&](Size i, float a, float b) {
        float scaled = a * wide(weight[i]);
        along_mean += scaled;
        along_x += scaled * (b - centre) * scale;
    });
    along_mean = warp_sum(along_mean) / width;
    along_x = warp_sum(along_x) / width;
    map(g, x, g_x, width, lane, WARP, [&](Size i, float a, float b) {
        return (a * wide(weight[i]) - along_mean - (b - centre) * scale * along_x) * scale;
    });
}

// Sums over the rows of block blockIdx.y, for 32 columns: parts[0] of g times the normalised x, parts[1] of g. parts is (2, blocks, width).
extern "C" __global__ void layer_norm_columns(
    const T* g, const T* x, const float* mean, const float* rstd, float* parts, int rows, int width, int rows_of_block) {
    __shared__ float sums[2][8][WARP + 1];  // blockDim is (32, 8)
    int column = blockIdx.x * WARP + threadIdx.x, layer = threadIdx.y;
    int first = blockIdx.y * rows_of_block, last = min(rows, first + rows_of_block);
    float weighted = 0.0f, plain = 0.0f;
    if (column < width)
        for (int row = first + layer; row < last; row += blockDim.y) {
            Size i = (Size)row * width + column;
            float a = wide(g[i]);
            weighted += a * (wide(x[i]) - mean[row]) * rstd[row];
            plain += a;
        }
    sums[0][layer][threadIdx.x] = weighted;
    sums[1][layer][threadIdx.x] = plain;
    __syncthreads();
    if (layer < 2 && column < width) {
        float total = 0.0f;
        for (int i = 0; i < blockDim.y; ++i) total += sums[layer][i][threadIdx.x];
        parts[((Size)layer * gridDim.y + blockIdx.y) * width + column] = total;
    }
}

// Sums over the parts of `layer_norm_columns`, one thread a column; blockIdx.y says of which sum.
extern "C" __global__ void layer_norm_totals(const float* parts, W* g_weight, W* g_bias, int count, int width) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    W* out = blockIdx.y == 0 ? g_weight : g_bias;
    if (column >= width || out == nullptr) return;
    parts += (Size)blockIdx.y * count * width + column;
    float total = 0.0f;
    for (int i = 0; i < count; ++i) total += parts[(Size)i * width];
    put(&out[column], total);
}
