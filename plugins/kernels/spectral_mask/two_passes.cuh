// SPDX-License-Identifier: Apache-2.0
// How the blocks of SpectralMask share a plane in one launch of two passes: the order of the jobs, and the sums that
// the first pass hands to the second.
#pragma once

#include "plane.cuh"

namespace edgefsa {
namespace spectral_mask {

// What a block of two passes works on.
struct Job {
    int plane, band;
    bool is_second;
};

// The blocks take jobs in this order: the second pass of a plane comes `lag` planes after its first, by when that has
// ended and the plane is still in the cache.
__device__ __forceinline__ Job jobOf(const Work& work, int ticket) {
    const int turn = ticket / work.bands, band = ticket - turn * work.bands;
    const int later = turn - work.lag, both = work.planes - work.lag;  // planes whose passes alternate with others'
    if (later < 0) {
        return {turn, band, false};
    }
    if (later >= 2 * both) {
        return {later - both, band, true};
    }
    return later % 2 == 0 ? Job{work.lag + later / 2, band, false} : Job{later / 2, band, true};
}

// The next job. A block that waits for others has a later ticket than they, so they are at work or done: whatever the
// order in which a GPU starts blocks, no wait is in vain.
__device__ __forceinline__ Job takeJob(const Work& work, const Shared& shared) {
    if (threadIdx.x == 0) {
        shared.changes[0] = __uint_as_float(atomicAdd(work.counters, 1u));
    }
    __syncthreads();
    return jobOf(work, static_cast<int>(__float_as_uint(shared.changes[0])));
}

// The band's tokens go to memory, and each thread says that its own are there.
__device__ __forceinline__ void handOver(const Work& work, const Job& job, int tokens, const Shared& shared) {
    float* partial = work.partial + (static_cast<std::size_t>(job.plane) * work.bands + job.band) * tokens;
    for (int i = threadIdx.x; i < tokens; i += kThreads) {  // each thread reads what it wrote
        partial[i] = shared.tokens[i];
    }
    __threadfence();
    atomicAdd(work.counters + 1 + job.plane, 1u);
}

// Adds up the tokens of all bands, always in one order, once all are there. They come from the L2 cache: what the L1
// cache holds beside a plane's tokens may be older than the next plane's.
__device__ __forceinline__ void takeOver(const Work& work, const Job& job, int tokens, const Shared& shared) {
    const volatile unsigned* ended = work.counters + 1 + job.plane;
    while (*ended < static_cast<unsigned>(work.bands) * kThreads) {
        __nanosleep(100);
    }
    __threadfence();
    const float* partial = work.partial + static_cast<std::size_t>(job.plane) * work.bands * tokens;
    for (int i = threadIdx.x; i < tokens; i += kThreads) {
        float sum = 0.0f;
        for (int band = 0; band < work.bands; ++band) {
            sum += __ldcg(partial + static_cast<std::size_t>(band) * tokens + i);
        }
        shared.tokens[i] = sum;
    }
}

}  // namespace spectral_mask
}  // namespace edgefsa
