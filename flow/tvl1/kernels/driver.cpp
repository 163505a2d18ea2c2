// Tests of the native solver without Python, to be run under the sanitizers (TVL1_SANITIZE).
// Prints what fails; the exit status is the number of failures.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "batch.h"

namespace tvl1 {
extern const Kernels kernels_wide;
}

namespace {

int failures = 0;

void expect(bool right, const char* what, const char* target, int height, int width) {
  if (right) return;
  std::printf("FAILED: %s (%s, %d x %d)\n", what, target, height, width);
  ++failures;
}

const tvl1::Scheme kOpenCV{0.25, 0.15, 0.3, 0.8, 0.01, 5, 2, 4, 2, 5, tvl1::Sampling::opencv};
const tvl1::Scheme kCuda{0.25, 0.15, 0.3, 0.8, 0.01, 5, 2, 8, 1, 1, tvl1::Sampling::opencv_cuda};
const tvl1::Scheme kMedian3{0.25, 0.15, 0.3, 0.97, 0.01, 9, 1, 3, 2, 3, tvl1::Sampling::opencv};
constexpr int kFrames = 4;

struct Video {
  int height, width;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;

  Video(int rows, int columns) : height(rows), width(columns) {
    std::mt19937 random(7);
    bytes.resize(size_t(kFrames) * rows * columns);
    for (uint8_t& value : bytes) value = static_cast<uint8_t>(random() % 256);
    floats.assign(bytes.begin(), bytes.end());
  }
  ptrdiff_t pixels() const { return ptrdiff_t(height) * width; }
};

std::vector<float> solve(const tvl1::Scheme& scheme, const Video& video,
                         const tvl1::Kernels& kernels, int threads, bool as_bytes,
                         const float* initial = nullptr) {
  std::vector<float> flow(2 * video.pixels() * (kFrames - 1));
  tvl1::Batch batch{{}, {}, initial, flow.data(), kFrames - 1, video.height, video.width};
  if (as_bytes) {
    batch.first = {video.bytes.data(), nullptr};
    batch.second = {video.bytes.data() + video.pixels(), nullptr};
  } else {
    batch.first = {nullptr, video.floats.data()};
    batch.second = {nullptr, video.floats.data() + video.pixels()};
  }
  tvl1::solve_batch(scheme, batch, threads, kernels, [] { return false; });
  return flow;
}

bool finite(const std::vector<float>& values) {
  for (const float value : values)
    if (!std::isfinite(value)) return false;
  return true;
}

void test_size(const tvl1::Scheme& scheme, const tvl1::Kernels& kernels, int height, int width) {
  const Video video(height, width);
  const std::vector<float> flow = solve(scheme, video, kernels, 1, true);
  const auto check = [&](bool right, const char* what) {
    expect(right, what, kernels.name, height, width);
  };
  check(finite(flow), "the flow is finite");
  check(flow == solve(scheme, video, kernels, 3, true), "three threads give the bits of one");
  check(flow == solve(scheme, video, kernels, 2, false), "floats give the bits of bytes");
  // Positions far outside, and positions that are no numbers, must stay inside the buffers.
  const float wild[] = {1e30f, -1e30f, 3e9f, -0.0f, std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN()};
  std::vector<float> initial(flow.size());
  for (size_t i = 0; i < initial.size(); ++i) initial[i] = wild[(i * 7) % 6];
  solve(scheme, video, kernels, 1, true, initial.data());
}

// Vectors of 16 lanes against the fewest that this machine has, by which fewer pixels lie beyond a
// row's end. At one level, from no flow: a warp by a flow rounds otherwise with other lanes.
void test_lanes(const tvl1::Scheme& scheme, int height, int width) {
  const Video video(height, width);
  tvl1::Scheme one = scheme;
  one.scales = one.warps = 1;
  const std::vector<float> wide = solve(one, video, tvl1::kernels_wide, 1, true);
  const std::vector<float> few = solve(one, video, *tvl1::supported_kernels().back(), 1, true);
  float most = 0;
  for (size_t i = 0; i < wide.size(); ++i) most = std::max(most, std::abs(wide[i] - few[i]));
  expect(most < 1e-5f, "16 lanes give what 4 do", "wide", height, width);
}

void test_interruption(const tvl1::Kernels& kernels) {
  const Video video(200, 200);
  tvl1::Scheme endless = kOpenCV;
  endless.epsilon = 1e-30;
  endless.inner_iterations = 2000000000;
  std::vector<float> flow(2 * video.pixels() * (kFrames - 1));
  const tvl1::Batch batch{{video.bytes.data(), nullptr},
                          {video.bytes.data() + video.pixels(), nullptr},
                          nullptr,
                          flow.data(),
                          kFrames - 1,
                          200,
                          200};
  const auto outcome = tvl1::solve_batch(endless, batch, 2, kernels, [] { return true; });
  expect(outcome.interrupted, "an interruption ends the work", kernels.name, 200, 200);
}

void test_encode() {
  for (int i = -30000; i <= 30000; ++i) {
    const float v = static_cast<float>(i) / 1000.0f;
    const float gain = static_cast<float>(127.0 / 20.0);
    const double symmetric = 128 + std::nearbyint(static_cast<double>(gain * v));
    const double dense = std::nearbyint(255.0 * (static_cast<double>(v) + 20.0) / 40.0);
    const auto clipped = [](double code, double low) {
      return code < low ? low : code > 255 ? 255 : code;
    };
    expect(tvl1::encode_symmetric(v, gain) == clipped(symmetric, 1), "symmetric", "float", 1, i);
    expect(tvl1::encode_dense_flow(v, 127.5f / 20.0f, 20.0) == clipped(dense, 0), "dense_flow",
           "float", 1, i);
  }
}

}  // namespace

int main() {
  const int sizes[][2] = {{1, 1},   {1, 2},   {2, 1},   {1, 70},  {70, 1},  {3, 3},   {15, 17},
                          {16, 16}, {17, 64}, {33, 31}, {40, 65}, {64, 63}, {21, 130}};
  std::vector<const tvl1::Kernels*> all = tvl1::supported_kernels();
  all.push_back(&tvl1::kernels_wide);
  for (const tvl1::Kernels* kernels : all) {
    for (const auto& size : sizes)
      for (const tvl1::Scheme* scheme : {&kOpenCV, &kCuda, &kMedian3})
        test_size(*scheme, *kernels, size[0], size[1]);
    test_interruption(*kernels);
    std::printf("target %s: done\n", kernels->name);
  }
  for (int width = 1; width < 70; ++width)
    for (const tvl1::Scheme* scheme : {&kOpenCV, &kCuda, &kMedian3}) test_lanes(*scheme, 40, width);
  test_encode();
  std::printf("%d failures\n", failures);
  return failures;
}
