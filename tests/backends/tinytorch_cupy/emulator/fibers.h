// Barriers and exchanges between the threads of a block; see fibers.cpp.
#pragma once
#include <cstddef>
#include <vector>

struct Three {
    unsigned x, y, z;
};

struct EmulatedCopy {  // of 16 bytes; a null target marks the end of a group
    void* to;
    const void* from;
    bool fill;  // fill with zeros instead
};

extern Three threadIdx, blockIdx, blockDim, gridDim;

extern "C" {
void emulator_barrier();
void emulator_warp_barrier();
unsigned emulator_lane();
const char* emulator_run(void (*kernel)(void*), void* arguments, const unsigned* grid, const unsigned* block, char* shared, char* shared_end,
                         int order);
}
unsigned long long (*emulator_exchange(const void* value, size_t size))[4];  // the values of all lanes of the warp, at most 32 bytes each
std::vector<EmulatedCopy>& emulator_copies();

// Whether a barrier waits only for threads that have not exited. GPUs do so from Volta on; CUDA's manual allows no kernel to rely on it.
extern bool emulator_ignores_exited;
