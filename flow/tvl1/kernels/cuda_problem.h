// What the CUDA kernel is told, and the memory that it works in. NVRTC, the emulation on the
// processor, and the host's Python (field by field) read the same layout.
//
// Launch: solve_pairs(const Problem*), any number of blocks of 256 threads in a row, each with a
// slot of the workspace; two blocks fit on a multiprocessor, and a block needs a pair to work on.
#pragma once

#if !defined(__CUDACC_RTC__)
#include <stddef.h>
#endif

namespace tvl1 {

enum Encoding { kSymmetric, kDenseFlow };  // flow.encoding's schemes

// What was done for a pair, in pixels of its levels.
struct Counts {
  long long iterations;  // of the scheme: up to where the iterations stop
  long long computed;    // by the lanes: with what overlaps at seams, and what is done again
  long long medians;     // of both components
};

// Arrays are dense, in C order, on the device. All sizes are in pixels; an image has below 2^30.
struct Problem {
  // Grey frames (frames, height, width) from 0 to 255, uint8 or float32 as `float_frames` says.
  const void* frames;
  // The frames of each pair: int32 (pairs).
  const int* first;
  const int* second;
  // Flow to start from, float32 (pairs, height, width, 2) in pixels; null: zero.
  const float* initial;
  // Results, each may be null: flow, float32 (pairs, height, width, 2) in pixels; the same as
  // flow.encoding.encode gives it, uint8 (pairs, height, width, 2).
  float* flow;
  unsigned char* encoded;
  // int64 (pairs, 3), may be null.
  Counts* counts;
  // Height and width of each level, the frames' own first: int32 (levels, 2).
  const int* sizes;
  // `slot_floats` floats for each block of the grid, aligned to 128 bytes; need not be cleared.
  float* workspace;
  // int32: the pair that comes next, 0 at the launch.
  int* next;
  // int32, may be null: blocks give up within a pass or two after it becomes other than 0.
  const int* stop;
  long long slot_floats;  // as slot_floats() says

  // flow.TVL1Params.
  double tau, lambda, theta, scale_step, epsilon;
  double bound;  // of the encoding, in pixels
  int warps, inner_iterations, outer_iterations, median;
  int opencv_cuda;  // the sampling: 1, or 0 for "opencv"
  int levels;
  int pairs, height, width;
  int float_frames;  // 1 for float32, 0 for uint8
  int encoding;      // an Encoding
  int padding;       // 0: the size is a multiple of 8 bytes
};

static_assert(sizeof(Counts) == 24 && sizeof(Problem) == 192, "Python mirrors these layouts");

// A slot's parts, each aligned to 128 bytes, for an image of `pixels` and a pyramid of
// `pyramid_pixels`, the sum over its levels.
struct Slot {
  long long flow[2], dual[2], constants, texture, pyramid[2], taps;  // offsets in floats
  long long floats;                                                  // of the whole
};

// Between two parts; a test for the sanitizers keeps them apart.
#if !defined(TVL1_GAP)
#define TVL1_GAP 0
#endif

constexpr long long part(long long floats) { return (floats + 31) / 32 * 32 + TVL1_GAP; }

constexpr Slot slot_layout(long long pixels, long long pyramid_pixels, int width) {
  Slot slot{};
  long long end = 0;
  const long long two = part(2 * pixels), four = part(4 * pixels);
  const long long pyramid = part(pyramid_pixels);
  slot.flow[0] = end, end += two;
  slot.flow[1] = end, end += two;
  slot.dual[0] = end, end += four;
  slot.dual[1] = end, end += four;
  slot.constants = end, end += four;
  slot.texture = end, end += four;
  slot.pyramid[0] = end, end += pyramid;
  slot.pyramid[1] = end, end += pyramid;
  slot.taps = end, end += part(3LL * width);
  slot.floats = end;
  return slot;
}

}  // namespace tvl1
