// Matmuls of 16-bit numbers by tensor cores, and copies that overlap with them; each function is an instruction or two.
//
// Which lane of a warp holds which element is laid down in the PTX manual (ISA 8.x, "Matrix Fragments for mma.m16n8k16", "ldmatrix"). With
// g = lane / 4 and t = lane % 4, and two elements to a register:
//   a (16 x 16): rows g and g + 8, columns 2t, 2t + 1, then the same rows, columns 2t + 8, 2t + 9
//   b (16 x 8):  rows 2t, 2t + 1, then 2t + 8, 2t + 9, of column g
//   c (16 x 8):  columns 2t, 2t + 1 of row g, and of row g + 8
// An argument `type` only says the type of the elements.
#ifndef TENSOR_CORES_CUH
#define TENSOR_CORES_CUH

// Two numbers rounded to 16 bits in one register.
__device__ inline Word pack(float low, float high, const __half* type) {
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<Word*>(&both);
}

// c += a b in float32. Turing has the instruction for 8 columns of a only: there it takes two.
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

// Four matrices of 8 x 8 from shared memory; lane 8 i + r says where row r of matrix i is. Each lane gets two elements, 2t and 2t + 1, of row
// g of each matrix; or of column g, from `load_transposed`.
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

// 16 bytes from global to shared memory, or zeros where there is nothing real to read. It is there after `wait_for_copies` and a barrier.
// Turing copies through a register, and at once.
__device__ inline void copy_async(void* to, const void* from, bool real) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(real ? 16 : 0) : "memory");
#else
    *reinterpret_cast<uint4*>(to) = real ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}

// What was copied since the last call is a group from now on.
__device__ inline void end_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait for all groups but the last LEFT.
template <int LEFT> __device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}
#endif
