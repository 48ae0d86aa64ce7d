// SPDX-License-Identifier: Apache-2.0
// Chooses UpsampleArgmax's kernel by the types and the division of the work.
#include "../launch_checks.h"
#include "upsample_argmax.cuh"

namespace edgefsa {
namespace upsample_argmax {
namespace {

bool isLaunchable(const UpsampleArgmaxParams& p) noexcept {
    const bool has_extents = areExtents({p.batch, p.classes, p.low_height, p.low_width, p.height, p.width});
    const bool has_indices =
        p.index_type == IndexType::kInt32 || p.index_type == IndexType::kUint8 || p.index_type == IndexType::kHalf;
    return has_extents && p.classes <= kMaxClasses && has_indices && p.type != DataType::kInt8 &&
           isLayout(p.type, p.format) && isMap(p.x, p.format) && areGiven({p.y});
}

template <typename T, typename Index, Format FORMAT>
cudaError_t launchKind(Work work, cudaStream_t stream) noexcept {
    const Division division = divisionOf(work.op);
    work.row_bytes = division.row_bytes;
    const dim3 grid(division.grid_x, division.grid_y, division.grid_z);
    const dim3 block(division.block_x, division.block_y);
    if (division.by_cells && division.is_staged) {
        constexpr auto kKernel = upsampleArgmaxCells<T, Index, FORMAT, true>;
        return launchKernel(kKernel, grid, block, division.shared_bytes, stream, work);
    }
    if constexpr (FORMAT == Format::kLinear) {
        if (division.by_cells) {
            constexpr auto kKernel = upsampleArgmaxCells<T, Index, FORMAT, false>;
            return launchKernel(kKernel, grid, block, division.shared_bytes, stream, work);
        }
    }
    return launchKernel(upsampleArgmaxPixels<T, Index, FORMAT>, grid, block, 0, stream, work);
}

template <typename T, Format FORMAT>
cudaError_t launchIndices(const Work& work, cudaStream_t stream) noexcept {
    switch (work.op.index_type) {
        case IndexType::kInt32:
            return launchKind<T, std::int32_t, FORMAT>(work, stream);
        case IndexType::kUint8:
            return launchKind<T, std::uint8_t, FORMAT>(work, stream);
        case IndexType::kHalf:
            return launchKind<T, __half, FORMAT>(work, stream);
    }
    return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace upsample_argmax

cudaError_t launchUpsampleArgmax(const UpsampleArgmaxParams& params, void*, cudaStream_t stream) noexcept {
    if (!upsample_argmax::isLaunchable(params)) {
        return cudaErrorInvalidValue;
    }
    upsample_argmax::Work work = {};
    work.op = params;
    work.ratio_h = static_cast<float>(params.low_height) / static_cast<float>(params.height);
    work.ratio_w = static_cast<float>(params.low_width) / static_cast<float>(params.width);
    if (params.format == Format::kHwc8) {
        return upsample_argmax::launchIndices<__half, Format::kHwc8>(work, stream);
    }
    return params.type == DataType::kHalf ? upsample_argmax::launchIndices<__half, Format::kLinear>(work, stream)
                                          : upsample_argmax::launchIndices<float, Format::kLinear>(work, stream);
}

}  // namespace edgefsa
