/* Q3_K and Q6_K: x = scale * l with scales of either sign. */
#pragma once

#include "super_blocks.h"

INLINE void pack_q6_K(const uint8_t *L, block_q6_K *y) {
    for (int j = 0; j < 2; j++, L += 128)
        for (int i = 0; i < 32; i++) {
            y->ql[64 * j + i] = (L[i] & 15) | L[i + 64] << 4;
            y->ql[64 * j + i + 32] = (L[i + 32] & 15) | L[i + 96] << 4;
            y->qh[32 * j + i] = L[i] >> 4 | L[i + 32] >> 4 << 2 | L[i + 64] >> 4 << 4
                                | L[i + 96] >> 4 << 6;
        }
}

/* make_qx_quants for all sub-blocks of 16 numbers of the batch, weighed by the squares of numbers,
 * by the matrix, or by both, where `sigma2` is given. */
INLINE void search_signed(const batch *b, int nmax, const float *sigma2, float *scale,
                          float *iscale, float *sum_w) {
    for (int first = 0; first < b->blocks * 16; first += LANES) {
        const float *rows[LANES];
        floats x[16], w[16];
        numbers_of(b, first, LANES, 16, rows);
        turn(rows, 16, x, 1);
        if (b->weights[0]) {
            weights_of(b, QK_K, first, LANES, 16, rows);
            turn(rows, 16, w, 1);
            if (sigma2) {
                floats spread = of_super(sigma2, first, 16), sum = every(0.0f);
                for (int i = 0; i < 16; i++) {
                    w[i] = w[i] * root(spread + x[i] * x[i]);
                    sum = sum + w[i];
                }
                store(sum_w + first, sum);
            }
        } else {
            for (int i = 0; i < 16; i++) w[i] = x[i] * x[i];
        }
        make_qx_quants(16, nmax, x, w, scale + first, iscale + first);
    }
}

/* ---- Q6_K */

static void encode_q6_K(batch *b) {
    float scales[SUB_BLOCKS], iscales[SUB_BLOCKS];
    search_signed(b, 32, NULL, scales, iscales, NULL);
    for (int k = 0; k < b->blocks; k++) {
        const float *numbers = b->x + k * QK_K, *scale = scales + 16 * k;
        block_q6_K *y = (block_q6_K *)b->out + k;
        float max_scale = furthest_scale(scale, 16);
        if ((max_scale < 0 ? -max_scale : max_scale) < ZERO_BELOW) {
            memset(y, 0, sizeof *y);
            continue;
        }
        float inverse = -128.f / max_scale;
        uint8_t L[QK_K];
        y->d = to_f16(1 / inverse);
        for (int part = 0; part < 16; part += LANES) {
            ints l = nearest_ints(every(inverse) * load(scale + part));
            store_bytes(y->scales + part, least_int(every_int(127), l));
        }
        float d = from_f16(y->d);
        for (int j = 0; j < 16; j++) {
            float step = d * y->scales[j];
            if (step)
                requantize_signed(numbers + 16 * j, 16, step, 32, L + 16 * j);
            else
                as_found_signed(numbers + 16 * j, 16, iscales[16 * k + j], 32, L + 16 * j);
        }
        pack_q6_K(L, y);
    }
}

/* ---- Q3_K */

/* 16 scales of 6 bits, from 0 to 63, in 12 bytes. */
INLINE void pack_q3_scales(const uint8_t ls[16], uint8_t out[12]) {
    for (int j = 0; j < 8; j++) out[j] = (ls[j] & 15) | (ls[j + 8] & 15) << 4;
    for (int j = 0; j < 4; j++)
        out[j + 8] = ls[j] >> 4 | ls[j + 4] >> 4 << 2 | ls[j + 8] >> 4 << 4 | ls[j + 12] >> 4 << 6;
}

/* Without a matrix. `l` is L less 4, in rows of SUB_BLOCKS. */
INLINE void search_q3(batch *b, float *scale, float l[16][SUB_BLOCKS], uint8_t *zero) {
    for (int first = 0; first < b->blocks * 16; first += GROUP) {
        const float *rows[GROUP];
        floats x[16][ABREAST], levels[16][ABREAST];
        unsigned empty[ABREAST], outside[ABREAST];
        numbers_of(b, first, GROUP, 16, rows);
        turn_group(rows, 16, x);
        make_q3_quants(16, 4, x, levels, scale + first, empty, outside);
        for (int i = 0; i < 16; i++) EACH_ABREAST store(&l[i][first + u * LANES], levels[i][u]);
        EACH_ABREAST {
            const int here = first + u * LANES;
            refuse(b, here, b->blocks * 16 - here, 16, outside[u]);
            for (int i = 0; i < LANES; i++) zero[here + i] = empty[u] >> i & 1;
        }
    }
}

/* Without a matrix: the scale of the largest size becomes -32. Returns the scale of scales. */
INLINE float whole_scales_signed(const float scale[16], uint8_t ls[16]) {
    float max_scale = furthest_scale(scale, 16);
    memset(ls, 0, 16);
    if (!max_scale) return 0.f;
    float iscale = -32.f / max_scale;
    for (int j = 0; j < 16; j++) {
        int8_t l = nearest_int(iscale * scale[j]);
        ls[j] = (l < -32 ? -32 : l < 31 ? l : 31) + 32;
    }
    return 1 / iscale;
}

/* With a matrix: make_qx_quants again, a super-block in each lane. */
INLINE void search_scales_signed(const batch *b, const float *scale, const float *sum_w,
                                 uint8_t ls[BATCH][16], float d[BATCH]) {
    for (int first = 0; first < b->blocks; first += LANES) {
        floats x[16], w[16];
        float iscale[LANES];
        by_super(scale, 16, first, x);
        by_super(sum_w, 16, first, w);
        make_qx_quants(16, 32, x, w, d + first, iscale);
        for (int k = first; k < first + LANES; k++)
            as_found_signed(scale + 16 * k, 16, iscale[k - first], 32, ls[k]);
    }
}

static void encode_q3_K(batch *b) {
    float scale[SUB_BLOCKS], iscale[SUB_BLOCKS], sum_w[SUB_BLOCKS], l[16][SUB_BLOCKS], d[BATCH];
    uint8_t ls[BATCH][16], zero[SUB_BLOCKS];
    if (b->weights[0]) {
        float sigma2[BATCH];
        squares(b, sigma2);
        for (int k = 0; k < BATCH; k++) sigma2[k] = 2 * sigma2[k] / QK_K;
        search_signed(b, 4, sigma2, scale, iscale, sum_w);
        search_scales_signed(b, scale, sum_w, ls, d);
    } else {
        search_q3(b, scale, l, zero);
        for (int k = 0; k < b->blocks; k++) d[k] = whole_scales_signed(scale + 16 * k, ls[k]);
    }
    for (int k = 0; k < b->blocks; k++) {
        block_q3_K *y = (block_q3_K *)b->out + k;
        uint8_t L[QK_K];
        y->d = to_f16(d[k]);
        pack_q3_scales(ls[k], y->scales);
        for (int j = 0; j < 16; j++) {
            const int sub = 16 * k + j;
            const float *numbers = b->x + 16 * sub;
            float step = from_f16(y->d) * (ls[k][j] - 32);
            if (step)
                requantize_signed(numbers, 16, step, 4, L + 16 * j);
            else if (b->weights[0])
                as_found_signed(numbers, 16, iscale[sub], 4, L + 16 * j);
            else
                for (int i = 0; i < 16; i++) L[16 * j + i] = zero[sub] ? 0 : (int)l[i][sub] + 4;
        }
        /* The third bit is set where L is 4 to 7. */
        pack_bit(L, 2, y->hmask);
        for (int i = 0; i < QK_K; i++) L[i] &= 3;
        pack_2_bits(L, y->qs);
    }
}
