/* IQ2 and IQ3: sizes of numbers as points of a lattice, signs apart.
 *
 * Sub-blocks lie in lanes for weights, levels and sums; where a point is not of the lattice, its
 * neighbours lie in lanes, each with its ordered sum. */
#pragma once

#include "super_blocks.h"

/* What tells the types apart. Levels are those of 2 * level + 1. */
typedef struct {
    int n, dims, levels; /* numbers in a sub-block, coordinates of a point, levels of each */
    int tries;           /* from -tries to tries ... */
    float delta;         /* ... in these steps */
    float zero_below;    /* a sub-block counts as zero */
    float variance;      /* what the mean square is multiplied by for the weights */
    int even_signs;      /* of 8 signs the last follows from the others */
    int searched;        /* the largest level is searched for first (IQ2_XXS) */
    int all_again;       /* the last pass is over all points, not only those not on the lattice */
} shape;

/* What was found for the sub-blocks of a batch. */
typedef struct {
    float scale[SUB_BLOCKS];
    uint16_t point[SUB_BLOCKS][8];
    uint8_t signs[SUB_BLOCKS][4];
    uint8_t zero[SUB_BLOCKS];
} points;

/* Sub-blocks in lanes, by element. */
typedef struct {
    floats x[32], w[32], root_w[32]; /* sizes (one of eight perhaps negative), weights */
} sized;

/* ---- the nearest neighbour of one point */

/* The neighbour of least weighed distance from numbers x (each LANES floats after the last), the
 * first of them; as its packed coordinates. The distance of each coordinate takes one of few
 * values, which the neighbours look up; the sum is in ggml's order. */
INLINE int best_neighbour(int dims, const uint16_t *list, const float *x, const float *w,
                          float scale) {
    const int count = list[1];
    floats off[8];
    for (int i = 0; i < dims; i++) {
        if (dims == 8) {
            __m128 q = _mm_mul_ps(_mm_set1_ps(scale), _mm_setr_ps(1, 3, 5, 7));
            __m128 diff = _mm_sub_ps(q, _mm_set1_ps(x[i * LANES]));
            off[i] = four(_mm_mul_ps(_mm_mul_ps(_mm_set1_ps(w[i * LANES]), diff), diff));
        } else {
            __m256 q = _mm256_mul_ps(_mm256_set1_ps(scale),
                                     _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15));
            __m256 diff = _mm256_sub_ps(q, _mm256_set1_ps(x[i * LANES]));
            off[i] = eight(_mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[i * LANES]), diff), diff));
        }
    }
    floats best = every(0.0f);
    ints best_point = every_int(0), best_round = every_int(0);
    for (int first = 0; first < count; first += LANES) {
        ints point = load_u16(list + 2 + first), coordinate = point;
        floats d2 = every(0.0f);
        for (int i = 0; i < dims; i++) {
            if (dims == 8) {
                d2 = d2 + look_up_four(off[i], coordinate);
                coordinate = shift_right(coordinate, 2);
            } else {
                d2 = d2 + look_up_eight(off[i], and(coordinate, every_int(7)));
                coordinate = shift_right(coordinate, 4);
            }
        }
        mask better = first ? less(d2, best) : equal(every(0.0f), every(0.0f));
        best = pick(better, d2, best);
        best_point = pick_int(better, point, best_point);
        best_round = pick_int(better, every_int(first), best_round);
    }
    unsigned nearest = lanes_of(equal(best, every(least_across(best))));
    int point[LANES], round[LANES], lane = __builtin_ctz(nearest | 1u << (LANES - 1));
    store_ints(point, best_point);
    if (nearest & (nearest - 1)) {
        store_ints(round, best_round);
        for (int i = lane + 1; i < LANES; i++)
            if (nearest >> i & 1 && round[i] < round[lane]) lane = i;
    }
    return point[lane];
}

/* ---- the levels of all sub-blocks for one scale */

/* The nearest levels, and for points that are not of the lattice their best neighbour's; only in
 * the lanes of `wanted`. `on_grid` has for each point the lanes where it was of the lattice. */
INLINE void nearest_points(const shape *s, const batch *b, const sized *of, floats id,
                           floats scale, unsigned wanted, floats l[32], unsigned on_grid[8]) {
    const float *x = (const float *)of->x, *w = (const float *)of->root_w;
    float scales[LANES];
    store(scales, scale);
    for (int k = 0; k < s->n / s->dims; k++) {
        floats *level = l + k * s->dims, code = every(0.0f);
        int codes[LANES], found[LANES];
        for (int i = s->dims - 1; i >= 0; i--) {
            floats value = every(0.5f) * (id * of->x[k * s->dims + i] - every(1.0f));
            level[i] = nearest_within(value, 0, s->levels - 1);
            code = code * every((float)s->levels) + level[i];
        }
        store_ints(codes, truncate(code));
        unsigned off = 0;
        for (int lane = 0; lane < LANES; lane++) {
            const int place = b->place[codes[lane]];
            found[lane] = 0;
            if (place >= 0 || !(wanted >> lane & 1)) continue;
            const int first = k * s->dims * LANES + lane;
            found[lane] = best_neighbour(s->dims, b->lists + (-1 - place), x + first, w + first,
                                         scales[lane]);
            off |= 1u << lane;
        }
        on_grid[k] = ~off;
        if (!off) continue;
        ints point = load_ints(found);
        for (int i = 0; i < s->dims; i++) {
            floats coordinate = as_floats(and(point, every_int(s->levels == 3 ? 3 : 7)));
            level[i] = pick(from_lanes(off), coordinate, level[i]);
            if (s->dims == 8)
                point = shift_right(point, 2);
            else
                point = shift_right(point, 4);
        }
    }
}

INLINE void level_sums(int n, const sized *of, const floats l[32], floats *sumqx, floats *sumq2) {
    *sumqx = *sumq2 = every(0.0f);
    for (int i = 0; i < n; i++) {
        floats q = every(2.0f) * l[i] + every(1.0f);
        *sumqx = *sumqx + of->w[i] * of->x[i] * q;
        *sumq2 = *sumq2 + of->w[i] * q * q;
    }
}

/* ---- the search for LANES sub-blocks */

/* Sizes and signs; of eight numbers with an odd count of negative ones, the one that weighs least
 * is given the other sign. */
INLINE void take_signs(const shape *s, sized *of, ints signs[4]) {
    for (int k = 0; k < s->n / 8; k++) {
        floats *x = of->x + 8 * k, *w = of->w + 8 * k, min = every(0.0f);
        ints set = every_int(0), odd = every_int(0), lightest = every_int(1);
        for (int i = 0; i < 8; i++) {
            floats weight = w[i] * x[i] * x[i];
            mask lighter = less(weight, min);
            min = i ? pick(lighter, weight, min) : weight;
            if (i) lightest = pick_int(lighter, every_int(1 << i), lightest);
            ints below = pick_int(less(x[i], every(0.0f)), every_int(-1), every_int(0));
            set = or(set, and(below, every_int(1 << i)));
            odd = odd ^ below;
            x[i] = size(x[i]);
        }
        if (s->even_signs) {
            lightest = and(lightest, odd);
            set = and(set ^ lightest, every_int(127));
            for (int i = 0; i < 8; i++) {
                /* Its bit becomes the sign. */
                ints flip = and(shift_left(lightest, 31 - i), every_int(INT32_MIN));
                x[i] = from_bits(bits(x[i]) ^ flip);
            }
        }
        signs[k] = set;
    }
}

INLINE void search_points(const shape *s, batch *b, int first, sized *of, points *out) {
    const int per = s->n / s->dims, in_super = QK_K / s->n;
    const floats zero = every(0.0f);
    floats max, largest, scale, best = zero, sumqx, sumq2, l[32], won[32];
    unsigned on_grid[8], won_on_grid[8];
    ints signs[4];
    take_signs(s, of, signs);
    max = of->x[0];
    largest = zero;
    for (int i = 0; i < s->n; i++) {
        if (i) max = most(max, of->x[i]);
        largest = most(size(of->x[i]), largest);
        of->root_w[i] = root(of->w[i]);
        won[i] = zero;
    }
    mask nothing = s->zero_below ? less(max, every(s->zero_below)) : equal(max, zero);
    mask refused = less(max, every(1e-30f));
    max = pick(nothing, every(1.0f), max);
    if (s->searched) {
        unsigned outside = make_qp_quants(s->n, s->levels + 1, 1, of->x, of->w, l, &scale);
        refused = either(refused, from_lanes(outside));
        max = scale * every((float)s->levels);
        nothing = either(nothing, not_less(zero, max));
        max = pick(nothing, every(1.0f), max);
    } else {
        scale = max / every(2.0f * s->levels - 1);
    }
    for (int k = 0; k < per; k++) won_on_grid[k] = s->all_again ? 0 : ~0u;

    for (int is = -s->tries; is <= s->tries; is++) {
        floats id = every(2 * s->levels - 1 + is * s->delta) / max;
        refused = either(refused, not_less(id * largest, every(TOO_LARGE_TO_ROUND)));
        nearest_points(s, b, of, id, every(1.0f) / id, ~lanes_of(nothing), l, on_grid);
        level_sums(s->n, of, l, &sumqx, &sumq2);
        mask better = both(less(zero, sumq2), less(best * sumq2, sumqx * sumqx));
        floats quotient = sumqx / sumq2;
        scale = pick(better, quotient, scale);
        best = pick(better, quotient * sumqx, best);
        if (s->searched) continue; /* the last pass finds the levels anew */
        for (int i = 0; i < s->n; i++) won[i] = pick(better, l[i], won[i]);
        const unsigned these = lanes_of(better);
        for (int k = 0; k < per; k++)
            won_on_grid[k] = (these & on_grid[k]) | (~these & won_on_grid[k]);
    }

    unsigned off = 0;
    for (int k = 0; k < per; k++) off |= ~won_on_grid[k];
    if (s->searched) off = ~0u;
    off &= lanes_of(but_not(less(zero, scale), nothing));
    if (off) {
        floats id = every(1.0f) / scale;
        mask again = from_lanes(off);
        refused = either(refused, both(again, not_less(id * largest, every(TOO_LARGE_TO_ROUND))));
        nearest_points(s, b, of, id, scale, off, l, on_grid);
        for (int k = 0; k < per; k++) {
            unsigned these = s->all_again || s->searched ? off : off & ~won_on_grid[k];
            for (int i = k * s->dims; i < (k + 1) * s->dims; i++)
                won[i] = pick(from_lanes(these), l[i], won[i]);
        }
        level_sums(s->n, of, won, &sumqx, &sumq2);
        scale = pick(both(again, less(zero, sumq2)), sumqx / sumq2, scale);
    }
    /* ggml turns a scale below 0 around, which hardly happens, and ends at NaN. */
    mask usual = less(zero, scale);
    if (!s->searched) usual = either(usual, equal(scale, zero));
    refused = but_not(either(refused, but_not(equal(zero, zero), usual)), nothing);

    store(out->scale + first, pick(nothing, zero, scale));
    for (int k = 0; k < per; k++) {
        int codes[LANES];
        floats code = zero;
        for (int i = s->dims - 1; i >= 0; i--)
            code = code * every((float)s->levels) + won[k * s->dims + i];
        store_ints(codes, truncate(code));
        for (int lane = 0; lane < LANES; lane++) {
            const int at = b->place[codes[lane]];
            out->point[first + lane][k] = at < 0 || lanes_of(nothing) >> lane & 1 ? 0 : at;
        }
    }
    for (int k = 0; k < s->n / 8; k++) {
        int lanes[LANES];
        store_ints(lanes, signs[k]);
        for (int i = 0; i < LANES; i++)
            out->signs[first + i][k] = lanes_of(nothing) >> i & 1 ? 0 : lanes[i];
    }
    for (int i = 0; i < LANES; i++) out->zero[first + i] = lanes_of(nothing) >> i & 1;
    refuse(b, first, b->blocks * in_super - first, in_super, lanes_of(refused));
}

INLINE void search_lattice(const shape *s, batch *b, points *out) {
    float sigma2[BATCH];
    squares(b, sigma2);
    for (int k = 0; k < BATCH; k++) sigma2[k] = s->variance * sigma2[k] / QK_K;
    for (int first = 0; first < b->blocks * (QK_K / s->n); first += LANES) {
        const float *rows[LANES];
        sized of;
        floats spread = of_super(sigma2, first, QK_K / s->n);
        numbers_of(b, first, LANES, s->n, rows);
        turn(rows, s->n, of.x, 1);
        if (b->weights[0]) {
            weights_of(b, QK_K, first, LANES, s->n, rows);
            turn(rows, s->n, of.w, 1);
        }
        for (int i = 0; i < s->n; i++) {
            floats square = of.x[i] * of.x[i];
            if (b->weights[0])
                of.w[i] = of.w[i] * root(spread + square);
            else if (s->n == 16) /* IQ2_S */
                of.w[i] = every(0.25f) * spread + square;
            else
                of.w[i] = square;
        }
        search_points(s, b, first, &of, out);
    }
}

/* The scales of a super-block's n sub-blocks as 4 bits each, their own scale times `fudge`; says
 * whether there are any. */
INLINE int lattice_scales(batch *b, int k, const float *scale, int n, float fudge, uint16_t *d16,
                          uint8_t l[16]) {
    float max = 0;
    for (int j = 0; j < n; j++) max = max > scale[j] ? max : scale[j];
    *d16 = 0;
    memset(l, 0, 16);
    if (!max) return 0;
    float d = max / 31, id = 1 / d;
    if (d < 1e-30f) b->refused[k] = 1;
    *d16 = to_f16(d * fudge);
    for (int j = 0; j < n; j++) {
        int level = nearest_int(0.5f * (id * scale[j] - 1));
        l[j] = level < 0 ? 0 : level < 15 ? level : 15;
    }
    return 1;
}

/* ---- the types */

static void encode_iq2_xxs(batch *b) {
    static const shape s = {32, 8, 3, 6, 0.1f, ZERO_BELOW, 1, 1, 1, 0};
    points found;
    search_lattice(&s, b, &found);
    for (int k = 0; k < b->blocks; k++) {
        block_iq2_xxs *y = (block_iq2_xxs *)b->out + k;
        uint32_t q[16] = {0};
        uint8_t l[16];
        int any = lattice_scales(b, k, found.scale + 8 * k, 8, 1, &y->d, l);
        for (int j = 0; any && j < 8; j++) {
            const uint16_t *point = found.point[8 * k + j];
            const uint8_t *signs = found.signs[8 * k + j];
            for (int i = 0; i < 4; i++) {
                q[2 * j] |= (uint32_t)point[i] << 8 * i;
                q[2 * j + 1] |= (uint32_t)signs[i] << 7 * i;
            }
            q[2 * j + 1] |= (uint32_t)l[j] << 28;
        }
        memcpy(y->qs, q, sizeof q);
    }
}

static void encode_iq2_xs(batch *b) {
    static const shape s = {16, 8, 3, 9, 0.1f, ZERO_BELOW, 1, 1, 0, 0};
    points found;
    search_lattice(&s, b, &found);
    for (int k = 0; k < b->blocks; k++) {
        block_iq2_xs *y = (block_iq2_xs *)b->out + k;
        uint8_t l[16];
        int any = lattice_scales(b, k, found.scale + 16 * k, 16, 1, &y->d, l);
        for (int j = 0; j < 8; j++) y->scales[j] = l[2 * j] | l[2 * j + 1] << 4;
        for (int j = 0; j < 32; j++) {
            const int sub = 16 * k + j / 2;
            y->qs[j] = any ? found.point[sub][j % 2] | found.signs[sub][j % 2] << 9 : 0;
        }
    }
}

static void encode_iq2_s(batch *b) {
    static const shape s = {16, 8, 3, 9, 0.1f, 1e-8f, 2, 0, 0, 0};
    points found;
    search_lattice(&s, b, &found);
    for (int k = 0; k < b->blocks; k++) {
        block_iq2_s *y = (block_iq2_s *)b->out + k;
        uint8_t l[16];
        lattice_scales(b, k, found.scale + 16 * k, 16, 0.9875f, &y->d, l);
        memset(y->qh, 0, sizeof y->qh);
        for (int j = 0; j < 8; j++) y->scales[j] = l[2 * j] | l[2 * j + 1] << 4;
        for (int j = 0; j < 32; j++) {
            const int point = found.point[16 * k + j / 2][j % 2];
            y->qs[j] = point & 255;
            y->qh[j / 4] |= point >> 8 << 2 * (j % 4);
            y->signs[j] = found.signs[16 * k + j / 2][j % 2];
        }
    }
}

static void encode_iq3_xxs(batch *b) {
    static const shape s = {32, 4, 8, 15, 0.2f, 1e-8f, 2, 1, 0, 0};
    points found;
    search_lattice(&s, b, &found);
    for (int k = 0; k < b->blocks; k++) {
        block_iq3_xxs *y = (block_iq3_xxs *)b->out + k;
        uint32_t scales_and_signs[8] = {0};
        uint8_t l[16];
        int any = lattice_scales(b, k, found.scale + 8 * k, 8, 1.0125f, &y->d, l);
        memset(y->qs, 0, sizeof y->qs);
        for (int j = 0; any && j < 8; j++) {
            for (int i = 0; i < 8; i++) y->qs[8 * j + i] = found.point[8 * k + j][i];
            for (int i = 0; i < 4; i++)
                scales_and_signs[j] |= (uint32_t)found.signs[8 * k + j][i] << 7 * i;
            scales_and_signs[j] |= (uint32_t)l[j] << 28;
        }
        memcpy(y->scales_and_signs, scales_and_signs, sizeof scales_and_signs);
    }
}

static void encode_iq3_s(batch *b) {
    static const shape s = {32, 4, 8, 9, 0.2f, 0, 2, 0, 0, 1};
    points found;
    search_lattice(&s, b, &found);
    for (int k = 0; k < b->blocks; k++) {
        block_iq3_s *y = (block_iq3_s *)b->out + k;
        uint8_t l[16];
        memset(y, 0, sizeof *y);
        lattice_scales(b, k, found.scale + 8 * k, 8, 1.033f, &y->d, l);
        for (int j = 0; j < 4; j++) y->scales[j] = l[2 * j] | l[2 * j + 1] << 4;
        /* After a sub-block of zeros ggml goes on at the same place with all but the high bits. */
        for (int j = 0, place = 0; j < 8; j++) {
            const int sub = 8 * k + j;
            if (found.zero[sub]) continue;
            for (int i = 0; i < 8; i++) {
                y->qs[8 * place + i] = found.point[sub][i] & 255;
                y->qh[j] |= found.point[sub][i] >> 8 << i;
            }
            memcpy(y->signs + 4 * place, found.signs[sub], 4);
            place++;
        }
    }
}
