// Attention of a few queries to many keys, as when a text is written word by word: one block for each head would leave most of a GPU idle.
//
// The keys are split among blocks. Each gives the sum of its values weighted by exponentials relative to its largest score, that score and
// the exponentials' sum; a second kernel puts the parts together (Dao et al. 2023, "Flash-Decoding", describes the same split).
#include "attention.cuh"
#include "spans.cuh"

#define THREADS 128  // of a block, which is also its share of the keys and the most that a head's width can be

__device__ inline float block_max(float x, float* parts) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    return fmaxf(fmaxf(parts[0], parts[1]), fmaxf(parts[2], parts[3]));
}

// Block (s, head, example) takes share s of the keys. parts is (examples, heads, queries, splits, width), part_tops and part_sums the same
// without width.
extern "C" __global__ void __launch_bounds__(THREADS) attention_decode(
    const T* q, const T* k, const T* v, const bool* mask, float* parts, float* part_tops, float* part_sums, const Call call) {
    __shared__ float of_query[THREADS], weights[THREADS], columns[THREADS], maxima[4];
    int me = threadIdx.x, width = call.width, first = blockIdx.x * THREADS, count = min(THREADS, call.keys - first);
    int groups = THREADS / width, group = me / width, column = me % width;  // groups of threads take different keys' values
    q = part(q, call.q, width);
    k = part(k, call.k, width) + (first + me) * call.k.row;
    v = part(v, call.v, width) + first * call.v.row;
    for (int query = 0; query < call.queries; ++query) {
        if (me < width) of_query[me] = wide(q[query * call.q.row + me]);
        __syncthreads();
        float s = -INF;
        if (me < count && may_attend(call, mask, query, first + me)) {
            float product = 0.0f;
            each(k, width, 0, 1, [&](Size i, float a) { product += a * of_query[i]; });
            s = product * call.scale;
        } else if (me < count) {
            s = FORBIDDEN;  // its key need not be read
        }
        float top = block_max(s, maxima);
        weights[me] = exp2f(s - top);
        float sum = block_sum(weights[me]), total = 0.0f;  // its barriers make the weights known, too
        if (group < groups)
            for (int j = group; j < count; j += groups) total += weights[j] * wide(v[j * call.v.row + column]);
        columns[me] = total;
        __syncthreads();
        Size place = numbered(call, query) * gridDim.x + blockIdx.x;
        if (me < width) {
            for (int i = 1; i < groups; ++i) total += columns[i * width + me];
            parts[place * width + me] = total;
        }
        if (me == 0) {
            part_tops[place] = top;
            part_sums[place] = sum;
        }
    }
}

// Block (query, head, example) puts the parts together, a thread for each column.
extern "C" __global__ void __launch_bounds__(THREADS) attention_join(
    const float* parts, const float* part_tops, const float* part_sums, T* out, float* tops, float* sums, int splits, const Call call) {
    int query = blockIdx.x, width = call.width;
    Size place = numbered(call, query);
    parts += place * splits * width;
    part_tops += place * splits;
    part_sums += place * splits;
    float top = -INF, sum = 0.0f, total = 0.0f;
    for (int i = 0; i < splits; ++i) top = fmaxf(top, part_tops[i]);
    for (int i = 0; i < splits; ++i) {
        float factor = exp2f(part_tops[i] - top);
        sum += part_sums[i] * factor;
        if (threadIdx.x < width) total += parts[(Size)i * width + threadIdx.x] * factor;
    }
    if (threadIdx.x < width) put(&part(out, call.out, width)[query * call.out.row + threadIdx.x], total / sum);
    if (threadIdx.x == 0) {
        tops[place] = top;
        sums[place] = sum;
    }
}
