#include "fiber.h"

namespace emulation {

jmp_buf Fiber::scheduler_;

void Fiber::prepare(char* stack, std::size_t stack_bytes, void (*body)()) {
    getcontext(&start_);
    start_.uc_stack.ss_sp = stack;
    start_.uc_stack.ss_size = stack_bytes;
    start_.uc_link = nullptr;
    makecontext(&start_, body, 0);
    started_ = false;
}

// A ucontext switch is a system call; it starts a fiber, and jumps, which cost nanoseconds, do all the rest.
void Fiber::resume() {
    if (_setjmp(scheduler_) != 0) {
        return;
    }
    if (started_) {
        _longjmp(self_, 1);
    }
    started_ = true;
    setcontext(&start_);
}

void Fiber::suspend() {
    if (_setjmp(self_) == 0) {
        _longjmp(scheduler_, 1);
    }
}

void Fiber::abandon() { _longjmp(scheduler_, 1); }

}  // namespace emulation
