// CUDA's built-ins for g++, so that the .cu files run on the CPU. Included before everything else.
#pragma once
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "fibers.h"

#define __global__
#ifndef __device__  // for cupy's headers, which have it on members of classes, it is defined as nothing
#define __device__ static
#endif
#define __host__
#define __forceinline__ inline
#define __shared__ static __attribute__((section("emulated_shared")))
#define __launch_bounds__(...)
#define __restrict__

extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

// ---- barriers, shuffles, atomics ----

static inline void __syncthreads() { emulator_barrier(); }
static inline void __syncwarp() { emulator_warp_barrier(); }

template <class V> static inline V emulated_from(V value, unsigned lane) {
    auto slots = emulator_exchange(&value, sizeof value);
    memcpy(&value, slots[lane], sizeof value);
    return value;
}
template <class V> static inline V __shfl_sync(unsigned, V value, int lane, int = 32) { return emulated_from(value, lane & 31); }
template <class V> static inline V __shfl_xor_sync(unsigned, V value, int step, int = 32) { return emulated_from(value, emulator_lane() ^ step); }
template <class V> static inline V __shfl_down_sync(unsigned, V value, int step, int = 32) {
    unsigned from = emulator_lane() + step;
    return emulated_from(value, from < 32 ? from : emulator_lane());
}
template <class V> static inline V __shfl_up_sync(unsigned, V value, int step, int = 32) {
    unsigned lane = emulator_lane();
    return emulated_from(value, lane >= (unsigned)step ? lane - step : lane);
}
static inline unsigned __ballot_sync(unsigned, bool value) {
    auto slots = emulator_exchange(&value, sizeof value);
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i) bits |= unsigned(*(bool*)slots[i]) << i;
    return bits;
}

#ifndef EMULATED_CUPY  // cupy's headers have their own template
template <class V> static inline V atomicAdd(V* place, V value) {
    V old = *place;
    *place += value;
    return old;
}
#endif

// ---- arithmetic ----

template <class V> static inline V emulated_as(const void* x) {
    V out;
    memcpy(&out, x, sizeof out);
    return out;
}
static inline float __int_as_float(int x) { return emulated_as<float>(&x); }
static inline float __uint_as_float(unsigned x) { return emulated_as<float>(&x); }
static inline unsigned __float_as_uint(float x) { return emulated_as<unsigned>(&x); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }

struct __half {
    unsigned short bits;
};
static inline float __half2float(__half x) { return emulated_as<_Float16>(&x); }
static inline __half __float2half_rn(float x) {
    _Float16 narrow = x;
    return emulated_as<__half>(&narrow);
}

#include "emulated_tensor_cores.h"

// ---- launching ----

// Type names of parameters for Python: P and the target of a pointer, V and the size of a structure.
template <class A> struct EmulatedKind {
    static std::string name() { return "V" + std::to_string(sizeof(A)); }
};
template <class A> struct EmulatedKind<A*> {
    static std::string name() { return "P" + EmulatedKind<typename std::remove_const<A>::type>::name(); }
};
#define EMULATED_KIND(type, code) \
    template <> struct EmulatedKind<type> { \
        static std::string name() { return code; } \
    };
EMULATED_KIND(float, "float32")
EMULATED_KIND(__half, "float16")
EMULATED_KIND(int, "int32")
EMULATED_KIND(unsigned, "uint32")
EMULATED_KIND(long long, "int64")
EMULATED_KIND(bool, "bool")

template <class... A> struct EmulatedCall {
    void (*kernel)(A...);
    void** arguments;

    template <size_t... I> void run(std::index_sequence<I...>) { kernel(*(A*)arguments[I]...); }
    static void start(void* self) { ((EmulatedCall*)self)->run(std::index_sequence_for<A...>()); }
};

template <class... A> const char* emulate(void (*kernel)(A...), void** arguments, const unsigned* grid, const unsigned* block, int order) {
    EmulatedCall<A...> call{kernel, arguments};
    return emulator_run(EmulatedCall<A...>::start, &call, grid, block, __start_emulated_shared, __stop_emulated_shared, order);
}

template <class... A> const char* emulated_signature(void (*)(A...)) {
    static std::string names;
    names = "";
    ((names += EmulatedKind<typename std::remove_const<A>::type>::name() + " "), ...);
    return names.c_str();
}

// The sizes of the parameters in bytes, ended by 0.
template <class... A> const size_t* emulated_sizes(void (*)(A...)) {
    static const size_t sizes[] = {sizeof(A)..., 0};
    return sizes;
}

#define EMULATED_EXPORT extern "C" __attribute__((visibility("default")))
#define EMULATED(name) \
    EMULATED_EXPORT const char* run_##name(void** arguments, const unsigned* grid, const unsigned* block, int order) { \
        return emulate(name, arguments, grid, block, order); \
    } \
    EMULATED_EXPORT const char* signature_##name() { return emulated_signature(name); } \
    EMULATED_EXPORT const size_t* sizes_##name() { return emulated_sizes(name); }
