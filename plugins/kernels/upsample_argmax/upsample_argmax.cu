// Chooses UpsampleArgmax's kernel by the types and the division of the work.
#include "upsample_argmax.cuh"

namespace edgefsa {
namespace upsample_argmax {
namespace {

bool isServed(const UpsampleArgmaxParams& params) noexcept {
    const bool has_shape = params.batch > 0 && params.batch <= kMaxGridSide && params.low_height > 0 &&
                           params.low_width > 0 && params.height > 0 && params.width > 0;
    const bool has_classes = params.classes > 0 && params.classes <= kMaxClasses;
    const bool is_float = params.type == DataType::kFloat && params.format == Format::kLinear;
    const bool is_half = params.type == DataType::kHalf &&
                         (params.format == Format::kLinear || rowsAreAligned(params.x, sizeof(__half), 8, 8));
    return has_shape && has_classes && (is_float || is_half);
}

template <typename T, typename Index, Format FORMAT>
cudaError_t launchKind(Work work, cudaStream_t stream) noexcept {
    const Division division = divisionOf(work.op);
    work.row_bytes = division.row_bytes;
    const dim3 grid(division.grid_x, division.grid_y, division.grid_z);
    const dim3 block(division.block_x, division.block_y);
    if (division.by_cells) {
        return launchKernel(upsampleArgmaxCells<T, Index, FORMAT>, grid, block, division.shared_bytes, stream, work);
    }
    return launchKernel(upsampleArgmaxPixels<T, Index, FORMAT>, grid, block, 0, stream, work);
}

template <typename T, Format FORMAT>
cudaError_t launchIndices(const Work& work, cudaStream_t stream) noexcept {
    return work.op.index_type == IndexType::kUint8 ? launchKind<T, std::uint8_t, FORMAT>(work, stream)
                                                   : launchKind<T, std::int32_t, FORMAT>(work, stream);
}

}  // namespace
}  // namespace upsample_argmax

cudaError_t launchUpsampleArgmax(const UpsampleArgmaxParams& params, void*, cudaStream_t stream) noexcept {
    if (!upsample_argmax::isServed(params)) {
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
