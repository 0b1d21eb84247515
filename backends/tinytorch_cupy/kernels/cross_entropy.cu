// Cross-entropy of a softmax, straight from the logits.
//
// A block takes a row, which it reads once: maximum and sum of exponentials are found together, the sum being scaled down whenever a larger
// maximum turns up (Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3). The backward pass reads the row once more and writes it once.
//
// ELEMENT: type of the logits; INDEX: type of the targets. The result is float32.
#include "spans.cuh"

// The part of a row that was seen: its maximum, and the sum of exponentials relative to it.
struct Seen {
    float top, sum;
};

__device__ inline Seen together(Seen a, Seen b) {
    float top = fmaxf(a.top, b.top);
    if (top == -INF) return {top, a.sum + b.sum};  // nothing yet, and inf - inf is no number
    return {top, a.sum * expf(a.top - top) + b.sum * expf(b.top - top)};
}

extern "C" __global__ void cross_entropy_forward(
    const T* logits, const INDEX* targets, float* losses, float* log_sums, int classes, Size ignore_index, float smoothing) {
    __shared__ Seen parts[WARP];
    Size row = blockIdx.x;
    logits += row * classes;
    Seen seen = {-INF, 0.0f};
    float plain = 0.0f;
    each(logits, classes, threadIdx.x, blockDim.x, [&](Size, float a) {
        if (a > seen.top) {
            seen.sum *= expf(seen.top - a);
            seen.top = a;
        }
        seen.sum += seen.top == -INF ? (a == a ? 0.0f : a) : expf(a - seen.top);  // NaN goes into the sum, and stays there
        plain += a;
    });
    for (int step = WARP / 2; step > 0; step /= 2)
        seen = together(seen, {__shfl_xor_sync(ALL_LANES, seen.top, step), __shfl_xor_sync(ALL_LANES, seen.sum, step)});
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = seen;
    if (smoothing != 0.0f) plain = block_sum(plain);
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < blockDim.x / WARP; ++w) seen = together(seen, parts[w]);
    float log_sum = logf(seen.sum) + seen.top;
    log_sums[row] = log_sum;
    long long target = targets[row];
    if (target == ignore_index) {
        losses[row] = 0.0f;
    } else if (target < 0 || target >= classes) {
        losses[row] = NOT_A_NUMBER;
    } else {
        float loss = log_sum - wide(logits[target]);
        if (smoothing != 0.0f) loss = (1.0f - smoothing) * loss + smoothing * (log_sum - plain / classes);
        losses[row] = loss;
    }
}

extern "C" __global__ void cross_entropy_backward(
    const float* g, const T* logits, const INDEX* targets, const float* log_sums, T* g_logits, int classes, Size ignore_index,
    float smoothing) {
    Size row = blockIdx.x;
    long long target = targets[row];
    float log_sum = log_sums[row], factor = target == ignore_index ? 0.0f : g[row];
    if (target != ignore_index && (target < 0 || target >= classes)) factor = NOT_A_NUMBER;
    float others = smoothing / classes;
    map(logits + row * classes, g_logits + row * classes, classes, threadIdx.x, blockDim.x, [&](Size i, float a) {
        float wanted = (i == target ? 1.0f - smoothing : 0.0f) + others;
        return (expf(a - log_sum) - wanted) * factor;
    });
}
