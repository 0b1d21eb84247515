// The threads of a CUDA block as fibers of one CPU thread. A fiber runs until it reaches a barrier; then the next one runs.
//
// Fibers are created with makecontext and switch with _setjmp and _longjmp, which unlike swapcontext make no system call.
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

#include "fibers.h"

Three threadIdx, blockIdx, blockDim, gridDim;
bool emulator_ignores_exited;

namespace {

const unsigned MOST = 1024, WARP = 32;
const size_t STACK = 1 << 16;

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
    jmp_buf here;
    Three index;
    State state;
    unsigned seen;            // the warp's generation when the wait started
    unsigned parity;          // which of the warp's two sets of slots it uses next
    std::vector<EmulatedCopy> copies; // pending asynchronous copies
};

struct Warp {
    unsigned lanes, arrived, generation;
    unsigned long long slots[2][WARP][4];
};

Fiber* fibers;
Warp warps[MOST / WARP];
Fiber* current;
unsigned count;
bool made;  // whether the fibers are created and at the start of their loop
jmp_buf scheduler;
sigjmp_buf crash;
void (*body)(void*);
void* context;
char message[400];

unsigned number(const Fiber* fiber) { return fiber - fibers; }

void leave() {
    if (!_setjmp(current->here)) _longjmp(scheduler, 1);
}

void loop() {
    for (;;) {
        leave();
        body(context);
        current->state = DONE;
    }
}

void resume(Fiber* fiber) {
    current = fiber;
    threadIdx = fiber->index;
    if (!_setjmp(scheduler)) _longjmp(fiber->here, 1);
}

void make_fibers() {
    if (!fibers) fibers = new Fiber[MOST];
    static char* stacks = (char*)mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    static ucontext_t start, back;
    for (unsigned i = 0; i < MOST; ++i) {
        getcontext(&start);
        start.uc_stack.ss_sp = stacks + i * STACK;
        start.uc_stack.ss_size = STACK;
        start.uc_link = nullptr;
        makecontext(&start, loop, 0);
        current = &fibers[i];
        if (!_setjmp(scheduler)) swapcontext(&back, &start);
    }
    made = true;
}

void on_crash(int) { siglongjmp(crash, 1); }

bool runnable(const Fiber& fiber) {
    if (fiber.state == AT_WARP) return warps[number(&fiber) / WARP].generation != fiber.seen;
    return fiber.state == READY;
}

const char* describe(const char* what) {
    snprintf(message, sizeof message, "%s (block %u %u %u, thread %u %u %u)", what, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
             threadIdx.y, threadIdx.z);
    return message;
}

// Index of the fiber that runs as number i: ascending, descending, or strided.
unsigned placed(unsigned i, int order) {
    if (order == 0) return i;
    if (order == 1) return count - 1 - i;
    unsigned stride = 37;
    while (count % stride == 0) stride += 2;  // 37 is prime
    return (unsigned)((unsigned long long)i * stride % count);
}

const char* run_block(int order) {
    for (unsigned i = 0; i < count; ++i) {
        Fiber& fiber = fibers[i];
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        fiber.state = READY;
        fiber.parity = 0;
        fiber.copies.clear();
    }
    for (unsigned w = 0; w * WARP < count; ++w) warps[w] = {count - w * WARP < WARP ? count - w * WARP : WARP, 0, 0, {}};
    for (;;) {
        bool progress = false;
        for (unsigned i = 0; i < count; ++i) {
            Fiber& fiber = fibers[placed(i, order)];
            if (!runnable(fiber)) continue;
            fiber.state = READY;
            resume(&fiber);
            progress = true;
        }
        if (progress) continue;
        unsigned waiting = 0, done = 0;
        for (unsigned i = 0; i < count; ++i) {
            waiting += fibers[i].state == AT_BLOCK;
            done += fibers[i].state == DONE;
        }
        if (done == count) return nullptr;
        if (emulator_ignores_exited ? waiting + done != count : waiting != count) return describe("some threads wait at a barrier that others never reach");
        for (unsigned i = 0; i < count; ++i)
            if (fibers[i].state == AT_BLOCK) fibers[i].state = READY;
    }
}

}  // namespace

void emulator_barrier() {
    current->state = AT_BLOCK;
    leave();
    threadIdx = current->index;
}

void emulator_warp_barrier() {
    Warp& warp = warps[number(current) / WARP];
    if (++warp.arrived == warp.lanes) {
        warp.arrived = 0;
        ++warp.generation;
        return;
    }
    current->seen = warp.generation;
    current->state = AT_WARP;
    leave();
}

unsigned emulator_lane() { return number(current) % WARP; }

unsigned long long (*emulator_exchange(const void* value, size_t size))[4] {
    Warp& warp = warps[number(current) / WARP];
    unsigned parity = current->parity;
    current->parity ^= 1;  // a lane that runs ahead writes to the other set
    memcpy(warp.slots[parity][emulator_lane()], value, size);
    emulator_warp_barrier();
    return warp.slots[parity];
}

std::vector<EmulatedCopy>& emulator_copies() { return current->copies; }

const char* emulator_run(void (*kernel)(void*), void* arguments, const unsigned* grid, const unsigned* block, char* shared, char* shared_end,
                         int order) {
    body = kernel;
    context = arguments;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    count = blockDim.x * blockDim.y * blockDim.z;
    if (count == 0 || count > MOST) return "a block has 1 to 1024 threads";
    if (gridDim.y > 65535 || gridDim.z > 65535) return "a grid has at most 65535 blocks along y and z";
    static char spare[1 << 16];
    stack_t other = {}, old_stack;
    other.ss_sp = spare;
    other.ss_size = sizeof spare;
    struct sigaction act = {}, old_segv, old_bus;
    act.sa_handler = on_crash;
    act.sa_flags = SA_ONSTACK;
    sigaltstack(&other, &old_stack);
    sigaction(SIGSEGV, &act, &old_segv);
    sigaction(SIGBUS, &act, &old_bus);
    const char* error = nullptr;
    if (sigsetjmp(crash, 1)) {
        error = describe("a thread accesses memory outside of all arrays");
    } else {
        if (!made) make_fibers();
        unsigned long long total = (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
        for (unsigned long long n = 0; n < total && !error; ++n) {
            unsigned long long b = order == 1 ? total - 1 - n : n;
            blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
            if (shared) memset(shared, 0xff, shared_end - shared);  // NaN, to detect reads of uninitialized shared memory
            error = run_block(order);
        }
    }
    if (error) made = false;  // the fibers are in arbitrary states
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
    return error;
}
