// Included before the source of cupy's own kernels: the functions and types of CUDA that they use, then cupy's headers.
#pragma once
#define EMULATED_CUPY
#define __device__ __inline  // so that functions which a kernel does not use take no time to compile
#define __noinline__
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <math.h>  // unlike cmath and cstdlib, these two give the overloads for float and double without std::, as CUDA does
#include <stdlib.h>

#include "emulator.h"

// Kernels of cupy need no names of types, and the one for cumulative sums has threads that exit before a barrier.
#undef EMULATED
#define EMULATED(name) \
    EMULATED_EXPORT const char* run_##name(void** arguments, const unsigned* grid, const unsigned* block, int order) { \
        emulator_ignores_exited = true; \
        const char* error = emulate(name, arguments, grid, block, order); \
        emulator_ignores_exited = false; \
        return error; \
    } \
    EMULATED_EXPORT const size_t* sizes_##name() { return emulated_sizes(name); }

// A loop over all elements in one thread, instead of one for each thread.
#define EMULATED_SERIAL(name) \
    EMULATED(name) \
    EMULATED_EXPORT int serial_##name() { return 1; }

// ---- integers and bits ----

static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
static inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
static inline long min(long a, long b) { return a < b ? a : b; }
static inline long max(long a, long b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __float_as_int(float x) { return emulated_as<int>(&x); }
static inline long long __double_as_longlong(double x) { return emulated_as<long long>(&x); }
static inline double __longlong_as_double(long long x) { return emulated_as<double>(&x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline double exp10(double x) { return pow(10.0, x); }
static inline double sinpi(double x) { return sin(M_PI * x); }
static inline double cospi(double x) { return cos(M_PI * x); }
static inline void sincos(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---- atomics: threads switch at barriers only ----

#define EMULATED_ATOMICS(type) \
    static inline type atomicAdd(type* place, type value) { \
        type old = *place; \
        *place += value; \
        return old; \
    } \
    static inline type atomicExch(type* place, type value) { \
        type old = *place; \
        *place = value; \
        return old; \
    } \
    static inline type atomicCAS(type* place, type compare, type value) { \
        type old = *place; \
        if (old == compare) *place = value; \
        return old; \
    } \
    static inline type emulated_atomic_min(type* place, type value) { \
        type old = *place; \
        if (value < old) *place = value; \
        return old; \
    } \
    static inline type emulated_atomic_max(type* place, type value) { \
        type old = *place; \
        if (value > old) *place = value; \
        return old; \
    }
EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
EMULATED_ATOMICS(float)
EMULATED_ATOMICS(double)
#define EMULATED_MIN_MAX(type) \
    static inline type atomicMin(type* place, type value) { return emulated_atomic_min(place, value); } \
    static inline type atomicMax(type* place, type value) { return emulated_atomic_max(place, value); }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(unsigned long long)

#define EMULATED_BITS(type) \
    static inline type atomicAnd(type* place, type value) { \
        type old = *place; \
        *place &= value; \
        return old; \
    } \
    static inline type atomicOr(type* place, type value) { \
        type old = *place; \
        *place |= value; \
        return old; \
    } \
    static inline type atomicXor(type* place, type value) { \
        type old = *place; \
        *place ^= value; \
        return old; \
    }
EMULATED_BITS(int)
EMULATED_BITS(unsigned)
EMULATED_BITS(unsigned long long)

// ---- 16-bit types, with the conversions of cuda_fp16.h and cuda_bf16.h ----

struct __half_raw {
    unsigned short x;
};

#define EMULATED_CONVERSIONS(name) \
    name() = default; \
    name(float v) : bits(emulated_round(v)) {} \
    explicit name(double v) : bits(emulated_round((float)v)) {} \
    explicit name(bool v) : bits(emulated_round(v)) {} \
    explicit name(int v) : bits(emulated_round(v)) {} \
    explicit name(unsigned v) : bits(emulated_round(v)) {} \
    explicit name(long long v) : bits(emulated_round(v)) {} \
    explicit name(unsigned long long v) : bits(emulated_round(v)) {}

struct half {
    unsigned short bits;
    static unsigned short emulated_round(float v) { return __float2half_rn(v).bits; }
    EMULATED_CONVERSIONS(half)
    explicit half(const __half_raw& v) : bits(v.x) {}
    operator float() const { return __half2float(__half{bits}); }
    operator __half_raw() const { return {bits}; }
};
static inline unsigned short __half_as_ushort(half x) { return x.bits; }
static inline half __ushort_as_half(unsigned short bits) { return half(__half_raw{bits}); }

struct __nv_bfloat16 {
    unsigned short bits;
    static unsigned short emulated_round(float v) {
        unsigned wide = __float_as_uint(v);
        return v != v ? 0x7fff : (unsigned short)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
    }
    EMULATED_CONVERSIONS(__nv_bfloat16)
    operator float() const { return __uint_as_float((unsigned)bits << 16); }
};
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 out;
    out.bits = bits;
    return out;
}
static inline bool __hisnan(__nv_bfloat16 x) { return (x.bits & 0x7fff) > 0x7f80; }
static inline int __hisinf(__nv_bfloat16 x) { return (x.bits & 0x7fff) == 0x7f80; }

#define inline  // not twice
#include "cupy/complex.cuh"
#include "cupy/carray.cuh"
#include "cupy/atomics.cuh"
#include "cupy/math_constants.h"
