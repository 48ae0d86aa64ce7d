#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace emulation {
namespace {

constexpr std::size_t kPage = 64 << 10;  // a multiple of every system's page
constexpr std::size_t kGuardBytes = 64 << 20;
constexpr std::size_t kAlignment = 16;

struct Buffer {
    std::string name;
    unsigned char* data;
    std::size_t bytes;
    unsigned char* pages;
    std::size_t page_bytes;
    bool is_input;
};

std::vector<Buffer> buffers;

std::size_t roundUp(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

Buffer reserve(const std::string& name, std::size_t bytes, Placement placement) {
    const std::size_t page_bytes = std::max(roundUp(bytes, kPage), kPage);
    void* zone =
        mmap(nullptr, page_bytes + 2 * kGuardBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zone == MAP_FAILED) {
        return {name, nullptr, 0, nullptr, 0, false};
    }
    auto* pages = static_cast<unsigned char*>(zone) + kGuardBytes;
    mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
    std::memset(pages, kPoison, page_bytes);
    auto* data = placement == Placement::kAgainstStart ? pages : pages + page_bytes - roundUp(bytes, kAlignment);
    return {name, data, bytes, pages, page_bytes, false};
}

bool isPoison(const unsigned char* begin, const unsigned char* end) {
    return std::all_of(begin, end, [](unsigned char byte) { return byte == kPoison; });
}

std::string place(const Buffer& buffer, const unsigned char* address) {
    const std::string size = " of `" + buffer.name + "` (" + std::to_string(buffer.bytes) + " bytes)";
    if (address < buffer.data) {
        return std::to_string(buffer.data - address) + " bytes before the start" + size;
    }
    if (address >= buffer.data + buffer.bytes) {
        return std::to_string(address - buffer.data - buffer.bytes) + " bytes past the end" + size;
    }
    return "byte " + std::to_string(address - buffer.data) + size;
}

Buffer& sharedBuffer() {
    static Buffer buffer = reserve("dynamic shared memory", kBlockSharedBytes, Placement::kAgainstEnd);
    return buffer;
}

}  // namespace

void* allocate(const std::string& name, std::size_t bytes, Placement placement) {
    buffers.push_back(reserve(name, bytes, placement));
    return buffers.back().data;
}

void makeReadOnly(void* data) {
    for (Buffer& buffer : buffers) {
        if (buffer.data == data) {
            mprotect(buffer.pages, buffer.page_bytes, PROT_READ);
            buffer.is_input = true;
        }
    }
}

void hideResults(bool hidden) {
    static bool are_hidden = false;
    for (const Buffer& buffer : buffers) {
        if (!buffer.is_input && hidden != are_hidden) {
            mprotect(buffer.pages, buffer.page_bytes, hidden ? PROT_NONE : PROT_READ | PROT_WRITE);
        }
    }
    are_hidden = hidden;
}

void freeAll() {
    for (const Buffer& buffer : buffers) {
        munmap(buffer.pages - kGuardBytes, buffer.page_bytes + 2 * kGuardBytes);
    }
    buffers.clear();
}

std::string describe(const void* address) {
    const auto* byte = static_cast<const unsigned char*>(address);
    const auto isNear = [byte](const Buffer& buffer) {
        return byte >= buffer.pages - kGuardBytes && byte < buffer.pages + buffer.page_bytes + kGuardBytes;
    };
    if (isNear(sharedBuffer())) {
        return place(sharedBuffer(), byte);
    }
    const auto found = std::find_if(buffers.begin(), buffers.end(), isNear);
    return found == buffers.end() ? "" : place(*found, byte);
}

std::string damage() {
    for (const Buffer& buffer : buffers) {
        const unsigned char* end = buffer.data + buffer.bytes;
        if (!isPoison(buffer.pages, buffer.data) || !isPoison(end, buffer.pages + buffer.page_bytes)) {
            return "a write just before or past `" + buffer.name + "` (" + std::to_string(buffer.bytes) + " bytes)";
        }
    }
    return "";
}

void* freshSharedMemory(std::size_t bytes) {
    Buffer& buffer = sharedBuffer();
    buffer.bytes = bytes;
    buffer.data = buffer.pages + buffer.page_bytes - roundUp(bytes, kAlignment);
    std::memset(buffer.data, kPoison, roundUp(bytes, kAlignment));
    return buffer.data;
}

std::ptrdiff_t sharedOffset(const void* address) {
    const std::ptrdiff_t offset = static_cast<const unsigned char*>(address) - sharedBuffer().data;
    return offset < static_cast<std::ptrdiff_t>(sharedBuffer().bytes) ? std::max<std::ptrdiff_t>(offset, -1) : -1;
}

}  // namespace emulation
