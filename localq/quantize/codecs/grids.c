/* The lattices of IQ2 and IQ3: which points may be stored, and which lie nearest to the others.
 *
 * ggml keeps its own such tables to itself. Given the points, which its decoders tell, they follow:
 * the neighbours of a point are all lattice points at the `wanted` smallest distances, the nearer
 * ones first, and of those at one distance the lower numbers. */
#include "grids.h"

/* The digits of `code` in base `levels`, the first the lowest. */
static void digits_of(int code, int levels, int dims, int digits[8]) {
    for (int i = 0; i < dims; i++, code /= levels) digits[i] = code % levels;
}

static unsigned packed(const uint8_t *digits, int dims) {
    unsigned bits = 0;
    for (int i = 0; i < dims; i++) bits |= (unsigned)digits[i] << i * (16 / dims);
    return bits;
}

/* Codes of points with `dims` digits below `levels`. */
static int code_count(int levels, int dims) {
    int count = 1;
    for (int i = 0; i < dims; i++) count *= levels;
    return count;
}

EXPORT int64_t localq_codecs_grid(int dims, int levels, int points, int wanted,
                                  const uint8_t *digits, int32_t *place, uint16_t *lists) {
    const int codes = code_count(levels, dims);
    int64_t used = 0;
    for (int code = 0; code < codes; code++) {
        int at[8], distance[1024], limit = -1, on_grid = -1;
        digits_of(code, levels, dims, at);
        for (int p = 0; p < points; p++) {
            int d2 = 0;
            for (int i = 0; i < dims; i++) {
                const int step = digits[p * dims + i] - at[i];
                d2 += step * step;
            }
            distance[p] = d2;
            if (!d2) on_grid = p;
        }
        if (on_grid >= 0) {
            place[code] = on_grid;
            continue;
        }
        const int64_t start = used;
        used += 2; /* how many there are, and how many with the padding */
        for (int round = 0; round < wanted; round++) {
            int next = -1;
            for (int p = 0; p < points; p++)
                if (distance[p] > limit && (next < 0 || distance[p] < next)) next = distance[p];
            if (next < 0) break;
            limit = next;
            for (int p = 0; p < points; p++) {
                if (distance[p] != limit) continue;
                lists[used++] = packed(digits + p * dims, dims);
            }
        }
        const int64_t count = used - start - 2;
        /* The last one again, for whole vectors: a later one never wins over its equal. */
        while ((used - start - 2) % WHOLE) {
            lists[used] = lists[used - 1];
            used++;
        }
        lists[start] = count;
        lists[start + 1] = used - start - 2;
        place[code] = -(int32_t)(start + 1);
    }
    return used;
}
