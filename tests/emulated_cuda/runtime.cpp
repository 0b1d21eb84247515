// CUDA's runtime and driver without a GPU: device memory is host memory, and kernels are libraries compiled by g++ (see compiler.py).
//
// Built by build.py as libcuda.so.1. Everything runs immediately, on the calling thread. A stream that captures records instead, and a graph
// replays what was recorded. Enforced are the rules that a program can break without noticing it on this machine:
// - operations that invalidate a capture (CUDA C++ Programming Guide, "Stream Capture"; PyTorch issues 161037 and 195397);
// - new memory contains NaN; freed memory cannot be accessed, and its addresses are not used again;
// - memory, streams, modules and graphs belong to a device, and work on them needs that device as the current one;
// - an error of a kernel is sticky: every later call of the process fails, as with cudaErrorIllegalAddress.
//
// Environment: EMULATED_CUDA_CAPABILITY (90 is 9.0), EMULATED_CUDA_MEMORY (bytes of each device), EMULATED_CUDA_DEVICES (their number),
// EMULATED_CUDA_DRIVER (12080 is 12.8), EMULATED_CUDA_FAILS (cudaGraphUpload, which then runs out of memory). They are read at each call, so
// a test may change them.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <sys/mman.h>
#include <vector>
#undef cudaGetDeviceProperties

namespace {

typedef std::function<int()> Work;  // returns an error code

struct Stream {
    int device;
    bool blocking;  // whether the legacy default stream waits for it
    bool capturing = false;
    bool invalid = false;
    std::vector<Work> work;
};
struct Event {
    cudaStream_t recorded = nullptr;  // the stream that recorded it last
    Stream* captured = nullptr;       // the stream that captured it
    std::chrono::steady_clock::time_point time;
};
struct Graph {
    int device;
    std::vector<Work> work;
};
struct Block {
    size_t size;
    int device;
    size_t mapped;
    char* start;
};

std::recursive_mutex mutex;
typedef std::lock_guard<std::recursive_mutex> Lock;

thread_local int current_device = 0;
thread_local int last_error = 0;
int sticky_error = 0;
int order = 0;
Stream* capturing = nullptr;
std::map<char*, Block> blocks;  // by address
std::map<int, size_t> used;     // by device
std::map<int, unsigned long long> launches;  // by device; a graph counts as one
std::set<std::string> kernels;  // names of the kernels launched, captured ones included
std::string waits;  // a line for each cudaStreamWaitEvent: the stream, and the stream that recorded the event
std::string why;  // why the last capture was invalidated, or a kernel failed

long long setting(const char* name, long long otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoll(text, nullptr, 10) : otherwise;
}
size_t capacity() { return (size_t)setting("EMULATED_CUDA_MEMORY", 8ll << 30); }
int capability() { return (int)setting("EMULATED_CUDA_CAPABILITY", 90); }
int device_count() { return (int)setting("EMULATED_CUDA_DEVICES", 1); }

cudaError_t result(int error) {
    if (!error) error = sticky_error;
    if (error) last_error = error;
    return (cudaError_t)error;
}
bool is_legacy(cudaStream_t s) { return s == nullptr || s == cudaStreamLegacy || s == cudaStreamPerThread; }
Stream* stream_of(cudaStream_t s) { return is_legacy(s) ? nullptr : (Stream*)s; }

int invalidate(int error, const std::string& reason) {
    capturing->invalid = true;
    why = reason;
    return error;
}

// A call that waits for the device, or changes what graphs use.
cudaError_t unsafe(const char* name) {
    return result(capturing ? invalidate(cudaErrorStreamCaptureUnsupported, std::string(name) + " during capture") : 0);
}

int submit(cudaStream_t s, const Work& work, const std::string& name) {
    Lock lock(mutex);
    if (sticky_error) return sticky_error;
    Stream* stream = stream_of(s);
    if (stream && stream->device != current_device) return cudaErrorInvalidResourceHandle;
    if (stream && stream->capturing) {
        if (stream->invalid) return cudaErrorStreamCaptureInvalidated;
        stream->work.push_back(work);
        return 0;
    }
    if (!stream && capturing && capturing->blocking) return invalidate(cudaErrorStreamCaptureImplicit, name + " on the default stream");
    ++launches[current_device];
    return work();
}

// ---- memory ----

const size_t PAGE = 4096, ALIGNED = 512, ADDRESSES = 1ull << 43;

const Block* block_at(const void* p) {
    auto next = blocks.upper_bound((char*)p);
    if (next == blocks.begin()) return nullptr;
    const auto& found = *std::prev(next);
    return (char*)p < found.first + found.second.size ? &found.second : nullptr;
}

char* arena() {
    static char* start = (char*)mmap(nullptr, ADDRESSES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start;
}
bool is_device_address(const void* p) { return (char*)p >= arena() && (char*)p < arena() + ADDRESSES; }

// Whether n bytes at p may be accessed: host memory, or inside one block of a device.
bool is_valid(const void* p, size_t n) {
    if (!n || !is_device_address(p)) return true;
    const Block* block = block_at(p);
    return block && (char*)p + n <= block->start + block->size;
}

int fail_kernel(int error, const std::string& reason) {
    fprintf(stderr, "emulated CUDA: %s\n", reason.c_str());
    why = reason;
    return sticky_error = error;
}

int copy(void* to, const void* from, size_t n) {
    if (!is_valid(to, n) || !is_valid(from, n)) return fail_kernel(cudaErrorIllegalAddress, "a copy accesses memory outside of all blocks");
    memmove(to, from, n);
    return 0;
}
int fill(void* to, int value, size_t n) {
    if (!is_valid(to, n)) return fail_kernel(cudaErrorIllegalAddress, "a memset accesses memory outside of all blocks");
    memset(to, value, n);
    return 0;
}

// ---- kernels ----

struct Module {
    void* library;
    int device;
};
struct Function {
    const char* (*run)(void**, const unsigned*, const unsigned*, int);
    std::vector<size_t> sizes;  // of the parameters
    bool serial;                // whether one thread may do the work of all
    int device;
    std::string name;
};

}  // namespace

extern "C" {

// ---- for the tests, and for cublas.cpp ----

int emulated_submit(void* stream, int (*work)(void*), void* argument, void (*destroy)(void*), const char* name) {
    std::shared_ptr<void> held(argument, destroy);
    return submit((cudaStream_t)stream, [=] { return work(held.get()); }, name);
}
int emulated_invalidate(const char* reason) {  // an unsafe call of a library
    Lock lock(mutex);
    return capturing ? invalidate(cudaErrorStreamCaptureUnsupported, reason) : 0;
}
int emulated_is_valid(const void* p, size_t n) { return is_valid(p, n) && is_device_address(p); }
int emulated_device() { return current_device; }
void emulated_set_order(int value) { order = value; }
unsigned long long emulated_launches(int device) { return launches[device]; }
size_t emulated_used(int device) { return used[device]; }
const char* emulated_reason() { return why.c_str(); }
const char* emulated_kernels() {
    static std::string text;
    text = "";
    for (auto& name : kernels) text += name + "\n";
    return text.c_str();
}
const char* emulated_waits() { return waits.c_str(); }
void emulated_clear() {
    kernels.clear();
    waits.clear();
}

// ---- errors and versions ----

const char* cudaGetErrorName(cudaError_t error) {
    switch ((int)error) {
        case 0: return "cudaSuccess";
        case 1: return "cudaErrorInvalidValue";
        case 2: return "cudaErrorMemoryAllocation";
        case 101: return "cudaErrorInvalidDevice";
        case 400: return "cudaErrorInvalidResourceHandle";
        case 700: return "cudaErrorIllegalAddress";
        case 719: return "cudaErrorLaunchFailure";
        case 801: return "cudaErrorNotSupported";
        case 900: return "cudaErrorStreamCaptureUnsupported";
        case 901: return "cudaErrorStreamCaptureInvalidated";
        case 906: return "cudaErrorStreamCaptureImplicit";
    }
    return "cudaErrorUnknown";
}
const char* cudaGetErrorString(cudaError_t error) {
    if (error == 2) return "out of memory";
    return why.empty() ? "an error of the emulated CUDA runtime" : why.c_str();
}
cudaError_t cudaGetLastError() {
    int error = sticky_error ? sticky_error : last_error;
    last_error = 0;
    return (cudaError_t)error;
}
cudaError_t cudaPeekAtLastError() { return (cudaError_t)(sticky_error ? sticky_error : last_error); }
cudaError_t cudaDriverGetVersion(int* version) {
    *version = (int)setting("EMULATED_CUDA_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

// ---- devices ----

cudaError_t cudaGetDeviceCount(int* count) {
    *count = device_count();
    return result(*count ? 0 : cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= device_count()) return result(cudaErrorInvalidDevice);
    current_device = device;
    return result(0);
}
cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int) {
    static const std::map<int, int> values = {
        {cudaDevAttrMaxThreadsPerBlock, 1024}, {cudaDevAttrMaxBlockDimX, 1024}, {cudaDevAttrMaxBlockDimY, 1024},
        {cudaDevAttrMaxBlockDimZ, 64}, {cudaDevAttrMaxGridDimX, 2147483647}, {cudaDevAttrMaxGridDimY, 65535},
        {cudaDevAttrMaxGridDimZ, 65535}, {cudaDevAttrMaxSharedMemoryPerBlock, 49152}, {cudaDevAttrWarpSize, 32},
        {cudaDevAttrMaxRegistersPerBlock, 65536}, {cudaDevAttrMultiProcessorCount, 16}, {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 65536}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, 65536},
    };
    auto found = values.find(attribute);
    *value = found == values.end() ? 0 : found->second;
    if (attribute == cudaDevAttrComputeCapabilityMajor) *value = capability() / 10;
    if (attribute == cudaDevAttrComputeCapabilityMinor) *value = capability() % 10;
    return result(0);
}
cudaError_t cudaGetDeviceProperties_v2(cudaDeviceProp* properties, int) {
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "Emulated GPU");
    properties->major = capability() / 10;
    properties->minor = capability() % 10;
    properties->totalGlobalMem = capacity();
    properties->multiProcessorCount = 16;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->sharedMemPerBlock = 49152;
    return result(0);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) { return cudaGetDeviceProperties_v2(properties, device); }
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    snprintf(text, length, "0000:%02x:00.0", device);
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return unsafe("cudaDeviceSynchronize"); }
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
    *can = 0;
    return result(0);
}
cudaError_t cudaDeviceSetLimit(enum cudaLimit, size_t) { return result(0); }

// ---- memory ----

cudaError_t cudaMalloc(void** out, size_t size) {
    Lock lock(mutex);
    *out = nullptr;
    if (sticky_error) return result(0);
    size_t rounded = (size + ALIGNED - 1) / ALIGNED * ALIGNED;
    if (used[current_device] + rounded > capacity()) return result(cudaErrorMemoryAllocation);
    static char* next = arena();
    size_t mapped = (rounded + PAGE - 1) / PAGE * PAGE;
    if (next + mapped + PAGE > arena() + ADDRESSES || mprotect(next, mapped, PROT_READ | PROT_WRITE)) return result(cudaErrorMemoryAllocation);
    char* start = next + mapped - rounded;  // the block ends where an inaccessible page begins
    memset(start, 0xff, rounded);           // NaN, or -1
    blocks[start] = {rounded, current_device, mapped, start};
    used[current_device] += rounded;
    next += mapped + PAGE;
    *out = start;
    return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
    Lock lock(mutex);
    if (!p) return result(0);
    if (capturing) return unsafe("cudaFree");
    auto found = blocks.find((char*)p);
    if (found == blocks.end()) return result(sticky_error ? 0 : cudaErrorInvalidValue);
    Block block = found->second;
    used[block.device] -= block.size;
    char* page = block.start + block.size - block.mapped;
    madvise(page, block.mapped, MADV_DONTNEED);
    mprotect(page, block.mapped, PROT_NONE);
    blocks.erase(found);
    return result(0);
}
cudaError_t cudaHostAlloc(void** out, size_t size, unsigned) {
    *out = aligned_alloc(ALIGNED, (size + ALIGNED - 1) / ALIGNED * ALIGNED);
    return result(*out ? 0 : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* p) {
    free(p);
    return result(0);
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
    Lock lock(mutex);
    *total = capacity();
    *free_bytes = used[current_device] > *total ? 0 : *total - used[current_device];
    return result(0);
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes* out, const void* p) {
    Lock lock(mutex);
    memset(out, 0, sizeof *out);
    const Block* block = block_at(p);
    out->type = block ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
    out->device = block ? block->device : -2;
    out->devicePointer = block ? (void*)p : nullptr;
    return result(0);
}
// Copies and fills without a stream use the default stream, and wait.
cudaError_t cudaMemcpy(void* to, const void* from, size_t n, enum cudaMemcpyKind) {
    return result(submit(nullptr, [=] { return copy(to, from, n); }, "cudaMemcpy"));
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n, enum cudaMemcpyKind, cudaStream_t stream) {
    return result(submit(stream, [=] { return copy(to, from, n); }, "cudaMemcpyAsync"));
}
cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t n) {
    return result(submit(nullptr, [=] { return copy(to, from, n); }, "cudaMemcpyPeer"));
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t n, cudaStream_t stream) {
    return result(submit(stream, [=] { return copy(to, from, n); }, "cudaMemcpyPeerAsync"));
}
cudaError_t cudaMemset(void* to, int value, size_t n) {
    return result(submit(nullptr, [=] { return fill(to, value, n); }, "cudaMemset"));
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t n, cudaStream_t stream) {
    return result(submit(stream, [=] { return fill(to, value, n); }, "cudaMemsetAsync"));
}

// ---- streams and events ----

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned flags) {
    *out = (cudaStream_t) new Stream{current_device, flags != cudaStreamNonBlocking};
    return result(0);
}
cudaError_t cudaStreamCreate(cudaStream_t* out) { return cudaStreamCreateWithFlags(out, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned flags, int) { return cudaStreamCreateWithFlags(out, flags); }
cudaError_t cudaStreamGetFlags(cudaStream_t s, unsigned* flags) {
    Stream* stream = stream_of(s);
    *flags = stream && !stream->blocking ? cudaStreamNonBlocking : cudaStreamDefault;
    return result(0);
}
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
    *priority = 0;
    return result(0);
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    if (stream_of(s) && stream_of(s) != capturing) delete stream_of(s);
    return result(0);
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    Stream* stream = stream_of(s);
    bool captures = stream ? stream->capturing : capturing && capturing->blocking;
    return captures ? unsafe("cudaStreamSynchronize") : result(0);
}
cudaError_t cudaStreamQuery(cudaStream_t s) { return cudaStreamSynchronize(s); }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t event, unsigned) {
    Lock lock(mutex);
    waits += std::to_string((size_t)s) + " " + std::to_string((size_t)((Event*)event)->recorded) + "\n";
    return result(0);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
    *out = (cudaEvent_t) new Event;
    return result(0);
}
cudaError_t cudaEventCreate(cudaEvent_t* out) { return cudaEventCreateWithFlags(out, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete (Event*)event;
    return result(0);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t s) {
    Stream* stream = stream_of(s);
    ((Event*)event)->recorded = s;
    ((Event*)event)->captured = stream && stream->capturing ? stream : nullptr;
    ((Event*)event)->time = std::chrono::steady_clock::now();
    return result(0);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    return ((Event*)event)->captured && ((Event*)event)->captured == capturing ? unsafe("cudaEventQuery") : result(0);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaEventQuery(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = std::chrono::duration<float, std::milli>(((Event*)end)->time - ((Event*)start)->time).count();
    return result(0);
}

// ---- capture and graphs ----

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode) {
    Lock lock(mutex);
    Stream* stream = stream_of(s);
    if (!stream || stream->capturing || capturing) return result(cudaErrorStreamCaptureUnsupported);
    stream->capturing = true;
    stream->invalid = false;
    stream->work.clear();
    why = "";
    capturing = stream;
    return result(0);
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* out) {
    Lock lock(mutex);
    Stream* stream = stream_of(s);
    *out = nullptr;
    if (!stream || !stream->capturing) return result(cudaErrorIllegalState);
    stream->capturing = false;
    capturing = nullptr;
    if (stream->invalid) return result(cudaErrorStreamCaptureInvalidated);
    *out = (cudaGraph_t) new Graph{stream->device, std::move(stream->work)};
    return result(0);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus* status) {
    Stream* stream = stream_of(s);
    if (!stream && capturing && capturing->blocking) return result(cudaErrorStreamCaptureImplicit);
    *status = !stream || !stream->capturing ? cudaStreamCaptureStatusNone
              : stream->invalid             ? cudaStreamCaptureStatusInvalidated
                                            : cudaStreamCaptureStatusActive;
    return result(0);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long) {
    *out = (cudaGraphExec_t) new Graph(*(Graph*)graph);
    return result(0);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (capturing) return unsafe("cudaGraphDestroy");
    delete (Graph*)graph;
    return result(0);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    if (capturing) return unsafe("cudaGraphExecDestroy");
    delete (Graph*)graph;
    return result(0);
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
    const char* failing = getenv("EMULATED_CUDA_FAILS");
    return result(failing && !strcmp(failing, "cudaGraphUpload") ? cudaErrorMemoryAllocation : 0);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
    Graph* graph = (Graph*)handle;
    if (graph->device != current_device) return result(cudaErrorInvalidResourceHandle);
    auto run = [=] {
        for (auto& work : graph->work)
            if (int error = work()) return error;
        return 0;
    };
    return result(submit(stream, run, "cudaGraphLaunch"));
}

// ---- the driver: contexts, modules, launches ----

CUresult cuGetErrorName(CUresult error, const char** text) {
    *text = error == CUDA_ERROR_INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE" : cudaGetErrorName((cudaError_t)error);
    return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult error, const char** text) {
    *text = cudaGetErrorString((cudaError_t)error);
    return CUDA_SUCCESS;
}
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuGetExportTable(const void** table, const CUuuid*) {  // NVRTC asks for internal functions, and works without them
    *table = nullptr;
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuDriverGetVersion(int* version) { return (CUresult)cudaDriverGetVersion(version); }
CUresult cuCtxGetCurrent(CUcontext* out) {
    *out = (CUcontext)(size_t)(current_device + 1);
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext context) {
    current_device = (int)(size_t)context - 1;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) {
    *device = current_device;
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCtx(CUstream, CUcontext* out) { return cuCtxGetCurrent(out); }
CUresult cuModuleLoadData(CUmodule* out, const void* image) {  // the image is the path of a library, after a mark
    Lock lock(mutex);
    const char* text = (const char*)image;
    if (strncmp(text, "EMULATED:", 9)) return CUDA_ERROR_INVALID_IMAGE;
    static void* fibers = dlopen("libfibers.so", RTLD_NOW | RTLD_GLOBAL);  // the threads of a block, shared by all kernels
    void* library = fibers ? dlopen(text + 9, RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (!library) {
        why = dlerror();
        return CUDA_ERROR_INVALID_IMAGE;
    }
    *out = (CUmodule) new Module{library, current_device};
    return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction* out, CUmodule handle, const char* name) {
    Module* module = (Module*)handle;
    auto symbol = [&](const char* prefix) { return dlsym(module->library, (std::string(prefix) + name).c_str()); };
    if (!symbol("run_")) {
        why = std::string("there is no kernel ") + name;
        return CUDA_ERROR_NOT_FOUND;
    }
    auto* function = new Function{(decltype(Function::run))symbol("run_"), {}, false, module->device, name};
    const size_t* sizes = ((const size_t* (*)())symbol("sizes_"))();
    for (; *sizes; ++sizes) function->sizes.push_back(*sizes);
    function->serial = symbol("serial_") && ((int (*)())symbol("serial_"))();
    *out = (CUfunction)function;
    return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                        CUstream stream, void** parameters, void**) {
    Lock lock(mutex);
    Function* function = (Function*)handle;
    if (function->device != current_device) return CUDA_ERROR_INVALID_HANDLE;
    bool is_valid_launch = gx && gy && gz && bx && by && bz && gx <= 2147483647u && gy <= 65535 && gz <= 65535 &&
                           (size_t)bx * by * bz <= 1024 && bz <= 64 && shared <= 49152;
    if (!is_valid_launch) {
        why = "the grid, the block or the shared memory of " + function->name + " exceeds CUDA's limits";
        return CUDA_ERROR_INVALID_VALUE;
    }
    kernels.insert(function->name);
    auto bytes = std::make_shared<std::vector<std::vector<char>>>();  // the arguments, copied as by CUDA
    for (size_t i = 0; i < function->sizes.size(); ++i)
        bytes->emplace_back((char*)parameters[i], (char*)parameters[i] + function->sizes[i]);
    auto run = [=] {
        std::vector<void*> pointers;
        for (auto& argument : *bytes) pointers.push_back(argument.data());
        const unsigned one[3] = {1, 1, 1}, grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        const char* error = function->run(pointers.data(), function->serial ? one : grid, function->serial ? one : block, order);
        return error ? fail_kernel(cudaErrorIllegalAddress, function->name + ": " + error) : 0;
    };
    return (CUresult)submit((cudaStream_t)stream, run, function->name);
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
    *value = 1024;
    return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks_per_processor, CUfunction, int, size_t) {
    *blocks_per_processor = 2;
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction, CUoccupancyB2DSize, size_t, int) {
    *grid = 16;
    *block = 128;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
}
