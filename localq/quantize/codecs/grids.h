/* Tables of the lattices of IQ2 and IQ3. */
#pragma once

#include "blocks.h"

/* Points of a list come in whole vectors of any instruction set. */
#define WHOLE 16

/* For each code, the digits of which are the coordinates in base `levels`, `place` is the number of
 * the point in the lattice, or -1 - where its list of neighbours begins in `lists`: how many there
 * are, how many with the padding, and then the points, with 16/dims bits a coordinate, the first
 * the lowest.
 *
 * `digits` are the coordinates of `points` points, at most 1024. Returns how much of `lists` was
 * used; there must be room for all points in each of them. */
EXPORT int64_t localq_codecs_grid(int dims, int levels, int points, int wanted,
                                  const uint8_t *digits, int32_t *place, uint16_t *lists);
