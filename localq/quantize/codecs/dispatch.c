/* What this processor can run, asked before any code for it is entered. */
#include "blocks.h"

#include <cpuid.h>

enum { NONE = 0, AVX2 = 1, AVX512 = 2 };

/* The registers that the operating system saves: bits 1 and 2 for AVX, 5 to 7 for AVX-512. */
static unsigned saved_registers(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* To be raised whenever `job` or a function changes: an older library is not called then. */
EXPORT int localq_codecs_version(void) { return 3; }

/* The best instruction set for encode: 0 none, 1 AVX2 (with F16C), 2 AVX-512 (F, BW, DQ, VL). */
EXPORT int localq_codecs_best(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return NONE;
    const unsigned needed = 1u << 27 | 1u << 28 | 1u << 29; /* OSXSAVE, AVX, F16C */
    if ((c & needed) != needed || (saved_registers() & 0x06) != 0x06) return NONE;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5)) return NONE;
    const unsigned wide = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((b & wide) == wide && (saved_registers() & 0xe6) == 0xe6) return AVX512;
    return AVX2;
}

/* Encode with one of the instruction sets, and say what became of it. */
EXPORT int64_t localq_codecs_encode(int set, const job *work) {
    switch (set) {
    case AVX2: return encode_avx2(work);
    case AVX512: return encode_avx512(work);
    default: return LEFT_ALL;
    }
}
