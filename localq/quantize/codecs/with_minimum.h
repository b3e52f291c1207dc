/* Q2_K, Q4_K and Q5_K: x = scale * l - min, scales and minima as small numbers themselves. */
#pragma once

#include "super_blocks.h"

/* ---- the scales and minima of a super-block */

/* What is stored for the sub-blocks of one super-block, and the scales of that. */
typedef struct {
    uint8_t ls[16], lm[16];
    float d, dmin;
} whole;

/* Without a matrix: the largest is the most there is. `out->ls` may wrap around as ggml's does. */
INLINE void whole_scales(int n, float most, const float *scale, const float *min, whole *out) {
    float max_scale = 0, max_min = 0;
    for (int j = 0; j < n; j++) {
        if (scale[j] > max_scale) max_scale = scale[j];
        if (min[j] > max_min) max_min = min[j];
    }
    float inv_scale = max_scale > 0 ? most / max_scale : 0.f;
    float inv_min = max_min > 0 ? most / max_min : 0.f;
    for (int j = 0; j < n; j++) {
        out->ls[j] = nearest_int(inv_scale * scale[j]);
        out->lm[j] = nearest_int(inv_min * min[j]);
    }
    out->d = max_scale / most;
    out->dmin = max_min / most;
}

/* With a matrix: searched for, in a super-block a lane, weighed by the sums of weights. */
INLINE void search_scales(batch *b, int n, int nmax, const float *scale, const float *min,
                          const float *sum_w, whole out[BATCH]) {
    for (int first = 0; first < b->blocks; first += LANES) {
        floats x[16], w[16], l[16], of[2];
        by_super(sum_w, n, first, w);
        for (int second = 0; second < 2; second++) {
            by_super(second ? min : scale, n, first, x);
            unsigned outside = make_qp_quants(n, nmax, 0, x, w, l, &of[second]);
            refuse(b, first, b->blocks - first, 1, outside);
            for (int j = 0; j < n; j++) {
                uint8_t bytes[LANES];
                store_bytes(bytes, truncate(l[j]));
                for (int k = 0; k < LANES; k++)
                    (second ? out[first + k].lm : out[first + k].ls)[j] = bytes[k];
            }
        }
        for (int k = 0; k < LANES; k++) {
            float d[2][LANES];
            store(d[0], of[0]);
            store(d[1], of[1]);
            out[first + k].d = d[0][k];
            out[first + k].dmin = d[1][k];
        }
    }
}

INLINE void whole_numbers(const float *x, int n, found f, const whole *s, float d, float dmin,
                          int nmax, uint8_t L[QK_K]) {
    for (int j = 0; j < QK_K / n; j++) {
        float scale = d * s->ls[j], min = dmin * s->lm[j];
        if (scale)
            requantize(x + n * j, n, scale, min, nmax, L + n * j);
        else
            as_found(x + n * j, n, f.iscale[j], f.offset[j], nmax, L + n * j);
    }
}

/* ---- the search */

#define FOUND(name)                                                                              \
    float name##_scale[SUB_BLOCKS], name##_min[SUB_BLOCKS], name##_iscale[SUB_BLOCKS];            \
    float name##_offset[SUB_BLOCKS];                                                              \
    const found name = {name##_scale, name##_min, name##_iscale, name##_offset}

INLINE found from(found f, int first) {
    return (found){f.scale + first, f.min + first, f.iscale + first, f.offset + first};
}

enum weighing { BY_SIZE, BY_SIZE_AND_MEAN, BY_MATRIX };

INLINE void weigh(enum weighing by, int n, floats x[][ABREAST], const floats sigma2[ABREAST],
                  floats w[][ABREAST]) {
    EACH_ABREAST {
        floats sum_x2 = every(0.0f);
        if (by == BY_SIZE_AND_MEAN) {
            for (int i = 0; i < n; i++) sum_x2 = sum_x2 + x[i][u] * x[i][u];
            sum_x2 = root(sum_x2 / every((float)n));
        }
        for (int i = 0; i < n; i++) {
            if (by == BY_SIZE)
                w[i][u] = size(x[i][u]);
            else if (by == BY_SIZE_AND_MEAN)
                w[i][u] = sum_x2 + size(x[i][u]);
            else
                w[i][u] = w[i][u] * root(sigma2[u] + x[i][u] * x[i][u]);
        }
    }
}

/* Search for all sub-blocks of the batch, and with a matrix for their scales too.
 * `variance` is what ggml multiplies the mean square by. */
INLINE void search_batch(batch *b, enum weighing by, int n, int nmax, float rmin, float rdelta,
                         int nstep, int use_mad, float variance, found f, float *sum_w) {
    const int in_super = QK_K / n;
    float sigma2[BATCH];
    if (by == BY_MATRIX) {
        squares(b, sigma2);
        for (int k = 0; k < BATCH; k++) sigma2[k] = variance * sigma2[k] / QK_K;
    }
    for (int first = 0; first < b->blocks * in_super; first += GROUP) {
        const float *rows[GROUP];
        floats x[32][ABREAST], w[32][ABREAST], spread[ABREAST];
        unsigned outside[ABREAST];
        numbers_of(b, first, GROUP, n, rows);
        turn_group(rows, n, x);
        if (by == BY_MATRIX) {
            weights_of(b, QK_K, first, GROUP, n, rows);
            turn_group(rows, n, w);
            EACH_ABREAST spread[u] = of_super(sigma2, first + u * LANES, in_super);
        }
        weigh(by, n, x, spread, w);
        if (by == BY_MATRIX) EACH_ABREAST {
            floats sum = every(0.0f);
            for (int i = 0; i < n; i++) sum = sum + w[i][u];
            store(sum_w + first + u * LANES, sum);
        }
        make_qkx_quants(n, nmax, x, w, rmin, rdelta, nstep, use_mad, from(f, first), outside);
        EACH_ABREAST {
            const int here = first + u * LANES;
            refuse(b, here, b->blocks * in_super - here, in_super, outside[u]);
        }
    }
}

/* ---- Q4_K and Q5_K */

/* Their 8 scales and 8 minima of 6 bits take 12 bytes. */
INLINE void pack_scales(const uint8_t ls[8], const uint8_t lm[8], uint8_t out[12]) {
    for (int j = 0; j < 4; j++) {
        out[j] = ls[j] | ls[j + 4] >> 4 << 6;
        out[j + 4] = lm[j] | lm[j + 4] >> 4 << 6;
        out[j + 8] = (ls[j + 4] & 0xf) | (lm[j + 4] & 0xf) << 4;
    }
}

INLINE void encode_q45_K(batch *b, int nmax, float rmin, int nstep, size_t block_bytes) {
    float sum_w[SUB_BLOCKS];
    whole scales[BATCH];
    FOUND(f);
    if (b->weights[0]) {
        search_batch(b, BY_MATRIX, 32, nmax, -0.9f, 0.05f, 36, 0, 2, f, sum_w);
        search_scales(b, 8, 63, f.scale, f.min, sum_w, scales);
    } else {
        search_batch(b, BY_SIZE_AND_MEAN, 32, nmax, rmin, 0.1f, nstep, 0, 0, f, NULL);
    }
    for (int k = 0; k < b->blocks; k++) {
        uint8_t L[QK_K], *out = b->out + k * block_bytes;
        block_q4_K *y4 = (block_q4_K *)out; /* Q5_K begins with the same 16 bytes */
        block_q5_K *y5 = (block_q5_K *)out;
        whole *s = scales + k;
        if (!b->weights[0]) {
            whole_scales(8, 63, f.scale + 8 * k, f.min + 8 * k, s);
            for (int j = 0; j < 8; j++) {
                s->ls[j] = s->ls[j] < 63 ? s->ls[j] : 63;
                s->lm[j] = s->lm[j] < 63 ? s->lm[j] : 63;
            }
        }
        y4->d = to_f16(s->d);
        y4->dmin = to_f16(s->dmin);
        pack_scales(s->ls, s->lm, y4->scales);
        whole_numbers(b->x + k * QK_K, 32, from(f, 8 * k), s, from_f16(y4->d), from_f16(y4->dmin),
                      nmax, L);
        if (nmax == 31) pack_bit(L, 4, y5->qh);
        pack_nibbles(L, nmax == 31 ? y5->qs : y4->qs);
    }
}

static void encode_q4_K(batch *b) { encode_q45_K(b, 15, -1.f, 20, sizeof(block_q4_K)); }
static void encode_q5_K(batch *b) { encode_q45_K(b, 31, -0.5f, 15, sizeof(block_q5_K)); }

/* ---- Q2_K */

static void encode_q2_K(batch *b) {
    float sum_w[SUB_BLOCKS];
    whole scales[BATCH];
    FOUND(f);
    if (b->weights[0]) {
        search_batch(b, BY_MATRIX, 16, 3, -0.9f, 0.05f, 36, 0, 1, f, sum_w);
        search_scales(b, 16, 15, f.scale, f.min, sum_w, scales);
    } else {
        search_batch(b, BY_SIZE, 16, 3, -0.5f, 0.1f, 15, 1, 0, f, NULL);
    }
    for (int k = 0; k < b->blocks; k++) {
        uint8_t L[QK_K];
        block_q2_K *y = (block_q2_K *)b->out + k;
        whole *s = scales + k;
        if (!b->weights[0]) whole_scales(16, 15, f.scale + 16 * k, f.min + 16 * k, s);
        for (int j = 0; j < 16; j++) {
            y->scales[j] = s->ls[j] | s->lm[j] << 4;
            s->ls[j] = y->scales[j] & 15;
            s->lm[j] = y->scales[j] >> 4;
        }
        y->d = to_f16(s->d);
        y->dmin = to_f16(s->dmin);
        whole_numbers(b->x + k * QK_K, 16, from(f, 16 * k), s, from_f16(y->d), from_f16(y->dmin),
                      3, L);
        pack_2_bits(L, y->qs);
    }
}
