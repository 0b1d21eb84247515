// Shared by the attention kernels: layout of the operands, masks and dropout.
#pragma once
#include "common.cuh"

#define LOG2_E 1.4426950408889634f

// The score of a masked pair, as a base-2 exponent. Finite, so that a fully masked row attends to all keys equally.
#define MASKED_SCORE (-1e9f * LOG2_E)

// Strides of examples of the batch and of positions, in elements. The columns of the heads are adjacent.
struct Strides {
    Size example, row;
};

struct Call {
    int heads, queries, keys, width;
    Strides q, k, v, out, g, g_q, g_k, g_v;
    Size mask[4];  // strides of examples, heads, queries and keys; 0 where broadcast
    float scale;   // factor of the scores as base-2 exponents: log2(e) / sqrt(width)
    float rsqrt_width;    // 1 / sqrt(width)
    int causal;    // whether later keys are masked; the last query is at the position of the last key
    int all_keys;     // whether to process all keys, because rows may be fully masked
    int site, threshold;
    float keep_scale;  // factor of weights that dropout keeps
    Word first;        // index of the first weight's random bits, modulo 2^32
};

// The operand, offset to this block's example and head.
template <class S> __device__ inline S* this_head(S* x, const Strides& strides, int width) {
    return x + blockIdx.z * strides.example + blockIdx.y * width;
}

// Flat index of (example, head, query).
__device__ inline Size row_index(const Call& call, int query) {
    return ((Size)blockIdx.z * call.heads + blockIdx.y) * call.queries + query;
}

__device__ inline bool may_attend(const Call& call, const bool* mask, int query, int key) {
    if (call.causal && key > query + call.keys - call.queries) return false;
    if (mask == nullptr) return true;
    return mask[blockIdx.z * call.mask[0] + blockIdx.y * call.mask[1] + query * call.mask[2] + key * call.mask[3]];
}

// The score, as a base-2 exponent, of a query and a key whose dot product is `product`.
__device__ inline float score(const Call& call, const bool* mask, float product, int query, int key) {
    if (key >= call.keys || query >= call.queries) return -INF;
    return may_attend(call, mask, query, key) ? product * call.scale : MASKED_SCORE;
}

// Dropout's factor of the weight of a pair.
__device__ inline float dropout_factor(const Call& call, Word hashed_key, int query, int key) {
    Word index = call.first + (Word)row_index(call, query) * (Word)call.keys + (Word)key;
    return is_kept(hashed_key, index, call.threshold) ? call.keep_scale : 0.0f;
}
