// SPDX-License-Identifier: Apache-2.0
// Prints the compute capabilities of this machine's GPUs as CMake lists them, "87" or "86;89"; fails without a GPU.
#include <cuda_runtime.h>

#include <cstdio>
#include <set>

int main() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        return 1;
    }
    std::set<int> found;
    for (int device = 0; device < count; ++device) {
        int major = 0;
        int minor = 0;
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
        found.insert(10 * major + minor);
    }
    const char* separator = "";
    for (const int architecture : found) {
        std::printf("%s%d", separator, architecture);
        separator = ";";
    }
    return 0;
}
