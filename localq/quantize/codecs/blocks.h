/* What the files share, and the stored blocks; names and layouts are those of ggml-common.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* ggml's numbers of types */
enum {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11,
    Q4_K = 12, Q5_K = 13, Q6_K = 14, IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ4_NL = 20,
    IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23, BF16 = 30,
};

/* ggml_quantize_chunk(type, source, target, first element, rows, columns, weights) */
typedef size_t quantize_chunk(int, const float *, void *, int64_t, int64_t, int64_t, const float *);

/* Rows of numbers, and where their blocks go. `weights` (of one row) may be NULL. */
typedef struct {
    int type;
    int source_type;
    const void *source;
    uint8_t *target;
    int64_t rows, columns;
    const float *weights;
    quantize_chunk *ggml;
    const int32_t *place; /* of grids.h, for IQ2 and IQ3 */
    const uint16_t *lists;
} job;

/* What becomes of a job: how many numbers were left to ggml, or one of these. */
enum {
    LEFT_ALL = -1,   /* ggml has to do all of it */
    NOT_FINITE = -2, /* it holds NaN or infinity, or numbers too large for the type: nothing is done */
};

typedef int64_t encoder(const job *);

encoder encode_avx2, encode_avx512;

typedef struct { uint16_t d; uint8_t qs[16]; } block_q4_0, block_iq4_nl;
typedef struct { uint16_t d, m; uint8_t qs[16]; } block_q4_1;
typedef struct { uint16_t d; uint8_t qh[4], qs[16]; } block_q5_0;
typedef struct { uint16_t d, m; uint8_t qh[4], qs[16]; } block_q5_1;
typedef struct { uint16_t d; int8_t qs[32]; } block_q8_0;
typedef struct { uint8_t scales[16], qs[64]; uint16_t d, dmin; } block_q2_K;
typedef struct { uint8_t hmask[32], qs[64], scales[12]; uint16_t d; } block_q3_K;
typedef struct { uint16_t d, dmin; uint8_t scales[12], qs[128]; } block_q4_K;
typedef struct { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } block_q5_K;
typedef struct { uint16_t d, scales_h; uint8_t scales_l[4], qs[128]; } block_iq4_xs;
typedef struct { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } block_q6_K;
typedef struct { uint16_t d, qs[32]; } block_iq2_xxs;
typedef struct { uint16_t d, qs[32]; uint8_t scales[8]; } block_iq2_xs;
typedef struct { uint16_t d; uint8_t qs[32], signs[32], qh[8], scales[8]; } block_iq2_s;
typedef struct { uint16_t d; uint8_t qs[64]; uint16_t scales_and_signs[16]; } block_iq3_xxs;
typedef struct { uint16_t d; uint8_t qs[64], qh[8], signs[32], scales[4]; } block_iq3_s;
