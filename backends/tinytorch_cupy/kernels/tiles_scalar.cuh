// Tiles in shared memory and their matmuls, in float32. tiles_tensor.cuh has the same functions for tensor cores.
//
// A warp computes 16 rows of a tile. A thread holds the elements x[r][n] of a result, at row tile_row(r) and column tile_column(n).
#pragma once
#include "spans.cuh"

typedef float E;           // element type of tiles
#define ROW_STRIDE (WIDTH + 4)  // row stride of a tile: 16 bytes more than a row, so that 8 rows are in different banks
#define WARPS (WIDTH <= 32 ? 4 : WIDTH <= 64 ? 2 : 1)  // limited by 48 KiB of shared memory
#define THREAD_ROWS 4             // rows of which a thread holds elements
#define THREADS_PER_ROW 8          // threads that share a row
#define FORWARD_COLUMNS (WIDTH <= 64 ? 32 : 16)
#define BACKWARD_COLUMNS FORWARD_COLUMNS
#define SCRATCH (16 * WARPS * (FORWARD_COLUMNS + 4))

struct alignas(16) Float4 {
    float items[4];
};
__device__ inline Float4 load_float4(const float* p) { return *reinterpret_cast<const Float4*>(p); }

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int tile_row(int r) { return threadIdx.x / WARP * 16 + lane() / 8 * 4 + r; }
__device__ inline int tile_column(int n) { return n * 8 + lane() % 8; }

// Loads rows first, first + 1, ... of x into a tile, with zeros past `rows` and `width`.
template <int COUNT> __device__ inline void load_tile(E* tile, const T* x, Size stride, int first, int rows, int width) {
    for (int i = threadIdx.x; i < COUNT * WIDTH; i += blockDim.x) {
        int row = i / WIDTH, column = i % WIDTH;
        bool in_bounds = first + row < rows && column < width;
        tile[row * ROW_STRIDE + column] = in_bounds ? to_float(x[(first + row) * stride + column]) : 0.0f;
    }
}
__device__ inline void end_loads() {}
template <int LEFT> __device__ inline void wait_for_loads() {}

// x = a b^T, with this warp's rows of a and all rows of b.
template <int N> __device__ inline void matmul_transposed(float (&x)[THREAD_ROWS][N], const E* a, const E* b) {
    for (int r = 0; r < THREAD_ROWS; ++r)
        for (int n = 0; n < N; ++n) x[r][n] = 0.0f;
    const E *a_rows = a + tile_row(0) * ROW_STRIDE, *b_rows = b + tile_column(0) * ROW_STRIDE;
    for (int k = 0; k < WIDTH; k += 4) {
        Float4 left[THREAD_ROWS];
#pragma unroll
        for (int r = 0; r < THREAD_ROWS; ++r) left[r] = load_float4(a_rows + r * ROW_STRIDE + k);
#pragma unroll
        for (int n = 0; n < N; ++n) {
            Float4 right = load_float4(b_rows + n * 8 * ROW_STRIDE + k);
#pragma unroll
            for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
                for (int i = 0; i < 4; ++i) x[r][n] += left[r].items[i] * right.items[i];
        }
    }
}

// out += x b. The threads of a row exchange their elements of x through `scratch`. Each warp uses its own part of it.
template <int N, int M>
__device__ inline void add_matmul(float (&out)[THREAD_ROWS][M], float (&x)[THREAD_ROWS][N], const E* b, float* scratch) {
    const int pitch = N * THREADS_PER_ROW + 4;
    float* a_rows = scratch + tile_row(0) * pitch;
    const E* b_rows = b + lane() % 8;
    __syncwarp();  // the previous matmul may still be reading
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
        for (int n = 0; n < N; ++n) a_rows[r * pitch + tile_column(n)] = x[r][n];
    __syncwarp();
    for (int k = 0; k < N * THREADS_PER_ROW; k += 4) {
        Float4 left[THREAD_ROWS];
#pragma unroll
        for (int r = 0; r < THREAD_ROWS; ++r) left[r] = load_float4(a_rows + r * pitch + k);
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int m = 0; m < M; ++m) {
                float right = b_rows[(k + i) * ROW_STRIDE + m * 8];
#pragma unroll
                for (int r = 0; r < THREAD_ROWS; ++r) out[r][m] += left[r].items[i] * right;
            }
    }
}
