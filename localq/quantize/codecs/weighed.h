/* Q4_0, Q4_1, Q5_0 and Q5_1 with an importance matrix: a block in each lane.
 *
 * The weights depend on the whole row's mean square, so where one block is out of the proven range
 * ggml has to do all of the rows. */
#pragma once

#include "simple.h"
#include "super_blocks.h"

/* The numbers and weights of GROUP blocks from `first` on. */
INLINE void turn_weighed(const batch *b, int first, floats x[32][ABREAST], floats w[32][ABREAST]) {
    const float *rows[GROUP];
    numbers_of(b, first, GROUP, 32, rows);
    turn_group(rows, 32, x);
    weights_of(b, 32, first, GROUP, 32, rows);
    turn_group(rows, 32, w);
    EACH_ABREAST {
        floats sigma2 = load(b->sigma2 + first + u * LANES);
        for (int i = 0; i < 32; i++) w[i][u] = w[i][u] * root(sigma2 + x[i][u] * x[i][u]);
    }
}

/* Q4_0 and Q5_0 */
static void encode_weighed_halves(batch *b, int half) {
    for (int first = 0; first < b->blocks; first += GROUP) {
        floats x[32][ABREAST], w[32][ABREAST];
        float scale[GROUP], iscale[GROUP];
        turn_weighed(b, first, x, w);
        EACH_ABREAST {
            floats one_x[32], one_w[32];
            for (int i = 0; i < 32; i++) {
                one_x[i] = x[i][u];
                one_w[i] = w[i][u];
            }
            make_qx_quants(32, half, one_x, one_w, scale + u * LANES, iscale + u * LANES);
        }
        for (int k = 0; k < GROUP && first + k < b->blocks; k++) {
            const float *p = b->x + 32 * (first + k);
            ints l[VECTORS];
            EACH_VECTOR {
                floats level = nearest_within(every(iscale[k]) * load(p + v * LANES), -half, half - 1);
                l[v] = iscale[k] ? truncate(level + every((float)half)) : every_int(0);
            }
            if (half == 8) {
                block_q4_0 *y = (block_q4_0 *)b->out + first + k;
                y->d = to_f16(scale[k]);
                store_nibbles(y->qs, l);
            } else {
                block_q5_0 *y = (block_q5_0 *)b->out + first + k;
                y->d = to_f16(scale[k]);
                store_fifth_bits(y->qh, l);
                store_nibbles(y->qs, l);
            }
        }
    }
}

/* Q4_1 and Q5_1 */
static void encode_weighed_ranges(batch *b, int nmax) {
    for (int first = 0; first < b->blocks; first += GROUP) {
        floats x[32][ABREAST], w[32][ABREAST];
        float scale[GROUP], min[GROUP], iscale[GROUP], offset[GROUP];
        unsigned outside[ABREAST];
        turn_weighed(b, first, x, w);
        make_qkx_quants(32, nmax, x, w, -0.9f, 0.05f, 36, 0, (found){scale, min, iscale, offset},
                        outside);
        EACH_ABREAST {
            const int here = first + u * LANES;
            refuse(b, here, b->blocks - here, 1, outside[u]);
        }
        for (int k = 0; k < GROUP && first + k < b->blocks; k++) {
            const float *p = b->x + 32 * (first + k);
            ints l[VECTORS];
            EACH_VECTOR {
                floats above = load(p + v * LANES) - every(offset[k]);
                l[v] = truncate(nearest_within(every(iscale[k]) * above, 0, nmax));
            }
            if (nmax == 15) {
                block_q4_1 *y = (block_q4_1 *)b->out + first + k;
                y->d = to_f16(scale[k]);
                y->m = to_f16(-min[k]);
                store_nibbles(y->qs, l);
            } else {
                block_q5_1 *y = (block_q5_1 *)b->out + first + k;
                y->d = to_f16(scale[k]);
                y->m = to_f16(-min[k]);
                store_fifth_bits(y->qh, l);
                store_nibbles(y->qs, l);
            }
        }
    }
}
