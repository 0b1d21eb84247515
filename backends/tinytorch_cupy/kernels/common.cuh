// Shared by all kernels: data types, reductions over a warp or a block, random bits.
//
// T, defined by the macro ELEMENT, is the type of the data: float, __half or __nv_bfloat16. Arithmetic is always in float32.
// BFLOAT16 is defined only in variants with data of that type: before CUDA 12.2 cupy has no cuda_bf16.h unless a toolkit is installed.
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

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }

__device__ inline void store(float* place, float x) { *place = x; }
__device__ inline void store(__half* place, float x) { *place = __float2half_rn(x); }

#ifdef BFLOAT16
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(__nv_bfloat16* place, float x) { *place = __float2bfloat16_rn(x); }
#endif

// ---- reductions: every thread gets the result ----

__device__ inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// For one-dimensional blocks of whole warps, at most 1024 threads. The order of additions is fixed.
__device__ inline float block_sum(float x) {
    __shared__ float parts[WARP];
    int warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads();  // a previous result may still be read
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    x = 0.0f;
    for (int w = 0; w < warps; ++w) x += parts[w];
    return x;
}

// ---- random bits: tinytorch/ops/random_bits.py, with the same constants, so the bits are equal ----

__device__ inline Word mix(Word x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

__device__ inline Word hash_key(const int* key, int site) { return mix((Word)key[0] ^ mix((Word)key[1] ^ mix((Word)site))); }

// Whether dropout keeps element `index`; it drops if the 31 random bits are below `threshold`.
__device__ inline bool is_kept(Word hashed_key, Word index, int threshold) {
    return (int)(mix(index ^ hashed_key) & 0x7fffffffu) >= threshold;
}
