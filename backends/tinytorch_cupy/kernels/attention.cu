// Multi-head scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2) that never stores the full matrix of
// weights: FlashAttention-2 (Dao 2023, arXiv:2307.08691, algorithms 1 and 2).
//
// Forward: a thread block processes ROWS queries of one head and loops over tiles of keys. Partial sums are rescaled when a larger score
// is found, so each score is computed once (online softmax: Milakov and Gimelshein 2018, arXiv:1805.02867). The kernel stores, for each
// query, the maximum score and the sum of exponentials relative to it.
//
// Backward: the weights are recomputed from these two. One kernel loops over keys and computes the gradient of its queries. Another loops
// over queries and computes the gradients of its keys and values. So each sum is computed by one block, in a fixed order. (The paper's
// single pass needs five matmuls instead of seven, but sums the gradient of the queries in an arbitrary order.)
//
// With weights p, scores s, output o = p v and its gradient g: the gradient of v is p^T g, that of p is g v^T, and that of s is
// p (g v^T - g.o), where the dot product g.o is a scalar per query.
//
// ELEMENT: type of the operands; WIDTH: width of a head, rounded up; TENSOR: whether to use tensor cores.
#include "attention.cuh"

#if TENSOR
#include "tiles_tensor.cuh"
#else
#include "tiles_scalar.cuh"
#endif

#define ROWS (16 * WARPS)
#define THREAD_OUT (WIDTH / THREADS_PER_ROW)  // elements of a row of WIDTH that a thread holds

// Reductions over the threads that share a row.
__device__ inline float row_sum(float x) {
    for (int step = 1; step < THREADS_PER_ROW; step *= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
__device__ inline float row_max(float x) {
    for (int step = 1; step < THREADS_PER_ROW; step *= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Converts dot products of queries and keys to scores, as base-2 exponents. `query` and `key` are the first ones of the tile. Its rows are
// either queries or keys; its columns are the others.
template <bool ROWS_ARE_QUERIES, int N>
__device__ inline void to_scores(float (&s)[THREAD_ROWS][N], const Call& call, const bool* mask, int query, int key) {
    const int columns = N * THREADS_PER_ROW, queries = ROWS_ARE_QUERIES ? ROWS : columns, keys = ROWS_ARE_QUERIES ? columns : ROWS;
    bool unmasked = mask == nullptr && query + queries <= call.queries && key + keys <= call.keys;
    unmasked = unmasked && (!call.causal || key + keys - 1 <= query + call.keys - call.queries);
    if (unmasked) {  // most tiles: no pair is masked
#pragma unroll
        for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
            for (int n = 0; n < N; ++n) s[r][n] *= call.scale;
        return;
    }
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
        for (int n = 0; n < N; ++n) {
            int i = tile_row(r), j = tile_column(n);
            s[r][n] = score(call, mask, s[r][n], query + (ROWS_ARE_QUERIES ? i : j), key + (ROWS_ARE_QUERIES ? j : i));
        }
}

// Stores the rows of a result from the elements that the threads hold.
__device__ inline void store_rows(T* out, Size stride, float (&x)[THREAD_ROWS][THREAD_OUT], int first, int rows, int width, float factor) {
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r) {
        int row = first + tile_row(r);
#pragma unroll
        for (int m = 0; m < THREAD_OUT; ++m)
            if (row < rows && tile_column(m) < width) store(&out[row * stride + tile_column(m)], x[r][m] * factor);
    }
}

extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_forward(
    const T* q, const T* k, const T* v, const bool* mask, const int* key, T* out, float* maxima, float* sums, const Call call) {
    const int columns = FORWARD_COLUMNS, thread_columns = columns / THREADS_PER_ROW;
    alignas(16) __shared__ E q_tile[ROWS * ROW_STRIDE];
    alignas(16) __shared__ E keys[columns * ROW_STRIDE];
    alignas(16) __shared__ E values[columns * ROW_STRIDE];
    alignas(16) __shared__ float scratch[SCRATCH];
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS;  // the last queries attend to most keys, so they start first
    int num_keys = call.all_keys ? call.keys : min(call.keys, first + ROWS + call.keys - call.queries);
    q = this_head(q, call.q, call.width);
    k = this_head(k, call.k, call.width);
    v = this_head(v, call.v, call.width);
    Word hashed_key = call.threshold ? hash_key(key, call.site) : 0;
    load_tile<ROWS>(q_tile, q, call.q.row, first, call.queries, call.width);
    load_tile<columns>(keys, k, call.k.row, 0, call.keys, call.width);
    end_loads();
    load_tile<columns>(values, v, call.v.row, 0, call.keys, call.width);
    end_loads();
    float maximum[THREAD_ROWS], sum[THREAD_ROWS], o[THREAD_ROWS][THREAD_OUT];
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r) {
        maximum[r] = -INF;
        sum[r] = 0.0f;
#pragma unroll
        for (int m = 0; m < THREAD_OUT; ++m) o[r][m] = 0.0f;
    }
    for (int start = 0; start < num_keys; start += columns) {
        float s[THREAD_ROWS][thread_columns];
        wait_for_loads<1>();  // for the keys; the values may still be loading
        __syncthreads();
        matmul_transposed(s, q_tile, keys);
        __syncthreads();
        if (start + columns < num_keys) load_tile<columns>(keys, k, call.k.row, start + columns, call.keys, call.width);
        end_loads();
        to_scores<true>(s, call, mask, first, start);
#pragma unroll
        for (int r = 0; r < THREAD_ROWS; ++r) {
            int query = first + tile_row(r);
            float new_maximum = maximum[r];
#pragma unroll
            for (int n = 0; n < thread_columns; ++n) new_maximum = fmaxf(new_maximum, s[r][n]);
            new_maximum = row_max(new_maximum);
            float rescale = exp2f(maximum[r] - new_maximum);
            sum[r] *= rescale;
#pragma unroll
            for (int m = 0; m < THREAD_OUT; ++m) o[r][m] *= rescale;
#pragma unroll
            for (int n = 0; n < thread_columns; ++n) {
                s[r][n] = exp2f(s[r][n] - new_maximum);
                sum[r] += s[r][n];
                if (call.threshold) s[r][n] *= dropout_factor(call, hashed_key, query, start + tile_column(n));
            }
            maximum[r] = new_maximum;
        }
        wait_for_loads<1>();  // for the values
        __syncthreads();
        add_matmul(o, s, values, scratch);
        __syncthreads();
        if (start + columns < num_keys) load_tile<columns>(values, v, call.v.row, start + columns, call.keys, call.width);
        end_loads();
    }
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r) {
        int query = first + tile_row(r);
        sum[r] = row_sum(sum[r]);
        float inv_sum = 1.0f / sum[r];
#pragma unroll
        for (int m = 0; m < THREAD_OUT; ++m) o[r][m] *= inv_sum;
        if (lane() % THREADS_PER_ROW == 0 && query < call.queries) {
            maxima[row_index(call, query)] = maximum[r];
            sums[row_index(call, query)] = sum[r];
        }
    }
    store_rows(this_head(out, call.out, call.width), call.out.row, o, first, call.queries, call.width, 1.0f);
}

// Whether a row is fully masked. Its scores are constants, so their gradient is 0.
__device__ inline bool is_fully_masked(float maximum) { return maximum < MASKED_SCORE / 2; }

// The gradient of the queries, and g.o of each query, which `attention_backward_keys` reads.
extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_backward_queries(
    const T* g, const T* q, const T* k, const T* v, const bool* mask, const int* key, const T* out, const float* maxima, const float* sums,
    float* g_dot_out, T* g_q, const Call call) {
    const int columns = BACKWARD_COLUMNS, thread_columns = columns / THREADS_PER_ROW;
    alignas(16) __shared__ E q_tile[ROWS * ROW_STRIDE];
    alignas(16) __shared__ E g_tile[ROWS * ROW_STRIDE];
    alignas(16) __shared__ E keys[columns * ROW_STRIDE];
    alignas(16) __shared__ E values[columns * ROW_STRIDE];
    alignas(16) __shared__ float scratch[SCRATCH];
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS;
    int num_keys = call.all_keys ? call.keys : min(call.keys, first + ROWS + call.keys - call.queries);
    g = this_head(g, call.g, call.width);
    k = this_head(k, call.k, call.width);
    v = this_head(v, call.v, call.width);
    out = this_head(out, call.out, call.width);
    Word hashed_key = call.threshold ? hash_key(key, call.site) : 0;
    load_tile<ROWS>(q_tile, this_head(q, call.q, call.width), call.q.row, first, call.queries, call.width);
    load_tile<ROWS>(g_tile, g, call.g.row, first, call.queries, call.width);
    load_tile<columns>(values, v, call.v.row, 0, call.keys, call.width);
    load_tile<columns>(keys, k, call.k.row, 0, call.keys, call.width);
    end_loads();
    float maximum[THREAD_ROWS], inv_sum[THREAD_ROWS], g_dot_o[THREAD_ROWS], grad[THREAD_ROWS][THREAD_OUT];
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r) {
        int query = first + tile_row(r), in_bounds_query = min(query, call.queries - 1);
        float dot = 0.0f;
        for (int i = lane() % THREADS_PER_ROW; i < call.width; i += THREADS_PER_ROW)
            dot += to_float(g[in_bounds_query * call.g.row + i]) * to_float(out[in_bounds_query * call.out.row + i]);
        g_dot_o[r] = row_sum(dot);
        maximum[r] = maxima[row_index(call, in_bounds_query)];
        inv_sum[r] = 1.0f / sums[row_index(call, in_bounds_query)];
        if (lane() % THREADS_PER_ROW == 0 && query < call.queries) g_dot_out[row_index(call, query)] = g_dot_o[r];
#pragma unroll
        for (int m = 0; m < THREAD_OUT; ++m) grad[r][m] = 0.0f;
    }
    for (int start = 0; start < num_keys; start += columns) {
        float s[THREAD_ROWS][thread_columns], g_weights[THREAD_ROWS][thread_columns];
        wait_for_loads<0>();
        __syncthreads();
        matmul_transposed(g_weights, g_tile, values);
        matmul_transposed(s, q_tile, keys);
        __syncthreads();
        if (start + columns < num_keys) load_tile<columns>(values, v, call.v.row, start + columns, call.keys, call.width);
        to_scores<true>(s, call, mask, first, start);
#pragma unroll
        for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
            for (int n = 0; n < thread_columns; ++n) {
                float weight = exp2f(s[r][n] - maximum[r]) * inv_sum[r];
                if (call.threshold) g_weights[r][n] *= dropout_factor(call, hashed_key, first + tile_row(r), start + tile_column(n));
                s[r][n] = is_fully_masked(maximum[r]) ? 0.0f : weight * (g_weights[r][n] - g_dot_o[r]);
            }
        add_matmul(grad, s, keys, scratch);
        __syncthreads();
        if (start + columns < num_keys) load_tile<columns>(keys, k, call.k.row, start + columns, call.keys, call.width);
        end_loads();
    }
    store_rows(this_head(g_q, call.g_q, call.width), call.g_q.row, grad, first, call.queries, call.width, call.rsqrt_width);
}

// The gradients of keys and values. The rows of tiles are keys, and their columns are queries.
extern "C" __global__ void __launch_bounds__(WARP * WARPS) attention_backward_keys(
    const T* g, const T* q, const T* k, const T* v, const bool* mask, const int* key, const float* maxima, const float* sums,
    const float* g_dot_out, T* g_k, T* g_v, const Call call) {
    const int columns = BACKWARD_COLUMNS, thread_columns = columns / THREADS_PER_ROW;
    alignas(16) __shared__ E k_tile[ROWS * ROW_STRIDE];
    alignas(16) __shared__ E v_tile[ROWS * ROW_STRIDE];
    alignas(16) __shared__ E queries[columns * ROW_STRIDE];
    alignas(16) __shared__ E g_rows[columns * ROW_STRIDE];
    alignas(16) __shared__ float scratch[SCRATCH];
    __shared__ float of_query[3][columns];
    int first = blockIdx.x * ROWS, first_query = 0;  // most queries attend to the first keys
    if (!call.all_keys) first_query = max(0, first - (call.keys - call.queries)) / columns * columns;
    g = this_head(g, call.g, call.width);
    q = this_head(q, call.q, call.width);
    Word hashed_key = call.threshold ? hash_key(key, call.site) : 0;
    load_tile<ROWS>(k_tile, this_head(k, call.k, call.width), call.k.row, first, call.keys, call.width);
    load_tile<ROWS>(v_tile, this_head(v, call.v, call.width), call.v.row, first, call.keys, call.width);
    float grad_k[THREAD_ROWS][THREAD_OUT], grad_v[THREAD_ROWS][THREAD_OUT];
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
        for (int m = 0; m < THREAD_OUT; ++m) grad_k[r][m] = grad_v[r][m] = 0.0f;
    for (int start = first_query; start < call.queries; start += columns) {
        float s[THREAD_ROWS][thread_columns], g_weights[THREAD_ROWS][thread_columns];
        load_tile<columns>(queries, q, call.q.row, start, call.queries, call.width);
        load_tile<columns>(g_rows, g, call.g.row, start, call.queries, call.width);
        end_loads();
        for (int i = threadIdx.x; i < columns; i += blockDim.x) {
            Size index = row_index(call, min(start + i, call.queries - 1));
            of_query[0][i] = maxima[index];
            of_query[1][i] = 1.0f / sums[index];
            of_query[2][i] = g_dot_out[index];
        }
        wait_for_loads<0>();
        __syncthreads();
        matmul_transposed(s, k_tile, queries);
        matmul_transposed(g_weights, v_tile, g_rows);
        to_scores<false>(s, call, mask, start, first);
#pragma unroll
        for (int n = 0; n < thread_columns; ++n) {
            int i = tile_column(n);
            float maximum = of_query[0][i], inv_sum = of_query[1][i], g_dot_o = of_query[2][i];
#pragma unroll
            for (int r = 0; r < THREAD_ROWS; ++r) {
                float weight = exp2f(s[r][n] - maximum) * inv_sum;
                float dropped = call.threshold ? dropout_factor(call, hashed_key, start + i, first + tile_row(r)) : 1.0f;
                s[r][n] = weight * dropped;
                g_weights[r][n] = is_fully_masked(maximum) ? 0.0f : weight * (g_weights[r][n] * dropped - g_dot_o);
            }
        }
        add_matmul(grad_v, s, g_rows, scratch);
        add_matmul(grad_k, g_weights, queries, scratch);
        __syncthreads();
    }
    store_rows(this_head(g_k, call.g_k, call.width), call.g_k.row, grad_k, first, call.keys, call.width, call.rsqrt_width);
    store_rows(this_head(g_v, call.g_v, call.width), call.g_v.row, grad_v, first, call.keys, call.width, 1.0f);
}
