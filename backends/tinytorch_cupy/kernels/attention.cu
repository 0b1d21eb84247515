// Scaled dot-product attention with several heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2) that never holds the weights of all
// pairs: FlashAttention-2 (Dao 2023, arXiv:2307.08691, algorithms 1 and 2).
//
// Forward, a block takes ROWS queries of one head and goes along the keys, a tile at a time. What it has summed so far is scaled down when a
// larger score turns up, so it needs no score twice (the online softmax of Milakov and Gimelshein 2018, arXiv:1805.02867). Kept are, for
// each query, the largest score and the sum of exponentials relative to it.
//
// Backward, from these two the weights are worked out again. One kernel goes along the keys for the gradient of its queries, another along
// the queries for those of its keys and values, so every sum belongs to one block and has one order. (The paper's single pass over both has
// five matmuls instead of seven, and adds to the queries' gradient in any order.)
//
// With p the weights, s the scores, o = p v and g the gradient of o: the gradient of v is p^T g, of p is g v^T, and of s
// p (g v^T - g.o), where g.o is a number for each query.
//
// ELEMENT: type of the operands; WIDTH: of a head, rounded up; TENSOR: whether tensor cores multiply.
#include "attention.cuh"

#if TENSOR
#include "tiles_tensor.cuh"
#else
#include "tiles_scalar.cuh"
#endif

#define ROWS (16 * WARPS)
#define OUT (WIDTH / SHARERS)  // numbers of a row of WIDTH that a thread holds

// Over the threads that share a row.
__device__ inline float row_sum(float x) {
    for (int step = 1; step < SHARERS; step *= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
__device__ inline float row_max(float x) {
    for (int step = 1; step < SHARERS; step *= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Products of queries and keys become scores, in powers of two; `query` and `key` are the first of the tile. Where the rows of the tile are
// keys, its columns are queries.
template <bool ROWS_ARE_QUERIES, int N>
__device__ inline void to_scores(float (&s)[HELD][N], const Call& call, const bool* mask, int query, int key) {
    const int columns = N * SHARERS, queries = ROWS_ARE_QUERIES ? ROWS : columns, keys = ROWS_ARE_QUERIES ? columns : ROWS;
    bool plain = mask == nullptr && query + queries <= call.queries && key + keys <= call.keys;
    plain = plain && (!call.causal || key + keys - 1 <= query + call.keys - call.queries);
    if (plain) {  // most tiles: nothing has to be asked of each pair
#pragma unroll
        for (int r = 0; r < HELD; ++r)
#pragma unroll
            for (int n = 0; n < N; ++n) s[r][n] *= call.scale;
        return;
    }
#pragma unroll
    for (int r = 0; r < HELD; ++r)
#pragma unroll
        for (int n = 0; n < N; ++n) {
            int i = tile_row(r), j = tile_column(n);
            s[r][n] = score(call, mask, s[r][n], query + (ROWS_ARE_QUERIES ? i : j), key + (ROWS_ARE_QUERIES ? j : i));
        }
}

// Rows of a result from what the threads hold of it.
__device__ inline void store_rows(T* out, Size stride, float (&x)[HELD][OUT], int first, int rows, int width, float factor) {
#pragma unroll
    for (int r = 0; r < HELD; ++r) {
        int row = first + tile_row(r);
#pragma unroll
        for (int m = 0; m < OUT; ++m)
            if (row < rows && tile_column(m) < width) put(&out[row * stride + tile_column(m)], x[r][m] * factor);
    }
}

extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_forward(
    const T* q, const T* k, const T* v, const bool* mask, const int* key, T* out, float* tops, float* sums, const Call call) {
    const int columns = FORWARD_COLUMNS, held = columns / SHARERS;
    alignas(16) __shared__ E own[ROWS * PITCH];
    alignas(16) __shared__ E keys[columns * PITCH];
    alignas(16) __shared__ E values[columns * PITCH];
    alignas(16) __shared__ float scratch[SCRATCH];
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS;  // the last queries see most, and so begin first
    int seen = call.whole ? call.keys : min(call.keys, first + ROWS + call.keys - call.queries);
    q = part(q, call.q, call.width);
    k = part(k, call.k, call.width);
    v = part(v, call.v, call.width);
    Word stream = call.threshold ? random_stream(key, call.site) : 0;
    load_tile<ROWS>(own, q, call.q.row, first, call.queries, call.width);
    load_tile<columns>(keys, k, call.k.row, 0, call.keys, call.width);
    end_loads();
    load_tile<columns>(values, v, call.v.row, 0, call.keys, call.width);
    end_loads();
    float top[HELD], sum[HELD], o[HELD][OUT];
#pragma unroll
    for (int r = 0; r < HELD; ++r) {
        top[r] = -INF;
        sum[r] = 0.0f;
#pragma unroll
        for (int m = 0; m < OUT; ++m) o[r][m] = 0.0f;
    }
    for (int start = 0; start < seen; start += columns) {
        float s[HELD][held];
        wait_for_loads<1>();  // the keys; the values may still be on their way
        __syncthreads();
        matmul_transposed(s, own, keys);
        __syncthreads();
        if (start + columns < seen) load_tile<columns>(keys, k, call.k.row, start + columns, call.keys, call.width);
        end_loads();
        to_scores<true>(s, call, mask, first, start);
#pragma unroll
        for (int r = 0; r < HELD; ++r) {
            int query = first + tile_row(r);
            float high = top[r];
#pragma unroll
            for (int n = 0; n < held; ++n) high = fmaxf(high, s[r][n]);
            high = row_max(high);
            float shrink = exp2f(top[r] - high);
            sum[r] *= shrink;
#pragma unroll
            for (int m = 0; m < OUT; ++m) o[r][m] *= shrink;
#pragma unroll
            for (int n = 0; n < held; ++n) {
                s[r][n] = exp2f(s[r][n] - high);
                sum[r] += s[r][n];
                if (call.threshold) s[r][n] *= kept_share(call, stream, query, start + tile_column(n));
            }
            top[r] = high;
        }
        wait_for_loads<1>();  // the values
        __syncthreads();
        add_matmul(o, s, values, scratch);
        __syncthreads();
        if (start + columns < seen) load_tile<columns>(values, v, call.v.row, start + columns, call.keys, call.width);
        end_loads();
    }
#pragma unroll
    for (int r = 0; r < HELD; ++r) {
        int query = first + tile_row(r);
        sum[r] = row_sum(sum[r]);
        float share = 1.0f / sum[r];
#pragma unroll
        for (int m = 0; m < OUT; ++m) o[r][m] *= share;
        if (lane() % SHARERS == 0 && query < call.queries) {
            tops[numbered(call, query)] = top[r];
            sums[numbered(call, query)] = sum[r];
        }
    }
    store_rows(part(out, call.out, call.width), call.out.row, o, first, call.queries, call.width, 1.0f);
}

// A row with nothing to attend to has weights, but its scores are constants.
__device__ inline bool constant(float top) { return top < FORBIDDEN / 2; }

// The gradient of queries, and g.o for each of them, which `attention_backward_keys` wants.
extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_backward_queries(
    const T* g, const T* q, const T* k, const T* v, const bool* mask, const int* key, const T* out, const float* tops, const float* sums,
    float* along, T* g_q, const Call call) {
    const int columns = BACKWARD_COLUMNS, held = columns / SHARERS;
    alignas(16) __shared__ E own_q[ROWS * PITCH];
    alignas(16) __shared__ E own_g[ROWS * PITCH];
    alignas(16) __shared__ E keys[columns * PITCH];
    alignas(16) __shared__ E values[columns * PITCH];
    alignas(16) __shared__ float scratch[SCRATCH];
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS;
    int seen = call.whole ? call.keys : min(call.keys, first + ROWS + call.keys - call.queries);
    g = part(g, call.g, call.width);
    k = part(k, call.k, call.width);
    v = part(v, call.v, call.width);
    out = part(out, call.out, call.width);
    Word stream = call.threshold ? random_stream(key, call.site) : 0;
    load_tile<ROWS>(own_q, part(q, call.q, call.width), call.q.row, first, call.queries, call.width);
    load_tile<ROWS>(own_g, g, call.g.row, first, call.queries, call.width);
    load_tile<columns>(values, v, call.v.row, 0, call.keys, call.width);
    load_tile<columns>(keys, k, call.k.row, 0, call.keys, call.width);
    end_loads();
    float top[HELD], share[HELD], g_o[HELD], grad[HELD][OUT];
#pragma unroll
    for (int r = 0; r < HELD; ++r) {
        int query = first + tile_row(r), safe = min(query, call.queries - 1);
        float product = 0.0f;
        for (int i = lane() % SHARERS; i < call.width; i += SHARERS)
            product += wide(g[safe * call.g.row + i]) * wide(out[safe * call.out.row + i]);
        g_o[r] = row_sum(product);
        top[r] = tops[numbered(call, safe)];
        share[r] = 1.0f / sums[numbered(call, safe)];
        if (lane() % SHARERS == 0 && query < call.queries) along[numbered(call, query)] = g_o[r];
#pragma unroll
        for (int m = 0; m < OUT; ++m) grad[r][m] = 0.0f;
    }
    for (int start = 0; start < seen; start += columns) {
        float s[HELD][held], g_p[HELD][held];
        wait_for_loads<0>();
        __syncthreads();
        matmul_transposed(g_p, own_g, values);
        matmul_transposed(s, own_q, keys);
        __syncthreads();
        if (start + columns < seen) load_tile<columns>(values, v, call.v.row, start + columns, call.keys, call.width);
        to_scores<true>(s, call, mask, first, start);
#pragma unroll
        for (int r = 0; r < HELD; ++r)
#pragma unroll
            for (int n = 0; n < held; ++n) {
                float weight = exp2f(s[r][n] - top[r]) * share[r];
                if (call.threshold) g_p[r][n] *= kept_share(call, stream, first + tile_row(r), start + tile_column(n));
                s[r][n] = constant(top[r]) ? 0.0f : weight * (g_p[r][n] - g_o[r]);
            }
        add_matmul(grad, s, keys, scratch);
        __syncthreads();
        if (start + columns < seen) load_tile<columns>(keys, k, call.k.row, start + columns, call.keys, call.width);
        end_loads();
    }
    store_rows(part(g_q, call.g_q, call.width), call.g_q.row, grad, first, call.queries, call.width, call.root);
}

// The gradients of keys and values. Here the rows of tiles are keys, and their columns queries.
extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_backward_keys(
    const T* g, const T* q, const T* k, const T* v, const bool* mask, const int* key, const float* tops, const float* sums,
    const float* along, T* g_k, T* g_v, const Call call) {
    const int columns = BACKWARD_COLUMNS, held = columns / SHARERS;
    alignas(16) __shared__ E own_k[ROWS * PITCH];
    alignas(16) __shared__ E own_v[ROWS * PITCH];
    alignas(16) __shared__ E queries[columns * PITCH];
    alignas(16) __shared__ E slopes[columns * PITCH];
    alignas(16) __shared__ float scratch[SCRATCH];
    __shared__ float of_query[3][columns];
    int first = blockIdx.x * ROWS, begin = 0;  // the first keys are seen by most queries
    if (!call.whole) begin = max(0, first - (call.keys - call.queries)) / columns * columns;
    g = part(g, call.g, call.width);
    q = part(q, call.q, call.width);
    Word stream = call.threshold ? random_stream(key, call.site) : 0;
    load_tile<ROWS>(own_k, part(k, call.k, call.width), call.k.row, first, call.keys, call.width);
    load_tile<ROWS>(own_v, part(v, call.v, call.width), call.v.row, first, call.keys, call.width);
    float grad_k[HELD][OUT], grad_v[HELD][OUT];
#pragma unroll
    for (int r = 0; r < HELD; ++r)
#pragma unroll
        for (int m = 0; m < OUT; ++m) grad_k[r][m] = grad_v[r][m] = 0.0f;
    for (int start = begin; start < call.queries; start += columns) {
        float s[HELD][held], g_p[HELD][held];
        load_tile<columns>(queries, q, call.q.row, start, call.queries, call.width);
        load_tile<columns>(slopes, g, call.g.row, start, call.queries, call.width);
        end_loads();
        for (int i = threadIdx.x; i < columns; i += blockDim.x) {
            Size place = numbered(call, min(start + i, call.queries - 1));
            of_query[0][i] = tops[place];
            of_query[1][i] = 1.0f / sums[place];
            of_query[2][i] = along[place];
        }
        wait_for_loads<0>();
        __syncthreads();
        matmul_transposed(s, own_k, queries);
        matmul_transposed(g_p, own_v, slopes);
        to_scores<false>(s, call, mask, start, first);
#pragma unroll
        for (int n = 0; n < held; ++n) {
            int i = tile_column(n);
            float top = of_query[0][i], share = of_query[1][i], g_o = of_query[2][i];
#pragma unroll
            for (int r = 0; r < HELD; ++r) {
                float weight = exp2f(s[r][n] - top) * share;
                float dropped = call.threshold ? kept_share(call, stream, start + i, first + tile_row(r)) : 1.0f;
                s[r][n] = weight * dropped;
                g_p[r][n] = constant(top) ? 0.0f : weight * (g_p[r][n] * dropped - g_o);
            }
        }
        add_matmul(grad_v, s, slopes, scratch);
        add_matmul(grad_k, g_p, queries, scratch);
        __syncthreads();
    }
    store_rows(part(g_k, call.g_k, call.width), call.g_k.row, grad_k, first, call.keys, call.width, call.root);
    store_rows(part(g_v, call.g_v, call.width), call.g_v.row, grad_v, first, call.keys, call.width, 1.0f);
}
