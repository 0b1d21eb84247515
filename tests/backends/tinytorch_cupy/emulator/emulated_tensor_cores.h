// tensor_cores.cuh for the CPU: the same functions as plain loops over the registers of the lanes.
//
// The PTX manual defines which lane holds which element (ISA 8.x, "Matrix Fragments for mma.m16n8k16" and "ldmatrix").
#pragma once
#define TENSOR_CORES_CUH  // include guard of tensor_cores.cuh, which is replaced

static inline unsigned short emulated_bits(float x, const __half*) { return __float2half_rn(x).bits; }
static inline float emulated_wide(unsigned bits, const __half*) { return __half2float(__half{(unsigned short)bits}); }

template <class S> static inline unsigned pack(float low, float high, const S* type) {
    return emulated_bits(low, type) | (unsigned)emulated_bits(high, type) << 16;
}

template <class S> static inline void multiply_add(float* c, float* c8, const unsigned* a, const unsigned* b, const S* type) {
    unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto slots = emulator_exchange(mine, sizeof mine);
    unsigned row = emulator_lane() / 4, column = emulator_lane() % 4 * 2;
    for (int k = 0; k < 16; ++k) {
        // element (g, k) of a is with lane 4 g + k % 8 / 2, in register 0, of (g + 8, k) in 1, for k of 8 or more in 2 and 3
        const unsigned* of_a = (const unsigned*)slots[row * 4 + k % 8 / 2] + k / 8 * 2;
        for (int j = 0; j < 2; ++j) {
            float right = emulated_wide(((const unsigned*)slots[(column + j) * 4 + k % 8 / 2])[4 + k / 8] >> k % 2 * 16, type);
            c[j] += emulated_wide(of_a[0] >> k % 2 * 16, type) * right;
            c8[j] += emulated_wide(of_a[1] >> k % 2 * 16, type) * right;
        }
    }
}

// Four matrices of 8 rows of 16 bytes; lane 8 i + r gives the address of row r of matrix i.
static inline void emulated_load(unsigned* out, const void* row, bool transposed) {
    unsigned long long words[2];
    memcpy(words, row, 16);
    auto slots = emulator_exchange(words, sizeof words);
    unsigned g = emulator_lane() / 4, t = emulator_lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const unsigned short* first = (const unsigned short*)slots[8 * i + (transposed ? 2 * t : g)];
        const unsigned short* second = (const unsigned short*)slots[8 * i + (transposed ? 2 * t + 1 : g)];
        out[i] = transposed ? first[g] | (unsigned)second[g] << 16 : first[2 * t] | (unsigned)first[2 * t + 1] << 16;
    }
}
static inline void load_matrices(unsigned* out, const void* row) { emulated_load(out, row, false); }
static inline void load_transposed(unsigned* out, const void* row) { emulated_load(out, row, true); }

// A copy takes effect only when it is waited for.
static inline void copy_async(void* to, const void* from, bool real) { emulator_copies().push_back({to, from, !real}); }
static inline void end_copies() { emulator_copies().push_back({nullptr, nullptr, false}); }
template <int LEFT> static inline void wait_for_copies() {
    auto& copies = emulator_copies();
    int groups = 0;
    for (auto& copy : copies) groups += copy.to == nullptr;
    size_t done = 0;
    for (; done < copies.size() && groups > LEFT; ++done) {
        EmulatedCopy& copy = copies[done];
        if (copy.to == nullptr) --groups;
        else if (copy.fill) memset(copy.to, 0, 16);
        else memcpy(copy.to, copy.from, 16);
    }
    copies.erase(copies.begin(), copies.begin() + done);
}
