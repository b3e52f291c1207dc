/* The types of super-blocks of 256 numbers: the search by lanes, the rest row by row. */
#pragma once

#include "blocks.h"
#include "search.h"

#define QK_K 256

/* At most this many super-blocks at once: their numbers stay in the first cache. */
#define BATCH 16

/* Super-blocks to encode. There are numbers for whole groups, but only `blocks` are written.
 * `weights` are those of each super-block; all NULL without a matrix. */
typedef struct {
    const float *x;
    const float *weights[BATCH];
    uint8_t *out;
    int blocks;
    uint8_t refused[BATCH]; /* set where the numbers are out of the proven range */
} batch;

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

/* ---- Q4_K and Q5_K */

/* Q4_K and Q5_K keep 8 scales and 8 minima of 6 bits in 12 bytes. */
INLINE void pack_scales(const uint8_t ls[8], const uint8_t lm[8], uint8_t out[12]) {
    for (int j = 0; j < 4; j++) {
        out[j] = ls[j] | ls[j + 4] >> 4 << 6;
        out[j + 4] = lm[j] | lm[j + 4] >> 4 << 6;
        out[j + 8] = (ls[j + 4] & 0xf) | (lm[j + 4] & 0xf) << 4;
    }
}

/* The scales and minima of one super-block as 6 bits each, and their own scales. */
INLINE void whole_scales(const float scale[8], const float min[8], uint8_t ls[8], uint8_t lm[8],
                         uint16_t *d, uint16_t *dmin) {
    float max_scale = 0, max_min = 0;
    for (int j = 0; j < 8; j++) {
        if (scale[j] > max_scale) max_scale = scale[j];
        if (min[j] > max_min) max_min = min[j];
    }
    float inv_scale = max_scale > 0 ? 63.f / max_scale : 0.f;
    float inv_min = max_min > 0 ? 63.f / max_min : 0.f;
    for (int j = 0; j < 8; j++) {
        uint8_t s = nearest_int(inv_scale * scale[j]), m = nearest_int(inv_min * min[j]);
        ls[j] = s < 63 ? s : 63;
        lm[j] = m < 63 ? m : 63;
    }
    *d = to_f16(max_scale / 63.f);
    *dmin = to_f16(max_min / 63.f);
}

INLINE void whole_numbers(const float *x, const float *iscale, const float *offset,
                          const uint8_t ls[8], const uint8_t lm[8], float d, float dmin, int nmax,
                          uint8_t L[QK_K]) {
    for (int j = 0; j < 8; j++) {
        float scale = d * ls[j], min = dmin * lm[j];
        if (scale)
            requantize(x + 32 * j, 32, scale, min, nmax, L + 32 * j);
        else
            as_found(x + 32 * j, 32, iscale[j], offset[j], nmax, L + 32 * j);
    }
}

INLINE void pack_q4_K(const uint8_t *L, block_q4_K *y) {
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 32; i++) y->qs[32 * j + i] = L[64 * j + i] | L[64 * j + i + 32] << 4;
}

INLINE void pack_q5_K(const uint8_t *L, block_q5_K *y) {
    for (int i = 0; i < 32; i++) {
        uint8_t high = 0;
        for (int j = 0; j < 8; j++) high |= L[32 * j + i] >> 4 << j;
        y->qh[i] = high;
    }
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 32; i++)
            y->qs[32 * j + i] = (L[64 * j + i] & 15) | L[64 * j + i + 32] << 4;
}

#define SUPER_32 (GROUP / 8) /* super-blocks of 8 sub-blocks in a group */

static void encode_q45_K(batch *b, int nmax, float rmin, int nstep, size_t block_bytes) {
    for (int first = 0; first < b->blocks; first += SUPER_32) {
        floats x[32][ABREAST], w[32][ABREAST], sum_x2[ABREAST];
        found f;
        turn(b->x + first * QK_K, 32, x);
        EACH_ABREAST sum_x2[u] = every(0.0f);
        for (int i = 0; i < 32; i++) EACH_ABREAST sum_x2[u] = sum_x2[u] + x[i][u] * x[i][u];
        EACH_ABREAST {
            floats av_x = root(sum_x2[u] / every(32));
            for (int i = 0; i < 32; i++) w[i][u] = av_x + size(x[i][u]);
        }
        make_qkx_quants(32, nmax, x, w, rmin, 0.1f, nstep, 0, &f);
        for (int k = 0; k < SUPER_32 && first + k < b->blocks; k++) {
            uint8_t ls[8], lm[8], L[QK_K];
            uint8_t *out = b->out + (first + k) * block_bytes;
            block_q4_K *y4 = (block_q4_K *)out; /* Q5_K begins with the same 16 bytes */
            whole_scales(f.scale + 8 * k, f.min + 8 * k, ls, lm, &y4->d, &y4->dmin);
            pack_scales(ls, lm, y4->scales);
            whole_numbers(b->x + (first + k) * QK_K, f.iscale + 8 * k, f.offset + 8 * k, ls, lm,
                          from_f16(y4->d), from_f16(y4->dmin), nmax, L);
            if (nmax == 15)
                pack_q4_K(L, y4);
            else
                pack_q5_K(L, (block_q5_K *)out);
            b->refused[first + k] |= f.refused[8 * k / LANES] >> 8 * k % LANES & 0xff ? 1 : 0;
        }
    }
}

static void encode_q4_K(batch *b) { encode_q45_K(b, 15, -1.f, 20, sizeof(block_q4_K)); }
static void encode_q5_K(batch *b) { encode_q45_K(b, 31, -0.5f, 15, sizeof(block_q5_K)); }

/* ---- Q6_K */

/* Of 16 scales the one of the largest size, the first of them. */
INLINE float furthest_scale(const float scale[16]) {
    float max = 0, amax = 0;
    for (int j = 0; j < 16; j++) {
        float a = scale[j] < 0 ? -scale[j] : scale[j];
        if (a > amax) {
            amax = a;
            max = scale[j];
        }
    }
    return max;
}

INLINE void pack_q6_K(const uint8_t *L, block_q6_K *y) {
    for (int j = 0; j < 2; j++, L += 128)
        for (int i = 0; i < 32; i++) {
            y->ql[64 * j + i] = (L[i] & 15) | L[i + 64] << 4;
            y->ql[64 * j + i + 32] = (L[i + 32] & 15) | L[i + 96] << 4;
            y->qh[32 * j + i] = L[i] >> 4 | L[i + 32] >> 4 << 2 | L[i + 64] >> 4 << 4
                                | L[i + 96] >> 4 << 6;
        }
}

/* LANES sub-blocks of 16 numbers, one after another, as 16 rows of one number of each. */
INLINE void turn_16(const float *rows, floats columns[16]) {
    for (int first = 0; first < 16; first += LANES) {
        for (int i = 0; i < LANES; i++) columns[first + i] = load(rows + 16 * i + first);
        transpose(columns + first);
    }
}

static void encode_q6_K(batch *b) {
    for (int first = 0; first < b->blocks; first++) {
        const float *numbers = b->x + first * QK_K, *weights = b->weights[first];
        block_q6_K *y = (block_q6_K *)b->out + first;
        float scale[16], iscale[16];
        for (int part = 0; part < 16; part += LANES) {
            floats x[16], w[16];
            turn_16(numbers + 16 * part, x);
            if (weights)
                turn_16(weights + 16 * part, w);
            else
                for (int i = 0; i < 16; i++) w[i] = x[i] * x[i];
            make_qx_quants(16, 32, x, w, scale + part, iscale + part);
        }
        float max_scale = furthest_scale(scale);
        if ((max_scale < 0 ? -max_scale : max_scale) < ZERO_BELOW) {
            memset(y, 0, sizeof *y);
            continue;
        }
        float inverse = -128.f / max_scale, d;
        uint8_t L[QK_K];
        y->d = to_f16(1 / inverse);
        d = from_f16(y->d);
        for (int part = 0; part < 16; part += LANES) {
            ints l = nearest_ints(every(inverse) * load(scale + part));
            store_bytes(y->scales + part, least_int(every_int(127), l));
        }
        for (int j = 0; j < 16; j++) {
            float step = d * y->scales[j];
            if (step)
                requantize_signed(numbers + 16 * j, 16, step, 32, L + 16 * j);
            else
                as_found_signed(numbers + 16 * j, 16, iscale[j], 32, L + 16 * j);
        }
        pack_q6_K(L, y);
    }
}
