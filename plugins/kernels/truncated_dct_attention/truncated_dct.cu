// SPDX-License-Identifier: Apache-2.0
// Step 1: chooses the form and how many blocks share a plane, and adds up what those blocks found.

#include <algorithm>

#include "../launch_checks.h"
#include "checks.h"
#include "truncated_dct.cuh"

namespace edgefsa {
namespace {

constexpr int kMostBlocks = 512;  // up to so many, planes are split to fill the GPU: it bounds the workspace
constexpr int kWantedBlocks = 4;  // of linear maps, per multiprocessor
constexpr int kLeastRows = 64;    // of them per block: fewer would not pay for staging the basis
constexpr int kRowMultiple = 16;
constexpr int kSumThreads = 256;
// Of channels-last maps: blocks that a multiprocessor holds, and the bytes that it could read while one starts and
// ends.
constexpr int kHeldBlocks = 2;
constexpr long long kBlockBytes = 32 << 10;

// out [planes, token_stride] = the sum over splits, in their order.
__global__ void __launch_bounds__(kSumThreads)
    sumSplitsKernel(const float* sums, float* out, int planes, int splits, int token_stride) {
    letNextBegin();
    waitForEarlier();
    const std::size_t index = static_cast<std::size_t>(blockIdx.x) * kSumThreads + threadIdx.x;
    if (index >= static_cast<std::size_t>(planes) * token_stride) {
        return;
    }
    const std::size_t plane = index / token_stride, token = index % token_stride;
    float sum = 0.0f;
#pragma unroll 4
    for (int split = 0; split < splits; ++split) {
        sum += sums[(plane * splits + split) * token_stride + token];
    }
    out[index] = sum;
}

int paddedKw(int kw) noexcept { return kw <= 8 ? 8 : kw <= 16 ? 16 : 32; }

// Rows whose sums a block can hold.
int mostRows(const TruncatedDctParams& p) noexcept {
    const int sums = kDctSumFloats / sumStride(paddedKw(p.kw));
    return p.format == Format::kHwc8 ? std::min(kDctWarps, sums / kDctChannels) : sums / kRowMultiple * kRowMultiple;
}

// The plan with the fewest bytes for the multiprocessor that has most to do: x, the sums, which are written and read
// again, and what it could read while blocks start and end.
DctPlan hwcPlan(const TruncatedDctParams& p, int multiprocessors) noexcept {
    const int warps = mostRows(p), most = std::min(warps, p.height),
              tiles = ceilDiv(p.channels, kDctChannels) * p.batch;
    const long long sum_bytes = 2LL * sizeof(float) * kDctChannels * tokenStride(p.kh, p.kw);
    const long long row_bytes = 2LL * kDctChannels * p.width;
    DctPlan best = {};
    long long least_bytes = 0;
    for (int rows = most; rows >= 1; rows /= 2) {
        const int splits = ceilDiv(p.height, rows);
        const long long blocks = static_cast<long long>(tiles) * splits;
        if (rows < most && (blocks > kMostBlocks || sum_bytes > rows * row_bytes)) {
            break;
        }
        const long long bytes = ceilDiv(blocks, static_cast<long long>(kHeldBlocks) * multiprocessors) *
                                (rows * row_bytes + sum_bytes + kBlockBytes);
        if (best.splits == 0 || bytes < least_bytes) {
            best = {rows, warps / rows, splits};
            least_bytes = bytes;
        }
    }
    return best;
}

}  // namespace

DctPlan dctPlan(const TruncatedDctParams& p, int multiprocessors) noexcept {
    if (p.format == Format::kHwc8) {
        return hwcPlan(p, multiprocessors);
    }
    const int blocks = std::min(kMostBlocks, kWantedBlocks * multiprocessors);
    const int wanted = std::min(ceilDiv(blocks, p.batch * p.channels), ceilDiv(p.height, kLeastRows));
    const int splits = std::max(ceilDiv(p.height, mostRows(p)), wanted);
    const int rows = roundUp(ceilDiv(p.height, splits), kRowMultiple);
    return {rows, 1, ceilDiv(p.height, rows)};
}

// No less than any smaller batch or map takes, though fewer planes are split into more parts; and no less than any GPU
// takes, for an engine may run on another one than it was built on.
std::size_t truncatedDctWorkspaceBytes(const TruncatedDctParams& p) noexcept {
    if (!isServed(p)) {
        return 0;
    }
    const std::size_t planes = static_cast<std::size_t>(p.batch) * p.channels;
    std::size_t parts = planes * ceilDiv(p.height, mostRows(p));
    parts = std::max(parts, p.format == Format::kLinear
                                ? std::min(kMostBlocks + planes, planes * ceilDiv(p.height, kLeastRows))
                                : std::min<std::size_t>(kMostBlocks * kDctChannels, planes * p.height));
    return sizeof(float) * parts * tokenStride(p.kh, p.kw);
}

cudaError_t launchTruncatedDct(const TruncatedDctParams& p, void* workspace, Chain& chain) noexcept {
    if (!isLaunchable(p)) {
        return cudaErrorInvalidValue;
    }
    Device device = {};
    const cudaError_t known = deviceInUse(&device);
    if (known != cudaSuccess) {
        return known;
    }
    const DctPlan plan = dctPlan(p, device.multiprocessors);
    if (plan.splits > 1 && !isWorkspace(workspace)) {
        return cudaErrorInvalidValue;
    }
    float* sums = plan.splits == 1 ? p.coefficients : static_cast<float*>(workspace);
    const int stride = tokenStride(p.kh, p.kw), planes = p.batch * p.channels;
    const DctArguments a = {p.x,
                            sums,
                            p.basis_h,
                            p.basis_w,
                            p.channels,
                            p.height,
                            p.width,
                            p.kh,
                            p.kw,
                            stride,
                            plan.rows_per_block,
                            plan.warps_per_row,
                            plan.splits,
                            p.type == DataType::kInt8 ? p.x_scale : 1.0f};
    const cudaError_t status = p.format == Format::kHwc8    ? launchDctHwc(a, p.batch, chain)
                               : p.type == DataType::kFloat ? launchDctFloats(a, planes, chain)
                                                            : launchDctHalves(a, p.type, planes, chain);
    if (status != cudaSuccess || plan.splits == 1) {
        return status;
    }
    const std::size_t blocks = ceilDiv(static_cast<std::size_t>(planes) * stride, std::size_t{kSumThreads});
    return chain.launch(sumSplitsKernel, dim3(static_cast<unsigned>(blocks)), dim3(kSumThreads), 0, sums,
                        p.coefficients, planes, plan.splits, stride);
}

cudaError_t launchTruncatedDct(const TruncatedDctParams& p, void* workspace, cudaStream_t stream) noexcept {
    Chain chain(stream);
    return launchTruncatedDct(p, workspace, chain);
}

}  // namespace edgefsa
