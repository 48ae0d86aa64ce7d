// Chooses UpsampleArgmax's kernel: by cells where they are 2 to 16 pixels high and wide, else by pixels.
#include "upsample_argmax.cuh"

namespace edgefsa {
namespace upsample_argmax {
namespace {

constexpr int kMaxGridSide = 65535;
constexpr int kMinCellSide = 2;
constexpr int kMaxCellSide = 16;

bool isServed(const UpsampleArgmaxParams& params) noexcept {
    const bool has_shape = params.batch > 0 && params.batch <= kMaxGridSide && params.low_height > 0 &&
                           params.low_width > 0 && params.height > 0 && params.width > 0;
    const bool has_classes = params.classes > 0 && params.classes <= kMaxClasses;
    const bool is_float = params.type == DataType::kFloat && params.format == Format::kLinear;
    return has_shape && has_classes && (is_float || params.type == DataType::kHalf);
}

bool isWithin(int size, int low_size) noexcept {
    const long long pixels = size;
    return pixels >= static_cast<long long>(kMinCellSide) * low_size &&
           pixels <= static_cast<long long>(kMaxCellSide) * low_size;
}

// Pixels that `count` neighbouring cells cover at most; the first cell of a row is half a cell longer.
int pixelsOf(int count, int size, int low_size) noexcept {
    return static_cast<int>(ceilDiv((count + 1LL) * size, static_cast<long long>(low_size))) + 1;
}

// Fewer rows of cells where these are tall, so that the pixels fit into 48 KB.
int cellRowsOf(const UpsampleArgmaxParams& params) noexcept {
    const int side = max(ceilDiv(params.height, params.low_height), ceilDiv(params.width, params.low_width));
    return side <= kMaxCellSide / 4 ? 4 : side <= kMaxCellSide / 2 ? 2 : 1;
}

template <typename T, typename Index, Format FORMAT>
cudaError_t launchKind(Work work, cudaStream_t stream) noexcept {
    const UpsampleArgmaxParams& op = work.op;
    const int cell_rows = cellRowsOf(op);
    const bool by_cells = isWithin(op.height, op.low_height) && isWithin(op.width, op.low_width) &&
                          ceilDiv(op.low_height, cell_rows) <= kMaxGridSide;
    if (by_cells) {
        work.row_bytes = roundUp(pixelsOf(kCellsWide, op.width, op.low_width) + 15, 16);
        const int shared_bytes = work.row_bytes * pixelsOf(cell_rows, op.height, op.low_height);
        const dim3 grid(ceilDiv(op.low_width, kCellsWide), ceilDiv(op.low_height, cell_rows), op.batch);
        return launchKernel(upsampleArgmaxCells<T, Index, FORMAT>, grid, dim3(kCellsWide, cell_rows), shared_bytes,
                            stream, work);
    }
    const std::size_t pixels = static_cast<std::size_t>(op.height) * op.width;
    const dim3 grid(static_cast<unsigned>(ceilDiv(pixels, std::size_t{kPixelThreads})), op.batch);
    return launchKernel(upsampleArgmaxPixels<T, Index, FORMAT>, grid, kPixelThreads, 0, stream, work);
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
