/* The types of 32 numbers with one scale: each block is worked on row by row. */
#pragma once

#include "blocks.h"
#include "lanes.h"

#define VECTORS (32 / LANES)
#define EACH_VECTOR for (int v = 0; v < VECTORS; v++)

/* Below this, 1/d might be infinite. */
#define LEAST_SIZE 1e-30f

INLINE unsigned lanes_equal(const floats x[], float value) {
    unsigned found = 0;
    EACH_VECTOR found |= lanes_of(equal(x[v], every(value))) << (v * LANES);
    return found;
}

/* The 32 numbers' low 4 bits: number j with number j + 16. */
INLINE void store_nibbles(uint8_t qs[16], const ints l[]) {
    for (int v = 0; v < VECTORS / 2; v++)
        store_bytes(qs + v * LANES, or(l[v], shift_left(l[v + VECTORS / 2], 4)));
}

INLINE void store_fifth_bits(uint8_t qh[4], ints l[]) {
    unsigned high = 0;
    EACH_VECTOR {
        /* Bit 4 becomes the sign, which is what lanes are told by. */
        high |= lanes_of(less(as_floats(shift_left(l[v], 27)), every(0.0f))) << (v * LANES);
        l[v] = and(l[v], every_int(15));
    }
    memcpy(qh, &high, 4);
}

/* The number of the largest size, the first of them where several are as large, and that size. */
INLINE float furthest(const float *p, const floats x[], float *amax) {
    floats m = every(0.0f), sizes[VECTORS];
    EACH_VECTOR {
        sizes[v] = size(x[v]);
        m = most(sizes[v], m);
    }
    *amax = most_across(m);
    if (*amax == 0) return 0.0f; /* whatever the zeros' signs */
    return p[__builtin_ctz(lanes_equal(sizes, *amax))];
}

/* Q4_0 and Q5_0: x = d * (l - half) */
INLINE int halves(const float *p, int half, uint16_t *d16, ints l[]) {
    floats x[VECTORS];
    float amax;
    EACH_VECTOR x[v] = load(p + v * LANES);
    float max = furthest(p, x, &amax);
    float d = max / -half;
    float id = d ? 1.0f / d : 0.0f;
    *d16 = to_f16(d);
    EACH_VECTOR {
        l[v] = truncate(x[v] * every(id) + every(half + 0.5f));
        l[v] = least_int(l[v], every_int(2 * half - 1));
    }
    return amax == 0 || amax >= LEAST_SIZE;
}

/* Q4_1 and Q5_1: x = d * l + m */
INLINE int ranges(const float *p, int most_l, uint16_t *d16, uint16_t *m16, ints l[]) {
    floats x[VECTORS];
    EACH_VECTOR x[v] = load(p + v * LANES);
    floats low = x[0], high = x[0];
    for (int v = 1; v < VECTORS; v++) {
        low = least(x[v], low);
        high = most(x[v], high);
    }
    float min = least_across(low), max = most_across(high);
    /* Of zeros of both signs, ggml's minimum is the first. */
    if (min == 0) min = p[__builtin_ctz(lanes_equal(x, 0.0f))];
    float range = max == min ? 0.0f : max - min; /* never -0 */
    float d = range / most_l;
    float id = d ? 1.0f / d : 0.0f;
    *d16 = to_f16(d);
    *m16 = to_f16(min);
    EACH_VECTOR {
        l[v] = truncate((x[v] - every(min)) * every(id) + every(0.5f));
        l[v] = least_int(l[v], every_int(most_l));
    }
    return range == 0 || range >= LEAST_SIZE;
}

/* Each writes one block and says whether its numbers are in the proven range. */

INLINE int encode_q4_0(const float *p, void *out) {
    block_q4_0 *y = out;
    ints l[VECTORS];
    int proven = halves(p, 8, &y->d, l);
    store_nibbles(y->qs, l);
    return proven;
}

INLINE int encode_q5_0(const float *p, void *out) {
    block_q5_0 *y = out;
    ints l[VECTORS];
    int proven = halves(p, 16, &y->d, l);
    store_fifth_bits(y->qh, l);
    store_nibbles(y->qs, l);
    return proven;
}

INLINE int encode_q4_1(const float *p, void *out) {
    block_q4_1 *y = out;
    ints l[VECTORS];
    int proven = ranges(p, 15, &y->d, &y->m, l);
    store_nibbles(y->qs, l);
    return proven;
}

INLINE int encode_q5_1(const float *p, void *out) {
    block_q5_1 *y = out;
    ints l[VECTORS];
    int proven = ranges(p, 31, &y->d, &y->m, l);
    store_fifth_bits(y->qh, l);
    store_nibbles(y->qs, l);
    return proven;
}

INLINE int encode_q8_0(const float *p, void *out) {
    block_q8_0 *y = out;
    floats x[VECTORS], m = every(0.0f);
    EACH_VECTOR {
        x[v] = load(p + v * LANES);
        m = most(size(x[v]), m);
    }
    float amax = most_across(m);
    float d = amax / 127;
    float id = d ? 1.0f / d : 0.0f;
    y->d = to_f16(d);
    EACH_VECTOR {
        /* roundf, half away from zero: adding the float before 0.5 and cutting off is the same. */
        floats q = x[v] * every(id);
        ints half = or(bits(every(0.49999997f)), and(bits(q), every_int(INT32_MIN)));
        store_bytes(y->qs + v * LANES, truncate(q + from_bits(half)));
    }
    return amax == 0 || amax >= LEAST_SIZE;
}
