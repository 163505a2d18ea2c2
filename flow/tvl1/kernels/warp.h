// Warping the second image and its gradient by the flow.
#pragma once

#include "lanes.h"
#include "solver.h"
#include "sweep.h"

namespace tvl1 {
namespace {

constexpr int kBorder = 4;  // pixels around a texture: a whole cubic kernel fits beside the image

typedef float Texel __attribute__((vector_size(16)));      // I1, I1x, I1y, 0
typedef float TexelPair __attribute__((vector_size(32)));  // two neighbours of a row

// Pixel (y, x) of the image is at((y, x)); the border is 0, or repeats the nearest pixel.
struct Texture {
  float* data;
  int width, height;

  TVL1_FUNCTION int pitch() const { return width + 2 * kBorder; }
  TVL1_FUNCTION float* at(int y, int x) const {
    return data + (static_cast<ptrdiff_t>(y + kBorder) * pitch() + x + kBorder) * 4;
  }
};

TVL1_FUNCTION int clamp_index(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// I1 with its half central differences, one-sided and halved at the borders.
void build_texture(Sampling sampling, const float* image, const Level& level,
                   const Texture& texture) {
  const int width = level.width, height = level.height;
  for (int y = -kBorder; y < height + kBorder; ++y) {
    const bool outside = y < 0 || y >= height;
    if (outside && sampling == Sampling::opencv) {
      memset(texture.at(y, -kBorder), 0, sizeof(Texel) * texture.pitch());
      continue;
    }
    const int row = clamp_index(y, height);
    const float* here = image + row * level.stride;
    const float* above = image + clamp_index(row - 1, height) * level.stride;
    const float* below = image + clamp_index(row + 1, height) * level.stride;
    const auto texel = [=](int x) {
      const int left = x > 0 ? x - 1 : 0, right = x + 1 < width ? x + 1 : x;
      return Texel{here[x], 0.5f * (here[right] - here[left]), 0.5f * (below[x] - above[x]), 0.0f};
    };
    const bool zero = sampling == Sampling::opencv;
    const Texel before = zero ? Texel{} : texel(0), after = zero ? Texel{} : texel(width - 1);
    for (int x = -kBorder; x < 0; ++x) memcpy(texture.at(y, x), &before, sizeof before);
    for (int x = 0; x < width; ++x) {
      const Texel value = texel(x);
      memcpy(texture.at(y, x), &value, sizeof value);
    }
    for (int x = width; x < width + kBorder; ++x) memcpy(texture.at(y, x), &after, sizeof after);
  }
}

// A stretch of a row on its way through the warp, one step for all of its pixels after the other:
// the steps of one pixel depend on each other and would leave the processor waiting.
constexpr int kStretch = 64;

struct Stretch {
  int corner[kStretch];  // the texel one up and one left of where a pixel goes, from (0, 0)
  float weight_x[4][kStretch], weight_y[4][kStretch];
  float texel[kStretch][4];
};

// Where the pixels from (y, x) on go. Those beyond the last column go somewhere in the texture too.
template <class Cubic>
TVL1_FUNCTION void locate(const State& state, const Texture& texture, int y, int x, int size,
                          Stretch& stretch) {
  // Beyond these limits every tap lies in the border; a position that is no number goes there too.
  const Lanes low(1.0f - kBorder);
  const Lanes right(static_cast<float>(state.width + 1));
  const Lanes bottom(static_cast<float>(state.height + 1));
  const float *u1 = state.row(kU1, y) + x, *u2 = state.row(kU2, y) + x;
  for (int i = 0; i < size; i += kLanes) {
    const Lanes pixel_x = to_float(lane_numbers() + (x + i)), pixel_y(static_cast<float>(y));
    const Lanes to_x = clamp(pixel_x + load(u1 + i), low, right);
    const Lanes to_y = clamp(pixel_y + load(u2 + i), low, bottom);
    const IntVector floor_x = floor_to_int(to_x), floor_y = floor_to_int(to_y);
    const IntVector corner = (floor_y - 1) * texture.pitch() + (floor_x - 1);
    memcpy(stretch.corner + i, &corner, sizeof corner);
    Lanes weight_x[4], weight_y[4];
    Cubic::weights(to_x - to_float(floor_x), weight_x);
    Cubic::weights(to_y - to_float(floor_y), weight_y);
    for (int k = 0; k < 4; ++k) {
      store(stretch.weight_x[k] + i, weight_x[k]);
      store(stretch.weight_y[k] + i, weight_y[k]);
    }
  }
}

// The sum of weight_y[j] weight_x[k] texel[j][k] over the 4 x 4 texels of pixel i.
TVL1_FUNCTION Texel sample(const Texture& texture, const Stretch& stretch, int i) {
  const float* row = texture.at(0, 0) + 4 * static_cast<ptrdiff_t>(stretch.corner[i]);
  TexelPair left, right;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j, row += 4 * texture.pitch()) {
    TexelPair a, b;
    memcpy(&a, row, sizeof a);
    memcpy(&b, row + 8, sizeof b);
    const float weight = stretch.weight_y[j][i];
    left = j ? left + a * weight : a * weight;
    right = j ? right + b * weight : b * weight;
  }
  const float w0 = stretch.weight_x[0][i], w1 = stretch.weight_x[1][i];
  const float w2 = stretch.weight_x[2][i], w3 = stretch.weight_x[3][i];
  const TexelPair both = left * TexelPair{w0, w0, w0, w0, w1, w1, w1, w1} +
                         right * TexelPair{w2, w2, w2, w2, w3, w3, w3, w3};
  Texel halves[2];
  memcpy(halves, &both, sizeof both);
  return halves[0] + halves[1];
}

// The constants of the iterations for the pixels from (y, x) on.
TVL1_FUNCTION void linearise(const State& state, const float* I0, int y, int x, int size,
                             const Stretch& stretch) {
  for (int i = 0; i < size; i += kLanes) {
    Lanes I1w, I1wx, I1wy;
    for (int k = 0; k < kLanes; ++k) {
      I1w.v[k] = stretch.texel[i + k][0];
      I1wx.v[k] = stretch.texel[i + k][1];
      I1wy.v[k] = stretch.texel[i + k][2];
    }
    const int at = x + i;
    const Lanes u1 = load(state.row(kU1, y) + at), u2 = load(state.row(kU2, y) + at);
    store(state.row(kI1wx, y) + at, I1wx);
    store(state.row(kI1wy, y) + at, I1wy);
    store(state.row(kInverseGradient, y) + at, inverse_gradient(I1wx, I1wy));
    store(state.row(kRhoC, y) + at, residual_constant(I1w, I1wx, I1wy, u1, u2, load(I0 + at)));
  }
}

template <class Cubic>
void warp(const State& state, const float* I0, ptrdiff_t I0_stride, const Texture& texture) {
  Stretch stretch;
  for (int y = 0; y < state.height; ++y, I0 += I0_stride)
    for (int x = 0; x < state.width; x += kStretch) {
      const int left = state.width - x;
      const int size = left < kStretch ? (left + kLanes - 1) / kLanes * kLanes : kStretch;
      locate<Cubic>(state, texture, y, x, size, stretch);
      for (int i = 0; i < size; ++i) {
        const Texel texel = sample(texture, stretch, i);
        memcpy(stretch.texel[i], &texel, sizeof texel);
      }
      linearise(state, I0, y, x, size, stretch);
    }
}

}  // namespace
}  // namespace tvl1
