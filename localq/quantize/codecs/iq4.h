/* IQ4_NL and IQ4_XS: x = scale * (one of 16 values). */
#pragma once

#include "super_blocks.h"

/* kvalues_iq4nl */
static const float VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};

/* From here on the next value is the nearer one. The differences that ggml compares are exact
 * there, so this is halfway. */
static const float HALFWAY[16] = {-115.5f, -93.5f, -74, -57, -42,   -28.5f, -16, -4.5f,
                                  7,       19,     31.5f, 45.5f, 61, 79,    101, 101};

typedef struct {
    table values, halfway;
} nearest;

INLINE nearest nearest_tables(void) {
    return (nearest){table_of(VALUES), table_of(HALFWAY)};
}

/* best_index_int8. Cut into pieces of 14 from -95.5 on, with all below in the first and all above
 * in the last, the line has one place halfway between two values in each piece, and none of them
 * within 1 of where pieces meet: rounding in the choice of a piece does no harm. */
INLINE ints best_index(nearest by, floats x) {
    floats piece = x * every(1.0f / 14) + every(95.5f / 14 + 0.5f) + every(MAGIC);
    piece = least(most(piece, every(MAGIC)), every(MAGIC + 14));
    ints number = bits(piece);
    return step(not_less(x, look_up(by.halfway, number)), number);
}

#define IQ4_TRIES 2

INLINE void iq4_sums(int count, nearest by, const floats x[32], const floats w[32],
                     const floats id[], floats sumqx[], floats sumq2[]) {
    for (int t = 0; t < count; t++) sumqx[t] = sumq2[t] = every(0.0f);
    for (int i = 0; i < 32; i++)
        for (int t = 0; t < count; t++) {
            floats q = look_up(by.values, best_index(by, id[t] * x[i])), weighed = w[i] * q;
            sumqx[t] = sumqx[t] + weighed * x[i];
            sumq2[t] = sumq2[t] + weighed * q;
        }
}

/* The search of quantize_row_iq4_nl_impl with ntry 7, for the scales of LANES blocks. Its tries do
 * not depend on one another. */
INLINE void make_iq4_quants(const floats x[32], const floats w[32], float *out_scale) {
    const nearest by = nearest_tables();
    floats zero = every(0.0f), max = zero, amax = zero;
    for (int i = 0; i < 32; i++) {
        floats ax = size(x[i]);
        max = pick(less(amax, ax), x[i], max);
        amax = most(ax, amax);
    }
    mask nothing = less(amax, every(ZERO_BELOW));
    max = pick(nothing, every(1.0f), max);

    floats id[IQ4_TRIES], sumqx[IQ4_TRIES], sumq2[IQ4_TRIES];
    id[0] = every(1.0f) / (every(0.0f) - max / every(VALUES[0]));
    iq4_sums(1, by, x, w, id, sumqx, sumq2);
    floats scale = pick(less(zero, sumq2[0]), sumqx[0] / sumq2[0], zero);
    floats best = scale * sumqx[0];
    for (int first = -7; first <= 7; first += IQ4_TRIES) {
        for (int t = 0; t < IQ4_TRIES; t++) id[t] = every(first + t + VALUES[0]) / max;
        iq4_sums(IQ4_TRIES, by, x, w, id, sumqx, sumq2);
        for (int t = 0; t < IQ4_TRIES && first + t <= 7; t++) {
            mask better = less(best * sumq2[t], sumqx[t] * sumqx[t]);
            better = both(better, less(zero, sumq2[t]));
            floats quotient = sumqx[t] / sumq2[t];
            scale = pick(better, quotient, scale);
            best = pick(better, quotient * sumqx[t], best);
        }
    }
    store(out_scale, pick(nothing, zero, scale));
}

/* The scales of all blocks of 32 numbers of the batch, whose super-blocks have `block` numbers. */
INLINE void search_iq4(const batch *b, int block, float *scale) {
    const int in_super = block / 32;
    float sigma2[BATCH];
    if (b->weights[0] && block == QK_K) {
        squares(b, sigma2);
        for (int k = 0; k < BATCH; k++) sigma2[k] *= 2.f / QK_K;
    }
    for (int first = 0; first < b->blocks * in_super; first += LANES) {
        const float *rows[LANES];
        floats x[32], w[32];
        numbers_of(b, first, LANES, 32, rows);
        turn(rows, 32, x, 1);
        if (b->weights[0]) {
            floats spread = every(0.0f);
            weights_of(b, block, first, LANES, 32, rows);
            turn(rows, 32, w, 1);
            if (block == QK_K) {
                spread = of_super(sigma2, first, in_super);
            } else {
                for (int i = 0; i < 32; i++) spread = spread + x[i] * x[i];
                spread = spread * every(2.f / 32);
            }
            for (int i = 0; i < 32; i++) w[i] = w[i] * root(spread + x[i] * x[i]);
        } else {
            for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];
        }
        make_iq4_quants(x, w, scale + first);
    }
}

/* Below this, the inverse of a scale might be infinite. */
#define LEAST_SCALE 1e-30f

INLINE int invertible(float scale) {
    return scale == 0 || scale >= LEAST_SCALE || scale <= -LEAST_SCALE;
}

/* The indices of 32 numbers, of which j and j + 16 share a byte. */
INLINE void store_indices(const float *x, float id, uint8_t qs[16]) {
    const nearest by = nearest_tables();
    for (int i = 0; i < 16; i += LANES) {
        ints low = best_index(by, every(id) * load(x + i));
        ints high = best_index(by, every(id) * load(x + i + 16));
        store_bytes(qs + i, or(and(low, every_int(15)), shift_left(high, 4)));
    }
}

static void encode_iq4_nl(batch *b) {
    float scale[BATCH_NUMBERS / 32];
    search_iq4(b, 32, scale);
    for (int k = 0; k < b->blocks; k++) {
        block_iq4_nl *y = (block_iq4_nl *)b->out + k;
        y->d = to_f16(scale[k]);
        store_indices(b->x + 32 * k, scale[k] ? 1 / scale[k] : 0, y->qs);
        if (!invertible(scale[k])) b->refused[k] = 1;
    }
}

static void encode_iq4_xs(batch *b) {
    float scales[BATCH_NUMBERS / 32];
    search_iq4(b, QK_K, scales);
    for (int k = 0; k < b->blocks; k++) {
        block_iq4_xs *y = (block_iq4_xs *)b->out + k;
        const float *scale = scales + 8 * k;
        float d = -furthest_scale(scale, 8) / 32, id = d ? 1 / d : 0.f;
        y->d = to_f16(d);
        y->scales_h = 0;
        memset(y->scales_l, 0, 4);
        for (int j = 0; j < 8; j++) {
            int l = nearest_int(id * scale[j]);
            l = l < -32 ? -32 : l < 31 ? l : 31;
            float dl = d * l;
            store_indices(b->x + QK_K * k + 32 * j, dl ? 1 / dl : 0.f, y->qs + 16 * j);
            if (!invertible(dl)) b->refused[k] = 1;
            l += 32;
            y->scales_l[j / 2] |= (l & 15) << 4 * (j % 2);
            y->scales_h |= l >> 4 << 2 * j;
        }
        if (!invertible(d)) b->refused[k] = 1;
    }
}
