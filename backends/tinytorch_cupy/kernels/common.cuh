// What the kernels of this folder share: data types, sums over a warp or a block, random bits.
//
// T, which the macro ELEMENT says, is the type of the data: float, __half or __nv_bfloat16. Arithmetic is in float32 whatever T is.
// BFLOAT16 is defined where a variant has data of that type: before CUDA 12.2 cupy has no cuda_bf16.h unless a toolkit is installed.
#pragma once
#include <cuda_fp16.h>
#ifdef BFLOAT16
#include <cuda_bf16.h>
#endif

#define INF __int_as_float(0x7f800000)
#define NOT_A_NUMBER __int_as_float(0x7fffffff)
#define WARP 32
#define ALL_LANES 0xffffffffu

typedef ELEMENT T;
typedef unsigned int Word;
typedef long long Size;

__device__ inline float wide(float x) { return x; }
__device__ inline float wide(__half x) { return __half2float(x); }

__device__ inline void put(float* place, float x) { *place = x; }
__device__ inline void put(__half* place, float x) { *place = __float2half_rn(x); }

#ifdef BFLOAT16
__device__ inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void put(__nv_bfloat16* place, float x) { *place = __float2bfloat16_rn(x); }
#endif

// ---- sums and maxima: every thread gets the result ----

__device__ inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Over a block of one dimension, whole warps, at most 1024 threads; always added in the same order.
__device__ inline float block_sum(float x) {
    __shared__ float parts[WARP];
    int warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads();  // the one before may still be read
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    x = 0.0f;
    for (int w = 0; w < warps; ++w) x += parts[w];
    return x;
}

// ---- random bits: tinytorch/ops/random_bits.py, with the same constants and so the same bits ----

__device__ inline Word mix(Word x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

__device__ inline Word random_stream(const int* key, int site) { return mix((Word)key[0] ^ mix((Word)key[1] ^ mix((Word)site))); }

// Whether element `index` is kept, where `threshold` of 2^31 are dropped.
__device__ inline bool kept(Word stream, Word index, int threshold) { return (int)(mix(index ^ stream) & 0x7fffffffu) >= threshold; }
