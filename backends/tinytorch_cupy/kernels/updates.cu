// One step of an optimizer for many parameters in one launch.
//
// The addresses come in a table that is itself the kernel's argument, and so is copied with the launch (and stays in a captured graph).
// Arguments have room for 4 KiB: more than TENSORS parameters take another launch. A block works on 4096 elements of one parameter.
//
// Learning rate, step number and the gradient's length stay on the device. The length is summed in two steps, always in the same order.
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
    int ends[TENSORS];  // the number of the block after a parameter's last
};

// f(parameter, i) for this thread's elements of this block; neighbours belong to neighbouring threads.
template <class F> __device__ inline void over_block(const Table& table, F f) {
    int tensor = 0, block = blockIdx.x;
    while (table.ends[tensor] <= block) ++tensor;
    int before = tensor == 0 ? 0 : table.ends[tensor - 1];
    int first = (block - before) * CHUNK, last = min(table.sizes[tensor], first + CHUNK);
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) f(tensor, i);
}

extern "C" __global__ void square_sums(const Table table, float* parts) {
    float sum = 0.0f;
    over_block(table, [&](int t, int i) {
        float grad = table.grads[t][i];
        sum += grad * grad;
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

extern "C" __global__ void root_of_sum(const float* parts, float* out, int count) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sqrtf(sum);
}

// What a gradient of this length is multiplied by (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1); NaN for a length that is.
__device__ inline float clipping(float norm, float max_norm) {
    float scale = max_norm / (norm + 1e-6f);
    return scale > 1.0f ? 1.0f : scale;
}

// Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) and AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).
// beta^step is exp(step log(beta)); a logarithm of 0 stands for a beta of 0.
extern "C" __global__ void adam(
    const Table table, const float* learning_rate, const int* step, const float* norm, float max_norm, float beta1, float rest1, float log1,
    float beta2, float rest2, float log2, float eps, int decoupled) {
    float rate = *learning_rate, count = (float)*step, scale = max_norm > 0.0f ? clipping(*norm, max_norm) : 1.0f;
    float correction1 = log1 == 0.0f ? 1.0f : -expm1f(count * log1), correction2 = log2 == 0.0f ? 1.0f : -expm1f(count * log2);
    float pace = rate / correction1;
    over_block(table, [&](int t, int i) {
        float param = table.params[t][i], decay = table.decays[t], grad = table.grads[t][i] * scale;
        if (!decoupled) grad += decay * param;
        float m = beta1 * table.first[t][i] + rest1 * grad;
        float v = beta2 * table.second[t][i] + rest2 * (grad * grad);
        if (decoupled) param *= 1.0f - decay * rate;
        table.results[t][i] = param - pace * m / (sqrtf(v / correction2) + eps);
        table.first[t][i] = m;
        table.second[t][i] = v;
    });
}

// Gradient descent with momentum (Sutskever et al. 2013, ICML, section 2), or without where it is 0.
extern "C" __global__ void sgd(
    const Table table, const float* learning_rate, const float* norm, float max_norm, float momentum, int nesterov) {
    float rate = *learning_rate, scale = max_norm > 0.0f ? clipping(*norm, max_norm) : 1.0f;
    over_block(table, [&](int t, int i) {
        float param = table.params[t][i], grad = table.grads[t][i] * scale + table.decays[t] * param;
        if (momentum != 0.0f) {
            float velocity = momentum * table.first[t][i] + grad;
            table.first[t][i] = velocity;
            grad = nesterov ? grad + momentum * velocity : velocity;
        }
        table.results[t][i] = param - rate * grad;
    });
}
