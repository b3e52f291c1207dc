/* Super-blocks of 256 numbers: a batch of them, and the parts that their types share. */
#pragma once

#include "blocks.h"
#include "search.h"

#define QK_K 256

/* At most this many super-blocks at once: their numbers stay in the first cache. */
#define BATCH 16
#define BATCH_NUMBERS (BATCH * QK_K)

/* Sub-blocks of 16 numbers in a batch. */
#define SUB_BLOCKS (BATCH * 16)

/* Blocks to encode, of 256 numbers or of 32. There are numbers for a whole batch, but only `blocks`
 * are written. `weights` are those of each block, all NULL without an importance matrix; `sigma2`
 * is the mean square of each block's row, for the types that ask for it. */
typedef struct {
    const float *x;
    const float *weights[BATCH_NUMBERS / 32];
    float sigma2[BATCH_NUMBERS / 32];
    const int32_t *place;
    const uint16_t *lists;
    uint8_t *out;
    int blocks;
    uint8_t refused[BATCH_NUMBERS / 32]; /* set where the numbers are out of the proven range */
} batch;

/* Where `count` sub-blocks of n numbers begin, from sub-block `first` of the batch on. */
INLINE void numbers_of(const batch *b, int first, int count, int n, const float *rows[]) {
    for (int i = 0; i < count; i++) rows[i] = b->x + (first + i) * n;
}

/* Where their weights begin, in blocks of `block` numbers: beyond the last block any will do. */
INLINE void weights_of(const batch *b, int block, int first, int count, int n,
                       const float *rows[]) {
    for (int i = 0; i < count; i++) {
        const int number = (first + i) * n;
        const float *weights = b->weights[number / block];
        rows[i] = (weights ? weights : b->weights[0]) + number % block;
    }
}

/* A bit for each of `count` sub-blocks from `first` on, of which each super-block has `in_super`. */
INLINE void refuse(batch *b, int first, int count, int in_super, unsigned outside) {
    for (int i = 0; outside; i++, outside >>= 1)
        if (i < count && outside & 1) b->refused[(first + i) / in_super] = 1;
}

/* Of each super-block the sum of squares, one after the other as ggml adds them. */
static void squares(const batch *b, float sum_x2[BATCH]) {
    for (int part = 0; part < BATCH; part += LANES) {
        floats sum = every(0.0f);
        const float *rows[LANES];
        if (part >= b->blocks) break;
        for (int first = 0; first < QK_K; first += LANES) {
            floats x[LANES];
            for (int i = 0; i < LANES; i++) rows[i] = b->x + (part + i) * QK_K + first;
            turn(rows, LANES, x, 1);
            for (int i = 0; i < LANES; i++) sum = sum + x[i] * x[i];
        }
        store(sum_x2 + part, sum);
    }
}

/* A value of each super-block for its sub-blocks, in lanes from sub-block `first` on. */
INLINE floats of_super(const float value[BATCH], int first, int in_super) {
    float lanes[LANES];
    for (int i = 0; i < LANES; i++) lanes[i] = value[(first + i) / in_super];
    return load(lanes);
}

/* n numbers of each super-block, in lanes from super-block `first` on. */
INLINE void by_super(const float *values, int n, int first, floats columns[]) {
    float lanes[16][LANES];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < LANES; k++) lanes[i][k] = values[(first + k) * n + i];
    for (int i = 0; i < n; i++) columns[i] = load(lanes[i]);
}

/* ---- from a scale and a minimum to stored numbers: real divisions, as ggml's */

/* l = nearest_int((x + dm) / d), within [0, nmax] */
INLINE void requantize(const float *x, int n, float d, float dm, int nmax, uint8_t *L) {
    for (int i = 0; i < n; i += LANES) {
        ints l = nearest_ints((load(x + i) + every(dm)) / every(d));
        store_bytes(L + i, most_int(every_int(0), least_int(every_int(nmax), l)));
    }
}

/* l = nearest_int(x / d), within [-nmax, nmax - 1], + nmax */
INLINE void requantize_signed(const float *x, int n, float d, int nmax, uint8_t *L) {
    for (int i = 0; i < n; i += LANES) {
        ints l = nearest_ints(load(x + i) / every(d));
        l = most_int(every_int(-nmax), least_int(every_int(nmax - 1), l));
        store_bytes(L + i, plus(l, every_int(nmax)));
    }
}

/* Where the stored scale is 0, ggml keeps what its search found. */

static void as_found(const float *x, int n, float iscale, float offset, int nmax, uint8_t *L) {
    for (int i = 0; i < n; i++) {
        int l = nearest_int(iscale * (x[i] - offset));
        l = l < nmax ? l : nmax;
        L[i] = l > 0 ? l : 0;
    }
}

static void as_found_signed(const float *x, int n, float iscale, int nmax, uint8_t *L) {
    for (int i = 0; i < n; i++) {
        int l = nearest_int(iscale * x[i]);
        l = l < nmax - 1 ? l : nmax - 1;
        L[i] = iscale ? nmax + (l > -nmax ? l : -nmax) : 0;
    }
}

/* Of n scales the one of the largest size, the first of them. */
INLINE float furthest_scale(const float *scale, int n) {
    float max = 0, amax = 0;
    for (int j = 0; j < n; j++) {
        float a = scale[j] < 0 ? -scale[j] : scale[j];
        if (a > amax) {
            amax = a;
            max = scale[j];
        }
    }
    return max;
}

/* ---- stored layouts */

INLINE void pack_2_bits(const uint8_t *L, uint8_t qs[64]) {
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *l = L + 128 * j + i;
            qs[32 * j + i] = l[0] | l[32] << 2 | l[64] << 4 | l[96] << 6;
        }
}

INLINE void pack_nibbles(const uint8_t *L, uint8_t qs[128]) {
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 32; i++)
            qs[32 * j + i] = (L[64 * j + i] & 15) | L[64 * j + i + 32] << 4;
}

/* Bit `bit` of the 8 times 32 numbers, which become the bits of 32 bytes. */
INLINE void pack_bit(const uint8_t *L, int bit, uint8_t qh[32]) {
    for (int i = 0; i < 32; i++) {
        uint8_t high = 0;
        for (int j = 0; j < 8; j++) high |= (L[32 * j + i] >> bit & 1) << j;
        qh[i] = high;
    }
}
