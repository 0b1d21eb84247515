// Append to a cache: writes rows (B, T, C) to positions at, at + 1, ... of buffer (B, S, C).
#include "common.cuh"

extern "C" __global__ void append_rows(
    T* buffer, const T* rows, int batch, int capacity, int length, int width, int at, Size batch_stride, Size row_stride) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch * length * width) return;
    int example = i / width / length, row = i / width % length, column = i % width;
    buffer[((Size)example * capacity + at + row) * width + column] = rows[example * batch_stride + row * row_stride + column];
}
