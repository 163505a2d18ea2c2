// The 3 x 3 and 5 x 5 median of a plane, border repeated (cv::medianBlur), by exchange networks:
// no branches, so that a register's pixels go through together. What the result does not depend
// on, the compiler drops. The networks work on integers in the order of the floats, on which many
// processors are twice as fast.
#pragma once

#include "lanes.h"
#include "network.h"
#include "solver.h"
#include "sweep.h"

namespace tvl1 {
namespace {

// The bits of floats as integers of the same order, and back: those of negative floats are turned.
TVL1_FUNCTION IntVector ordered(IntVector bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

// The buffers of floats hold integers here.
TVL1_FUNCTION IntVector load_bits(const float* from) {
  IntVector bits;
  memcpy(&bits, from, sizeof bits);
  return bits;
}
TVL1_FUNCTION void store_bits(float* to, IntVector bits) { memcpy(to, &bits, sizeof bits); }

// `plane`, ordered, with `radius` pixels more on each side and one row more at the bottom, border
// repeated.
// Row y of the plane is row y + radius of the result, its pixels start at kMargin.
void repeat_border(const State& state, PlaneName plane, int radius, float* padded) {
  const int width = state.width;
  for (int y = -radius; y <= state.height + radius; ++y) {
    const int row = y < 0 ? 0 : y < state.height ? y : state.height - 1;
    const float* from = state.row(plane, row);
    float* to = padded + (y + radius) * state.stride + kMargin;
    for (int x = 0; x < width; x += kLanes) store_bits(to + x, ordered(load_bits(from + x)));
    for (int i = 1; i <= radius; ++i) {
      memcpy(to - i, to, sizeof *to);
      memcpy(to + width - 1 + i, to + width - 1, sizeof *to);
    }
  }
}

void median3(const State& state, PlaneName plane, float* padded) {
  repeat_border(state, plane, 1, padded);
  for (int y = 0; y < state.height; ++y) {
    const float* row = padded + y * state.stride + kMargin;
    float* out = state.row(plane, y);
    for (int x = 0; x < state.width; x += kLanes) {
      IntVector window[9];
#pragma GCC unroll 32
      for (int i = 0; i < 9; ++i)
        window[i] = load_bits(row + (i / 3) * state.stride + x + i % 3 - 1);
      sort<9>(window);
      store_bits(out + x, ordered(window[4]));
    }
  }
}

// Two rows of results at a time. Their windows share four rows: of those 20 values only the six
// in the middle can be the median once five more have come. Each row's own five are then sorted,
// and the middle of 6 + 5 is the smallest of max(six[i], five[5 - i]).
TVL1_FUNCTION IntVector middle(const IntVector* six, const float* row, int x) {
  IntVector five[5];
#pragma GCC unroll 32
  for (int i = 0; i < 5; ++i) five[i] = load_bits(row + x + i - 2);
  sort<5>(five);
  IntVector result = six[5];
#pragma GCC unroll 32
  for (int i = 0; i < 5; ++i) result = minimum(result, maximum(six[i], five[4 - i]));
  return result;
}

TVL1_FUNCTION void middle_of_columns(const float* const line[4], int x, IntVector* six) {
  IntVector column[5][4], left[8], pair[8], right[12], all[20];
#pragma GCC unroll 32
  for (int i = 0; i < 20; ++i) column[i / 4][i % 4] = load_bits(line[i % 4] + x + i / 4 - 2);
  merge<4, 4>(column[0], column[1], left);
  merge<4, 4>(column[2], column[3], pair);
  merge<8, 4>(pair, column[4], right);
  merge<8, 12>(left, right, all);
#pragma GCC unroll 32
  for (int i = 0; i < 6; ++i) six[i] = all[7 + i];
}

void median5(const State& state, PlaneName plane, float* padded, float* lines) {
  repeat_border(state, plane, 2, padded);
  const ptrdiff_t stride = state.stride;
  float* line[4];
  for (int i = 0; i < 4; ++i) line[i] = lines + i * stride + kMargin;
  for (int y = 0; y < state.height; y += 2) {
    const float* top = padded + y * stride + kMargin;  // row y - 2 of the plane
    for (int x = -kLanes; x < state.width + 2; x += kLanes) {
      IntVector column[4];
#pragma GCC unroll 32
      for (int i = 0; i < 4; ++i) column[i] = load_bits(top + (i + 1) * stride + x);
      sort<4>(column);
#pragma GCC unroll 32
      for (int i = 0; i < 4; ++i) store_bits(line[i] + x, column[i]);
    }
    float* out = state.row(plane, y);
    float* next = y + 1 < state.height ? state.row(plane, y + 1) : nullptr;
    for (int x = 0; x < state.width; x += kLanes) {
      IntVector six[6];
      middle_of_columns(line, x, six);
      store_bits(out + x, ordered(middle(six, top, x)));
      if (next) store_bits(next + x, ordered(middle(six, top + 5 * stride, x)));
    }
  }
}

void median_filter(const State& state, int side, const Scratch& scratch) {
  for (const PlaneName plane : kFlowPlanes) {
    if (side == 3) median3(state, plane, scratch.padded);
    if (side == 5) median5(state, plane, scratch.padded, scratch.lines);
  }
}

}  // namespace
}  // namespace tvl1
