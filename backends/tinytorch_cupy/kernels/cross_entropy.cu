// Softmax cross-entropy, computed from the logits.
//
// One block per row. Forward reads the row once: it computes maximum and sum of exponentials together, and rescales the sum when it finds a
// larger maximum (Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3). Backward reads the row once and writes its gradient once.
//
// ELEMENT: type of the logits; INDEX: type of the targets. The losses are float32.
#include "spans.cuh"

// A partial log-sum-exp: the maximum, and the sum of exponentials relative to it.
struct Partial {
    float maximum, sum;
};

__device__ inline Partial combine(Partial a, Partial b) {
    float maximum = fmaxf(a.maximum, b.maximum);
    if (maximum == -INF) return {maximum, a.sum + b.sum};  // both are empty; inf - inf would be NaN
    return {maximum, a.sum * expf(a.maximum - maximum) + b.sum * expf(b.maximum - maximum)};
}

extern "C" __global__ void cross_entropy_forward(
    const T* logits, const INDEX* targets, float* losses, float* log_sums, int classes, Size ignore_index, float smoothing) {
    __shared__ Partial parts[WARP];
    Size row = blockIdx.x;
    logits += row * classes;
    Partial partial = {-INF, 0.0f};
    float logit_sum = 0.0f;
    for_each(logits, classes, threadIdx.x, blockDim.x, [&](Size, float a) {
        if (a > partial.maximum) {
            partial.sum *= expf(partial.maximum - a);
            partial.maximum = a;
        }
        partial.sum += partial.maximum == -INF ? (a == a ? 0.0f : a) : expf(a - partial.maximum);  // the sum propagates NaN
        logit_sum += a;
    });
    for (int step = WARP / 2; step > 0; step /= 2)
        partial = combine(partial, {__shfl_xor_sync(ALL_LANES, partial.maximum, step), __shfl_xor_sync(ALL_LANES, partial.sum, step)});
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = partial;
    if (smoothing != 0.0f) logit_sum = block_sum(logit_sum);
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < blockDim.x / WARP; ++w) partial = combine(partial, parts[w]);
    float log_sum = logf(partial.sum) + partial.maximum;
    log_sums[row] = log_sum;
    long long target = targets[row];
    if (target == ignore_index) {
        losses[row] = 0.0f;
    } else if (target < 0 || target >= classes) {
        losses[row] = NOT_A_NUMBER;
    } else {
        float loss = log_sum - to_float(logits[target]);
        if (smoothing != 0.0f) loss = (1.0f - smoothing) * loss + smoothing * (log_sum - logit_sum / classes);
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
    float uniform = smoothing / classes;
    map(logits + row * classes, g_logits + row * classes, classes, threadIdx.x, blockDim.x, [&](Size i, float a) {
        float target_probability = (i == target ? 1.0f - smoothing : 0.0f) + uniform;
        return (expf(a - log_sum) - target_probability) * factor;
    });
}
