// SPDX-License-Identifier: Apache-2.0
// How UpsampleArgmax's kernels read logits: the corners of a cell, a few classes at a time.
#pragma once

#include "../common.cuh"
#include "upsample_argmax.h"

namespace edgefsa {
namespace upsample_argmax {

constexpr int kCellsWide = 32;  // cells in a row of a block
constexpr int kMaxCellThreads = 128;
constexpr int kMaxClassBytes = 16 << 10;  // of logits that a block stages at once

// The logits at a cell's corners: rows 0 and 1, columns 0 and 1 of it.
struct Corners {
    float at00, at01, at10, at11;
};

// The same of COUNT classes, as they lie in memory.
template <typename T, int COUNT>
struct StoredCorners {
    Pack<T, COUNT> at00, at01, at10, at11;

    __device__ __forceinline__ Corners of(int number) const {
        return {toFloat(at00.values[number]), toFloat(at01.values[number]), toFloat(at10.values[number]),
                toFloat(at11.values[number])};
    }
    __device__ __forceinline__ void set(int number, T upper_left, T upper_right, T lower_left, T lower_right) {
        at00.values[number] = upper_left;
        at01.values[number] = upper_right;
        at10.values[number] = lower_left;
        at11.values[number] = lower_right;
    }
};

// Reads a cell's corners from memory, kStep classes at a time.
template <typename T, Format FORMAT>
class CornerReader {
  public:
    static constexpr int kStep = FORMAT == Format::kHwc8 ? 8 : 2;
    using Stored = StoredCorners<T, kStep>;

    __device__ CornerReader(const UpsampleArgmaxParams& op, int sample, int row, int column) {
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
    __device__ __forceinline__ void read(int first_class, Stored& corners) const {
        if constexpr (FORMAT == Format::kHwc8) {
            const T* at = corner_ + first_class;
            corners = {loadPack<kStep>(at), loadPack<kStep>(at + right_), loadPack<kStep>(at + down_),
                       loadPack<kStep>(at + down_ + right_)};
        } else {
#pragma unroll
            for (int s = 0; s < kStep; ++s) {
                if (first_class + s < classes_) {
                    const T* at = corner_ + (first_class + s) * stride_;
                    corners.set(s, at[0], at[right_], at[down_], at[down_ + right_]);
                }
            }
        }
    }

  private:
    const T* corner_;
    std::size_t stride_;  // from a class to the next
    std::size_t down_;
    int right_;
    int classes_;
};

// Calls use(number, corners) for each class of [first, end), in their order, reading kStep of them at once.
template <typename Reader, typename Use>
__device__ __forceinline__ void forEachClass(const Reader& reader, int first, int end, const Use& use) {
#pragma unroll 1
    for (; first < end; first += Reader::kStep) {
        typename Reader::Stored corners = {};
        reader.read(first, corners);
#pragma unroll
        for (int s = 0; s < Reader::kStep; ++s) {
            if (first + s < end) {
                use(first + s, corners.of(s));
            }
        }
    }
}

// How linear logits lie in shared memory: [classes, rows of cells + 1, columns], in runs of 16 bytes.
__host__ __device__ constexpr int stagedColumns(int bytes_per_element) {
    return roundUp(kCellsWide + 1, 16 / bytes_per_element);
}

// Bytes of a class in a block's shared memory; none of channels-last ones, which are read where they lie.
__host__ __device__ constexpr int classBytes(const UpsampleArgmaxParams& op, int cell_rows) {
    const int size = op.type == DataType::kHalf ? 2 : 4;
    return op.format == Format::kHwc8 ? 0 : (cell_rows + 1) * stagedColumns(size) * size;
}

__host__ __device__ constexpr int classesAtOnce(const UpsampleArgmaxParams& op, int cell_rows) {
    const int bytes = classBytes(op, cell_rows);
    return bytes * op.classes <= kMaxClassBytes ? op.classes : kMaxClassBytes / bytes;
}

__host__ __device__ constexpr int logitBytes(const UpsampleArgmaxParams& op, int cell_rows) {
    return classesAtOnce(op, cell_rows) * classBytes(op, cell_rows);
}

// Reads a cell's corners from shared memory, kStep classes at a time, of which [first, end) are there.
template <typename T>
class StagedReader {
  public:
    static constexpr int kStep = 2;
    using Stored = StoredCorners<T, kStep>;

    __device__ StagedReader(const T* corner, int rows, int first, int end)
        : corner_(corner), rows_(rows), first_(first), end_(end) {}

    // Classes that are not there are not read, and keep what `corners` held.
    __device__ __forceinline__ void read(int first_class, Stored& corners) const {
        constexpr int kColumns = stagedColumns(sizeof(T));
#pragma unroll
        for (int s = 0; s < kStep; ++s) {
            if (first_class + s < end_) {
                const T* at = corner_ + (first_class + s - first_) * rows_ * kColumns;
                corners.set(s, at[0], at[1], at[kColumns], at[kColumns + 1]);
            }
        }
    }

  private:
    const T* corner_;
    int rows_, first_, end_;
};

// The logits of a block's cells, of which (top, left) is the first, as its threads read them. Linear ones are brought
// into shared memory in accesses of 16 bytes where the rows allow it; what lies past the last row and column repeats
// it. All threads of the block call bring().
template <typename T, Format FORMAT>
class CellLogits {
  public:
    __device__ CellLogits(const UpsampleArgmaxParams& op, int sample, int top, int left)
        : op_(op), staged_(dynamicShared<T>()), sample_(sample), top_(top), left_(left) {
        rows_ = static_cast<int>(blockDim.y) + 1;
        is_aligned_ = op.low_width % kPerPack == 0 && reinterpret_cast<std::uintptr_t>(op.x) % 16 == 0;
    }

    // Brings classes [first, end), once nobody reads those before them any more.
    __device__ __forceinline__ void bring(int first, int end) {
        __syncthreads();
        if (is_aligned_) {
            bringPacks(first, (end - first) * rows_ * kPacks);
        } else {
            bringElements(first, (end - first) * rows_ * kColumns);
        }
        __syncthreads();
        first_ = first;
        end_ = end;
    }

    // Of the cell in this thread's row of cells and in `column` of the block's.
    __device__ __forceinline__ StagedReader<T> staged(int column) const {
        return {staged_ + threadIdx.y * kColumns + column, rows_, first_, end_};
    }
    __device__ __forceinline__ CornerReader<T, FORMAT> inMemory(int column) const {
        return {op_, sample_, top_ + static_cast<int>(threadIdx.y), left_ + column};
    }

  private:
    static constexpr int kPerPack = 16 / static_cast<int>(sizeof(T));
    static constexpr int kColumns = stagedColumns(sizeof(T));
    static constexpr int kPacks = kColumns / kPerPack;

    // The start of a row of logits, of staged row `index`, which counts the rows of one class after another.
    __device__ __forceinline__ const T* rowAt(int first, int index) const {
        const int row = min(top_ + index % rows_, op_.low_height - 1);
        const std::size_t plane = static_cast<std::size_t>(sample_) * op_.classes + first + index / rows_;
        return static_cast<const T*>(op_.x) + (plane * op_.low_height + row) * op_.low_width;
    }

    __device__ __forceinline__ void bringPacks(int first, int count) {
        constexpr int kLoads = 2;
        const int threads = kCellsWide * (rows_ - 1), last = op_.low_width - kPerPack;
        const int thread = static_cast<int>(threadIdx.y) * kCellsWide + static_cast<int>(threadIdx.x);
        for (int start = thread; start < count; start += kLoads * threads) {
            Pack<T, kPerPack> packs[kLoads];  // all read before any is stored, so that the memory is kept busy
#pragma unroll
            for (int load = 0; load < kLoads; ++load) {
                const int index = min(start + load * threads, count - 1);
                const int column = min(left_ + index % kPacks * kPerPack, last);
                packs[load] = loadPack<kPerPack>(rowAt(first, index / kPacks) + column);
            }
#pragma unroll
            for (int load = 0; load < kLoads; ++load) {
                const int index = min(start + load * threads, count - 1);
                if (left_ + index % kPacks * kPerPack > last) {
#pragma unroll
                    for (int e = 0; e < kPerPack; ++e) {
                        packs[load].values[e] = packs[load].values[kPerPack - 1];
                    }
                }
                storePack(staged_ + index * kPerPack, packs[load]);
            }
        }
    }

    __device__ __forceinline__ void bringElements(int first, int count) {
        const int threads = kCellsWide * (rows_ - 1);
        const int thread = static_cast<int>(threadIdx.y) * kCellsWide + static_cast<int>(threadIdx.x);
#pragma unroll 4
        for (int index = thread; index < count; index += threads) {
            staged_[index] = rowAt(first, index / kColumns)[min(left_ + index % kColumns, op_.low_width - 1)];
        }
    }

    const UpsampleArgmaxParams& op_;
    T* staged_;
    int sample_, top_, left_, rows_;
    int first_, end_;
    bool is_aligned_;
};

// Channels-last ones need not be brought: a corner's classes lie side by side.
template <typename T>
class CellLogits<T, Format::kHwc8> {
  public:
    __device__ CellLogits(const UpsampleArgmaxParams& op, int sample, int top, int left)
        : op_(op), sample_(sample), top_(top), left_(left) {}

    __device__ __forceinline__ void bring(int, int) {}
    __device__ __forceinline__ CornerReader<T, Format::kHwc8> staged(int column) const { return inMemory(column); }
    __device__ __forceinline__ CornerReader<T, Format::kHwc8> inMemory(int column) const {
        return {op_, sample_, min(top_ + static_cast<int>(threadIdx.y), op_.low_height - 1),
                min(left_ + column, op_.low_width - 1)};
    }

  private:
    const UpsampleArgmaxParams& op_;
    int sample_, top_, left_;
};

}  // namespace upsample_argmax
}  // namespace edgefsa
