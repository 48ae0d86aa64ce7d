// Runs the blocks and threads of a launch in a chosen order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>

namespace emulation {

enum class Order { kForward = 0, kReverse = 1, kShuffled = 2 };

void setOrder(Order order, unsigned int seed);
// Runs each thread of the grid; stops at the first error. A grid that `overlaps` the launch before it may touch what
// that one makes only after it has waited for it, and has to wait.
void runGrid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread, bool overlaps);
bool isWaitingForEarlierLaunch();

// Records what went wrong, of which the first is kept; on a fiber, follow it by Fiber::abandon().
void setError(const std::string& what, const void* code_address = nullptr);
void clearError();
const std::string& errorText();
const void* errorAddress();
// Names the running thread and its block.
std::string here();

}  // namespace emulation
