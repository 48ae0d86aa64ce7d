// Device memory between guard zones, so that an access past either end of a buffer is a fault.
#pragma once

#include <cstddef>
#include <string>

namespace emulation {

enum class Placement { kAgainstEnd = 0, kAgainstStart = 1 };

// What freshly allocated memory and shared memory hold: NaN as float or half, -1 as an integer.
constexpr unsigned char kPoison = 0xff;
constexpr std::size_t kBlockSharedBytes = 256 << 10;

// Gives a buffer whose end (to 16 bytes) or start lies at an unmapped zone.
void* allocate(const std::string& name, std::size_t bytes, Placement placement);
void makeReadOnly(void* data);
// Takes away, or gives back, access to all that is not read-only.
void hideResults(bool hidden);
void freeAll();
// Tells what address lies in or beside, empty where no buffer is near.
std::string describe(const void* address);
// Tells which buffer was written past its ends within its pages, empty where none was.
std::string damage();

// Gives the block's dynamic shared memory, poisoned; its end (to 16 bytes) lies at an unmapped zone.
void* freshSharedMemory(std::size_t bytes);
// Where in that an address lies, -1 for none in it.
std::ptrdiff_t sharedOffset(const void* address);

}  // namespace emulation
