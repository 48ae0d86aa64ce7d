// The kernels of UpsampleArgmax.
//
// A cell is what lies between four neighbouring logits; all its pixels are mixed from these. Where one class is the
// largest at all four corners, it is so in the whole cell: mixing with weights of one sign keeps the order, and so does
// rounding. Most cells of a segmentation are of that kind, and cost one look at their corners. In the others a thread
// mixes each class for 4 x 4 pixels at once.
#pragma once

#include "../common.cuh"
#include "upsample_argmax.h"

namespace edgefsa {
namespace upsample_argmax {

constexpr int kCellsWide = 32;  // cells in a row of a block
constexpr int kMaxCellThreads = 128;
constexpr int kPixelThreads = 256;
constexpr int kSide = 4;  // pixels that are mixed at once, down and across

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
        division.shared_bytes = division.row_bytes * pixelsOf(cell_rows, op.height, op.low_height);
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

// The logits at a cell's corners: rows 0 and 1, columns 0 and 1 of it.
struct Corners {
    float at00, at01, at10, at11;
};

// Reads a cell's corners, kStep classes at a time.
template <typename T, Format FORMAT>
class CellReader {
  public:
    static constexpr int kStep = FORMAT == Format::kHwc8 ? 8 : 4;

    __device__ CellReader(const UpsampleArgmaxParams& op, int sample, int row, int column) {
        const std::size_t pixels = static_cast<std::size_t>(op.low_height) * op.low_width;
        classes_ = op.classes;
        const int across = FORMAT == Format::kHwc8 ? roundUp(op.classes, kStep) : 1;
        stride_ = FORMAT == Format::kHwc8 ? 1 : pixels;
        const std::size_t stored = FORMAT == Format::kHwc8 ? across : op.classes;
        const std::size_t first = static_cast<std::size_t>(row) * op.low_width + column;
        corner_ = static_cast<const T*>(op.x) + sample * pixels * stored + first * across;
        right_ = column + 1 < op.low_width ? across : 0;
        down_ = row + 1 < op.low_height ? static_cast<std::size_t>(op.low_width) * across : 0;
    }

    // Classes past the last one are not read, and keep what `corners` held.
    __device__ __forceinline__ void read(int first_class, Corners (&corners)[kStep]) const {
        if constexpr (FORMAT == Format::kHwc8) {
            const Pack<T, kStep> at00 = loadPack<kStep>(corner_ + first_class);
            const Pack<T, kStep> at01 = loadPack<kStep>(corner_ + first_class + right_);
            const Pack<T, kStep> at10 = loadPack<kStep>(corner_ + first_class + down_);
            const Pack<T, kStep> at11 = loadPack<kStep>(corner_ + first_class + down_ + right_);
#pragma unroll
            for (int s = 0; s < kStep; ++s) {
                corners[s] = {toFloat(at00.values[s]), toFloat(at01.values[s]), toFloat(at10.values[s]),
                              toFloat(at11.values[s])};
            }
        } else {
#pragma unroll
            for (int s = 0; s < kStep; ++s) {
                if (first_class + s < classes_) {
                    corners[s] = readOne(first_class + s);
                }
            }
        }
    }

    __device__ __forceinline__ Corners readOne(int index) const {
        const T* address = corner_ + index * stride_;
        return {toFloat(address[0]), toFloat(address[right_]), toFloat(address[down_]),
                toFloat(address[down_ + right_])};
    }

  private:
    const T* corner_;
    std::size_t stride_;  // from a class to the next
    std::size_t down_;
    int right_;
    int classes_;
};

constexpr int kMixed = -1;      // the corners have different classes
constexpr int kNotFinite = -2;  // or one of them is infinite or NaN

// The class that is largest at all corners, or kMixed or kNotFinite.
template <typename Reader>
__device__ __forceinline__ int classOfCell(const Reader& reader, int classes) {
    const float lowest = __int_as_float(static_cast<int>(0xff800000u));  // -infinity
    Corners largest = {lowest, lowest, lowest, lowest};
    float not_finite = 0.0f;  // becomes NaN
    int index = 0;
    for (int first = 0; first < classes; first += Reader::kStep) {
        Corners corners[Reader::kStep] = {};
        reader.read(first, corners);
#pragma unroll
        for (int s = 0; s < Reader::kStep; ++s) {
            if (first + s >= classes) {
                break;
            }
            const Corners& corner = corners[s];
            index = corner.at00 > largest.at00 ? first + s : index;
            largest = {fmaxf(largest.at00, corner.at00), fmaxf(largest.at01, corner.at01),
                       fmaxf(largest.at10, corner.at10), fmaxf(largest.at11, corner.at11)};
            not_finite = fmaf(corner.at00, 0.0f, fmaf(corner.at01, 0.0f, not_finite));
            not_finite = fmaf(corner.at10, 0.0f, fmaf(corner.at11, 0.0f, not_finite));
        }
    }
    if (not_finite != 0.0f) {
        return kNotFinite;
    }
    const Corners chosen = reader.readOne(index);
    const bool is_largest = chosen.at01 == largest.at01 && chosen.at10 == largest.at10 && chosen.at11 == largest.at11;
    return is_largest ? index : kMixed;
}

// Whether a class's value takes the place of the best before it: as in torch.argmax, NaN is above all, and of equals
// the first stays.
template <bool FINITE>
__device__ __forceinline__ bool isBetter(float value, float best) {
    return value > best || (!FINITE && value != value && best == best);
}

// Finds the classes of kSide x kSide pixels, of which the first is (y, x); past y_end and x_end they repeat the last.
template <bool FINITE, typename Reader>
__device__ __forceinline__ void mixPixels(const Work& work, const Reader& reader, int cell_row, int cell_column, int y,
                                          int x, int y_end, int x_end, int (&indices)[kSide][kSide]) {
    float down[kSide];
    float across[kSide];
    float best[kSide][kSide];
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
    for (int first = 0; first < work.op.classes; first += Reader::kStep) {
        Corners corners[Reader::kStep] = {};
        reader.read(first, corners);
#pragma unroll
        for (int s = 0; s < Reader::kStep; ++s) {
            if (first + s >= work.op.classes) {
                break;
            }
#pragma unroll
            for (int p = 0; p < kSide; ++p) {
                const float left = fmaf(down[p], corners[s].at10, (1.0f - down[p]) * corners[s].at00);
                const float right = fmaf(down[p], corners[s].at11, (1.0f - down[p]) * corners[s].at01);
#pragma unroll
                for (int q = 0; q < kSide; ++q) {
                    const float value = fmaf(across[q], right, (1.0f - across[q]) * left);
                    const bool is_better = isBetter<FINITE>(value, best[p][q]);
                    best[p][q] = is_better ? value : best[p][q];
                    indices[p][q] = is_better ? first + s : indices[p][q];
                }
            }
        }
    }
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
                storePack(to, run);
                continue;
            }
            for (int k = max(shift - first, 0); k < min(end - first, kRun); ++k) {
                to[k] = from[k];
            }
        }
    }
};

// Block [kCellsWide, rows of cells], a thread for each cell; blockIdx.z counts samples.
template <typename T, typename Index, Format FORMAT>
__device__ __forceinline__ void computeCells(const Work& work) {
    const UpsampleArgmaxParams& op = work.op;
    const int cell_left = static_cast<int>(blockIdx.x) * kCellsWide;
    const int cell_top = static_cast<int>(blockIdx.y * blockDim.y);
    const int column = cell_left + static_cast<int>(threadIdx.x);
    const int row = cell_top + static_cast<int>(threadIdx.y);
    const auto columnStart = [&](int cell) { return firstPixelOf(cell, work.ratio_w, op.low_width, op.width); };
    const auto rowStart = [&](int cell) { return firstPixelOf(cell, work.ratio_h, op.low_height, op.height); };
    MaskTile<Index> tile;
    tile.memory = dynamicShared<unsigned char>();
    tile.y = static_cast<Index*>(op.y) + static_cast<std::size_t>(blockIdx.z) * op.height * op.width;
    tile.row_bytes = work.row_bytes;
    tile.width = op.width;
    tile.top = rowStart(cell_top);
    tile.left = columnStart(cell_left);
    tile.bottom = rowStart(cell_top + static_cast<int>(blockDim.y));
    tile.right = columnStart(cell_left + kCellsWide);
    if (row < op.low_height && column < op.low_width) {
        const CellReader<T, FORMAT> reader(op, static_cast<int>(blockIdx.z), row, column);
        const int y_end = rowStart(row + 1);
        const int x_start = columnStart(column);
        const int x_end = columnStart(column + 1);
        const int of_cell = classOfCell(reader, op.classes);
        for (int y = rowStart(row); y < y_end; y += kSide) {
            for (int x = x_start; x < x_end; x += kSide) {
                int indices[kSide][kSide];
                if (of_cell == kMixed) {
                    mixPixels<true>(work, reader, row, column, y, x, y_end, x_end, indices);
                } else if (of_cell == kNotFinite) {
                    mixPixels<false>(work, reader, row, column, y, x, y_end, x_end, indices);
                }
#pragma unroll
                for (int p = 0; p < kSide; ++p) {
#pragma unroll
                    for (int q = 0; q < kSide; ++q) {
                        if (y + p < y_end && x + q < x_end) {
                            tile.set(y + p, x + q, of_cell >= 0 ? of_cell : indices[p][q]);
                        }
                    }
                }
            }
        }
    }
    __syncthreads();
    const int threads = kCellsWide * static_cast<int>(blockDim.y);
    tile.write(static_cast<int>(threadIdx.y) * kCellsWide + static_cast<int>(threadIdx.x), threads);
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
    const CellReader<T, FORMAT> reader(op, static_cast<int>(blockIdx.y), row, column);
    const bool is_same = op.height == op.low_height && op.width == op.low_width;
    const float down = positionOf(y, work.ratio_h) - static_cast<float>(row);
    const float across = positionOf(x, work.ratio_w) - static_cast<float>(column);
    float best = __int_as_float(static_cast<int>(0xff800000u));
    int index = 0;
    for (int first = 0; first < op.classes; first += CellReader<T, FORMAT>::kStep) {
        Corners corners[CellReader<T, FORMAT>::kStep] = {};
        reader.read(first, corners);
#pragma unroll
        for (int s = 0; s < CellReader<T, FORMAT>::kStep; ++s) {
            const Corners& corner = corners[s];
            const float left = fmaf(down, corner.at10, (1.0f - down) * corner.at00);
            const float right = fmaf(down, corner.at11, (1.0f - down) * corner.at01);
            const float value = is_same ? corner.at00 : fmaf(across, right, (1.0f - across) * left);
            if (first + s < op.classes && isBetter<false>(value, best)) {
                best = value;
                index = first + s;
            }
        }
    }
    static_cast<Index*>(op.y)[blockIdx.y * pixels + pixel] = static_cast<Index>(index);
}

template <typename T, typename Index, Format FORMAT>
__global__ void __launch_bounds__(kMaxCellThreads) upsampleArgmaxCells(const Work work) {
    computeCells<T, Index, FORMAT>(work);
}

template <typename T, typename Index, Format FORMAT>
__global__ void __launch_bounds__(kPixelThreads) upsampleArgmaxPixels(const Work work) {
    computePixels<T, Index, FORMAT>(work);
}

}  // namespace upsample_argmax
}  // namespace edgefsa
