// Passing over many elements with many threads, 16 bytes at a time where the addresses allow it.
//
// Thread `me` of `all` takes every `all`-th pack, so that neighbouring threads touch neighbouring memory.
#pragma once
#include "common.cuh"

// N elements, which a thread reads or writes at once.
template <int N> struct alignas(N * sizeof(T)) Few {
    T item[N];
};

template <int N> struct Number {
    static const int value = N;
};

#define PACK ((int)(16 / sizeof(T)))

// How many elements come before the first that lies at a multiple of 16 bytes.
__device__ inline Size ahead(const void* p) { return (16 - (size_t)p % 16) % 16 / sizeof(T); }

// body(Number<PACK>(), i) or body(Number<1>(), i) for the packs of this thread; `head` elements stand before the first whole pack.
template <class F> __device__ inline void spans(Size n, Size head, bool packed, Size me, Size all, F body) {
    if (!packed) {
#pragma unroll 1
        for (Size i = me; i < n; i += all) body(Number<1>(), i);
        return;
    }
    if (head > n) head = n;
    Size tail = head + (n - head) / PACK * PACK;
#pragma unroll 1
    for (Size i = me; i < head; i += all) body(Number<1>(), i);
#pragma unroll 2
    for (Size i = head + me * PACK; i < tail; i += all * PACK) body(Number<PACK>(), i);
#pragma unroll 1
    for (Size i = tail + me; i < n; i += all) body(Number<1>(), i);
}

template <int N> __device__ inline Few<N> few(const T* x, Size i) { return *reinterpret_cast<const Few<N>*>(x + i); }

// f(i, x[i]) for each of the thread's elements.
template <class F> __device__ inline void each(const T* x, Size n, Size me, Size all, F f) {
    spans(n, ahead(x), true, me, all, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Few<N> a = few<N>(x, i);
        for (int j = 0; j < N; ++j) f(i + j, wide(a.item[j]));
    });
}

// f(i, x[i], y[i]).
template <class F> __device__ inline void each(const T* x, const T* y, Size n, Size me, Size all, F f) {
    spans(n, ahead(x), ahead(x) == ahead(y), me, all, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Few<N> a = few<N>(x, i), b = few<N>(y, i);
        for (int j = 0; j < N; ++j) f(i + j, wide(a.item[j]), wide(b.item[j]));
    });
}

// out[i] = f(i, x[i]).
template <class F> __device__ inline void map(const T* x, T* out, Size n, Size me, Size all, F f) {
    spans(n, ahead(x), ahead(x) == ahead(out), me, all, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Few<N> a = few<N>(x, i), c;
        for (int j = 0; j < N; ++j) put(&c.item[j], f(i + j, wide(a.item[j])));
        *reinterpret_cast<Few<N>*>(out + i) = c;
    });
}

// out[i] = f(i, x[i], y[i]).
template <class F> __device__ inline void map(const T* x, const T* y, T* out, Size n, Size me, Size all, F f) {
    spans(n, ahead(x), ahead(x) == ahead(out) && ahead(y) == ahead(out), me, all, [&](auto count, Size i) {
        const int N = decltype(count)::value;
        Few<N> a = few<N>(x, i), b = few<N>(y, i), c;
        for (int j = 0; j < N; ++j) put(&c.item[j], f(i + j, wide(a.item[j]), wide(b.item[j])));
        *reinterpret_cast<Few<N>*>(out + i) = c;
    });
}

// The number of this thread among all of a grid of one dimension, and how many there are.
__device__ inline Size thread_of_grid() { return (Size)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline Size threads_of_grid() { return (Size)gridDim.x * blockDim.x; }
