// CUDA's vector types, for the host. Alignments are the device's: they decide which accesses are misaligned.
#pragma once

#define EMULATED_VECTOR_2(name, scalar)                          \
    struct alignas(2 * sizeof(scalar)) name##2 { scalar x, y; }; \
    inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }
#define EMULATED_VECTOR_3(name, scalar) \
    struct name##3 { scalar x, y, z; }; \
    inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }
#define EMULATED_VECTOR_4(name, scalar)                                \
    struct alignas(4 * sizeof(scalar)) name##4 { scalar x, y, z, w; }; \
    inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
#define EMULATED_VECTORS(name, scalar) \
    EMULATED_VECTOR_2(name, scalar)    \
    EMULATED_VECTOR_3(name, scalar)    \
    EMULATED_VECTOR_4(name, scalar)

EMULATED_VECTORS(char, signed char)
EMULATED_VECTORS(uchar, unsigned char)
EMULATED_VECTORS(short, short)
EMULATED_VECTORS(ushort, unsigned short)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(uint, unsigned int)
EMULATED_VECTORS(float, float)
EMULATED_VECTOR_2(double, double)
EMULATED_VECTOR_2(longlong, long long)
EMULATED_VECTOR_2(ulonglong, unsigned long long)

#undef EMULATED_VECTORS
#undef EMULATED_VECTOR_4
#undef EMULATED_VECTOR_3
#undef EMULATED_VECTOR_2

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};
