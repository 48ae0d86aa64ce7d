// Threads of a block as fibers: each has its own stack, and runs until it hands control back itself.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>

namespace emulation {

class Fiber {
  public:
    // Gives the fiber its stack, and the function that it runs at its first resume and never returns from.
    void prepare(char* stack, std::size_t stack_bytes, void (*body)());
    // Runs the fiber until it suspends. Called by the scheduler only.
    void resume();
    // Hands control back to the scheduler. Called on the fiber that runs only.
    void suspend();
    // Leaves the running fiber for good; the scheduler goes on behind its resume(). May be called by a signal handler.
    [[noreturn]] static void abandon();

  private:
    static jmp_buf scheduler_;
    jmp_buf self_;
    ucontext_t start_;
    bool started_ = false;
};

}  // namespace emulation
