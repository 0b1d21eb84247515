// bfloat16, in a separate directory: before CUDA 12.2, cupy's wheels have cuda_fp16.h but not this header.
#pragma once

struct __nv_bfloat16 {
    unsigned short bits;
};
static inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    if (x != x) return {0x7fff};
    unsigned bits = __float_as_uint(x);
    return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to the nearest, halfway to even
}
static inline unsigned short emulated_bits(float x, const __nv_bfloat16*) { return __float2bfloat16_rn(x).bits; }
static inline float emulated_wide(unsigned bits, const __nv_bfloat16*) { return __bfloat162float(__nv_bfloat16{(unsigned short)bits}); }
EMULATED_KIND(__nv_bfloat16, "bfloat16")
