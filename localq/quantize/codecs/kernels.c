/* The codecs, compiled once for each instruction set (CODECS_ENCODE names the entry).
 *
 * Numbers are decoded a batch at a time into the first cache and encoded from there. Blocks whose
 * numbers are out of the range for which the bytes were proven equal to ggml's go to ggml. */
#include "blocks.h"
#include "k_quants.h"
#include "simple.h"

#define BATCH_NUMBERS (BATCH * QK_K)

/* Numbers of this size and more, infinity and NaN are left to ggml. */
#define TOO_LARGE 1e6f

/* Bytes that are fetched before they are needed: processors stop fetching ahead by themselves at
 * the end of each page. */
#define AHEAD 1024

INLINE int source_bytes(int source_type) { return source_type == F32 ? 4 : 2; }

/* `count` numbers (a multiple of 32) of one unit; says whether all are small enough. */
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
            /* As whole numbers, because NaN is larger than all others then. */
            largest = most_int(largest, bits(size(v)));
            store(x + j, v);
        }
        __builtin_prefetch(source + i * source_bytes(source_type) + AHEAD);
    }
    return most_int_across(largest) < most_int_across(bits(every(TOO_LARGE)));
}

static int decode(int source_type, const uint8_t *source, float *x, int count) {
    if (source_type == F32) return decode_as(F32, source, x, count);
    if (source_type == F16) return decode_as(F16, source, x, count);
    return decode_as(BF16, source, x, count);
}

/* ---- types of 32 numbers */

typedef int encode_block(const float *, void *);

INLINE void encode_simple(encode_block *encode, size_t block_bytes, const float *x, uint8_t *out,
                          int blocks, uint8_t *refused) {
    for (int i = 0; i < blocks; i++)
        if (!encode(x + 32 * i, out + i * block_bytes)) refused[i] = 1;
}

/* ---- all types */

typedef struct {
    int elements;
    size_t bytes;
} layout;

static layout layout_of(int type) {
    switch (type) {
    case Q4_0: return (layout){32, sizeof(block_q4_0)};
    case Q4_1: return (layout){32, sizeof(block_q4_1)};
    case Q5_0: return (layout){32, sizeof(block_q5_0)};
    case Q5_1: return (layout){32, sizeof(block_q5_1)};
    case Q8_0: return (layout){32, sizeof(block_q8_0)};
    case Q4_K: return (layout){QK_K, sizeof(block_q4_K)};
    case Q5_K: return (layout){QK_K, sizeof(block_q5_K)};
    case Q6_K: return (layout){QK_K, sizeof(block_q6_K)};
    default: return (layout){0, 0};
    }
}

/* Whether an importance matrix changes what is stored, and there is no codec for that yet. */
static int wants_ggml(int type, const float *weights) {
    return weights && type != Q8_0 && type != Q6_K;
}

static void encode_batch(int type, batch *b, uint8_t *refused) {
    switch (type) {
    case Q4_0: encode_simple(encode_q4_0, 18, b->x, b->out, b->blocks, refused); break;
    case Q4_1: encode_simple(encode_q4_1, 20, b->x, b->out, b->blocks, refused); break;
    case Q5_0: encode_simple(encode_q5_0, 22, b->x, b->out, b->blocks, refused); break;
    case Q5_1: encode_simple(encode_q5_1, 24, b->x, b->out, b->blocks, refused); break;
    case Q8_0: encode_simple(encode_q8_0, 34, b->x, b->out, b->blocks, refused); break;
    case Q4_K: encode_q4_K(b); break;
    case Q5_K: encode_q5_K(b); break;
    case Q6_K: encode_q6_K(b); break;
    }
}

int64_t CODECS_ENCODE(const job *work) {
    const layout of = layout_of(work->type);
    if (!of.elements || wants_ggml(work->type, work->weights)) return -1;
    const int64_t total = work->rows * work->columns, in_row = work->columns / of.elements;
    const uint8_t *source = work->source;
    float x[BATCH_NUMBERS] __attribute__((aligned(64)));
    int64_t left_to_ggml = 0;
    batch b = {.x = x, .out = work->target};

    memset(x, 0, sizeof x);
    for (int64_t done = 0; done < total; done += BATCH_NUMBERS) {
        const int count = total - done < BATCH_NUMBERS ? (int)(total - done) : BATCH_NUMBERS;
        uint8_t refused[BATCH_NUMBERS / 32] = {0};
        const int64_t first = done / of.elements;
        b.blocks = count / of.elements;
        for (int i = 0; i < count; i += QK_K) {
            const int unit = count - i < QK_K ? count - i : QK_K;
            if (!decode(work->source_type, source, x + i, unit))
                memset(refused + i / of.elements, 1, (unit + of.elements - 1) / of.elements);
            source += unit * source_bytes(work->source_type);
        }
        if (of.elements == QK_K)
            for (int i = 0; i < b.blocks; i++) {
                b.refused[i] = refused[i];
                b.weights[i] = work->weights
                                   ? work->weights + (first + i) % in_row * QK_K : NULL;
            }
        encode_batch(work->type, &b, refused);
        for (int i = 0; i < b.blocks; i++)
            if (of.elements == QK_K ? b.refused[i] : refused[i]) {
                const float *weights = work->weights
                                           ? work->weights + (first + i) % in_row * of.elements : NULL;
                work->ggml(work->type, x + i * of.elements, b.out + i * of.bytes, 0, 1, of.elements,
                           weights);
                left_to_ggml += of.elements;
            }
        b.out += b.blocks * of.bytes;
    }
    return left_to_ggml;
}
