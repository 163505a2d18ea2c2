// The 3 x 3 and 5 x 5 median of both components of the flow, border repeated, by exchange networks
// (network.h); what a column's neighbours need of it too is sorted once and comes by shuffle.
#pragma once

#include "cuda_machine.h"
#include "network.h"

namespace tvl1 {

// A column of values, one row below the other, as `distance` columns to the right have it.
template <int kN>
TVL1_DEVICE void from_right(const Wide* column, int distance, Wide* out) {
  TVL1_UNROLL
  for (int i = 0; i < kN; ++i) out[i] = neighbour(column[i], distance);
}

// Rows y - 1 to y + 1 of a component's window at `rows`.
TVL1_DEVICE void median3(const Wide* rows, Wide* result) {
  Wide column[3] = {rows[0], rows[1], rows[2]}, left[3], right[3];
  sort<3>(column);
  from_right<3>(column, -1, left);
  from_right<3>(column, 1, right);
  // The middle of the largest low, the middle middle, and the smallest high.
  Wide middle[3] = {left[1], column[1], right[1]};
  sort<3>(middle);
  Wide all[3] = {maximum(maximum(left[0], column[0]), right[0]), middle[1],
                 minimum(minimum(left[2], column[2]), right[2])};
  sort<3>(all);
  *result = all[1];
}

// The middle of the six that the rows which two windows share leave over, and a row of five more:
// the smallest of max(six[i], five[5 - i]).
TVL1_DEVICE Wide middle(const Wide* six, const Wide& row) {
  Wide five[5];
  TVL1_UNROLL
  for (int i = 0; i < 5; ++i) five[i] = i == 2 ? row : neighbour(row, i - 2);
  sort<5>(five);
  Wide result = six[5];
  TVL1_UNROLL
  for (int i = 0; i < 5; ++i) result = minimum(result, maximum(six[i], five[4 - i]));
  return result;
}

// Rows y - 2 to y + 3 at `rows`; the results of rows y and y + 1. Their windows share four rows: of
// those 20 values only the six in the middle can be the median once five more have come.
TVL1_DEVICE void median5(const Wide* rows, Wide* result) {
  Wide column[4] = {rows[1], rows[2], rows[3], rows[4]};
  sort<4>(column);
  Wide right[4], pair[8], left_pair[8], three[12], all[20];
  from_right<4>(column, 1, right);
  merge<4, 4>(column, right, pair);
  from_right<8>(pair, -2, left_pair);
  from_right<4>(column, 2, right);
  merge<8, 4>(pair, right, three);
  merge<8, 12>(left_pair, three, all);
  result[0] = middle(all + 7, rows[0]);
  result[1] = middle(all + 7, rows[5]);
}

// A strip of the image a warp, a column a lane.
template <int kSide>
TVL1_DEVICE void median_filter(const Two* flow, Two* filtered, int height, int width) {
  constexpr int kRadius = kSide / 2, kResults = kSide == 5 ? 2 : 1, kSegment = 16;
  constexpr int kRows = 2 * kRadius + kResults, kOwn = kWarpSize - 2 * kRadius;
  const int strips = (width + kOwn - 1) / kOwn, segments = (height + kSegment - 1) / kSegment;
  for_each_warp([&](int warp) {
    for (int task = warp; task < strips * segments; task += kWarps) {
      const Ints lane = lanes(), x = lane + (task % strips * kOwn - kRadius);
      const Bools own = (lane >= kRadius) & (lane < kWarpSize - kRadius) & (x < width);
      const Ints left = x < 0 ? every_lane(0) : x;
      const Ints column = left < width ? left : every_lane(width - 1);
      const int begin = task / strips * kSegment;
      const int end = begin + kSegment < height ? begin + kSegment : height;
      for (int y = begin; y < end; y += kResults) {
        Wide v1[kRows], v2[kRows], result1[kResults], result2[kResults];
        TVL1_UNROLL
        for (int i = 0; i < kRows; ++i) {
          const int row = y + i - kRadius;
          const int inside = row < 0 ? 0 : row < height ? row : height - 1;
          const Wide2 v = load(flow, column + inside * width);
          v1[i] = v.x, v2[i] = v.y;
        }
        if constexpr (kSide == 5)
          median5(v1, result1), median5(v2, result2);
        else
          median3(v1, result1), median3(v2, result2);
        TVL1_UNROLL
        for (int i = 0; i < kResults; ++i)
          if (y + i < end)
            store(filtered, column + (y + i) * width, own, {result1[i], result2[i]});
      }
    }
  });
}

}  // namespace tvl1
