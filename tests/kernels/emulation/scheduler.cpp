// Runs a launch: blocks one after another, each thread a fiber that runs until it reaches a barrier.
//
// A warp runs as far as it can before the next one starts, and so does a thread before its neighbour. Where a barrier
// is missing, the threads that run first see what the others have not written yet (NaN, or an older value), or
// overwrite what those have not read yet. Forward and reverse order together let each thread be ahead of each other
// one, so a kernel that gives the same right result in both lacks no barrier that matters to that result.

#include "scheduler.h"

#include <cuda_runtime.h>
#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "fiber.h"
#include "memory.h"

const int warpSize = 32;
uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace edgefsa {
thread_local uint4 dynamic_shared_memory[];
}

namespace emulation {
namespace {

constexpr unsigned int kMaxThreads = 1024;
constexpr std::size_t kStackBytes = 256 << 10;
constexpr std::size_t kWarp = 32;

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kAtLaunchWait, kEnded };

struct Thread {
    Fiber fiber;
    State state = State::kEnded;
    unsigned int mask = 0;
    std::uint64_t value = 0;
    std::array<std::uint64_t, kWarp> received;
};

struct Scheduler {
    std::vector<std::unique_ptr<Thread>> threads;
    std::size_t block_threads = 0;
    std::size_t current = 0;
    const std::function<void()>* body = nullptr;
    bool is_waiting = false;  // the block has still to wait for the launch before, and must touch nothing that it makes
    Order order = Order::kForward;
    std::mt19937 random;
    std::string error;
    const void* error_address = nullptr;
};

Scheduler scheduler;

uint3 unflatten(std::size_t index, dim3 size) {
    const auto flat = static_cast<unsigned int>(index);
    return {flat % size.x, flat / size.x % size.y, flat / size.x / size.y};
}

std::string text(uint3 index) {
    return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

// A fiber serves all blocks and launches: it takes up the next one where it handed back control at the last one's end.
void runThreads() {
    Thread& thread = *scheduler.threads[scheduler.current];
    for (;;) {
        (*scheduler.body)();
        thread.state = State::kEnded;
        thread.fiber.suspend();
    }
}

char* stackOf(std::size_t thread) {
    static char* const stacks = static_cast<char*>(mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE,
                                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return stacks + thread * kStackBytes;
}

void prepareThreads(std::size_t count) {
    while (scheduler.threads.size() < count) {
        scheduler.threads.push_back(std::make_unique<Thread>());
        scheduler.threads.back()->fiber.prepare(stackOf(scheduler.threads.size() - 1), kStackBytes, runThreads);
    }
    scheduler.block_threads = count;
}

std::vector<std::size_t> inOrder(std::size_t count) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (scheduler.order == Order::kReverse) {
        std::reverse(order.begin(), order.end());
    } else if (scheduler.order == Order::kShuffled) {
        std::shuffle(order.begin(), order.end(), scheduler.random);
    }
    return order;
}

void waitFor(State state) {
    Thread& thread = *scheduler.threads[scheduler.current];
    thread.state = state;
    thread.fiber.suspend();
}

// Lets a warp's lanes go on once each of a mask has come to the same operation; lanes that have ended need not.
void releaseWarp(std::size_t first, std::size_t count, std::size_t lane) {
    const Thread& asking = *scheduler.threads[first + lane];
    if (asking.state != State::kAtWarpBarrier) {
        return;
    }
    std::array<std::uint64_t, kWarp> values;
    values.fill(~std::uint64_t{0});
    for (std::size_t i = 0; i < count; ++i) {
        const Thread& thread = *scheduler.threads[first + i];
        if ((asking.mask >> i & 1u) == 0 || thread.state == State::kEnded) {
            continue;
        }
        if (thread.state != State::kAtWarpBarrier || thread.mask != asking.mask) {
            return;
        }
        values[i] = thread.value;
    }
    const unsigned int mask = asking.mask;
    for (std::size_t i = 0; i < count; ++i) {
        Thread& thread = *scheduler.threads[first + i];
        if ((mask >> i & 1u) != 0 && thread.state == State::kAtWarpBarrier) {
            thread.received = values;
            thread.state = State::kReady;
        }
    }
}

bool runLane(std::size_t thread) {
    if (scheduler.threads[thread]->state != State::kReady) {
        return false;
    }
    scheduler.current = thread;
    threadIdx = unflatten(thread, blockDim);
    scheduler.threads[thread]->fiber.resume();
    return true;
}

void runWarp(std::size_t first, std::size_t count) {
    bool progress = true;
    while (progress && scheduler.error.empty()) {
        progress = false;
        for (const std::size_t lane : inOrder(count)) {
            progress |= runLane(first + lane);
            if (!scheduler.error.empty()) {
                return;
            }
        }
        for (std::size_t lane = 0; lane < count; ++lane) {
            releaseWarp(first, count, lane);
        }
    }
}

std::size_t countOf(State state) {
    return static_cast<std::size_t>(std::count_if(
        scheduler.threads.begin(), scheduler.threads.begin() + static_cast<std::ptrdiff_t>(scheduler.block_threads),
        [state](const auto& thread) { return thread->state == state; }));
}

void setWaiting(bool is_waiting) {
    scheduler.is_waiting = is_waiting;
    hideResults(is_waiting);
}

// Lets all threads pass the barrier or the wait that all have reached; false once the block has ended or can't go on.
bool passBarrier() {
    const std::size_t waiting = countOf(State::kAtBlockBarrier);
    const std::size_t ended = countOf(State::kEnded);
    if (ended == scheduler.block_threads && !scheduler.is_waiting) {
        return false;
    }
    if (countOf(State::kAtLaunchWait) == scheduler.block_threads) {
        setWaiting(false);
    } else if (scheduler.is_waiting && ended > 0) {
        setError("threads of block " + text(blockIdx) + " end and have not waited for the launch before");
        return false;
    } else if (waiting != scheduler.block_threads) {
        const std::size_t atWarp = countOf(State::kAtWarpBarrier);
        setError("threads part at a barrier: of " + std::to_string(scheduler.block_threads) + " threads of block " +
                 text(blockIdx) + ", " + std::to_string(waiting) + " wait at __syncthreads, " + std::to_string(atWarp) +
                 " at a warp operation, and " + std::to_string(ended) + " have ended");
        return false;
    }
    for (std::size_t i = 0; i < scheduler.block_threads; ++i) {
        scheduler.threads[i]->state = State::kReady;
    }
    return true;
}

int poisonOwn(dl_phdr_info* info, std::size_t, void* address) {
    const auto wanted = reinterpret_cast<ElfW(Addr)>(address);
    const auto* headers = info->dlpi_phdr;
    const auto holds = [&](const ElfW(Phdr) & header) {
        return header.p_type == PT_LOAD && wanted - info->dlpi_addr - header.p_vaddr < header.p_memsz;
    };
    if (std::none_of(headers, headers + info->dlpi_phnum, holds)) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (headers[i].p_type == PT_TLS) {
            std::memset(info->dlpi_tls_data, kPoison, headers[i].p_memsz);
        }
    }
    return 1;
}

// Static shared memory is this library's thread-local storage (see cuda_runtime.h), which holds nothing else.
void poisonSharedMemory(std::size_t dynamic_bytes) {
    edgefsa::emulated_shared_memory = nullptr;  // a first access, which makes the storage
    dl_iterate_phdr(poisonOwn, &scheduler);
    edgefsa::emulated_shared_memory = static_cast<uint4(*)[]>(freshSharedMemory(dynamic_bytes));
}

void runBlock(std::size_t dynamic_bytes, bool overlaps) {
    poisonSharedMemory(dynamic_bytes);
    setWaiting(overlaps);
    for (std::size_t i = 0; i < scheduler.block_threads; ++i) {
        scheduler.threads[i]->state = State::kReady;
    }
    do {
        for (const std::size_t warp : inOrder((scheduler.block_threads + kWarp - 1) / kWarp)) {
            runWarp(warp * kWarp, std::min(kWarp, scheduler.block_threads - warp * kWarp));
            if (!scheduler.error.empty()) {
                return;
            }
        }
    } while (passBarrier());
}

}  // namespace

void setOrder(Order order, unsigned int seed) {
    scheduler.order = order;
    scheduler.random.seed(seed);
}

void runGrid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread, bool overlaps) {
    gridDim = grid;
    blockDim = block;
    scheduler.body = &thread;
    prepareThreads(std::size_t{block.x} * block.y * block.z);
    for (const std::size_t index : inOrder(std::size_t{grid.x} * grid.y * grid.z)) {
        blockIdx = unflatten(index, grid);
        // In one order only: here the wait is a barrier, which would hide that a barrier beside it is missing.
        runBlock(shared_bytes, overlaps && scheduler.order == Order::kShuffled);
        if (!scheduler.error.empty()) {
            setWaiting(false);
            scheduler.threads.clear();  // some fibers stand in the middle of the kernel
            return;
        }
    }
}

void setError(const std::string& what, const void* code_address) {
    if (scheduler.error.empty()) {
        scheduler.error = what;
        scheduler.error_address = code_address;
    }
}

void clearError() {
    scheduler.error.clear();
    scheduler.error_address = nullptr;
}

const std::string& errorText() { return scheduler.error; }

const void* errorAddress() { return scheduler.error_address; }

bool isWaitingForEarlierLaunch() { return scheduler.is_waiting; }

std::string here() { return " by thread " + text(threadIdx) + " of block " + text(blockIdx); }

void blockBarrier() { waitFor(State::kAtBlockBarrier); }

void waitForEarlierLaunch() {
    if (scheduler.is_waiting) {
        waitFor(State::kAtLaunchWait);
    }
}

void warpBarrier(unsigned int mask) { exchange(mask, 0); }

const std::uint64_t* exchange(unsigned int mask, std::uint64_t value) {
    Thread& thread = *scheduler.threads[scheduler.current];
    if ((mask >> lane() & 1u) == 0) {
        setError("a warp operation whose mask leaves out the caller," + here(), __builtin_return_address(0));
        Fiber::abandon();
    }
    thread.mask = mask;
    thread.value = value;
    waitFor(State::kAtWarpBarrier);
    return thread.received.data();
}

int lane() { return static_cast<int>(scheduler.current % kWarp); }

void failWaiting() {
    setError("a wait for a block that comes later," + here(), __builtin_return_address(0));
    Fiber::abandon();
}

}  // namespace emulation
