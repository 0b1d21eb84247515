// What the attention kernels share: how the operands lie, which pairs may attend, what dropout keeps.
#pragma once
#include "common.cuh"

#define LOG2_E 1.4426950408889634f

// The score of a pair that may not attend, in powers of two. Finite, so that a row with nothing to attend to takes from all keys alike.
#define FORBIDDEN (-1e9f * LOG2_E)

// From one example of the batch to the next, and from one position to the next; the heads' columns lie side by side.
struct Strides {
    Size example, row;
};

struct Call {
    int heads, queries, keys, width;
    Strides q, k, v, out, g, g_q, g_k, g_v;
    Size mask[4];  // from an example, a head, a query, a key to the next; 0 along what the mask is the same for
    float scale;   // of the scores, in powers of two
    float root;    // of the scores themselves: 1 / sqrt(width)
    int causal;    // whether a query sees no key after its own; the last query stands at the last key
    int whole;     // whether no key can be left out, as there may be rows with nothing to attend to
    int site, threshold;
    float kept_scale;  // of weights that dropout keeps
    Word first;        // position of the first weight among the random bits, which count modulo 2^32
};

// The part of an operand that belongs to this block's example and head.
template <class S> __device__ inline S* part(S* x, const Strides& strides, int width) {
    return x + blockIdx.z * strides.example + blockIdx.y * width;
}

// Which of all (example, head, query) this is.
__device__ inline Size numbered(const Call& call, int query) {
    return ((Size)blockIdx.z * call.heads + blockIdx.y) * call.queries + query;
}

__device__ inline bool may_attend(const Call& call, const bool* mask, int query, int key) {
    if (call.causal && key > query + call.keys - call.queries) return false;
    if (mask == nullptr) return true;
    return mask[blockIdx.z * call.mask[0] + blockIdx.y * call.mask[1] + query * call.mask[2] + key * call.mask[3]];
}

// The score, in powers of two, of a query and a key whose dot product is `product`.
__device__ inline float score(const Call& call, const bool* mask, float product, int query, int key) {
    if (key >= call.keys || query >= call.queries) return -INF;
    return may_attend(call, mask, query, key) ? product * call.scale : FORBIDDEN;
}

// What dropout multiplies the weight of a pair with.
__device__ inline float kept_share(const Call& call, Word stream, int query, int key) {
    Word index = call.first + (Word)numbered(call, query) * (Word)call.keys + (Word)key;
    return kept(stream, index, call.threshold) ? call.kept_scale : 0.0f;
}
