// The warp: I1 and its gradient where the flow leads, and from them the iterations' constants.
#pragma once

#include "lanes.h"
#include "solver.h"
#include "sweep.h"

namespace tvl1 {
namespace {

enum TextureName { kI1, kI1x, kI1y };
constexpr TextureName kTexturePlanes[] = {kI1, kI1x, kI1y};

// Pixel (y, x) of a plane is at(plane, y, x); the border is 0, or repeats the nearest pixel. A
// position is kept within kNear pixels outside: its cubic kernel and a tap more lie in the border.
constexpr int kBorder = 5, kNear = 3;

struct Texture {
  float* data;
  int width, height;

  TVL1_FUNCTION ptrdiff_t pitch() const { return width + 2 * kBorder; }
  TVL1_FUNCTION ptrdiff_t plane() const { return pitch() * (height + 2 * kBorder); }
  TVL1_FUNCTION float* at(TextureName name, int y, int x) const {
    return data + plane() * name + (y + kBorder) * pitch() + x + kBorder;
  }
};

TVL1_FUNCTION int clamp_index(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// I1 with its half central differences, one-sided and halved at the borders.
void build_texture(Sampling sampling, const float* image, const Level& level,
                   const Texture& texture) {
  const int width = level.width, height = level.height;
  for (int y = 0; y < height; ++y) {
    const float* here = image + y * level.stride;
    const float* above = image + clamp_index(y - 1, height) * level.stride;
    const float* below = image + clamp_index(y + 1, height) * level.stride;
    float *I1 = texture.at(kI1, y, 0), *I1x = texture.at(kI1x, y, 0), *I1y = texture.at(kI1y, y, 0);
    const auto column = [=](int x, int left, int right) {
      I1[x] = here[x];
      I1x[x] = 0.5f * (here[right] - here[left]);
      I1y[x] = 0.5f * (below[x] - above[x]);
    };
    column(0, 0, clamp_index(1, width));
    for (int x = 1; x < width - 1; ++x) column(x, x - 1, x + 1);
    column(width - 1, clamp_index(width - 2, width), width - 1);
  }
  const bool repeat = sampling == Sampling::opencv_cuda;
  for (const TextureName name : kTexturePlanes)
    for (int y = -kBorder; y < height + kBorder; ++y) {
      float* row = texture.at(name, y, 0);
      if (y != clamp_index(y, height)) {
        const float* nearest = texture.at(name, clamp_index(y, height), 0);
        for (int x = 0; x < width; ++x) row[x] = repeat ? nearest[x] : 0.0f;
      }
      for (int i = 1; i <= kBorder; ++i) {
        row[-i] = repeat ? row[0] : 0.0f;
        row[width - 1 + i] = repeat ? row[width - 1] : 0.0f;
      }
    }
}

// A stretch of a row on its way through the warp, one step for all of its pixels after the other:
// the steps of one pixel depend on each other and would leave the processor waiting.
constexpr int kStretch = 64;

struct Stretch {
  // The first tap of each pixel, and its weights; where the pixels of a vector go the same way, the
  // weights are those of the vector's taps.
  int left[kStretch], top[kStretch];
  float weight_x[5][kStretch], weight_y[5][kStretch];
  // How many taps the vector from a pixel on has in common; 0 where its pixels go separate ways.
  int taps_x[kStretch], taps_y[kStretch];
  float value[3][kStretch];  // of the planes of the texture
};

// One direction of a vector: the lowest of the pixels' first taps relative to themselves, and
// whether all are the same (4 taps), at most one apart (5), or further (0).
struct Way {
  int first, taps;
};
TVL1_FUNCTION Way way(IntVector relative) {
  const int some = relative[0];
  if (!any(relative != some)) return {some, 4};
  const int low = any(relative < some) ? some - 1 : some;
  return {low, any(relative < low) || any(relative > low + 1) ? 0 : 5};
}

// The weights of the four taps of a pixel as those of five, where `later` says that the pixel's
// first tap is the second of the five.
TVL1_FUNCTION void spread(IntVector later, Lanes weight[5]) {
  for (int k = 4; k >= 0; --k) {
    const FloatVector here = k < 4 ? weight[k].v : FloatVector{};
    const FloatVector before = k > 0 ? weight[k - 1].v : FloatVector{};
    weight[k] = later ? before : here;
  }
}

// Where the pixels from (y, x) on go. Those beyond the last column go somewhere in the texture too.
template <class Cubic>
TVL1_FUNCTION void locate(const State& state, float pixels_per_unit, int y, int x, int size,
                          Stretch& stretch) {
  // Beyond these limits every tap lies in the border; a position that is no number goes there too.
  const Lanes low(static_cast<float>(-kNear));
  const Lanes right(static_cast<float>(state.width - 2 + kNear));
  const Lanes bottom(static_cast<float>(state.height - 2 + kNear));
  const Lanes pixels(pixels_per_unit);
  const float *v1 = state.row(kV1, y) + x, *v2 = state.row(kV2, y) + x;
  for (int i = 0; i < size; i += kLanes) {
    const IntVector column = lane_numbers() + (x + i);
    const Lanes to_x = clamp(to_float(column) + pixels * load(v1 + i), low, right);
    const Lanes to_y = clamp(Lanes(static_cast<float>(y)) + pixels * load(v2 + i), low, bottom);
    const IntVector floor_x = floor_to_int(to_x), floor_y = floor_to_int(to_y);
    Lanes weight_x[5], weight_y[5];
    Cubic::weights(to_x - to_float(floor_x), weight_x);
    Cubic::weights(to_y - to_float(floor_y), weight_y);
    const IntVector left = floor_x - 1, top = floor_y - 1;
    memcpy(stretch.left + i, &left, sizeof left);
    memcpy(stretch.top + i, &top, sizeof top);
    // Pixels beyond the last column go the way of the vector's first.
    IntVector relative_x = left - column, relative_y = top;
    if (x + i + kLanes > state.width) {
      const IntVector inside = column < state.width;
      relative_x = inside ? relative_x : IntVector{} + relative_x[0];
      relative_y = inside ? relative_y : IntVector{} + relative_y[0];
    }
    const Way way_x = way(relative_x), way_y = way(relative_y);
    const bool together = way_x.taps && way_y.taps;
    stretch.taps_x[i] = together ? way_x.taps : 0;
    stretch.taps_y[i] = together ? way_y.taps : 0;
    if (together) {
      if (way_x.taps == 5) spread(relative_x != way_x.first, weight_x);
      if (way_y.taps == 5) spread(relative_y != way_y.first, weight_y);
      stretch.left[i] = x + i + way_x.first;
      stretch.top[i] = way_y.first;
    }
    for (int k = 0; k < 5; ++k) {
      store(stretch.weight_x[k] + i, weight_x[k]);
      store(stretch.weight_y[k] + i, weight_y[k]);
    }
  }
}

// The vector from pixel i on, whose pixels lie side by side in the texture too.
template <int kTapsX, int kTapsY>
TVL1_FUNCTION void sample_together(const Texture& texture, Stretch& stretch, int i) {
  Lanes weight_x[kTapsX];
  for (int k = 0; k < kTapsX; ++k) weight_x[k] = load(stretch.weight_x[k] + i);
  const float* corner = texture.at(kI1, stretch.top[i], stretch.left[i]);
  for (const TextureName name : kTexturePlanes) {
    const float* row = corner + texture.plane() * name;
    Lanes value(0.0f);
#pragma GCC unroll 5
    for (int j = 0; j < kTapsY; ++j, row += texture.pitch()) {
      Lanes line = load(row) * weight_x[0];
#pragma GCC unroll 5
      for (int k = 1; k < kTapsX; ++k) line = line + load(row + k) * weight_x[k];
      value = value + line * load(stretch.weight_y[j] + i);
    }
    store(stretch.value[name] + i, value);
  }
}

typedef float Four __attribute__((vector_size(16)));

TVL1_FUNCTION void sample_alone(const Texture& texture, Stretch& stretch, int i) {
  const float* corner = texture.at(kI1, stretch.top[i], stretch.left[i]);
  const Four weight_x = {stretch.weight_x[0][i], stretch.weight_x[1][i], stretch.weight_x[2][i],
                         stretch.weight_x[3][i]};
  for (const TextureName name : kTexturePlanes) {
    const float* row = corner + texture.plane() * name;
    Four value = {};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j, row += texture.pitch()) {
      Four taps;
      memcpy(&taps, row, sizeof taps);
      value += taps * stretch.weight_y[j][i];
    }
    value *= weight_x;
    stretch.value[name][i] = (value[0] + value[1]) + (value[2] + value[3]);
  }
}

void sample(const Texture& texture, Stretch& stretch, int size) {
  for (int i = 0; i < size; i += kLanes) {
    const int taps_x = stretch.taps_x[i], taps_y = stretch.taps_y[i];
    if (taps_x == 5 && taps_y == 5)
      sample_together<5, 5>(texture, stretch, i);
    else if (taps_x == 5)
      sample_together<5, 4>(texture, stretch, i);
    else if (taps_y == 5)
      sample_together<4, 5>(texture, stretch, i);
    else if (taps_x)
      sample_together<4, 4>(texture, stretch, i);
    else
      for (int k = 0; k < kLanes; ++k) sample_alone(texture, stretch, i + k);
  }
}

// The constants of the iterations for the pixels from (y, x) on.
TVL1_FUNCTION void linearise(const State& state, const Step& step, const float* I0, int y, int x,
                             int size, const Stretch& stretch) {
  const Lanes unit(step.unit()), tau(step.tau);
  float* blocks = state.blocks(y);
  for (int i = 0; i < size; i += kLanes) {
    const Lanes I1w = load(stretch.value[kI1] + i);
    const Lanes I1wx = load(stretch.value[kI1x] + i), I1wy = load(stretch.value[kI1y] + i);
    const int at = x + i;
    const Lanes v1 = load(state.row(kV1, y) + at), v2 = load(state.row(kV2, y) + at);
    store(State::at(blocks, kI1wx, at), I1wx);
    store(State::at(blocks, kI1wy, at), I1wy);
    store(State::at(blocks, kInverseGradient, at), inverse_gradient(I1wx, I1wy, tau));
    store(State::at(blocks, kRhoC, at),
          residual_constant(I1w, I1wx, I1wy, v1, v2, load(I0 + at), unit));
  }
}

template <class Cubic>
void warp(const State& state, const Step& step, const float* I0, ptrdiff_t I0_stride,
          const Texture& texture) {
  Stretch stretch;
  for (int y = 0; y < state.height; ++y, I0 += I0_stride)
    for (int x = 0; x < state.width; x += kStretch) {
      const int left = state.width - x;
      const int size = left < kStretch ? (left + kLanes - 1) / kLanes * kLanes : kStretch;
      locate<Cubic>(state, 1 / step.unit(), y, x, size, stretch);
      sample(texture, stretch, size);
      linearise(state, step, I0, y, x, size, stretch);
    }
}

}  // namespace
}  // namespace tvl1
