/* Vectors of LANES floats, the same names for AVX2 (8 lanes) and AVX-512 (16 lanes).
 *
 * Each operation rounds as the one of a single float does, so a lane computes bit for bit what
 * ggml's scalar code computes, as long as the order of operations is the same and the compiler
 * fuses nothing (-ffp-contract=off). + - * / are those of gcc's and clang's vector types. */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__

#define LANES 16
typedef __m512 floats;
typedef __m512i ints;
typedef __mmask16 mask;

INLINE floats every(float x) { return _mm512_set1_ps(x); }
INLINE ints every_int(int x) { return _mm512_set1_epi32(x); }
INLINE floats load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, floats v) { _mm512_storeu_ps(p, v); }
INLINE floats root(floats v) { return _mm512_sqrt_ps(v); }
INLINE floats size(floats v) { return _mm512_abs_ps(v); }
INLINE ints bits(floats v) { return _mm512_castps_si512(v); }
INLINE floats from_bits(ints v) { return _mm512_castsi512_ps(v); }

/* a < b ? a : b and a > b ? a : b, signed zeros and NaN included. */
INLINE floats least(floats a, floats b) { return _mm512_min_ps(a, b); }
INLINE floats most(floats a, floats b) { return _mm512_max_ps(a, b); }

/* Comparisons are false where either side is NaN; not_less is the negation of less. */
INLINE mask less(floats a, floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE mask not_less(floats a, floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
INLINE mask equal(floats a, floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE mask both(mask a, mask b) { return a & b; }
INLINE mask either(mask a, mask b) { return a | b; }
INLINE mask but_not(mask a, mask b) { return a & (mask)~b; }
INLINE mask nowhere(void) { return 0; }
INLINE unsigned lanes_of(mask m) { return m; }
INLINE floats pick(mask m, floats yes, floats no) { return _mm512_mask_mov_ps(no, m, yes); }
INLINE mask from_lanes(unsigned lanes) { return (mask)lanes; }
/* One more in the lanes of m. */
INLINE ints step(mask m, ints v) { return _mm512_mask_add_epi32(v, m, v, _mm512_set1_epi32(1)); }

INLINE ints plus(ints a, ints b) { return _mm512_add_epi32(a, b); }
INLINE ints minus(ints a, ints b) { return _mm512_sub_epi32(a, b); }
INLINE ints and(ints a, ints b) { return _mm512_and_si512(a, b); }
INLINE ints or(ints a, ints b) { return _mm512_or_si512(a, b); }
INLINE ints least_int(ints a, ints b) { return _mm512_min_epi32(a, b); }
INLINE ints most_int(ints a, ints b) { return _mm512_max_epi32(a, b); }
INLINE ints truncate(floats v) { return _mm512_cvttps_epi32(v); }
INLINE floats as_floats(ints v) { return _mm512_cvtepi32_ps(v); }
#define shift_left(v, n) _mm512_slli_epi32(v, n)
#define shift_right(v, n) _mm512_srli_epi32(v, n)

/* The lowest byte of each lane, side by side. */
INLINE void store_bytes(void *p, ints v) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(v));
}

INLINE ints load_u16(const uint16_t *p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

INLINE floats load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE float most_across(floats v) { return _mm512_reduce_max_ps(v); }
INLINE float least_across(floats v) { return _mm512_reduce_min_ps(v); }
INLINE int most_int_across(ints v) { return _mm512_reduce_max_epi32(v); }

/* Sixteen floats that lanes look up by the lowest four bits of a number. */
typedef floats table;
INLINE table table_of(const float values[16]) { return load(values); }
INLINE floats look_up(table of, ints number) { return _mm512_permutexvar_ps(number, of); }

/* Four or eight floats, looked up by the lowest two bits or, of a number below 8, four. */
INLINE floats four(__m128 values) { return _mm512_broadcast_f32x4(values); }
INLINE floats look_up_four(floats of, ints number) { return _mm512_permutevar_ps(of, number); }
INLINE floats eight(__m256 values) { return _mm512_castps256_ps512(values); }
INLINE floats look_up_eight(floats of, ints number) { return _mm512_permutexvar_ps(number, of); }

/* r[i] lane j <-> r[j] lane i */
INLINE void transpose(floats r[16]) {
    __m512d t[16];
    for (int i = 0; i < 16; i += 4) {
        floats a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        floats c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]);
        floats d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        t[i + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
        t[i + 2] = _mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
        t[i + 3] = _mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
    }
    for (int i = 0; i < 4; i++) {
        floats a = _mm512_castpd_ps(t[i]), b = _mm512_castpd_ps(t[i + 4]);
        floats c = _mm512_castpd_ps(t[i + 8]), d = _mm512_castpd_ps(t[i + 12]);
        floats e = _mm512_shuffle_f32x4(a, b, 0x88), f = _mm512_shuffle_f32x4(a, b, 0xdd);
        floats g = _mm512_shuffle_f32x4(c, d, 0x88), h = _mm512_shuffle_f32x4(c, d, 0xdd);
        r[i] = _mm512_shuffle_f32x4(e, g, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(f, h, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(e, g, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(f, h, 0xdd);
    }
}

#else

#define LANES 8
typedef __m256 floats;
typedef __m256i ints;
typedef __m256 mask;

INLINE floats every(float x) { return _mm256_set1_ps(x); }
INLINE ints every_int(int x) { return _mm256_set1_epi32(x); }
INLINE floats load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, floats v) { _mm256_storeu_ps(p, v); }
INLINE floats root(floats v) { return _mm256_sqrt_ps(v); }
INLINE floats size(floats v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
INLINE ints bits(floats v) { return _mm256_castps_si256(v); }
INLINE floats from_bits(ints v) { return _mm256_castsi256_ps(v); }

INLINE floats least(floats a, floats b) { return _mm256_min_ps(a, b); }
INLINE floats most(floats a, floats b) { return _mm256_max_ps(a, b); }

INLINE mask less(floats a, floats b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
INLINE mask not_less(floats a, floats b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
INLINE mask equal(floats a, floats b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
INLINE mask both(mask a, mask b) { return _mm256_and_ps(a, b); }
INLINE mask either(mask a, mask b) { return _mm256_or_ps(a, b); }
INLINE mask but_not(mask a, mask b) { return _mm256_andnot_ps(b, a); }
INLINE mask nowhere(void) { return _mm256_setzero_ps(); }
INLINE unsigned lanes_of(mask m) { return (unsigned)_mm256_movemask_ps(m); }
INLINE floats pick(mask m, floats yes, floats no) { return _mm256_blendv_ps(no, yes, m); }
INLINE mask from_lanes(unsigned lanes) {
    ints bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    ints set = _mm256_and_si256(_mm256_set1_epi32((int)lanes), bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit));
}
INLINE ints step(mask m, ints v) { return _mm256_sub_epi32(v, _mm256_castps_si256(m)); }

INLINE ints plus(ints a, ints b) { return _mm256_add_epi32(a, b); }
INLINE ints minus(ints a, ints b) { return _mm256_sub_epi32(a, b); }
INLINE ints and(ints a, ints b) { return _mm256_and_si256(a, b); }
INLINE ints or(ints a, ints b) { return _mm256_or_si256(a, b); }
INLINE ints least_int(ints a, ints b) { return _mm256_min_epi32(a, b); }
INLINE ints most_int(ints a, ints b) { return _mm256_max_epi32(a, b); }
INLINE ints truncate(floats v) { return _mm256_cvttps_epi32(v); }
INLINE floats as_floats(ints v) { return _mm256_cvtepi32_ps(v); }
#define shift_left(v, n) _mm256_slli_epi32(v, n)
#define shift_right(v, n) _mm256_srli_epi32(v, n)

INLINE void store_bytes(void *p, ints v) {
    ints order = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                  0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    ints packed = _mm256_shuffle_epi8(v, order);
    __m128i low = _mm256_castsi256_si128(packed), high = _mm256_extracti128_si256(packed, 1);
    _mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(low, high));
}

INLINE ints load_u16(const uint16_t *p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}

INLINE floats load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE float most_across(floats v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

INLINE float least_across(floats v) {
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}

INLINE int most_int_across(ints v) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

typedef struct {
    floats low, high;
} table;

INLINE table table_of(const float values[16]) { return (table){load(values), load(values + 8)}; }

INLINE floats look_up(table of, ints number) {
    floats low = _mm256_permutevar8x32_ps(of.low, number);
    floats high = _mm256_permutevar8x32_ps(of.high, number);
    return pick(from_bits(shift_left(number, 28)), high, low);
}

INLINE floats four(__m128 values) { return _mm256_set_m128(values, values); }
INLINE floats look_up_four(floats of, ints number) { return _mm256_permutevar_ps(of, number); }
INLINE floats eight(__m256 values) { return values; }
INLINE floats look_up_eight(floats of, ints number) {
    return _mm256_permutevar8x32_ps(of, number);
}

INLINE void transpose(floats r[8]) {
    floats t[8];
    for (int i = 0; i < 8; i += 4) {
        floats a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        floats c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
        floats d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#endif

INLINE ints load_ints(const int *p) { return bits(load((const float *)p)); }
INLINE void store_ints(int *p, ints v) { store((float *)p, from_bits(v)); }
INLINE ints pick_int(mask m, ints yes, ints no) {
    return bits(pick(m, from_bits(yes), from_bits(no)));
}
INLINE floats negative(floats v) { return from_bits(bits(v) ^ bits(every(-0.0f))); }

/* Adding 1.5 * 2^23 rounds a float of less than 2^22 to a whole number, half to even. */
#define MAGIC 12582912.0f

/* ggml's nearest_int, wrapping around as it does where the number is too large. */
INLINE int nearest_int(float x) {
    float shifted = x + MAGIC;
    int i;
    memcpy(&i, &shifted, sizeof i);
    return (i & 0x007fffff) - 0x00400000;
}

INLINE ints nearest_ints(floats x) {
    return minus(and(bits(x + every(MAGIC)), every_int(0x007fffff)), every_int(0x00400000));
}

/* nearest_int, then MIN and MAX, as a float: for |x| below 2^22 only. Never -0. */
INLINE floats nearest_within(floats x, float low, float high) {
    floats shifted = x + every(MAGIC);
    shifted = most(shifted, every(MAGIC + low));
    shifted = least(shifted, every(MAGIC + high));
    return shifted - every(MAGIC);
}

INLINE uint16_t to_f16(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
INLINE float from_f16(uint16_t x) { return _cvtsh_ss(x); }
