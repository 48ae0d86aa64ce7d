// SPDX-License-Identifier: Apache-2.0
// The kernels of UpsampleArgmax.
//
// A cell is what lies between four neighbouring logits; all its pixels are mixed from these. Where one class is the
// largest at all four corners, it is so in the whole cell: mixing with weights of one sign keeps the order, and so does
// rounding. Most cells of a segmentation are of that kind, and cost one look at their corners. In the others a thread
// mixes each class for 4 x 4 pixels at once. Linear logits come through shared memory, some classes at a time.
#pragma once

#include "cell_logits.cuh"

namespace edgefsa {
namespace upsample_argmax {

constexpr int kPixelThreads = 256;
constexpr int kCellBlocks = 4;  // for which a multiprocessor's registers must have room: they keep its memory busy
constexpr int kSide = 4;        // pixels that are mixed at once, down and across

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
        division.row_bytes = roundUp(pixelsOf(kCellsWide, op.width, op.low_width) + 15, 16);
        division.shared_bytes =
            logitBytes(op, cell_rows) + division.row_bytes * pixelsOf(cell_rows, op.height, op.low_height);
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

constexpr int kMixed = -1;      // the corners have different classes
constexpr int kNotFinite = -2;  // or one of them is infinite or NaN

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
    template <typename Logits>
    __device__ __forceinline__ void add(const Logits& logits, int first, int end) {
        forEachClass(logits, first, end, [&](int number, const Corners& corner) {
            const bool is_larger = corner.at00 > largest.at00;
            index = is_larger ? number : index;
            chosen = is_larger ? corner : chosen;
            largest = {fmaxf(largest.at00, corner.at00), fmaxf(largest.at01, corner.at01),
                       fmaxf(largest.at10, corner.at10), fmaxf(largest.at11, corner.at11)};
            not_finite = fmaf(corner.at00, 0.0f, fmaf(corner.at01, 0.0f, not_finite));
            not_finite = fmaf(corner.at10, 0.0f, fmaf(corner.at11, 0.0f, not_finite));
        });
    }

    // The class, or kMixed or kNotFinite.
    __device__ __forceinline__ int result() const {
        if (not_finite != 0.0f) {
            return kNotFinite;
        }
        const bool is_largest =
            chosen.at01 == largest.at01 && chosen.at10 == largest.at10 && chosen.at11 == largest.at11;
        return is_largest ? index : kMixed;
    }
};

// Whether a class's value takes the place of the best before it: as in torch.argmax, NaN is above all, and of equals
// the first stays.
template <bool FINITE>
__device__ __forceinline__ bool isBetter(float value, float best) {
    return value > best || (!FINITE && value != value && best == best);
}

// Finds the classes of kSide x kSide pixels.
struct PixelMix {
    float down[kSide], across[kSide];
    float best[kSide][kSide];
    int indices[kSide][kSide];

    // (y, x) is the first pixel; past y_end and x_end they repeat the last.
    __device__ __forceinline__ PixelMix(const Work& work, int cell_row, int cell_column, int y, int x, int y_end,
                                        int x_end) {
#pragma unroll
        for (int p = 0; p < kSide; ++p) {
            down[p] = positionOf(min(y + p, y_end - 1), work.ratio_h) - static_cast<float>(cell_row);
            across[p] = positionOf(min(x + p, x_end - 1), work.ratio_w) - static_cast<float>(cell_column);
#pragma unroll
            for (int q = 0; q < kSide; ++q) {
                best[p][q] = __int_as_float(static_cast<int>(0xff800000u));
                indices[p][q] = 0;
            }
        }
    }

    // Mixes classes [first, end).
    template <bool FINITE, typename Logits>
    __device__ __forceinline__ void add(const Logits& logits, int first, int end) {
        forEachClass(logits, first, end, [&](int number, const Corners& corner) {
#pragma unroll
            for (int p = 0; p < kSide; ++p) {
                const float left = fmaf(down[p], corner.at10, (1.0f - down[p]) * corner.at00);
                const float right = fmaf(down[p], corner.at11, (1.0f - down[p]) * corner.at01);
#pragma unroll
                for (int q = 0; q < kSide; ++q) {
                    const float value = fmaf(across[q], right, (1.0f - across[q]) * left);
                    const bool is_better = isBetter<FINITE>(value, best[p][q]);
                    best[p][q] = is_better ? value : best[p][q];
                    indices[p][q] = is_better ? number : indices[p][q];
                }
            }
        });
    }
};

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

    __device__ __forceinline__ void set(int row, int column, int index) const {
        memory[(row - top) * row_bytes + shiftOf(row) + column - left] = static_cast<unsigned char>(index);
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
                    run.values[k] = indices.values[k];
                }
                storeGlobal(to, run);
                continue;
            }
            for (int k = max(shift - first, 0); k < min(end - first, kRun); ++k) {
                to[k] = from[k];
            }
        }
    }
};

// Fills a cell's pixels [y, y_end) x [x, x_end) of the tile; all threads of a block call it, some without a cell, for
// whom the ranges are empty.
template <typename Index, typename Logits>
__device__ __forceinline__ void fillCell(const Work& work, const MaskTile<Index>& tile, Logits& logits, int cell_row,
                                         int cell_column, int y_start, int y_end, int x_start, int x_end, int of_cell) {
    const UpsampleArgmaxParams& op = work.op;
    const int at_once = logits.classesAtOnce();
    // Classes that are brought in parts are brought by all threads, whatever the size of their cells.
    const bool is_whole = at_once == op.classes;
    const int most_down = is_whole ? y_end - y_start : pixelsOf(1, op.height, op.low_height);
    const int most_across = is_whole ? x_end - x_start : pixelsOf(1, op.width, op.low_width);
    for (int y = y_start; y < y_start + most_down; y += kSide) {
        for (int x = x_start; x < x_start + most_across; x += kSide) {
            const bool is_inside = y < y_end && x < x_end;
            PixelMix mix(work, cell_row, cell_column, y, x, y_end, x_end);
            for (int first = 0; first < op.classes && (!is_whole || of_cell < 0); first += at_once) {
                const int end = min(first + at_once, op.classes);
                if (!is_whole) {
                    logits.bring(first, end);
                }
                if (is_inside && of_cell == kMixed) {
                    mix.template add<true>(logits, first, end);
                } else if (is_inside && of_cell == kNotFinite) {
                    mix.template add<false>(logits, first, end);
                }
            }
#pragma unroll
            for (int p = 0; p < kSide; ++p) {
#pragma unroll
                for (int q = 0; q < kSide; ++q) {
                    if (y + p < y_end && x + q < x_end) {
                        tile.set(y + p, x + q, of_cell >= 0 ? of_cell : mix.indices[p][q]);
                    }
                }
            }
        }
    }
}

// Block [kCellsWide, rows of cells], a thread for each cell; blockIdx.z counts samples.
template <typename T, typename Index, Format FORMAT>
__device__ __forceinline__ void computeCells(const Work& work) {
    const UpsampleArgmaxParams& op = work.op;
    const int cell_left = static_cast<int>(blockIdx.x) * kCellsWide, cell_rows = static_cast<int>(blockDim.y);
    const int cell_top = static_cast<int>(blockIdx.y) * cell_rows;
    const int column = cell_left + static_cast<int>(threadIdx.x), row = cell_top + static_cast<int>(threadIdx.y);
    const auto columnStart = [&](int cell) { return firstPixelOf(cell, work.ratio_w, op.low_width, op.width); };
    const auto rowStart = [&](int cell) { return firstPixelOf(cell, work.ratio_h, op.low_height, op.height); };
    MaskTile<Index> tile;
    tile.memory = dynamicShared<unsigned char>() + logitBytes(op, cell_rows);
    tile.y = static_cast<Index*>(op.y) + static_cast<std::size_t>(blockIdx.z) * op.height * op.width;
    tile.row_bytes = work.row_bytes;
    tile.width = op.width;
    tile.top = rowStart(cell_top);
    tile.left = columnStart(cell_left);
    tile.bottom = rowStart(cell_top + cell_rows);
    tile.right = columnStart(cell_left + kCellsWide);
    CellLogits<T, FORMAT> logits(op, static_cast<int>(blockIdx.z), cell_top, cell_left);
    const bool has_cell = row < op.low_height && column < op.low_width;
    CornerScan scan;
    for (int first = 0; first < op.classes; first += logits.classesAtOnce()) {
        const int end = min(first + logits.classesAtOnce(), op.classes);
        logits.bring(first, end);
        scan.add(logits, first, end);
    }
    const int y_start = rowStart(row), x_start = columnStart(column);
    fillCell(work, tile, logits, row, column, y_start, has_cell ? rowStart(row + 1) : y_start, x_start,
             has_cell ? columnStart(column + 1) : x_start, scan.result());
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
    const float down = positionOf(y, work.ratio_h) - static_cast<float>(row);
    const float across = positionOf(x, work.ratio_w) - static_cast<float>(column);
    float best = __int_as_float(static_cast<int>(0xff800000u));
    int index = 0;
    forEachClass(reader, 0, op.classes, [&](int number, const Corners& corner) {
        const float left = fmaf(down, corner.at10, (1.0f - down) * corner.at00);
        const float right = fmaf(down, corner.at11, (1.0f - down) * corner.at01);
        const float value = is_same ? corner.at00 : fmaf(across, right, (1.0f - across) * left);
        const bool is_better = isBetter<false>(value, best);
        best = is_better ? value : best;
        index = is_better ? number : index;
    });
    static_cast<Index*>(op.y)[blockIdx.y * pixels + pixel] = static_cast<Index>(index);
}

template <typename T, typename Index, Format FORMAT>
__global__ void __launch_bounds__(kMaxCellThreads, kCellBlocks) upsampleArgmaxCells(const Work work) {
    computeCells<T, Index, FORMAT>(work);
}

template <typename T, typename Index, Format FORMAT>
__global__ void __launch_bounds__(kPixelThreads) upsampleArgmaxPixels(const Work work) {
    computePixels<T, Index, FORMAT>(work);
}

}  // namespace upsample_argmax
}  // namespace edgefsa
