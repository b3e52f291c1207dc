/* ggml's searches for the best scale of a sub-block, for as many sub-blocks as there are lanes.
 *
 * Vector i holds element i of every lane's sub-block, so that each of ggml's sums over a sub-block
 * is a sum of vectors in the same order. Products keep C's grouping: w*l*l is (w*l)*l. The numbers
 * L are not kept during a search but computed again from the scale that won. */
#pragma once

#include "lanes.h"

/* Vectors that are worked on side by side: while one waits for its sums, the other computes. */
#define ABREAST 2
#define GROUP (ABREAST * LANES)

#define EACH_ABREAST for (int u = 0; u < ABREAST; u++)

/* ggml's GROUP_MAX_EPS: a sub-block of smaller numbers counts as zero. */
#define ZERO_BELOW 1e-15f

/* LANES sub-blocks of n numbers as n vectors of one number of each, `stride` apart. */
INLINE void turn(const float *const rows[], int n, floats *columns, int stride) {
    for (int first = 0; first < n; first += LANES) {
        floats square[LANES];
        for (int i = 0; i < LANES; i++) square[i] = load(rows[i] + first);
        transpose(square);
        for (int i = 0; i < LANES; i++) columns[(first + i) * stride] = square[i];
    }
}

/* The same of GROUP sub-blocks. */
INLINE void turn_group(const float *const rows[], int n, floats columns[][ABREAST]) {
    EACH_ABREAST turn(rows + u * LANES, n, &columns[0][u], ABREAST);
}

/* What was found for sub-blocks. L of a number x was nearest_int(iscale * (x - offset)). */
typedef struct {
    float *scale, *min, *iscale, *offset;
} found;

/* Rounded to whole numbers otherwise than by wrapping around as ggml's nearest_int does. */
#define TOO_LARGE_TO_ROUND 4e6f

/* The range of a sub-block's numbers, and how far its minimum may move, within which the products
 * that are rounded stay below 2^22. */
#define LEAST_RANGE 1e-25f
#define LEAST_SHARE (1.0f / 1024)

/* make_qkx2_quants and make_qkx3_quants, which differ in their steps only.
 *
 * The steps follow one another: the minimum that one finds is what the next subtracts. `outside`
 * has a bit for each lane whose numbers are out of the proven range. */
INLINE void make_qkx_quants(int n, int nmax, floats x[][ABREAST], floats w[][ABREAST], float rmin,
                            float rdelta, int nstep, int use_mad, found out,
                            unsigned outside[ABREAST]) {
    floats min[ABREAST], max[ABREAST], sum_w[ABREAST], sum_x[ABREAST];
    floats scale[ABREAST], best[ABREAST], iscale[ABREAST], won[ABREAST], offset[ABREAST];
    floats narrow[ABREAST], l[32][ABREAST];
    mask flat[ABREAST], refused[ABREAST];
    floats zero = every(0.0f);

    EACH_ABREAST {
        min[u] = max[u] = x[0][u];
        sum_w[u] = w[0][u];
        sum_x[u] = w[0][u] * x[0][u];
    }
    for (int i = 1; i < n; i++) EACH_ABREAST {
        min[u] = least(x[i][u], min[u]);
        max[u] = most(x[i][u], max[u]);
        sum_w[u] = sum_w[u] + w[i][u];
        sum_x[u] = sum_x[u] + w[i][u] * x[i][u];
    }
    EACH_ABREAST {
        min[u] = least(zero, min[u]);
        flat[u] = not_less(min[u], max[u]);
        floats range = pick(flat[u], every(1.0f), max[u] - min[u]);
        refused[u] = less(range, every(LEAST_RANGE));
        narrow[u] = range * every(LEAST_SHARE);
        iscale[u] = every((float)nmax) / range;
        scale[u] = every(1.0f) / iscale[u];
        best[u] = zero;
        won[u] = iscale[u];
        offset[u] = min[u];
    }
    for (int i = 0; i < n; i++) EACH_ABREAST {
        floats level = nearest_within(iscale[u] * (x[i][u] - min[u]), 0, nmax);
        floats diff = scale[u] * level + min[u] - x[i][u];
        if (use_mad) diff = size(diff);
        else diff = diff * diff;
        best[u] = best[u] + w[i][u] * diff;
    }
    for (int step = 0; step <= nstep; step++) {
        floats sum_l[ABREAST], sum_l2[ABREAST], sum_xl[ABREAST];
        floats this_scale[ABREAST], this_min[ABREAST], error[ABREAST];
        mask usable[ABREAST];
        EACH_ABREAST {
            floats range = max[u] - min[u];
            refused[u] = either(refused[u], less(range, narrow[u]));
            iscale[u] = every(rmin + rdelta * step + nmax) / range;
            sum_l[u] = sum_l2[u] = sum_xl[u] = zero;
        }
        for (int i = 0; i < n; i++) EACH_ABREAST {
            floats level = nearest_within(iscale[u] * (x[i][u] - min[u]), 0, nmax);
            floats weighed = w[i][u] * level;
            l[i][u] = level;
            sum_l[u] = sum_l[u] + weighed;
            sum_l2[u] = sum_l2[u] + weighed * level;
            sum_xl[u] = sum_xl[u] + weighed * x[i][u];
        }
        EACH_ABREAST {
            floats D = sum_w[u] * sum_l2[u] - sum_l[u] * sum_l[u];
            usable[u] = less(zero, D);
            this_scale[u] = (sum_w[u] * sum_xl[u] - sum_x[u] * sum_l[u]) / D;
            this_min[u] = (sum_l2[u] * sum_x[u] - sum_l[u] * sum_xl[u]) / D;
            mask above = less(zero, this_min[u]);
            if (lanes_of(above)) {
                this_min[u] = pick(above, zero, this_min[u]);
                this_scale[u] = pick(above, sum_xl[u] / sum_l2[u], this_scale[u]);
            }
            error[u] = zero;
        }
        for (int i = 0; i < n; i++) EACH_ABREAST {
            floats diff = this_scale[u] * l[i][u] + this_min[u] - x[i][u];
            if (use_mad) diff = size(diff);
            else diff = diff * diff;
            error[u] = error[u] + w[i][u] * diff;
        }
        EACH_ABREAST {
            mask better = both(usable[u], less(error[u], best[u]));
            won[u] = pick(better, iscale[u], won[u]);
            offset[u] = pick(better, min[u], offset[u]);
            best[u] = pick(better, error[u], best[u]);
            scale[u] = pick(better, this_scale[u], scale[u]);
            min[u] = pick(better, this_min[u], min[u]);
        }
    }
    EACH_ABREAST {
        /* A flat sub-block has L and scale 0; its lane computed without meaning, except that its
         * minimum is still the first. */
        store(out.scale + u * LANES, pick(flat[u], zero, scale[u]));
        store(out.iscale + u * LANES, pick(flat[u], zero, won[u]));
        floats last = pick(flat[u], offset[u], min[u]);
        store(out.min + u * LANES, negative(last));
        store(out.offset + u * LANES, pick(flat[u], zero, offset[u]));
        outside[u] = lanes_of(but_not(refused[u], flat[u]));
    }
}

/* Tries of make_qx_quants that share their loads. */
#define TRIES 3

/* The sums of `count` tries: the weighed products of numbers and levels, and of levels squared. */
INLINE void qx_sums(int count, int n, int nmax, const floats x[], const floats w[],
                    const floats wx[], const floats iscale[], floats sumlx[], floats suml2[]) {
    for (int t = 0; t < count; t++) sumlx[t] = suml2[t] = every(0.0f);
    for (int i = 0; i < n; i++)
        for (int t = 0; t < count; t++) {
            floats level = nearest_within(iscale[t] * x[i], -nmax, nmax - 1);
            sumlx[t] = sumlx[t] + wx[i] * level;
            suml2[t] = suml2[t] + w[i] * level * level;
        }
}

/* make_qx_quants with rmse_type 1; `w` are its weights, for which it takes x*x without a matrix.
 *
 * The tries do not depend on one another: their sums are computed TRIES at once, and the best
 * is chosen afterwards in ggml's order. L was nmax + nearest_int(iscale * x), and 0 where iscale
 * is. */
INLINE void make_qx_quants(int n, int nmax, const floats x[], const floats w[], float *out_scale,
                           float *out_iscale) {
    floats zero = every(0.0f), max = zero, amax = zero, wx[32];
    for (int i = 0; i < n; i++) {
        floats ax = size(x[i]);
        max = pick(less(amax, ax), x[i], max);
        amax = most(ax, amax);
        wx[i] = w[i] * x[i];
    }
    mask nothing = less(amax, every(ZERO_BELOW));
    max = pick(nothing, every(1.0f), max);

    floats won = every((float)-nmax) / max, scale, best, iscale[TRIES], sumlx[TRIES], suml2[TRIES];
    qx_sums(1, n, nmax, x, w, wx, &won, sumlx, suml2);
    scale = pick(equal(suml2[0], zero), zero, sumlx[0] / suml2[0]);
    best = scale * sumlx[0];
    for (int first = -9; first <= 9; first += TRIES) {
        if (!first) first = 1;
        for (int t = 0; t < TRIES; t++) iscale[t] = every(-(nmax + 0.1f * (first + t))) / max;
        qx_sums(TRIES, n, nmax, x, w, wx, iscale, sumlx, suml2);
        for (int t = 0; t < TRIES; t++) {
            mask better = less(best * suml2[t], sumlx[t] * sumlx[t]);
            better = both(better, less(zero, suml2[t]));
            floats quotient = sumlx[t] / suml2[t];
            scale = pick(better, quotient, scale);
            best = pick(better, quotient * sumlx[t], best);
            won = pick(better, iscale[t], won);
        }
    }
    store(out_scale, pick(nothing, zero, scale));
    store(out_iscale, pick(nothing, zero, won));
}

/* make_q3_quants with do_rmse: L is bettered in place, one number after the other, up to 5 times.
 *
 * A lane in which nothing changes once does not change any more. `l` is L without its offset of
 * nmax. A bit for each lane: `empty` where the sub-block counts as zero and L is 0, `outside` where
 * its numbers are out of the proven range. */
INLINE void make_q3_quants(int n, int nmax, floats x[][ABREAST], floats l[][ABREAST],
                           float *out_scale, unsigned empty[ABREAST], unsigned outside[ABREAST]) {
    floats zero = every(0.0f), sumlx[ABREAST], suml2[ABREAST];
    mask nothing[ABREAST], refused[ABREAST];
    EACH_ABREAST {
        floats max = zero, amax = zero;
        for (int i = 0; i < n; i++) {
            floats ax = size(x[i][u]);
            max = pick(less(amax, ax), x[i][u], max);
            amax = most(ax, amax);
        }
        nothing[u] = less(amax, every(ZERO_BELOW));
        refused[u] = nowhere();
        floats iscale = every((float)-nmax) / pick(nothing[u], every(1.0f), max);
        sumlx[u] = suml2[u] = zero;
        for (int i = 0; i < n; i++) {
            floats w = x[i][u] * x[i][u];
            l[i][u] = nearest_within(iscale * x[i][u], -nmax, nmax - 1);
            sumlx[u] = sumlx[u] + w * x[i][u] * l[i][u];
            suml2[u] = suml2[u] + w * l[i][u] * l[i][u];
        }
    }
    for (int round = 0; round < 5; round++) {
        mask changed = nowhere();
        for (int i = 0; i < n; i++) EACH_ABREAST {
            floats w = x[i][u] * x[i][u], wx = w * x[i][u], old = l[i][u];
            floats slx = sumlx[u] - wx * old, sl2 = suml2[u] - w * old * old;
            mask usable = but_not(less(zero, slx), nothing[u]);
            floats quotient = x[i][u] * sl2 / slx;
            refused[u] = either(refused[u],
                                both(usable, not_less(size(quotient), every(TOO_LARGE_TO_ROUND))));
            floats level = nearest_within(quotient, -nmax, nmax - 1);
            slx = slx + wx * level;
            sl2 = sl2 + w * level * level;
            mask better = less(sumlx[u] * sumlx[u] * sl2, slx * slx * suml2[u]);
            better = both(both(better, usable), less(zero, sl2));
            better = but_not(better, equal(level, old));
            changed = either(changed, better);
            l[i][u] = pick(better, level, old);
            sumlx[u] = pick(better, slx, sumlx[u]);
            suml2[u] = pick(better, sl2, suml2[u]);
        }
        if (!lanes_of(changed)) break;
    }
    EACH_ABREAST {
        floats scale = pick(less(zero, suml2[u]), sumlx[u] / suml2[u], zero);
        store(out_scale + u * LANES, pick(nothing[u], zero, scale));
        empty[u] = lanes_of(nothing[u]);
        outside[u] = lanes_of(refused[u]);
    }
}

/* L of make_qp_quants is an unsigned byte, in which a level below 0 wraps around. */
INLINE floats as_byte(floats level, int below_zero) {
    if (!below_zero) return level;
    return pick(less(level, every(0.0f)), level + every(256.0f), level);
}

/* make_qp_quants, of numbers that are not negative, unless `below_zero`.
 *
 * `l` is L. Returns a bit for each lane whose numbers are out of the proven range. */
INLINE unsigned make_qp_quants(int n, int nmax, int below_zero, const floats x[], const floats w[],
                               floats l[], floats *out_scale) {
    const int least_level = below_zero ? -255 : 0;
    floats zero = every(0.0f), max = zero, lowest = zero, wx[32];
    mask refused = nowhere();
    for (int i = 0; i < n; i++) {
        max = most(max, x[i]);
        lowest = least(x[i], lowest);
        wx[i] = w[i] * x[i];
        refused = either(refused, not_less(x[i], every(TOO_LARGE_TO_ROUND)));
    }
    mask nothing = less(max, every(ZERO_BELOW));
    max = pick(nothing, every(1.0f), max);
    refused = either(refused, below_zero ? less(lowest, max * every(-50.0f)) : less(lowest, zero));

    floats iscale = every((float)nmax) / max, best = zero, scale = every(1.0f) / iscale;
    for (int i = 0; i < n; i++) {
        floats level = as_byte(nearest_within(iscale * x[i], least_level, nmax), below_zero);
        floats diff = x[i] - scale * level;
        best = best + w[i] * diff * diff;
    }
    for (int is = -4; is <= 4; is++) {
        if (is == 0) continue;
        floats this_iscale = every(0.1f * is + nmax) / max, error = zero;
        scale = every(1.0f) / this_iscale;
        for (int i = 0; i < n; i++) {
            floats level = nearest_within(this_iscale * x[i], least_level, nmax);
            floats diff = x[i] - scale * level;
            error = error + w[i] * diff * diff;
        }
        mask better = less(error, best);
        best = pick(better, error, best);
        iscale = pick(better, this_iscale, iscale);
    }
    floats sumlx = zero, suml2 = zero;
    for (int i = 0; i < n; i++) {
        floats level = nearest_within(iscale * x[i], least_level, nmax);
        l[i] = as_byte(level, below_zero);
        sumlx = sumlx + wx[i] * level;
        suml2 = suml2 + w[i] * level * level;
    }
    for (int round = 0; round < 5; round++) {
        mask changed = nowhere();
        for (int i = 0; i < n; i++) {
            floats old = l[i], slx = sumlx - wx[i] * old, sl2 = suml2 - w[i] * old * old;
            mask usable = but_not(both(less(zero, slx), less(zero, sl2)), nothing);
            floats quotient = x[i] * sl2 / slx;
            refused = either(refused, both(usable, not_less(quotient, every(TOO_LARGE_TO_ROUND))));
            if (below_zero)
                refused = either(refused, both(usable, less(quotient, every(-200.0f))));
            floats level = nearest_within(quotient, least_level, nmax);
            slx = slx + wx[i] * level;
            sl2 = sl2 + w[i] * level * level;
            mask better = less(sumlx * sumlx * sl2, slx * slx * suml2);
            better = but_not(both(better, usable), equal(level, old));
            changed = either(changed, better);
            l[i] = pick(better, as_byte(level, below_zero), old);
            sumlx = pick(better, slx, sumlx);
            suml2 = pick(better, sl2, suml2);
        }
        if (!lanes_of(changed)) break;
    }
    for (int i = 0; i < n; i++) l[i] = pick(nothing, zero, l[i]);
    *out_scale = pick(nothing, zero, pick(less(zero, suml2), sumlx / suml2, zero));
    return lanes_of(refused);
}
