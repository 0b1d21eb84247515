// cuBLAS without a GPU: matrix multiplication on the memory of runtime.cpp, and the state of handles.
//
// Built by build.py as libcublas.so. The other functions that cupy links to return CUBLAS_STATUS_NOT_SUPPORTED (build.py writes them). Enforced
// are the sizes and type combinations that cuBLAS's manual allows (table of cublasGemmEx), that a handle is used on its own device, that a
// captured matmul has a workspace, and that at most 65,535 16-bit matrices are in a batch on compute capability 7.
//
// EMULATED_CUBLAS_REFUSES: a data type, such as bfloat16, for which a matmul is not supported.
// EMULATED_CUBLAS_STATUS: the status that every matmul returns, such as 3, CUBLAS_STATUS_ALLOC_FAILED.
#include <complex>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

extern "C" {
int emulated_submit(void* stream, int (*work)(void*), void* argument, void (*destroy)(void*), const char* name);
int emulated_invalidate(const char* reason);
int emulated_is_valid(const void* p, size_t n);
int emulated_device();
int cudaStreamIsCapturing(void* stream, int* status);
}

namespace {

enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { FLOAT32 = 0, FLOAT64 = 1, FLOAT16 = 2, COMPLEX64 = 4, COMPLEX128 = 5, BFLOAT16 = 14 };     // cudaDataType_t
enum { COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_32F_FAST_TF32 = 77 };                          // cublasComputeType_t
enum { POINTER_MODE_DEVICE = 1 };

struct Handle {
    int device;
    void* stream = nullptr;
    void* workspace = nullptr;
    int pointer_mode = 0, math_mode = 0;
};

struct Bfloat16 {
    uint16_t bits;
    operator float() const {
        uint32_t wide = (uint32_t)bits << 16;
        float out;
        memcpy(&out, &wide, 4);
        return out;
    }
    Bfloat16() = default;
    Bfloat16(float x) {
        uint32_t wide;
        memcpy(&wide, &x, 4);
        bits = x != x ? 0x7fff : (uint16_t)((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
    }
};

// One matmul, in cuBLAS's column-major terms: C = alpha op(A) op(B) + beta C, for `count` matrices.
struct Gemm {
    int op_a, op_b, m, n, k;
    double alpha[2], beta[2];
    const char *a, *b;
    char* c;
    int type_a, type_b, type_c, lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int count, compute;
};

std::map<int, int> handles;  // how many exist, by device
std::mutex log_mutex;
std::string calls;  // a line of JSON for each matmul
int refusals = 0;   // how many matmuls were not supported

size_t size_of(int type) {
    switch (type) {
        case FLOAT32: return 4;
        case FLOAT64: case COMPLEX64: return 8;
        case COMPLEX128: return 16;
        default: return 2;
    }
}

float to_tf32(float x) {  // 10 bits of mantissa
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x1000) & 0xffffe000u;
    memcpy(&x, &bits, 4);
    return x;
}

// op(X) as a row-major matrix of S.
template <class T, class S> std::vector<S> packed(const char* data, int op, int rows, int columns, int leading) {
    const T* x = (const T*)data;
    std::vector<S> out((size_t)rows * columns);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
            S value = (S)x[op ? (size_t)i * leading + j : (size_t)j * leading + i];
            if constexpr (!std::is_arithmetic<S>::value) value = op == 2 ? std::conj(value) : value;
            out[(size_t)i * columns + j] = value;
        }
    return out;
}

template <class T, class C, class S> void multiply(const Gemm& g) {
    S alpha, beta;
    if constexpr (std::is_arithmetic<S>::value) alpha = (S)g.alpha[0], beta = (S)g.beta[0];
    else alpha = S(g.alpha[0], g.alpha[1]), beta = S(g.beta[0], g.beta[1]);
    for (int i = 0; i < g.count; ++i) {
        auto a = packed<T, S>(g.a + i * g.stride_a * (long long)sizeof(T), g.op_a, g.m, g.k, g.lda);
        auto b = packed<T, S>(g.b + i * g.stride_b * (long long)sizeof(T), g.op_b, g.k, g.n, g.ldb);
        if constexpr (std::is_same<S, float>::value)
            if (g.compute == COMPUTE_32F_FAST_TF32) {
                for (S& x : a) x = to_tf32(x);
                for (S& x : b) x = to_tf32(x);
            }
        C* c = (C*)(g.c + i * g.stride_c * (long long)sizeof(C));
        std::vector<S> row(g.n);
        for (int r = 0; r < g.m; ++r) {
            std::fill(row.begin(), row.end(), S(0));
            for (int j = 0; j < g.k; ++j) {
                const S x = a[(size_t)r * g.k + j], *y = &b[(size_t)j * g.n];
                for (int q = 0; q < g.n; ++q) row[q] += x * y[q];
            }
            for (int q = 0; q < g.n; ++q) {
                C& out = c[(size_t)q * g.ldc + r];
                S value = alpha * row[q];
                if (beta != S(0)) value += beta * (S)out;
                out = (C)value;
            }
        }
    }
}

typedef void (*Multiply)(const Gemm&);

Multiply implementation(const Gemm& g) {
    if (g.type_a != g.type_b) return nullptr;
    int pair = g.type_a * 100 + g.type_c;
    if (g.compute == COMPUTE_64F)
        return pair == FLOAT64 * 101     ? multiply<double, double, double>
               : pair == COMPLEX128 * 101 ? multiply<std::complex<double>, std::complex<double>, std::complex<double>>
                                          : nullptr;
    if (g.compute == COMPUTE_32F_FAST_TF32) return pair == FLOAT32 * 101 ? multiply<float, float, float> : nullptr;
    if (g.compute != COMPUTE_32F) return nullptr;
    switch (pair) {
        case FLOAT32 * 101: return multiply<float, float, float>;
        case FLOAT16 * 101: return multiply<_Float16, _Float16, float>;
        case FLOAT16 * 100 + FLOAT32: return multiply<_Float16, float, float>;
        case BFLOAT16 * 101: return multiply<Bfloat16, Bfloat16, float>;
        case BFLOAT16 * 100 + FLOAT32: return multiply<Bfloat16, float, float>;
        case COMPLEX64 * 101: return multiply<std::complex<float>, std::complex<float>, std::complex<float>>;
    }
    return nullptr;
}

int capability() {
    const char* text = getenv("EMULATED_CUDA_CAPABILITY");
    return text ? atoi(text) : 90;
}
bool is_refused(int type) {
    const char* name = getenv("EMULATED_CUBLAS_REFUSES");
    if (!name) return false;
    return (type == BFLOAT16 && !strcmp(name, "bfloat16")) || (type == FLOAT16 && !strcmp(name, "float16")) ||
           (type == FLOAT32 && !strcmp(name, "float32"));
}

// Bytes from the first to the last element of a batch of column-major matrices.
size_t extent(int rows, int columns, int leading, long long stride, int count, size_t item) {
    return ((size_t)(columns - 1) * leading + rows + (size_t)(count - 1) * stride) * item;
}

int submit(Handle* handle, Gemm g) {
    if (!handle || handle->device != emulated_device()) return NOT_INITIALIZED;
    int rows_a = g.op_a ? g.k : g.m, rows_b = g.op_b ? g.n : g.k;
    if (g.m < 0 || g.n < 0 || g.k < 0 || g.count < 0 || g.lda < std::max(1, rows_a) || g.ldb < std::max(1, rows_b) || g.ldc < std::max(1, g.m))
        return INVALID_VALUE;
    if (!g.m || !g.n || !g.count) return SUCCESS;
    Multiply run = implementation(g);
    if (const char* forced = getenv("EMULATED_CUBLAS_STATUS")) return atoi(forced);
    if (!run || is_refused(g.type_a) || (capability() < 80 && g.count > 65535 && size_of(g.type_a) == 2)) return ++refusals, NOT_SUPPORTED;
    int status = 0;
    cudaStreamIsCapturing(handle->stream, &status);
    if (status && !handle->workspace) return emulated_invalidate("cuBLAS allocates a workspace"), EXECUTION_FAILED;
    if (handle->pointer_mode == POINTER_MODE_DEVICE) return NOT_SUPPORTED;
    {
        std::lock_guard<std::mutex> lock(log_mutex);
        auto field = [](const char* name, long long value) { return "\"" + std::string(name) + "\": " + std::to_string(value) + ", "; };
        calls += "{" + field("op_a", g.op_a) + field("op_b", g.op_b) + field("m", g.m) + field("n", g.n) + field("k", g.k) +
                 field("count", g.count) + field("type", g.type_a) + field("capturing", status) + field("stream", (long long)handle->stream) +
                 field("workspace", (long long)handle->workspace) +
                 "\"compute\": " + std::to_string(g.compute) + "}\n";
    }
    auto* call = new std::pair<Gemm, Multiply>(g, run);
    auto work = [](void* argument) {
        auto& [g, run] = *(std::pair<Gemm, Multiply>*)argument;
        int rows_a = g.op_a ? g.k : g.m, columns_a = g.op_a ? g.m : g.k, rows_b = g.op_b ? g.n : g.k, columns_b = g.op_b ? g.k : g.n;
        bool valid = emulated_is_valid(g.c, extent(g.m, g.n, g.ldc, g.stride_c, g.count, size_of(g.type_c)));
        if (g.k)
            valid = valid && emulated_is_valid(g.a, extent(rows_a, columns_a, g.lda, g.stride_a, g.count, size_of(g.type_a))) &&
                    emulated_is_valid(g.b, extent(rows_b, columns_b, g.ldb, g.stride_b, g.count, size_of(g.type_b)));
        if (!valid) return 700;
        run(g);
        return 0;
    };
    auto destroy = [](void* argument) { delete (std::pair<Gemm, Multiply>*)argument; };
    return emulated_submit(handle->stream, work, call, destroy, "a matmul of cuBLAS") ? EXECUTION_FAILED : SUCCESS;
}

void read_scalar(double* out, const void* p, bool is_double, bool is_complex) {
    out[1] = 0;
    for (int i = 0; i < (is_complex ? 2 : 1); ++i) out[i] = is_double ? ((const double*)p)[i] : ((const float*)p)[i];
}

}  // namespace

extern "C" {

void emulated_blas_clear() { calls.clear(); }
int emulated_blas_refusals() { return refusals; }
const char* emulated_blas_calls() { return calls.c_str(); }
int emulated_blas_handles(int device) { return handles[device]; }

int cublasCreate_v2(Handle** out) {
    *out = new Handle{emulated_device()};
    ++handles[emulated_device()];
    return SUCCESS;
}
int cublasDestroy_v2(Handle* handle) {
    if (emulated_invalidate("a cuBLAS handle was destroyed")) return EXECUTION_FAILED;
    if (!handle || handle->device != emulated_device()) return NOT_INITIALIZED;
    --handles[handle->device];
    delete handle;
    return SUCCESS;
}
int cublasGetVersion_v2(Handle*, int* version) {
    *version = 120800;
    return SUCCESS;
}
int cublasSetStream_v2(Handle* handle, void* stream) {
    if (handle->device != emulated_device()) return NOT_INITIALIZED;
    handle->stream = stream;
    handle->workspace = nullptr;
    return SUCCESS;
}
int cublasGetStream_v2(Handle* handle, void** stream) {
    *stream = handle->stream;
    return SUCCESS;
}
int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t size) {
    if (handle->device != emulated_device() || (uintptr_t)workspace % 256 || !emulated_is_valid(workspace, size)) return INVALID_VALUE;
    handle->workspace = workspace;
    return SUCCESS;
}
int cublasSetPointerMode_v2(Handle* handle, int mode) {
    handle->pointer_mode = mode;
    return SUCCESS;
}
int cublasGetPointerMode_v2(Handle* handle, int* mode) {
    *mode = handle->pointer_mode;
    return SUCCESS;
}
int cublasSetMathMode(Handle* handle, int mode) {
    handle->math_mode = mode;
    return SUCCESS;
}
int cublasGetMathMode(Handle* handle, int* mode) {
    *mode = handle->math_mode;
    return SUCCESS;
}

int cublasGemmStridedBatchedEx(Handle* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int type_a, int lda,
                               long long stride_a, const void* b, int type_b, int ldb, long long stride_b, const void* beta, void* c,
                               int type_c, int ldc, long long stride_c, int count, int compute, int algorithm) {
    if (algorithm < -1) return NOT_SUPPORTED;
    Gemm g{op_a,  op_b,   m,      n,      k,   {},  {},  (const char*)a, (const char*)b, (char*)c, type_a,  type_b,
           type_c, lda,   ldb,    ldc,    stride_a, stride_b, stride_c, count, compute};
    bool is_complex = type_c == COMPLEX64 || type_c == COMPLEX128;
    read_scalar(g.alpha, alpha, compute == COMPUTE_64F, is_complex);
    read_scalar(g.beta, beta, compute == COMPUTE_64F, is_complex);
    return submit(handle, g);
}
int cublasGemmEx(Handle* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int type_a, int lda, const void* b,
                 int type_b, int ldb, const void* beta, void* c, int type_c, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c, ldc, 0, 1,
                                      compute, algorithm);
}

#define SIMPLE_GEMM(letter, type, code, compute) \
    int cublas##letter##gemm_v2(Handle* handle, int op_a, int op_b, int m, int n, int k, const type* alpha, const type* a, int lda, \
                                const type* b, int ldb, const type* beta, type* c, int ldc) { \
        return cublasGemmEx(handle, op_a, op_b, m, n, k, alpha, a, code, lda, b, code, ldb, beta, c, code, ldc, compute, -1); \
    } \
    int cublas##letter##gemmStridedBatched(Handle* handle, int op_a, int op_b, int m, int n, int k, const type* alpha, const type* a, int lda, \
                                           long long stride_a, const type* b, int ldb, long long stride_b, const type* beta, type* c, \
                                           int ldc, long long stride_c, int count) { \
        return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, code, lda, stride_a, b, code, ldb, stride_b, beta, c, code, \
                                          ldc, stride_c, count, compute, -1); \
    }
SIMPLE_GEMM(S, float, FLOAT32, COMPUTE_32F)
SIMPLE_GEMM(D, double, FLOAT64, COMPUTE_64F)
SIMPLE_GEMM(C, std::complex<float>, COMPLEX64, COMPUTE_32F)
SIMPLE_GEMM(Z, std::complex<double>, COMPLEX128, COMPUTE_64F)
}
