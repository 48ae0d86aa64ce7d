// SPDX-License-Identifier: Apache-2.0
// The switch for launches that begin before the one before has ended (launch_chain.cuh), for comparisons.
#pragma once

#include <atomic>

namespace edgefsa {

// Of all operators, threads and GPUs of the process.
inline std::atomic<bool> overlapping_launches_allowed{true};

}  // namespace edgefsa
