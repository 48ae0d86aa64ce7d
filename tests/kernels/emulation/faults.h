// Faults of the running kernel (an access past a buffer, a misaligned one, an index past an array) become errors.
#pragma once

namespace emulation {

// While it lives, a fault stops the launch and is recorded with setError(); before and after, others handle faults.
class FaultCatcher {
  public:
    FaultCatcher();
    ~FaultCatcher();
    FaultCatcher(const FaultCatcher&) = delete;
    FaultCatcher& operator=(const FaultCatcher&) = delete;
};

}  // namespace emulation
