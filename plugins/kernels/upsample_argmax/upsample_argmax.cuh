// SPDX-License-Identifier: Apache-2.0
// The kernels of UpsampleArgmax.
//
// A cell is what lies between four neighbouring logits; all its pixels are mixed from these. Where one class is the
// largest at all four corners, it is so in the whole cell: mixing with weights of one sign keeps the order, and so does
// rounding. Most cells of a segmentation are of that kind, and cost one look at their corners. The pixels of a warp's
// other cells are spread over all its threads, four pixels of a row to each, so that a few such cells cost little time
// and few registers. Linear logits come through shared memory, some classes at a time.
#pragma once

#include "cell_logits.cuh"

namespace edgefsa {
namespace upsample_argmax {

constexpr int kPixelThreads = 256;
// Blocks that a multiprocessor's registers must have room for: they keep its memory busy. What is compiled
// for 7.5 and 8.0 needs more registers than eight leave.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 860
constexpr int kStagedCellBlocks = 6;
#else
constexpr int kStagedCellBlocks = 8;
#endif
template <Format FORMAT, bool STAGED>
constexpr int kCellBlocks = FORMAT == Format::kLinear && STAGED ? kStagedCellBlocks : 6;
constexpr int kPixels = 4;  // of a row, that a thread mixes at once

struct Work {
    UpsampleArgmaxParams op;
    float ratio_h;  // low_height / height
    float ratio_w;
    int row_bytes;  // of a row of pixels in shared memory
};

constexpr int kMaxGridSide = 65535;
constexpr int kMinCellSide = 2;
constexpr int kMaxCellSide = 16;

// How a launch divides the work: by cells where they are 2 to 16 pixels high and wide, else by pixels.
struct Division {
    bool by_cells;
    bool is_staged;  // all classes of a block's cells are in shared memory at once
    int row_bytes;
    int shared_bytes;
    int grid_x, grid_y, grid_z;
    int block_x, block_y;
};

__host__ __device__ constexpr bool isWithin(long long size, long long low_size) {
    return size >= kMinCellSide * low_size && size <= kMaxCellSide * low_size;
}

// Pixels that `count` neighbouring cells cover at most; the first cell of a row is half a cell longer.
__host__ __device__ constexpr int pixelsOf(long long count, long long size, long long low_size) {
    return static_cast<int>(ceilDiv((count + 1) * size, low_size)) + 1;
}

// Fewer rows of cells where these are tall, so that the pixels fit into 48 KB.
__host__ __device__ constexpr int cellRowsOf(int height_side, int width_side) {
    const int side = height_side > width_side ? height_side : width_side;
    return side <= kMaxCellSide / 4 ? 4 : side <= kMaxCellSide / 2 ? 2 : 1;
}

__host__ __device__ constexpr Division divisionOf(const UpsampleArgmaxParams& op) {
    const int cell_rows = cellRowsOf(ceilDiv(op.height, op.low_height), ceilDiv(op.width, op.low_width));
    Division division = {};
    division.by_cells = isWithin(op.height, op.low_height) && isWithin(op.width, op.low_width) &&
                        ceilDiv(op.low_height, cell_rows) <= kMaxGridSide;
    if (division.by_cells) {
        division.is_staged = op.classes <= classesAtOnce(op, cell_rows);
        division.row_bytes = roundUp(pixelsOf(kCellsWide, op.width, op.low_width) + 15, 16);
        division.shared_bytes = logitBytes(op, cell_rows) + cell_rows * kCellsWide +
                                division.row_bytes * pixelsOf(cell_rows, op.height, op.low_height);
        division.grid_x = ceilDiv(op.low_width, kCellsWide);
        division.grid_y = ceilDiv(op.low_height, cell_rows);
        division.grid_z = op.batch;
        division.block_x = kCellsWide;
        division.block_y = cell_rows;
    } else {
        division.grid_x = static_cast<int>(ceilDiv(static_cast<long long>(op.height) * op.width, 0LL + kPixelThreads));
        division.grid_y = op.batch;
        division.grid_z = 1;
        division.block_x = kPixelThreads;
        division.block_y = 1;
    }
    return division;
}

// Where a pixel lies among the logits, as PyTorch places it with align_corners=False.
__device__ __forceinline__ float positionOf(int pixel, float ratio) {
    return fmaxf(fmaf(ratio, static_cast<float>(pixel) + 0.5f, -0.5f), 0.0f);
}

__device__ __forceinline__ int cellOf(int pixel, float ratio, int cells) {
    return min(static_cast<int>(positionOf(pixel, ratio)), cells - 1);
}

// The first pixel of a cell, and the number of pixels for the cell past the last one.
__device__ __forceinline__ int firstPixelOf(int cell, float ratio, int cells, int pixels) {
    if (cell <= 0 || cell >= cells) {
        return cell <= 0 ? 0 : pixels;
    }
    int pixel = static_cast<int>((static_cast<float>(cell) + 0.5f) / ratio - 0.5f);
    pixel = min(max(pixel, 0), pixels);
    while (pixel > 0 && cellOf(pixel - 1, ratio, cells) >= cell) {
        --pixel;
    }
    while (pixel < pixels && cellOf(pixel, ratio, cells) < cell) {
        ++pixel;
    }
    return pixel;
}

constexpr int kMixed = -1;  // the corners have different classes, or one of them is infinite or NaN

// Looks for the class that is largest at all of a cell's corners.
struct CornerScan {
    Corners largest, chosen;  // chosen: the corners of the class that is largest at the first
    float not_finite;         // becomes NaN
    int index;

    __device__ CornerScan() : not_finite(0.0f), index(0) {
        const float lowest = __int_as_float(static_cast<int>(0xff800000u));  // -infinity
        largest = chosen = {lowest, lowest, lowest, lowest};
    }

    // Looks at classes [first, end).
    template <typename Reader>
    __device__ __forceinline__ void add(const Reader& reader, int first, int end) {
        forEachClass(reader, first, end, [&](int number, const Corners& corner) {
            const bool is_larger = corner.at00 > largest.at00;
            index = is_larger ? number : index;
            chosen = is_larger ? corner : chosen;
            largest = {fmaxf(largest.at00, corner.at00), fmaxf(largest.at01, corner.at01),
                       fmaxf(largest.at10, corner.at10), fmaxf(largest.at11, corner.at11)};
            not_finite = fmaf(corner.at00, 0.0f, fmaf(corner.at01, 0.0f, not_finite));
            not_finite = fmaf(corner.at10, 0.0f, fmaf(corner.at11, 0.0f, not_finite));
        });
    }

    // The class, or kMixed.
    __device__ __forceinline__ int result() const {
        const bool is_largest = chosen.at01 == largest.at01 && chosen.at10 == largest.at10 &&
                                chosen.at11 == largest.at11 && not_finite == 0.0f;
        return is_largest ? index : kMixed;
    }
};

// Whether a class's value takes the place of the best before it: as in torch.argmax, NaN is above all, and of equals
// the first stays.
__device__ __forceinline__ bool isBetter(float value, float best) { return best == best && !(value <= best); }

// A weight between two rows or columns, and that of the first of them.
struct Weight {
    float of_second, of_first;

    __device__ __forceinline__ Weight(float position, int first)
        : of_second(position - static_cast<float>(first)), of_first(1.0f - of_second) {}

    __device__ __forceinline__ float mix(float first, float second) const {
        return fmaf(of_second, second, of_first * first);
    }
};

// Finds the classes of kPixels neighbours in a row.
template <typename Reader>
__device__ __forceinline__ void mixPixels(const Reader& reader, int classes, const Weight& down,
                                          const Weight (&across)[kPixels], int (&indices)[kPixels]) {
    float best[kPixels];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
        best[p] = __int_as_float(static_cast<int>(0xff800000u));  // -infinity
        indices[p] = 0;
    }
    forEachClass(reader, 0, classes, [&](int number, const Corners& corner) {
        const float left = down.mix(corner.at00, corner.at10);
        const float right = down.mix(corner.at01, corner.at11);
#pragma unroll
        for (int p = 0; p < kPixels; ++p) {
            const float value = across[p].mix(left, right);
            const bool is_better = isBetter(value, best[p]);
            best[p] = is_better ? value : best[p];
            indices[p] = is_better ? number : indices[p];
        }
    });
}

template <typename Index>
__device__ __forceinline__ Index indexOf(unsigned char index) {
    if constexpr (sizeof(Index) == 2) {
        return fromFloat<Index>(static_cast<float>(index));
    }
    return index;
}

// A block's pixels, which lie in shared memory as bytes before they are written in runs of 16 bytes. In each row they
// start as far past a multiple of kRun as in y.
template <typename Index>
struct MaskTile {
    static constexpr int kRun = 16 / static_cast<int>(sizeof(Index));

    unsigned char* memory;
    Index* y;  // of this sample
    std::size_t offset;
    int row_bytes, width;
    int top, left, bottom, right;

    // How far the row's first pixel lies past a multiple of 16 bytes in y, in pixels.
    __device__ __forceinline__ int shiftOf(int row) const {
        const Index* first = y + static_cast<std::size_t>(row) * width + left;
        return static_cast<int>(reinterpret_cast<std::uintptr_t>(first) / sizeof(Index) % kRun);
    }

    // What lies there for pixels [left, right) of a row.
    __device__ __forceinline__ unsigned char* rowOf(int row) const {
        return memory + (row - top) * row_bytes + shiftOf(row);
    }

    __device__ __forceinline__ void write(int thread, int threads) const {
        const int runs = ceilDiv(right - left + kRun - 1, kRun);
        for (int i = thread; i < (bottom - top) * runs; i += threads) {
            const int row = i / runs;
            const int first = (i - row * runs) * kRun;
            const int shift = shiftOf(top + row);
            const unsigned char* from = memory + row * row_bytes + first;
            Index* to = y + static_cast<std::size_t>(top + row) * width + left - shift + first;
            const int end = shift + right - left;
            if (first >= shift && first + kRun <= end) {
                const Pack<unsigned char, kRun> indices = loadPack<kRun>(from);
                Pack<Index, kRun> run;
#pragma unroll
                for (int k = 0; k < kRun; ++k) {
                    run.values[k] = indexOf<Index>(indices.values[k]);
                }
                storeGlobal(to, run);
                continue;
            }
            for (int k = max(shift - first, 0); k < min(end - first, kRun); ++k) {
                to[k] = indexOf<Index>(from[k]);
            }
        }
    }
};

// Pixels [y, y_end) x [x, x_end), of a cell.
struct PixelRange {
    int y, y_end, x, x_end;
};

template <typename Index>
__device__ __forceinline__ void fillCell(const MaskTile<Index>& tile, const PixelRange& cell, int index) {
    for (int y = cell.y; y < cell.y_end; ++y) {
        unsigned char* row = tile.rowOf(y);
        for (int x = cell.x; x < cell.x_end; ++x) {
            row[x - tile.left] = static_cast<unsigned char>(index);
        }
    }
}

// Mixes row y of a cell, of which `cell` has the columns.
template <typename Index, typename Reader>
__device__ __forceinline__ void mixRow(const Work& work, const MaskTile<Index>& tile, const Reader& reader,
                                       int cell_row, int cell_column, int y, const PixelRange& cell) {
    const Weight down(positionOf(y, work.ratio_h), cell_row);
    unsigned char* row = tile.rowOf(y) - tile.left;
    for (int x = cell.x; x < cell.x_end; x += kPixels) {
        const auto weightOf = [&](int pixel) { return Weight(positionOf(pixel, work.ratio_w), cell_column); };
        const Weight across[kPixels] = {weightOf(x), weightOf(x + 1), weightOf(x + 2), weightOf(x + 3)};
        int indices[kPixels];
        mixPixels(reader, work.op.classes, down, across, indices);
#pragma unroll
        for (int p = 0; p < kPixels; ++p) {
            if (x + p < cell.x_end) {
                row[x + p] = static_cast<unsigned char>(indices[p]);
            }
        }
    }
}

// Mixes the cells of a warp that are to be mixed, a row of one of them in each thread; all threads of the warp call it,
// each with the pixels of its own cell. The warp's cells lie in one row. `queue` has room for a byte of each thread.
// Logits that are not STAGED all at once are read from memory, as few cells need them again.
template <bool STAGED, typename Index, typename Logits>
__device__ __forceinline__ void mixCells(const Work& work, const MaskTile<Index>& tile, const Logits& logits,
                                         unsigned char* queue, int cell_row, int cell_left, const PixelRange& cell,
                                         bool is_mixed) {
    const int lane = static_cast<int>(threadIdx.x);
    const unsigned mixed = __ballot_sync(kWholeWarp, is_mixed);
    if (is_mixed) {
        queue[__popc(mixed & ((1u << lane) - 1u))] = static_cast<unsigned char>(lane);
    }
    __syncwarp();
    const int rows = cell.y_end - cell.y, count = __popc(mixed) * rows;
    for (int first = 0; first < count; first += kWarpSize) {
        const int index = first + lane;
        const int owner = queue[min(index, count - 1) / rows];
        PixelRange pixels = cell;
        pixels.x = __shfl_sync(kWholeWarp, cell.x, owner);
        pixels.x_end = __shfl_sync(kWholeWarp, cell.x_end, owner);
        const int y = cell.y + index % rows;
        if (index >= count) {
            continue;
        }
        if constexpr (STAGED) {
            mixRow(work, tile, logits.staged(owner), cell_row, cell_left + owner, y, pixels);
        } else {
            mixRow(work, tile, logits.inMemory(owner), cell_row, cell_left + owner, y, pixels);
        }
    }
}

// Block [kCellsWide, rows of cells], a thread for each cell and a warp for each row of them; blockIdx.z counts samples.
template <typename T, typename Index, Format FORMAT, bool STAGED>
__device__ __forceinline__ void computeCells(const Work& work) {
    const UpsampleArgmaxParams& op = work.op;
    const int cell_left = static_cast<int>(blockIdx.x) * kCellsWide, cell_rows = static_cast<int>(blockDim.y);
    const int cell_top = static_cast<int>(blockIdx.y) * cell_rows;
    const int column = cell_left + static_cast<int>(threadIdx.x), row = cell_top + static_cast<int>(threadIdx.y);
    const auto columnStart = [&](int cell) { return firstPixelOf(cell, work.ratio_w, op.low_width, op.width); };
    const auto rowStart = [&](int cell) { return firstPixelOf(cell, work.ratio_h, op.low_height, op.height); };
    CellLogits<T, FORMAT> logits(op, static_cast<int>(blockIdx.z), cell_top, cell_left);
    CornerScan scan;
    const int at_once = classesAtOnce(op, cell_rows);
    for (int first = 0; first < op.classes; first += at_once) {
        const int end = min(first + at_once, op.classes);
        logits.bring(first, end);
        scan.add(logits.staged(static_cast<int>(threadIdx.x)), first, end);
    }
    unsigned char* queues = dynamicShared<unsigned char>() + logitBytes(op, cell_rows);
    MaskTile<Index> tile;
    tile.memory = queues + cell_rows * kCellsWide;
    tile.y = static_cast<Index*>(op.y) + static_cast<std::size_t>(blockIdx.z) * op.height * op.width;
    tile.row_bytes = work.row_bytes;
    tile.width = op.width;
    tile.top = rowStart(cell_top);
    tile.left = columnStart(cell_left);
    tile.bottom = rowStart(cell_top + cell_rows);
    tile.right = columnStart(cell_left + kCellsWide);
    // Empty past the last cell.
    const PixelRange cell = {rowStart(row), rowStart(row + 1), columnStart(column), columnStart(column + 1)};
    const int index = scan.result();
    if (index != kMixed) {
        fillCell(tile, cell, index);
    }
    mixCells<STAGED>(work, tile, logits, queues + threadIdx.y * kCellsWide, row, cell_left, cell,
                     index == kMixed && cell.x < cell.x_end);
    __syncthreads();
    tile.write(static_cast<int>(threadIdx.y) * kCellsWide + static_cast<int>(threadIdx.x), kCellsWide * cell_rows);
}

// A thread for each pixel, whatever the sizes; blockIdx.y counts samples. Equal sizes leave nothing to mix.
template <typename T, typename Index, Format FORMAT>
__device__ __forceinline__ void computePixels(const Work& work) {
    const UpsampleArgmaxParams& op = work.op;
    const std::size_t pixels = static_cast<std::size_t>(op.height) * op.width;
    const std::size_t pixel = static_cast<std::size_t>(blockIdx.x) * kPixelThreads + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    const int y = static_cast<int>(pixel / op.width);
    const int x = static_cast<int>(pixel - static_cast<std::size_t>(y) * op.width);
    const int row = cellOf(y, work.ratio_h, op.low_height);
    const int column = cellOf(x, work.ratio_w, op.low_width);
    const CornerReader<T, FORMAT> reader(op, static_cast<int>(blockIdx.y), row, column);
    const bool is_same = op.height == op.low_height && op.width == op.low_width;
    const Weight down(positionOf(y, work.ratio_h), row), across(positionOf(x, work.ratio_w), column);
    float best = __int_as_float(static_cast<int>(0xff800000u));
    int index = 0;
    forEachClass(reader, 0, op.classes, [&](int number, const Corners& corner) {
        const float mixed = across.mix(down.mix(corner.at00, corner.at10), down.mix(corner.at01, corner.at11));
        const float value = is_same ? corner.at00 : mixed;
        const bool is_better = isBetter(value, best);
        best = is_better ? value : best;
        index = is_better ? number : index;
    });
    static_cast<Index*>(op.y)[blockIdx.y * pixels + pixel] = indexOf<Index>(static_cast<unsigned char>(index));
}

template <typename T, typename Index, Format FORMAT, bool STAGED>
__global__ void __launch_bounds__(kMaxCellThreads, kCellBlocks<FORMAT, STAGED>) upsampleArgmaxCells(const Work work) {
    computeCells<T, Index, FORMAT, STAGED>(work);
}

template <typename T, typename Index, Format FORMAT>
__global__ void __launch_bounds__(kPixelThreads) upsampleArgmaxPixels(const Work work) {
    computePixels<T, Index, FORMAT>(work);
}

}  // namespace upsample_argmax
}  // namespace edgefsa
