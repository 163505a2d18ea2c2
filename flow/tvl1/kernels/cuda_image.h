// Images: their pyramids, the flow from level to level, and the warp.
#pragma once

#include "cuda_machine.h"

namespace tvl1 {

struct Size {
  int height, width;

  TVL1_DEVICE int pixels() const { return height * width; }
};

enum class Sampling { opencv, opencv_cuda };

TVL1_DEVICE Tap resize_tap(Sampling sampling, int index, double scale, int size) {
  return tap(sampling == Sampling::opencv ? half_pixel_coordinate(index, scale)
                                          : corner_coordinate(index, scale),
             size);
}

// Resizes bilinearly as resize.h; the scales are input over output size. As in OpenCV, a plane that
// has the size already is not read between its pixels.
struct Resize {
  Sampling sampling;
  Size from, to;
  double scale_y, scale_x;
  Tap* columns;  // room for one a column of `to`

  // Doubles are slow on GPUs: each column's tap is worked out once.
  TVL1_DEVICE void prepare() {
    if (from.height == to.height && from.width == to.width) scale_y = scale_x = 1;
    for_each_pixel(1, to.width, [&](int, int x) {
      columns[x] = resize_tap(sampling, x, scale_x, from.width);
    });
  }

  // body(i, row, column) for each pixel i of `to`, which lies at these taps.
  template <class Body>
  TVL1_DEVICE void run(const Body& body) const {
    for_each_warp([&](int warp) {
      for (int y = warp; y < to.height; y += kWarps) {
        const Tap row = resize_tap(sampling, y, scale_y, from.height);
        for_each_lane(to.width, [&](int x) { body(y * to.width + x, row, columns[x]); });
      }
    });
  }

  // One value between the pixels; at(i) is pixel i of `from`.
  template <class At>
  TVL1_DEVICE float between(Tap row, Tap column, float gain, const At& at) const {
    const float weight = gain * row.weight, rest = gain * (1.0f - row.weight);
    const int low = row.low * from.width, high = row.high * from.width;
    const float left = at(low + column.low) * rest + at(high + column.low) * weight;
    const float right = at(low + column.high) * rest + at(high + column.high) * weight;
    return left * (1.0f - column.weight) + right * column.weight;
  }

  TVL1_DEVICE void images(const float* in0, const float* in1, float* out0, float* out1) const {
    run([&](int i, const Tap& row, const Tap& column) {
      out0[i] = between(row, column, 1.0f, [&](int k) { return in0[k]; });
      out1[i] = between(row, column, 1.0f, [&](int k) { return in1[k]; });
    });
  }
  TVL1_DEVICE void flow(const Two* in, Two* out, float gain) const {
    run([&](int i, const Tap& row, const Tap& column) {
      const float x = between(row, column, gain, [&](int k) { return in[k].x; });
      const float y = between(row, column, gain, [&](int k) { return in[k].y; });
      out[i] = {x, y};
    });
  }
};

TVL1_DEVICE int clamp_index(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// I1 with its half central differences, one-sided and halved at the borders: (I1, I1x, I1y, 0).
TVL1_DEVICE void build_texture(const float* image, Size size, Four* texture) {
  for_each_pixel(size.height, size.width, [&](int y, int x) {
    const int row = y * size.width;
    const float left = image[row + clamp_index(x - 1, size.width)];
    const float right = image[row + clamp_index(x + 1, size.width)];
    const float above = image[clamp_index(y - 1, size.height) * size.width + x];
    const float below = image[clamp_index(y + 1, size.height) * size.width + x];
    texture[row + x] = {image[row + x], 0.5f * (right - left), 0.5f * (below - above), 0.0f};
  });
}

// The four samples of a cubic kernel along one axis, at indices inside the image.
struct CubicTaps {
  int index[4];
  float weight[4];
};

// Outside an image are zeros (opencv), or its nearest pixel.
template <Sampling kSampling>
TVL1_DEVICE CubicTaps cubic_taps(float position, int size) {
  // Beyond these limits every tap lies outside; a position that is no number goes there too.
  constexpr float kNear = 3.0f;
  const float to = clamp(position, -kNear, static_cast<float>(size - 2) + kNear);
  const float low = floorf(to);
  CubicTaps taps;
  if constexpr (kSampling == Sampling::opencv)
    OpenCVCubic::weights(to - low, taps.weight);
  else
    CatmullRom::weights(to - low, taps.weight);
  TVL1_UNROLL
  for (int k = 0; k < 4; ++k) {
    const int index = static_cast<int>(low) + (k - 1);
    taps.index[k] = clamp_index(index, size);
    if (kSampling == Sampling::opencv && taps.index[k] != index) taps.weight[k] = 0.0f;
  }
  return taps;
}

// The constants of the iterations (cuda_iterate.h) where the flow leads; `unit` is that of v.
template <Sampling kSampling>
TVL1_DEVICE void warp_image(const Four* texture, const float* I0, const Two* flow, Size size,
                            float unit, float pixels_per_unit, float tau, Four* constants) {
  for_each_pixel(size.height, size.width, [&](int y, int x) {
    const int i = y * size.width + x;
    const Two v = flow[i];
    const auto to_x = static_cast<float>(x) + pixels_per_unit * v.x;
    const auto to_y = static_cast<float>(y) + pixels_per_unit * v.y;
    const CubicTaps across = cubic_taps<kSampling>(to_x, size.width);
    const CubicTaps down = cubic_taps<kSampling>(to_y, size.height);
    float I1w = 0.0f, I1wx = 0.0f, I1wy = 0.0f;
    TVL1_UNROLL
    for (int j = 0; j < 4; ++j) {
      const Four* row = texture + down.index[j] * size.width;
      float line = 0.0f, line_x = 0.0f, line_y = 0.0f;
      TVL1_UNROLL
      for (int k = 0; k < 4; ++k) {
        const Four value = row[across.index[k]];
        line += value.x * across.weight[k];
        line_x += value.y * across.weight[k];
        line_y += value.z * across.weight[k];
      }
      I1w += line * down.weight[j];
      I1wx += line_x * down.weight[j];
      I1wy += line_y * down.weight[j];
    }
    constants[i] = {I1wx, I1wy, residual_constant(I1w, I1wx, I1wy, v.x, v.y, I0[i], unit),
                    inverse_gradient(I1wx, I1wy, tau)};
  });
}

}  // namespace tvl1
