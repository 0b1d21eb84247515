// The types are in cupy_kernels.h.
