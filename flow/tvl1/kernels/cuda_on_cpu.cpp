// The CUDA kernel's source as code for the processor, to test it where there is no GPU.

#include <thread>
#include <vector>

#include "tvl1.cu"

#define TVL1_EXPORT extern "C" __attribute__((visibility("default")))

// As a launch of so many blocks, each a thread. `backwards`: the warps of a block work in the
// opposite order, which changes nothing unless a barrier is missing.
TVL1_EXPORT void tvl1_emulate(const tvl1::Problem* problem, int blocks, int backwards) {
  std::vector<std::thread> threads;
  for (int i = 0; i < blocks; ++i)
    threads.emplace_back([=] {
      tvl1::emulated_block = {i, backwards != 0};
      solve_pairs(problem);
    });
  for (std::thread& thread : threads) thread.join();
}

// How long a slot of the workspace is (Problem::slot_floats).
TVL1_EXPORT long long tvl1_slot_floats(long long pixels, long long pyramid_pixels, int width) {
  return tvl1::slot_layout(pixels, pyramid_pixels, width).floats;
}

#if defined(TVL1_DRIVER)
// A test without Python, to be run under the sanitizers (TVL1_SANITIZE): every array stands alone,
// and between the parts of a slot lies memory that nobody may touch. Prints what fails; the exit
// status is the number of failures.

#include <sanitizer/asan_interface.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

namespace {

int failures = 0;

class Workspace {
 public:
  Workspace(int blocks, long long pixels, long long pyramid_pixels, int width)
      : slot_(tvl1::slot_layout(pixels, pyramid_pixels, width)),
        floats_(blocks * slot_.floats),
        data_(static_cast<float*>(std::aligned_alloc(128, sizeof(float) * floats_))) {
    for (long long i = 0; i < floats_; ++i) data_[i] = std::numeric_limits<float>::quiet_NaN();
    const std::pair<long long, long long> parts[] = {
        {slot_.flow[0], 2 * pixels},   {slot_.flow[1], 2 * pixels},
        {slot_.dual[0], 4 * pixels},   {slot_.dual[1], 4 * pixels},
        {slot_.constants, 4 * pixels}, {slot_.texture, 4 * pixels},
        {slot_.pyramid[0], pyramid_pixels}, {slot_.pyramid[1], pyramid_pixels},
        {slot_.taps, 3LL * width}};
    __asan_poison_memory_region(data_, sizeof(float) * floats_);
    for (int block = 0; block < blocks; ++block)
      for (const auto& [begin, size] : parts)
        __asan_unpoison_memory_region(data_ + block * slot_.floats + begin, sizeof(float) * size);
  }
  ~Workspace() {
    __asan_unpoison_memory_region(data_, sizeof(float) * floats_);
    std::free(data_);
  }
  Workspace(const Workspace&) = delete;

  float* data() const { return data_; }
  long long slot_floats() const { return slot_.floats; }

 private:
  const tvl1::Slot slot_;
  const long long floats_;
  float* const data_;
};

void test(int height, int width, int median, bool opencv_cuda, bool wild) {
  constexpr int kFrames = 4, kPairs = 3, kBlocks = 2;
  const long long pixels = static_cast<long long>(height) * width;
  std::mt19937 random(7);
  std::vector<unsigned char> frames(kFrames * pixels), encoded(2 * kPairs * pixels);
  for (unsigned char& value : frames) value = static_cast<unsigned char>(random() % 256);
  const std::vector<int> first{0, 1, 2}, second{1, 2, 3};
  std::vector<float> flow(2 * kPairs * pixels), initial(flow.size());
  // Positions far outside, and positions that are no numbers, must stay inside the arrays.
  const float infinity = std::numeric_limits<float>::infinity();
  const float wild_values[] = {1e30f, -1e30f, 3e9f, -0.0f, infinity, NAN};
  for (size_t i = 0; i < initial.size(); ++i) initial[i] = wild_values[i * 7 % 6];
  std::vector<tvl1::Counts> counts(kPairs);
  std::vector<int> sizes;
  long long pyramid_pixels = 0;
  for (int h = height, w = width; sizes.empty() || (h >= 16 && w >= 16);) {
    sizes.insert(sizes.end(), {h, w});
    pyramid_pixels += static_cast<long long>(h) * w;
    h = h * 4 / 5, w = w * 4 / 5;
  }
  const Workspace workspace(kBlocks, pixels, pyramid_pixels, width);
  std::vector<int> next{0}, stop{0};

  tvl1::Problem problem{};
  problem.frames = frames.data(), problem.first = first.data(), problem.second = second.data();
  problem.initial = wild ? initial.data() : nullptr;
  problem.flow = flow.data(), problem.encoded = encoded.data(), problem.counts = counts.data();
  problem.sizes = sizes.data(), problem.workspace = workspace.data();
  problem.next = next.data(), problem.stop = stop.data();
  problem.slot_floats = workspace.slot_floats();
  problem.tau = 0.25, problem.lambda = 0.15, problem.theta = 0.3, problem.scale_step = 0.8;
  problem.epsilon = 0.01, problem.bound = 20;
  problem.warps = 2, problem.inner_iterations = 7, problem.outer_iterations = 2;
  problem.median = median, problem.opencv_cuda = opencv_cuda;
  problem.levels = static_cast<int>(sizes.size()) / 2;
  problem.pairs = kPairs, problem.height = height, problem.width = width;
  problem.encoding = tvl1::kDenseFlow;
  tvl1_emulate(&problem, kBlocks, 0);

  bool finite = true;
  for (const float value : flow) finite &= std::isfinite(value);
  if (finite || wild) return;
  std::printf("FAILED: the flow is finite (%d x %d, median %d)\n", height, width, median);
  ++failures;
}

}  // namespace

int main() {
  const int sizes[][2] = {{1, 1},   {1, 70},  {70, 1},  {3, 3},  {15, 17},
                          {33, 31}, {40, 65}, {21, 130}, {90, 33}};
  for (const auto& size : sizes)
    for (const int median : {1, 3, 5})
      for (const bool opencv_cuda : {false, true})
        for (const bool wild : {false, true})
          test(size[0], size[1], median, opencv_cuda, wild);
  std::printf("CUDA kernel on the processor: %d failures\n", failures);
  return failures;
}
#endif
