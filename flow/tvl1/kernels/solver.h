// What the part compiled for each target and the part compiled once say to each other.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pixel.h"

namespace tvl1 {

enum class Sampling { opencv, opencv_cuda };

// flow.TVL1Params.
struct Scheme {
  double tau, lambda, theta, scale_step, epsilon;
  int scales, warps, inner_iterations, outer_iterations, median;
  Sampling sampling;
};

// Rows of a working plane start after a margin of this many floats and end with at least two
// spare, the border of a 5 x 5 median; vectors may begin left of the first pixel and end right of
// the last.
constexpr int kMargin = 16;
constexpr int kStatePlanes = 4, kStateBlocks = 6;
ptrdiff_t state_stride(int width);  // of one plane's row
ptrdiff_t state_pitch(int width);   // of all that belongs to a row

// A plane of a pyramid: pixel (y, x) is data[y * stride + x], `data` lies `offset` floats after the
// pyramid's start.
struct Level {
  int width, height;
  ptrdiff_t stride, offset;
};

// The levels of an image size, and how many floats the buffers need.
struct Plan {
  const Level* levels;
  int count;
  size_t pyramid, state, texture, padded, lines;
};

// Buffers of one thread, `Plan` says how long. Zero when allocated.
struct Scratch {
  float* state;    // planes of the level in work (sweep.h)
  float* texture;  // the second image and its gradient, interleaved (warp.h)
  float* padded;   // a plane with its border repeated (median.h)
  float* lines;    // 4 rows, of the median or of a resize
  Tap* taps;       // as many as the image has columns
};

struct Statistics {
  double iterations = 0, warp = 0, median = 0, pyramid = 0;  // seconds
  int64_t pixel_iterations = 0, pixel_warps = 0, pixel_medians = 0;
};

// Grey pixels (height, width) from 0 to 255, of one of two types; the other pointer is null.
struct Image {
  const uint8_t* bytes;
  const float* floats;
};

// One pair of images: pyramids, flow (height, width, 2), and the flow to start from or null.
struct Pair {
  const float *I0, *I1;
  const float* initial;
  float* flow;
};

// The compiled targets offer these. `solve` is false when *stop became true before the end.
struct Kernels {
  const char* name;
  int lanes;
  void (*build_pyramid)(const Scheme&, const Plan&, Image, const Scratch&, float* pyramid);
  bool (*solve)(const Scheme&, const Plan&, const Pair&, const Scratch&, const bool* stop,
                Statistics&);
};

#if defined(__x86_64__)
extern const Kernels kernels_v2, kernels_v3, kernels_v4;
#else
extern const Kernels kernels_plain;
#endif

// The clock of `Statistics`, in seconds.
double now();

}  // namespace tvl1
