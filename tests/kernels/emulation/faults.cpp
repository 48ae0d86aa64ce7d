#include "faults.h"

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <string>

#include "fiber.h"
#include "memory.h"
#include "scheduler.h"

namespace emulation {
namespace {

constexpr std::array<int, 5> kSignals = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
std::array<struct sigaction, kSignals.size()> others;
stack_t other_stack;

const void* codeAddress(const ucontext_t* context) {
#if defined(__x86_64__)
    return reinterpret_cast<const void*>(context->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
    return reinterpret_cast<const void*>(context->uc_mcontext.pc);
#else
    return nullptr;
#endif
}

void handle(int signal, siginfo_t* info, void* context) {
    std::string what;
    if (signal == SIGSEGV || signal == SIGBUS) {
        const std::string where = describe(info->si_addr);
        what = where.empty() ? "an access outside of every buffer," : "an access outside of its buffer: " + where + ",";
    } else {
        what = "a misaligned access, an index past an array, an overflow or a trap,";
    }
    what += isWaitingForEarlierLaunch() ? " before the wait for the launch before," : "";
    setError(what + here(), codeAddress(static_cast<ucontext_t*>(context)));
    Fiber::abandon();
}

}  // namespace

FaultCatcher::FaultCatcher() {
    static std::array<char, 64 << 10> memory;
    stack_t stack = {};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    sigaltstack(&stack, &other_stack);
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // the handler is left by a jump
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], &action, &others[i]);
    }
}

FaultCatcher::~FaultCatcher() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], &others[i], nullptr);
    }
    sigaltstack(&other_stack, nullptr);
}

}  // namespace emulation
