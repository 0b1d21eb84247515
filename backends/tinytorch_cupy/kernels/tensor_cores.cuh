// Matmuls of 16-bit floats with tensor cores, and asynchronous copies. Each function is one or two instructions.
//
// The PTX manual defines which lane of a warp holds which element (ISA 8.x, "Matrix Fragments for mma.m16n8k16", "ldmatrix"). With
// g = lane / 4, t = lane % 4 and two elements per register:
//   a (16 x 16): rows g and g + 8, columns 2t, 2t + 1, then the same rows, columns 2t + 8, 2t + 9
//   b (16 x 8):  rows 2t, 2t + 1, then 2t + 8, 2t + 9, of column g
//   c (16 x 8):  columns 2t, 2t + 1 of row g, and of row g + 8
// The argument `type` only selects the overload by the type of the elements.
#ifndef TENSOR_CORES_CUH
#define TENSOR_CORES_CUH

// Rounds two floats to 16 bits and packs them into one register.
__device__ inline Word pack(float low, float high, const __half* type) {
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<Word*>(&both);
}

// c += a b in float32. Turing's instruction has only 8 columns of a, so it needs two of them.
__device__ inline void multiply_add(float* c, float* c8, const Word* a, const Word* b, const __half* type) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c8[0]), "+f"(c8[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int i = 0; i < 2; ++i)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c8[0]), "+f"(c8[1])
                     : "r"(a[2 * i]), "r"(a[2 * i + 1]), "r"(b[i]));
#endif
}

#ifdef BFLOAT16
__device__ inline Word pack(float low, float high, const __nv_bfloat16* type) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<Word*>(&both);
}

__device__ inline void multiply_add(float* c, float* c8, const Word* a, const Word* b, const __nv_bfloat16* type) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c8[0]), "+f"(c8[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

__device__ inline Word shared_address(const void* p) { return (Word)__cvta_generic_to_shared(p); }

// Loads four 8 x 8 matrices from shared memory. Lane 8 i + r passes the address of row r of matrix i. Each lane gets elements 2t and 2t + 1
// of row g of each matrix, or of column g with `load_transposed`.
__device__ inline void load_matrices(Word* out, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_transposed(Word* out, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Copies 16 bytes from global to shared memory, or writes zeros if not `in_bounds`. The data is visible after `wait_for_copies` and a
// barrier. Turing copies synchronously, through a register.
__device__ inline void copy_async(void* to, const void* from, bool in_bounds) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(in_bounds ? 16 : 0) : "memory");
#else
    *reinterpret_cast<uint4*>(to) = in_bounds ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}

// Commits the copies since the last call as a group.
__device__ inline void end_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups but the last LEFT.
template <int LEFT> __device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}
#endif
