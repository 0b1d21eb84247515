// CUDA's header is in a package that nothing else here needs.
#pragma once
extern "C" cudaError_t cudaProfilerStart();
extern "C" cudaError_t cudaProfilerStop();
