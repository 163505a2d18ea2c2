// Bilinear resizing of one plane.
#pragma once

#include "lanes.h"
#include "solver.h"

namespace tvl1 {
namespace {

struct Plane {
  float* data;
  int width, height;
  ptrdiff_t stride;
};

TVL1_FUNCTION Tap resize_tap(Sampling sampling, int index, double scale, int size) {
  return tap(sampling == Sampling::opencv ? half_pixel_coordinate(index, scale)
                                          : corner_coordinate(index, scale),
             size);
}

// from * gain at the size of `to`; scale_x and scale_y are input over output size. As in OpenCV,
// a plane that has the size already is not read between its pixels.
void resize(Sampling sampling, const Plane& from, const Plane& to, double scale_x, double scale_y,
            float gain, const Scratch& scratch) {
  if (from.width == to.width && from.height == to.height) scale_x = scale_y = 1;
  float* line = scratch.lines;
  Tap* columns = scratch.taps;
  for (int x = 0; x < to.width; ++x)
    columns[x] = resize_tap(sampling, x, scale_x, from.width);
  for (int y = 0; y < to.height; ++y) {
    const Tap row = resize_tap(sampling, y, scale_y, from.height);
    const float* low = from.data + row.low * from.stride;
    const float* high = from.data + row.high * from.stride;
    const Lanes weight(gain * row.weight), rest(gain * (1.0f - row.weight));
    for (int x = 0; x < from.width; x += kLanes)
      store(line + x, load(low + x) * rest + load(high + x) * weight);
    float* out = to.data + y * to.stride;
    for (int x = 0; x < to.width; ++x) {
      const Tap column = columns[x];
      out[x] = line[column.low] * (1.0f - column.weight) + line[column.high] * column.weight;
    }
  }
}

}  // namespace
}  // namespace tvl1
