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

// Reads a cell's corners from memory, kStep classes at a time.
template <typename T, Format FORMAT>
class CornerReader {
  public:
    static constexpr int kStep = FORMAT == Format::kHwc8 ? 8 : 4;

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
                    const T* at = corner_ + (first_class + s) * stride_;
                    corners[s] = {toFloat(at[0]), toFloat(at[right_]), toFloat(at[down_]), toFloat(at[down_ + right_])};
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
template <typename Logits, typename Use>
__device__ __forceinline__ void forEachClass(const Logits& logits, int first, int end, const Use& use) {
    for (; first < end; first += Logits::kStep) {
        Corners corners[Logits::kStep] = {};
        logits.read(first, corners);
#pragma unroll
        for (int s = 0; s < Logits::kStep; ++s) {
            if (first + s < end) {
                use(first + s, corners[s]);
            }
        }
    }
}

// Bytes of shared memory for a block's logits, whatever their type.
__host__ __device__ constexpr int logitBytes(const UpsampleArgmaxParams& op, int cell_rows) {
    const int of_floats = op.classes * (cell_rows + 1) * roundUp(kCellsWide + 1, 4) * 4;
    return op.format == Format::kHwc8 ? 0 : of_floats < kMaxClassBytes ? of_floats : kMaxClassBytes;
}

// The logits of a block's cells, of which (top, left) is the first, as its threads read them. Linear ones are brought
// into shared memory, [classes, rows of cells + 1, kColumns], in accesses of 16 bytes where the rows allow it; what
// lies past the last row and column repeats it. All threads of the block call bring().
template <typename T, Format FORMAT>
class CellLogits {
  public:
    static constexpr int kStep = 4;

    __device__ CellLogits(const UpsampleArgmaxParams& op, int sample, int top, int left)
        : op_(op), staged_(dynamicShared<T>()), top_(top), left_(left) {
        rows_ = static_cast<int>(blockDim.y) + 1;
        plane_ = static_cast<std::size_t>(op.low_height) * op.low_width;
        x_ = static_cast<const T*>(op.x) + sample * op.classes * plane_;
        corner_ = staged_ + threadIdx.y * kColumns + threadIdx.x;
        is_aligned_ = op.low_width % kPerPack == 0 && reinterpret_cast<std::uintptr_t>(op.x) % 16 == 0;
    }

    __device__ __forceinline__ int classesAtOnce() const {
        return min(op_.classes, kMaxClassBytes / (rows_ * kColumns * static_cast<int>(sizeof(T))));
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

    // Classes that were not brought are not read, and keep what `corners` held.
    __device__ __forceinline__ void read(int first_class, Corners (&corners)[kStep]) const {
#pragma unroll
        for (int s = 0; s < kStep; ++s) {
            if (first_class + s < end_) {
                const T* at = corner_ + (first_class + s - first_) * rows_ * kColumns;
                corners[s] = {toFloat(at[0]), toFloat(at[1]), toFloat(at[kColumns]), toFloat(at[kColumns + 1])};
            }
        }
    }

  private:
    static constexpr int kPerPack = 16 / static_cast<int>(sizeof(T));
    static constexpr int kColumns = roundUp(kCellsWide + 1, kPerPack);
    static constexpr int kPacks = kColumns / kPerPack;

    // The start of a row of logits, of staged row `index`, which counts the rows of one class after another.
    __device__ __forceinline__ const T* rowAt(int first, int index) const {
        const int row = min(top_ + index % rows_, op_.low_height - 1);
        return x_ + (first + index / rows_) * plane_ + static_cast<std::size_t>(row) * op_.low_width;
    }

    __device__ __forceinline__ void bringPacks(int first, int count) {
        constexpr int kLoads = 4;
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
    const T* x_;
    T* staged_;
    const T* corner_;
    std::size_t plane_;
    int top_, left_, rows_;
    int first_, end_;
    bool is_aligned_;
};

// Channels-last ones need not be brought: a corner's classes lie side by side.
template <typename T>
class CellLogits<T, Format::kHwc8> : public CornerReader<T, Format::kHwc8> {
  public:
    __device__ CellLogits(const UpsampleArgmaxParams& op, int sample, int top, int left)
        : CornerReader<T, Format::kHwc8>(op, sample, min(top + static_cast<int>(threadIdx.y), op.low_height - 1),
                                         min(left + static_cast<int>(threadIdx.x), op.low_width - 1)),
          classes_(op.classes) {}

    __device__ __forceinline__ int classesAtOnce() const { return classes_; }
    __device__ __forceinline__ void bring(int, int) {}

  private:
    int classes_;
};

}  // namespace upsample_argmax
}  // namespace edgefsa
