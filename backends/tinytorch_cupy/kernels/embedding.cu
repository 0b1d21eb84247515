// Embedding lookup and its gradient.
//
// The gradient of a row is a sum over all positions where its id occurs. Atomic additions would be nondeterministic. Instead, the positions
// are sorted by id. Then each block sums a segment of sorted positions. A run of equal ids inside a segment is written by this block alone.
// The partial sums of a run that crosses segments are added by a last kernel, in order.
//
// ELEMENT: type of the table; INDEX: type of the ids.
#include "spans.cuh"

#define SORT_THREADS 512    // threads of the block that sorts
#define DIGITS 16      // values of a digit of 4 bits
#define SEGMENT 32     // positions per segment

// One warp copies a row. Out-of-bounds ids give NaN.
extern "C" __global__ void embedding_forward(const T* table, const INDEX* ids, T* out, int count, int width, int length) {
    int i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= count) return;
    long long id = ids[i];
    out += (Size)i * width;
    if (id >= 0 && id < length)
        map(table + id * width, out, width, threadIdx.x, WARP, [](Size, float a) { return a; });
    else
        for (int j = threadIdx.x; j < width; j += WARP) store(&out[j], NOT_A_NUMBER);
}

// Sorts the positions 0 to count - 1 by id: `order` gets the positions, `sorted` the ids. Out-of-bounds ids are replaced by `length`.
//
// One block runs a radix sort, starting with the least significant digit. Each thread counts the digits of a contiguous range of positions.
// A prefix sum over all counters gives the target index of each digit of each thread. The sort is stable.
extern "C" __global__ void embedding_sort(
    const INDEX* ids, int* order, int* sorted, int* other_order, int* other_sorted, int count, int length) {
    __shared__ int counters[DIGITS * SORT_THREADS];
    __shared__ int sums[SORT_THREADS];
    int thread = threadIdx.x, per_thread = (count + SORT_THREADS - 1) / SORT_THREADS;
    int first = min(count, thread * per_thread), last = min(count, first + per_thread), passes = 0;
    while (passes < 8 && length >> 4 * passes > 0) ++passes;
    if (passes % 2) {  // so that the last pass writes to `order` and `sorted`
        int* temporary = order;
        order = other_order, other_order = temporary;
        temporary = sorted;
        sorted = other_sorted, other_sorted = temporary;
    }
    for (int i = first; i < last; ++i) {
        long long id = ids[i];
        sorted[i] = id >= 0 && id < length ? (int)id : length;
        order[i] = i;
    }
    for (int shift = 0; shift < 4 * passes; shift += 4) {
        for (int digit = 0; digit < DIGITS; ++digit) counters[digit * SORT_THREADS + thread] = 0;
        for (int i = first; i < last; ++i) ++counters[(sorted[i] >> shift & 15) * SORT_THREADS + thread];
        __syncthreads();
        int total = 0;  // sum of this thread's counters, which are ordered by digit
        for (int j = 0; j < DIGITS; ++j) total += counters[thread * DIGITS + j];
        sums[thread] = total;
        __syncthreads();
        for (int step = 1; step < SORT_THREADS; step *= 2) {
            int before = thread >= step ? sums[thread - step] : 0;
            __syncthreads();
            sums[thread] += before;
            __syncthreads();
        }
        int running = sums[thread] - total;
        for (int j = 0; j < DIGITS; ++j) {
            int counter = counters[thread * DIGITS + j];
            counters[thread * DIGITS + j] = running;
            running += counter;
        }
        __syncthreads();
        for (int i = first; i < last; ++i) {
            int target = counters[(sorted[i] >> shift & 15) * SORT_THREADS + thread]++;
            other_sorted[target] = sorted[i];
            other_order[target] = order[i];
        }
        __syncthreads();
        int* temporary = order;
        order = other_order, other_order = temporary;
        temporary = sorted;
        sorted = other_sorted, other_sorted = temporary;
    }
}

// Block (s, .) sums segment s, one thread per column. Segments are along x, because a grid allows few blocks along y. g_table is 0 before.
extern "C" __global__ void embedding_sums(
    const T* g, const int* order, const int* sorted, T* g_table, float* heads, float* tails, int count, int width, int length) {
    int column = blockIdx.y * blockDim.x + threadIdx.x, first = blockIdx.x * SEGMENT, last = min(count, first + SEGMENT);
    if (column >= width) return;
    Size partial_index = (Size)blockIdx.x * width + column;
    float sum = 0.0f;
    for (int i = first, start = first; i < last; ++i) {
        int id = sorted[i];
        sum += to_float(g[(Size)order[i] * width + column]);
        bool ends = i + 1 == count || sorted[i + 1] != id;
        if (!ends && i + 1 < last) continue;
        bool begins = start > first || first == 0 || sorted[first - 1] != id;
        if (id < length) {
            if (!begins) heads[partial_index] = sum;
            else if (!ends) tails[partial_index] = sum;
            else store(&g_table[(Size)id * width + column], sum);
        }
        sum = 0.0f;
        start = i + 1;
    }
}

// Block (s, .) sums a run that begins in segment s and continues in later ones.
extern "C" __global__ void embedding_joins(
    const int* sorted, T* g_table, const float* heads, const float* tails, int count, int width, int length) {
    int column = blockIdx.y * blockDim.x + threadIdx.x, first = blockIdx.x * SEGMENT, last = min(count, first + SEGMENT);
    int id = sorted[last - 1];
    bool begins = sorted[first] != id || first == 0 || sorted[first - 1] != id;
    if (column >= width || id == length || !begins || last == count || sorted[last] != id) return;
    Size partial_index = (Size)blockIdx.x * width + column;
    float sum = tails[partial_index];
    do {
        partial_index += width;
        sum += heads[partial_index];
        last = min(count, last + SEGMENT);
    } while (last < count && sorted[last - 1] == id && sorted[last] == id);
    store(&g_table[(Size)id * width + column], sum);
}
