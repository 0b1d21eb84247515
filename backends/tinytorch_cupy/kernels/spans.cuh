// Loops over many elements with many threads, with 16-byte loads and stores where the alignment allows it.
//
// Thread `thread` of `threads` processes every `threads`-th vector, so that memory accesses are coalesced.
#pragma once
#include "common.cuh"

// N elements, for vectorized loads and stores.
template <int N> struct alignas(N * sizeof(T)) Vector {
    T items[N];
};

template <int N> struct Number {
    static const int value = N;
};

#define VECTOR ((int)(16 / sizeof(T)))

// Number of elements before the first 16-byte boundary.
__device__ inline Size head_size(const void* p) { return (16 - (size_t)p % 16) % 16 / sizeof(T); }

// Calls body(Number<VECTOR>(), i) or body(Number<1>(), i) for this thread's vectors and elements. `head` elements precede the first vector.
template <class F> __device__ inline void for_each_vector(Size n, Size head, bool vectorized, Size thread, Size threads, F body) {
    if (!vectorized) {
#pragma unroll 1
        for (Size i = thread; i < n; i += threads) body(Number<1>(), i);
        return;
    }
    if (head > n) head = n;
    Size tail = head + (n - head) / VECTOR * VECTOR;
#pragma unroll 1
    for (Size i = thread; i < head; i += threads) body(Number<1>(), i);
#pragma unroll 2
    for (Size i = head + thread * VECTOR; i < tail; i += threads * VECTOR) body(Number<VECTOR>(), i);
#pragma unroll 1
    for (Size i = tail + thread; i < n; i += threads) body(Number<1>(), i);
}

template <int N> __device__ inline Vector<N> load_vector(const T* x, Size i) { return *reinterpret_cast<const Vector<N>*>(x + i); }

// Calls f(i, x[i]) for each of this thread's elements.
template <class F> __device__ inline void for_each(const T* x, Size n, Size thread, Size threads, F f) {
    for_each_vector(n, head_size(x), true, thread, threads, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Vector<N> a = load_vector<N>(x, i);
        for (int j = 0; j < N; ++j) f(i + j, to_float(a.items[j]));
    });
}

// Calls f(i, x[i], y[i]).
template <class F> __device__ inline void for_each(const T* x, const T* y, Size n, Size thread, Size threads, F f) {
    for_each_vector(n, head_size(x), head_size(x) == head_size(y), thread, threads, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Vector<N> a = load_vector<N>(x, i), b = load_vector<N>(y, i);
        for (int j = 0; j < N; ++j) f(i + j, to_float(a.items[j]), to_float(b.items[j]));
    });
}

// out[i] = f(i, x[i]).
template <class F> __device__ inline void map(const T* x, T* out, Size n, Size thread, Size threads, F f) {
    for_each_vector(n, head_size(x), head_size(x) == head_size(out), thread, threads, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Vector<N> a = load_vector<N>(x, i), c;
        for (int j = 0; j < N; ++j) store(&c.items[j], f(i + j, to_float(a.items[j])));
        *reinterpret_cast<Vector<N>*>(out + i) = c;
    });
}

// out[i] = f(i, x[i], y[i]).
template <class F> __device__ inline void map(const T* x, const T* y, T* out, Size n, Size thread, Size threads, F f) {
    for_each_vector(n, head_size(x), head_size(x) == head_size(out) && head_size(y) == head_size(out), thread, threads,
                    [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Vector<N> a = load_vector<N>(x, i), b = load_vector<N>(y, i), c;
        for (int j = 0; j < N; ++j) store(&c.items[j], f(i + j, to_float(a.items[j]), to_float(b.items[j])));
        *reinterpret_cast<Vector<N>*>(out + i) = c;
    });
}

// Index of this thread in a one-dimensional grid, and the number of threads.
__device__ inline Size thread_of_grid() { return (Size)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline Size threads_of_grid() { return (Size)gridDim.x * blockDim.x; }
