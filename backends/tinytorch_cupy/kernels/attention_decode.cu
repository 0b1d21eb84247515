// Attention of a few queries to many keys, as in decoding, where one block per head would leave most of a GPU idle.
//
// The keys are split over thread blocks. Each block computes its maximum score, the sum of exponentials relative to it, and the sum of its
// values weighted by them. A second kernel combines the partial results (Dao et al. 2023, "Flash-Decoding", describes the same split).
#include "attention.cuh"
#include "spans.cuh"

#define THREADS 128  // per block; also the number of its keys, and the largest width of a head

__device__ inline float block_max(float x, float* parts) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    return fmaxf(fmaxf(parts[0], parts[1]), fmaxf(parts[2], parts[3]));
}

// Block (s, head, example) processes split s of the keys. partials is (examples, heads, queries, splits, width); partial_maxima and
// partial_sums are (examples, heads, queries, splits).
extern "C" __global__ void __launch_bounds__(THREADS) attention_decode(
    const T* q, const T* k, const T* v, const bool* mask, float* partials, float* partial_maxima, float* partial_sums, const Call call) {
    __shared__ float of_query[THREADS], weights[THREADS], columns[THREADS], maxima[4];
    int thread = threadIdx.x, width = call.width, first = blockIdx.x * THREADS, count = min(THREADS, call.keys - first);
    int groups = THREADS / width, group = thread / width, column = thread % width;  // each group of threads sums the values of other keys
    q = this_head(q, call.q, width);
    k = this_head(k, call.k, width) + (first + thread) * call.k.row;
    v = this_head(v, call.v, width) + first * call.v.row;
    for (int query = 0; query < call.queries; ++query) {
        if (thread < width) of_query[thread] = to_float(q[query * call.q.row + thread]);
        __syncthreads();
        float s = -INF;
        if (thread < count && may_attend(call, mask, query, first + thread)) {
            float dot = 0.0f;
            for_each(k, width, 0, 1, [&](Size i, float a) { dot += a * of_query[i]; });
            s = dot * call.scale;
        } else if (thread < count) {
            s = MASKED_SCORE;  // the key need not be read
        }
        float maximum = block_max(s, maxima);
        weights[thread] = exp2f(s - maximum);
        float sum = block_sum(weights[thread]), total = 0.0f;  // its barriers also make the weights visible
        if (group < groups)
            for (int j = group; j < count; j += groups) total += weights[j] * to_float(v[j * call.v.row + column]);
        columns[thread] = total;
        __syncthreads();
        Size index = row_index(call, query) * gridDim.x + blockIdx.x;
        if (thread < width) {
            for (int i = 1; i < groups; ++i) total += columns[i * width + thread];
            partials[index * width + thread] = total;
        }
        if (thread == 0) {
            partial_maxima[index] = maximum;
            partial_sums[index] = sum;
        }
    }
}

// Block (query, head, example) combines the partial results, one thread per column.
extern "C" __global__ void __launch_bounds__(THREADS) attention_join(
    const float* partials, const float* partial_maxima, const float* partial_sums, T* out, float* maxima, float* sums, int splits,
    const Call call) {
    int query = blockIdx.x, width = call.width;
    Size index = row_index(call, query);
    partials += index * splits * width;
    partial_maxima += index * splits;
    partial_sums += index * splits;
    float maximum = -INF, sum = 0.0f, total = 0.0f;
    for (int i = 0; i < splits; ++i) maximum = fmaxf(maximum, partial_maxima[i]);
    for (int i = 0; i < splits; ++i) {
        float factor = exp2f(partial_maxima[i] - maximum);
        sum += partial_sums[i] * factor;
        if (threadIdx.x < width) total += partials[(Size)i * width + threadIdx.x] * factor;
    }
    if (threadIdx.x < width) store(&this_head(out, call.out, width)[query * call.out.row + threadIdx.x], total / sum);
    if (threadIdx.x == 0) {
        maxima[index] = maximum;
        sums[index] = sum;
    }
}
