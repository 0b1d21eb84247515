// Tiles in shared memory and their matmuls, with tensor cores. tiles_scalar.cuh has the same functions without them.
//
// A warp computes 16 rows of a tile. A thread holds the elements x[r][n] of a result, at row tile_row(r) and column tile_column(n).
#pragma once
#include "tensor_cores.cuh"

typedef T E;           // element type of tiles
#define ROW_STRIDE (WIDTH + 8)  // row stride of a tile: 16 bytes more than a row, so that 8 rows are in different banks
#define WARPS 4
#define THREAD_ROWS 2         // rows of which a thread holds elements
#define THREADS_PER_ROW 4      // threads that share a row
#define FORWARD_COLUMNS (WIDTH <= 64 ? 64 : 32)
#define BACKWARD_COLUMNS (WIDTH <= 64 ? 32 : 16)
#define SCRATCH 1      // unused

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int tile_row(int r) { return threadIdx.x / WARP * 16 + lane() / 4 + 8 * r; }
__device__ inline int tile_column(int n) { return n / 2 * 8 + lane() % 4 * 2 + n % 2; }

// Loads rows first, first + 1, ... of x into a tile, with zeros past `rows` and `width`.
template <int COUNT> __device__ inline void load_tile(E* tile, const T* x, Size stride, int first, int rows, int width) {
    const int packs = WIDTH / 8;
    if ((size_t)x % 16 == 0 && stride % 8 == 0 && width % 8 == 0) {
        for (int i = threadIdx.x; i < COUNT * packs; i += blockDim.x) {
            int row = i / packs, column = i % packs * 8;
            bool in_bounds = first + row < rows && column < width;
            copy_async(&tile[row * ROW_STRIDE + column], in_bounds ? &x[(first + row) * stride + column] : x, in_bounds);
        }
    } else {
        for (int i = threadIdx.x; i < COUNT * WIDTH; i += blockDim.x) {
            int row = i / WIDTH, column = i % WIDTH;
            bool in_bounds = first + row < rows && column < width;
            store(&tile[row * ROW_STRIDE + column], in_bounds ? to_float(x[(first + row) * stride + column]) : 0.0f);
        }
    }
}
__device__ inline void end_loads() { end_copies(); }
template <int LEFT> __device__ inline void wait_for_loads() { wait_for_copies<LEFT>(); }

// x = a b^T, with this warp's rows of a and all rows of b.
template <int N> __device__ inline void matmul_transposed(float (&x)[THREAD_ROWS][N], const E* a, const E* b) {
    for (int n = 0; n < N; ++n) x[0][n] = x[1][n] = 0.0f;
    const E* a_rows = a + (threadIdx.x / WARP * 16 + lane() % 16) * ROW_STRIDE + lane() / 16 * 8;
    const E* b_rows = b + (lane() / 16 * 8 + lane() % 8) * ROW_STRIDE + lane() / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < WIDTH; k += 16) {
        Word left[4], right[4];
        load_matrices(left, a_rows + k);
#pragma unroll
        for (int n = 0; n < N; n += 4) {  // 16 columns
            load_matrices(right, b_rows + n * 4 * ROW_STRIDE + k);
            multiply_add(&x[0][n], &x[1][n], left, right, a);
            multiply_add(&x[0][n + 2], &x[1][n + 2], left, right + 2, a);
        }
    }
}

// out += x b. A result's layout is also that of a left operand, so x only needs rounding to 16 bits.
template <int N, int M> __device__ inline void add_matmul(float (&out)[THREAD_ROWS][M], float (&x)[THREAD_ROWS][N], const E* b, float*) {
    const E* b_rows = b + lane() % 16 * ROW_STRIDE + lane() / 16 * 8;
#pragma unroll
    for (int n = 0; n < N; n += 4) {  // 16 rows of b
        Word left[4] = {pack(x[0][n], x[0][n + 1], b), pack(x[1][n], x[1][n + 1], b), pack(x[0][n + 2], x[0][n + 3], b),
                        pack(x[1][n + 2], x[1][n + 3], b)};
        Word right[4];
#pragma unroll
        for (int m = 0; m < M; m += 4) {  // 16 columns
            load_transposed(right, b_rows + n * 4 * ROW_STRIDE + m * 4);
            multiply_add(&out[0][m], &out[1][m], left, right, b);
            multiply_add(&out[0][m + 2], &out[1][m + 2], left, right + 2, b);
        }
    }
}
