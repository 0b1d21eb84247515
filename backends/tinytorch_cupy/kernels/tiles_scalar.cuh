// Tiles of matrices in shared memory and matmuls of them, in float32; tiles_tensor.cuh is the same for tensor cores.
//
// A warp owns 16 rows of a tile. A thread holds some numbers of a product, x[r][n], at row tile_row(r) and column tile_column(n).
#pragma once
#include "spans.cuh"

typedef float E;           // what tiles hold
#define PITCH (WIDTH + 4)  // from one row of a tile to the next: 16 bytes more than the row, so that 8 rows lie in different banks
#define WARPS (WIDTH <= 32 ? 4 : WIDTH <= 64 ? 2 : 1)  // as many as tiles fit into 48 KiB for
#define HELD 4             // rows of which a thread holds numbers
#define SHARERS 8          // threads that share a row
#define FORWARD_COLUMNS (WIDTH <= 64 ? 32 : 16)
#define BACKWARD_COLUMNS FORWARD_COLUMNS
#define SCRATCH (16 * WARPS * (FORWARD_COLUMNS + 4))

struct alignas(16) Four {
    float item[4];
};
__device__ inline Four four(const float* p) { return *reinterpret_cast<const Four*>(p); }

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int tile_row(int r) { return threadIdx.x / WARP * 16 + lane() / 8 * 4 + r; }
__device__ inline int tile_column(int n) { return n * 8 + lane() % 8; }

// Rows first, first + 1, ... of x as a tile; zeros beyond `rows` and beyond `width`.
template <int COUNT> __device__ inline void load_tile(E* tile, const T* x, Size stride, int first, int rows, int width) {
    for (int i = threadIdx.x; i < COUNT * WIDTH; i += blockDim.x) {
        int row = i / WIDTH, column = i % WIDTH;
        bool real = first + row < rows && column < width;
        tile[row * PITCH + column] = real ? wide(x[(first + row) * stride + column]) : 0.0f;
    }
}
__device__ inline void end_loads() {}
template <int LEFT> __device__ inline void wait_for_loads() {}

// x = a b^T, of the warp's rows of a and all rows of b.
template <int N> __device__ inline void matmul_transposed(float (&x)[HELD][N], const E* a, const E* b) {
    for (int r = 0; r < HELD; ++r)
        for (int n = 0; n < N; ++n) x[r][n] = 0.0f;
    const E *of_a = a + tile_row(0) * PITCH, *of_b = b + tile_column(0) * PITCH;
    for (int k = 0; k < WIDTH; k += 4) {
        Four left[HELD];
#pragma unroll
        for (int r = 0; r < HELD; ++r) left[r] = four(of_a + r * PITCH + k);
#pragma unroll
        for (int n = 0; n < N; ++n) {
            Four right = four(of_b + n * 8 * PITCH + k);
#pragma unroll
            for (int r = 0; r < HELD; ++r)
#pragma unroll
                for (int i = 0; i < 4; ++i) x[r][n] += left[r].item[i] * right.item[i];
        }
    }
}

// out += x b. The threads of a row need each other's numbers of it, which go through `scratch`; only this warp's part of it is touched.
template <int N, int M> __device__ inline void add_matmul(float (&out)[HELD][M], float (&x)[HELD][N], const E* b, float* scratch) {
    const int pitch = N * SHARERS + 4;
    float* of_a = scratch + tile_row(0) * pitch;
    const E* of_b = b + lane() % 8;
    __syncwarp();  // the last matmul may still be reading
#pragma unroll
    for (int r = 0; r < HELD; ++r)
#pragma unroll
        for (int n = 0; n < N; ++n) of_a[r * pitch + tile_column(n)] = x[r][n];
    __syncwarp();
    for (int k = 0; k < N * SHARERS; k += 4) {
        Four left[HELD];
#pragma unroll
        for (int r = 0; r < HELD; ++r) left[r] = four(of_a + r * pitch + k);
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int m = 0; m < M; ++m) {
                float right = of_b[(k + i) * PITCH + m * 8];
#pragma unroll
                for (int r = 0; r < HELD; ++r) out[r][m] += left[r].item[i] * right;
            }
    }
}
