/* The codecs, compiled once for each instruction set (CODECS_ENCODE names the entry).
 *
 * Numbers are decoded a batch at a time into the first cache and encoded from there. Blocks whose
 * numbers are out of the range for which the bytes were proven equal to ggml's go to ggml. */
#include "blocks.h"
#include "iq4.h"
#include "lattice.h"
#include "signed.h"
#include "simple.h"
#include "weighed.h"
#include "with_minimum.h"

/* The bits of 1e6: numbers of this size and more are left to ggml. */
#define TOO_LARGE 0x49742400

/* The bits of 1e9: from there on ggml may end the process in the types of a lattice. */
#define FATAL 0x4e6e6b28

#define INFINITE 0x7f800000

/* Bytes that are fetched before they are needed: processors stop fetching ahead by themselves at
 * the end of each page. */
#define AHEAD 1024

INLINE int source_bytes(int source_type) { return source_type == F32 ? 4 : 2; }

/* `count` numbers (a multiple of 32); returns the bits of the largest size among them, which are
 * those of infinity or more where not all are numbers. */
INLINE int decode_as(int source_type, const uint8_t *source, float *x, int count) {
    ints largest = every_int(0);
    for (int i = 0; i < count; i += 32) {
        for (int j = i; j < i + 32; j += LANES) {
            floats v;
            if (source_type == F32)
                v = load((const float *)source + j);
            else if (source_type == F16)
                v = load_f16((const uint16_t *)source + j);
            else
                v = from_bits(shift_left(load_u16((const uint16_t *)source + j), 16));
            largest = most_int(largest, bits(size(v)));
            store(x + j, v);
        }
        __builtin_prefetch(source + i * source_bytes(source_type) + AHEAD);
    }
    return most_int_across(largest);
}

static int decode(int source_type, const uint8_t *source, float *x, int count) {
    if (source_type == F32) return decode_as(F32, source, x, count);
    if (source_type == F16) return decode_as(F16, source, x, count);
    return decode_as(BF16, source, x, count);
}

/* ---- types */

typedef struct {
    int elements;
    size_t bytes;
    int scales, scale_at; /* how many f16 scales are in a block, side by side, and where */
} layout;

static layout layout_of(int type) {
    switch (type) {
    case Q4_0: return (layout){32, sizeof(block_q4_0), 1, offsetof(block_q4_0, d)};
    case Q4_1: return (layout){32, sizeof(block_q4_1), 2, offsetof(block_q4_1, d)};
    case Q5_0: return (layout){32, sizeof(block_q5_0), 1, offsetof(block_q5_0, d)};
    case Q5_1: return (layout){32, sizeof(block_q5_1), 2, offsetof(block_q5_1, d)};
    case Q8_0: return (layout){32, sizeof(block_q8_0), 1, offsetof(block_q8_0, d)};
    case IQ4_NL: return (layout){32, sizeof(block_iq4_nl), 1, offsetof(block_iq4_nl, d)};
    case Q2_K: return (layout){QK_K, sizeof(block_q2_K), 2, offsetof(block_q2_K, d)};
    case Q3_K: return (layout){QK_K, sizeof(block_q3_K), 1, offsetof(block_q3_K, d)};
    case Q4_K: return (layout){QK_K, sizeof(block_q4_K), 2, offsetof(block_q4_K, d)};
    case Q5_K: return (layout){QK_K, sizeof(block_q5_K), 2, offsetof(block_q5_K, d)};
    case Q6_K: return (layout){QK_K, sizeof(block_q6_K), 1, offsetof(block_q6_K, d)};
    case IQ4_XS: return (layout){QK_K, sizeof(block_iq4_xs), 1, offsetof(block_iq4_xs, d)};
    case IQ2_XXS: return (layout){QK_K, sizeof(block_iq2_xxs), 1, offsetof(block_iq2_xxs, d)};
    case IQ2_XS: return (layout){QK_K, sizeof(block_iq2_xs), 1, offsetof(block_iq2_xs, d)};
    case IQ2_S: return (layout){QK_K, sizeof(block_iq2_s), 1, offsetof(block_iq2_s, d)};
    case IQ3_XXS: return (layout){QK_K, sizeof(block_iq3_xxs), 1, offsetof(block_iq3_xxs, d)};
    case IQ3_S: return (layout){QK_K, sizeof(block_iq3_s), 1, offsetof(block_iq3_s, d)};
    default: return (layout){0};
    }
}

/* Whether the scales of `blocks` blocks are finite. */
static int finite_scales(layout of, const uint8_t *out, int blocks) {
    int fine = 1;
    for (int i = 0; i < blocks; i++)
        for (int k = 0; k < of.scales; k++) {
            uint16_t scale;
            memcpy(&scale, out + i * of.bytes + of.scale_at + 2 * k, 2);
            fine &= (scale & 0x7c00) != 0x7c00;
        }
    return fine;
}

typedef int encode_block(const float *, void *);

INLINE void each_block(batch *b, encode_block *encode, size_t bytes) {
    for (int i = 0; i < b->blocks; i++)
        if (!encode(b->x + 32 * i, b->out + i * bytes)) b->refused[i] = 1;
}

static void encode_batch(int type, batch *b) {
    const int weighed = b->weights[0] != NULL;
    switch (type) {
    case Q4_0:
        if (weighed)
            encode_weighed_halves(b, 8);
        else
            each_block(b, encode_q4_0, sizeof(block_q4_0));
        break;
    case Q4_1:
        if (weighed)
            encode_weighed_ranges(b, 15);
        else
            each_block(b, encode_q4_1, sizeof(block_q4_1));
        break;
    case Q5_0:
        if (weighed)
            encode_weighed_halves(b, 16);
        else
            each_block(b, encode_q5_0, sizeof(block_q5_0));
        break;
    case Q5_1:
        if (weighed)
            encode_weighed_ranges(b, 31);
        else
            each_block(b, encode_q5_1, sizeof(block_q5_1));
        break;
    case Q8_0: each_block(b, encode_q8_0, sizeof(block_q8_0)); break;
    case IQ4_NL: encode_iq4_nl(b); break;
    case Q2_K: encode_q2_K(b); break;
    case Q3_K: encode_q3_K(b); break;
    case Q4_K: encode_q4_K(b); break;
    case Q5_K: encode_q5_K(b); break;
    case Q6_K: encode_q6_K(b); break;
    case IQ4_XS: encode_iq4_xs(b); break;
    case IQ2_XXS: encode_iq2_xxs(b); break;
    case IQ2_XS: encode_iq2_xs(b); break;
    case IQ2_S: encode_iq2_s(b); break;
    case IQ3_XXS: encode_iq3_xxs(b); break;
    case IQ3_S: encode_iq3_s(b); break;
    }
}

/* ---- rows */

/* Whether the weights of a number depend on its whole row. */
static int by_row(const job *work) {
    return work->weights && (work->type == Q4_0 || work->type == Q4_1 || work->type == Q5_0
                             || work->type == Q5_1);
}

static int on_lattice(int type) {
    return type == IQ2_XXS || type == IQ2_XS || type == IQ2_S || type == IQ3_XXS || type == IQ3_S;
}

/* The mean squares of `count` rows (at most LANES), each summed in order. Returns 0, or what
 * becomes of the job if their numbers are too large. */
static int row_squares(const job *work, const uint8_t *source, int count, float sigma2[LANES]) {
    const size_t row_bytes = work->columns * source_bytes(work->source_type);
    float x[LANES * 32];
    const float *rows[LANES];
    floats sum = every(0.0f), columns[32];
    int largest = 0;
    for (int i = 0; i < LANES; i++) rows[i] = x + 32 * i;
    memset(x, 0, sizeof x);
    for (int64_t first = 0; first < work->columns; first += 32) {
        const uint8_t *at = source + first * source_bytes(work->source_type);
        for (int i = 0; i < count; i++) {
            const int size = decode(work->source_type, at + i * row_bytes, x + 32 * i, 32);
            largest = size > largest ? size : largest;
        }
        turn(rows, 32, columns, 1);
        for (int i = 0; i < 32; i++) sum = sum + columns[i] * columns[i];
    }
    store(sigma2, sum / every((float)work->columns));
    return largest >= INFINITE ? NOT_FINITE : largest >= TOO_LARGE ? LEFT_ALL : 0;
}

/* Rows from `source` to `out`; sigma2 is of each of them, or NULL. Returns as `encoder` does. */
static int64_t encode_rows(const job *work, const uint8_t *source, uint8_t *out, int64_t rows,
                           const float *sigma2) {
    const layout of = layout_of(work->type);
    const int64_t total = rows * work->columns, in_row = work->columns / of.elements;
    float x[BATCH_NUMBERS] __attribute__((aligned(64)));
    int64_t left_to_ggml = 0;
    batch b;

    memset(x, 0, sizeof x);
    memset(&b, 0, sizeof b);
    b.x = x;
    b.out = out;
    b.place = work->place;
    b.lists = work->lists;
    for (int64_t done = 0; done < total; done += BATCH_NUMBERS) {
        const int count = total - done < BATCH_NUMBERS ? (int)(total - done) : BATCH_NUMBERS;
        const int64_t first = done / of.elements;
        b.blocks = count / of.elements;
        memset(b.refused, 0, sizeof b.refused);
        for (int i = 0; i < count; i += QK_K) {
            const int unit = count - i < QK_K ? count - i : QK_K;
            const int largest = decode(work->source_type, source, x + i, unit);
            if (largest >= INFINITE) return NOT_FINITE;
            if (largest >= FATAL && on_lattice(work->type)) return LEFT_ALL;
            if (largest >= TOO_LARGE)
                memset(b.refused + i / of.elements, 1, (unit + of.elements - 1) / of.elements);
            source += unit * source_bytes(work->source_type);
        }
        if (work->weights)
            for (int i = 0; i < b.blocks; i++) {
                b.weights[i] = work->weights + (first + i) % in_row * of.elements;
                if (sigma2) b.sigma2[i] = sigma2[(first + i) / in_row];
            }
        encode_batch(work->type, &b);
        for (int i = 0; i < b.blocks; i++) {
            if (!b.refused[i]) continue;
            if (sigma2) return LEFT_ALL;
            work->ggml(work->type, x + i * of.elements, b.out + i * of.bytes, 0, 1, of.elements,
                       b.weights[i]);
            left_to_ggml += of.elements;
        }
        if (!finite_scales(of, b.out, b.blocks)) return NOT_FINITE;
        b.out += b.blocks * of.bytes;
    }
    return left_to_ggml;
}

int64_t CODECS_ENCODE(const job *work) {
    const layout of = layout_of(work->type);
    const uint8_t *source = work->source;
    uint8_t *out = work->target;
    if (!of.elements || (on_lattice(work->type) && !work->place)) return LEFT_ALL;
    if ((work->type == IQ2_XXS || work->type == IQ2_XS) && !work->weights) return LEFT_ALL;
    if (!by_row(work)) return encode_rows(work, source, out, work->rows, NULL);
    for (int64_t first = 0; first < work->rows; first += LANES) {
        const int count = work->rows - first < LANES ? (int)(work->rows - first) : LANES;
        float sigma2[LANES];
        int64_t result = row_squares(work, source, count, sigma2);
        if (!result) result = encode_rows(work, source, out, count, sigma2);
        if (result < 0) return result;
        source += count * work->columns * source_bytes(work->source_type);
        out += count * work->columns / of.elements * of.bytes;
    }
    return 0;
}
