// Looking up rows of a table, and adding gradients up for each row of it.
//
// The gradient is a sum over the places where an id occurs. Atomic additions would do it in any order, and so differently each time. Here
// the places are first put in order of their id; then a block adds up a stretch of them, whose runs of equal ids are sums that nobody else
// writes, but for a run that goes on over the stretch's end: those parts are added by a last kernel, from first to last.
//
// ELEMENT: type of the table; INDEX: type of the ids.
#include "spans.cuh"

#define SORTERS 512    // threads that sort
#define DIGITS 16      // a digit has 4 bits
#define STRETCH 32     // places that a block adds up

// A warp copies a row; NaN where the id is none of the table's.
extern "C" __global__ void embedding_forward(const T* table, const INDEX* ids, T* out, int count, int width, int length) {
    int i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= count) return;
    long long id = ids[i];
    out += (Size)i * width;
    if (id >= 0 && id < length)
        map(table + id * width, out, width, threadIdx.x, WARP, [](Size, float a) { return a; });
    else
        for (int j = threadIdx.x; j < width; j += WARP) put(&out[j], NOT_A_NUMBER);
}

// The places 0 to count - 1 in order of their id, and the ids in that order; `length` stands for an id that is none of the table's.
//
// One block sorts by radix, from the last digit to the first: each thread counts the digits of its own run of places, a running sum over
// all counters says where each digit of each thread goes, and the thread moves its places there. Equal digits keep their order.
extern "C" __global__ void embedding_sort(
    const INDEX* ids, int* order, int* sorted, int* other_order, int* other_sorted, int count, int length) {
    __shared__ int counters[DIGITS * SORTERS];
    __shared__ int sums[SORTERS];
    int me = threadIdx.x, share = (count + SORTERS - 1) / SORTERS;
    int first = min(count, me * share), last = min(count, first + share), passes = 0;
    while (passes < 8 && length >> 4 * passes > 0) ++passes;
    if (passes % 2) {  // so that the last pass ends in `order` and `sorted`
        int* held = order;
        order = other_order, other_order = held;
        held = sorted;
        sorted = other_sorted, other_sorted = held;
    }
    for (int i = first; i < last; ++i) {
        long long id = ids[i];
        sorted[i] = id >= 0 && id < length ? (int)id : length;
        order[i] = i;
    }
    for (int shift = 0; shift < 4 * passes; shift += 4) {
        for (int digit = 0; digit < DIGITS; ++digit) counters[digit * SORTERS + me] = 0;
        for (int i = first; i < last; ++i) ++counters[(sorted[i] >> shift & 15) * SORTERS + me];
        __syncthreads();
        int total = 0;  // of this thread's share of the counters, which stand digit by digit
        for (int j = 0; j < DIGITS; ++j) total += counters[me * DIGITS + j];
        sums[me] = total;
        __syncthreads();
        for (int step = 1; step < SORTERS; step *= 2) {
            int before = me >= step ? sums[me - step] : 0;
            __syncthreads();
            sums[me] += before;
            __syncthreads();
        }
        int running = sums[me] - total;
        for (int j = 0; j < DIGITS; ++j) {
            int here = counters[me * DIGITS + j];
            counters[me * DIGITS + j] = running;
            running += here;
        }
        __syncthreads();
        for (int i = first; i < last; ++i) {
            int place = counters[(sorted[i] >> shift & 15) * SORTERS + me]++;
            other_sorted[place] = sorted[i];
            other_order[place] = order[i];
        }
        __syncthreads();
        int* held = order;
        order = other_order, other_order = held;
        held = sorted;
        sorted = other_sorted, other_sorted = held;
    }
}

// Block (s, .) adds up stretch s, a thread for each column: there may be more stretches than a grid has blocks along y. g_table is 0 where nothing is written.
extern "C" __global__ void embedding_sums(
    const T* g, const int* order, const int* sorted, T* g_table, float* heads, float* tails, int count, int width, int length) {
    int column = blockIdx.y * blockDim.x + threadIdx.x, first = blockIdx.x * STRETCH, last = min(count, first + STRETCH);
    if (column >= width) return;
    Size part = (Size)blockIdx.x * width + column;
    float sum = 0.0f;
    for (int i = first, start = first; i < last; ++i) {
        int id = sorted[i];
        sum += wide(g[(Size)order[i] * width + column]);
        bool ends = i + 1 == count || sorted[i + 1] != id;
        if (!ends && i + 1 < last) continue;
        bool begins = start > first || first == 0 || sorted[first - 1] != id;
        if (id < length) {
            if (!begins) heads[part] = sum;
            else if (!ends) tails[part] = sum;
            else put(&g_table[(Size)id * width + column], sum);
        }
        sum = 0.0f;
        start = i + 1;
    }
}

// The sum of a run that begins in stretch s and goes on.
extern "C" __global__ void embedding_joins(
    const int* sorted, T* g_table, const float* heads, const float* tails, int count, int width, int length) {
    int column = blockIdx.y * blockDim.x + threadIdx.x, first = blockIdx.x * STRETCH, last = min(count, first + STRETCH);
    int id = sorted[last - 1];
    bool begins = sorted[first] != id || first == 0 || sorted[first - 1] != id;
    if (column >= width || id == length || !begins || last == count || sorted[last] != id) return;
    Size part = (Size)blockIdx.x * width + column;
    float sum = tails[part];
    do {
        part += width;
        sum += heads[part];
        last = min(count, last + STRETCH);
    } while (last < count && sorted[last - 1] == id && sorted[last] == id);
    put(&g_table[(Size)id * width + column], sum);
}
