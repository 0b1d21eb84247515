// Optimizer updates of many parameters in one launch.
//
// The table of addresses is itself a kernel argument, so it is copied at launch (and stored in a captured graph). Arguments are limited to
// 4 KiB, so more than TENSORS parameters need another launch. A block processes 4096 elements of one parameter.
//
// Learning rate, step number and the gradient's norm stay on the device. The norm is computed in two steps, in a fixed order.
#include "spans.cuh"

#define TENSORS 72
#define CHUNK 4096

struct Table {
    float* results[TENSORS];
    const float* params[TENSORS];
    const float* grads[TENSORS];
    float* first[TENSORS];   // first moments, or velocities
    float* second[TENSORS];  // second moments
    int sizes[TENSORS];
    float decays[TENSORS];
    int ends[TENSORS];  // index of the block after a parameter's last one
};

// Calls f(parameter, i) for this thread's elements of this block. Accesses are coalesced.
template <class F> __device__ inline void for_each_in_block(const Table& table, F f) {
    int tensor = 0, block = blockIdx.x;
    while (table.ends[tensor] <= block) ++tensor;
    int first_block = tensor == 0 ? 0 : table.ends[tensor - 1];
    int first = (block - first_block) * CHUNK, last = min(table.sizes[tensor], first + CHUNK);
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) f(tensor, i);
}

extern "C" __global__ void square_sums(const Table table, float* partials) {
    float sum = 0.0f;
    for_each_in_block(table, [&](int t, int i) {
        float grad = table.grads[t][i];
        sum += grad * grad;
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

extern "C" __global__ void root_of_sum(const float* partials, float* out, int count) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sqrtf(sum);
}

// Factor for clipping a gradient to max_norm (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1); NaN if the norm is NaN.
__device__ inline float clipping(float norm, float max_norm) {
    float scale = max_norm / (norm + 1e-6f);
    return scale > 1.0f ? 1.0f : scale;
}

// Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) and AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).
// beta^step is computed as exp(step log(beta)); log(beta) is passed as 0 for beta = 0.
extern "C" __global__ void adam(
    const Table table, const float* learning_rate, const int* step, const float* norm, float max_norm, float beta1, float one_minus_beta1,
    float log1, float beta2, float one_minus_beta2, float log2, float eps, int decoupled) {
    float lr = *learning_rate, steps = (float)*step, scale = max_norm > 0.0f ? clipping(*norm, max_norm) : 1.0f;
    float correction1 = log1 == 0.0f ? 1.0f : -expm1f(steps * log1), correction2 = log2 == 0.0f ? 1.0f : -expm1f(steps * log2);
    float step_size = lr / correction1;
    for_each_in_block(table, [&](int t, int i) {
        float param = table.params[t][i], decay = table.decays[t], grad = table.grads[t][i] * scale;
        if (!decoupled) grad += decay * param;
        float m = beta1 * table.first[t][i] + one_minus_beta1 * grad;
        float v = beta2 * table.second[t][i] + one_minus_beta2 * (grad * grad);
        if (decoupled) param *= 1.0f - decay * lr;
        table.results[t][i] = param - step_size * m / (sqrtf(v / correction2) + eps);
        table.first[t][i] = m;
        table.second[t][i] = v;
    });
}

// SGD with momentum (Sutskever et al. 2013, ICML, section 2), or without if it is 0.
extern "C" __global__ void sgd(
    const Table table, const float* learning_rate, const float* norm, float max_norm, float momentum, int nesterov) {
    float lr = *learning_rate, scale = max_norm > 0.0f ? clipping(*norm, max_norm) : 1.0f;
    for_each_in_block(table, [&](int t, int i) {
        float param = table.params[t][i], grad = table.grads[t][i] * scale + table.decays[t] * param;
        if (momentum != 0.0f) {
            float velocity = momentum * table.first[t][i] + grad;
            table.first[t][i] = velocity;
            grad = nesterov ? grad + momentum * velocity : velocity;
        }
        table.results[t][i] = param - lr * grad;
    });
}
