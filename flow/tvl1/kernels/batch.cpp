#include "batch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tvl1 {

double now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> supported;
#if defined(__x86_64__)
  // What the three levels have that compilers can ask for; no processor has part of a level.
  const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) supported.push_back(&kernels_v4);
  if (v3) supported.push_back(&kernels_v3);
  if (v2) supported.push_back(&kernels_v2);
#else
  supported.push_back(&kernels_plain);
#endif
  return supported;
}

namespace {

constexpr int kSmallestSide = 16;  // of a level of the pyramid but the first
constexpr int kLongestRun = 8;     // neighbouring pairs that one thread takes at a time
constexpr auto kPollInterval = std::chrono::milliseconds(20);

ptrdiff_t round_up(ptrdiff_t n) { return (n + kMargin - 1) / kMargin * kMargin; }

// Zeroed floats on a cache line; the system gives their pages as they are first written.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) : memory_(std::calloc(count * sizeof(T) + kAlignment, 1)) {
    if (!memory_) throw std::bad_alloc();
  }
  T* data() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return reinterpret_cast<T*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }

 private:
  static constexpr size_t kAlignment = 64;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
};

// Far from all motion u fades into subnormal numbers, with which many processors are slow: this
// thread takes them for 0.
void flush_subnormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // flush to zero, and denormals are zero
#endif
}

int smaller(int side, double step) { return static_cast<int>(std::nearbyint(side * step)); }

class Sizes {
 public:
  Sizes(const Scheme& scheme, int height, int width) {
    ptrdiff_t offset = 0;
    while (true) {
      levels_.push_back({width, height, round_up(width), offset});
      offset += height * round_up(width);
      width = smaller(width, scheme.scale_step);
      height = smaller(height, scheme.scale_step);
      if (static_cast<int>(levels_.size()) >= scheme.scales) break;
      if (std::min(width, height) < kSmallestSide) break;
    }
    const Level& finest = levels_[0];
    const size_t stride = state_stride(finest.width);
    // A vector that begins at the last pixel may end this far behind the last row.
    const size_t spare = 2 * kMargin;
    plan_.levels = levels_.data();
    plan_.count = static_cast<int>(levels_.size());
    plan_.pyramid = offset + spare;
    plan_.state = state_pitch(finest.width) * (finest.height + 1) + spare;
    plan_.texture = 3 * (finest.width + 10) * size_t(finest.height + 10) + spare;
    plan_.padded = stride * (finest.height + 5) + spare;
    plan_.lines = 4 * stride + spare;
  }
  const Plan& plan() const { return plan_; }

 private:
  std::vector<Level> levels_;
  Plan plan_;
};

// One thread's buffers, with the pyramids of the two images that it saw last.
class Worker {
 public:
  Worker(const Scheme& scheme, const Plan& plan, const Kernels& kernels)
      : scheme_(scheme),
        plan_(plan),
        kernels_(kernels),
        pyramids_{Buffer<float>(plan.pyramid), Buffer<float>(plan.pyramid)},
        state_(plan.state),
        texture_(plan.texture),
        padded_(plan.padded),
        lines_(plan.lines),
        taps_(plan.levels[0].width) {}

  bool solve(Image I0, Image I1, const float* initial, float* flow, const bool* stop) {
    if (!is(0, I0)) std::swap(pyramids_[0], pyramids_[1]), std::swap(images_[0], images_[1]);
    build(0, I0);
    build(1, I1);
    const Pair pair{pyramids_[0].data(), pyramids_[1].data(), initial, flow};
    return kernels_.solve(scheme_, plan_, pair, scratch(), stop, statistics_);
  }

  const Statistics& statistics() const { return statistics_; }

 private:
  bool is(int i, Image image) const {
    return images_[i].bytes == image.bytes && images_[i].floats == image.floats;
  }

  void build(int i, Image image) {
    if (is(i, image)) return;
    const double start = now();
    kernels_.build_pyramid(scheme_, plan_, image, scratch(), pyramids_[i].data());
    images_[i] = image;
    statistics_.pyramid += now() - start;
  }

  Scratch scratch() const {
    return {state_.data(), texture_.data(), padded_.data(), lines_.data(), taps_.data()};
  }

  const Scheme& scheme_;
  const Plan& plan_;
  const Kernels& kernels_;
  Buffer<float> pyramids_[2];
  Image images_[2] = {};
  Buffer<float> state_, texture_, padded_, lines_;
  Buffer<Tap> taps_;
  Statistics statistics_;
};

Statistics operator+(const Statistics& a, const Statistics& b) {
  return {a.iterations + b.iterations,
          a.warp + b.warp,
          a.median + b.median,
          a.pyramid + b.pyramid,
          a.pixel_iterations + b.pixel_iterations,
          a.pixel_warps + b.pixel_warps,
          a.pixel_medians + b.pixel_medians};
}

Image image_at(Image images, ptrdiff_t offset) {
  return {images.bytes ? images.bytes + offset : nullptr,
          images.floats ? images.floats + offset : nullptr};
}

// Threads that take runs of pairs until none is left.
class Crew {
 public:
  Crew(const Batch& batch, int threads)
      : batch_(batch), run_(std::clamp(batch.pairs / (4 * threads), 1, kLongestRun)) {}
  ~Crew() {
    stop();
    for (std::thread& thread : threads_) thread.join();
  }

  void start(Worker& worker) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++working_;
    }
    threads_.emplace_back([this, &worker] { work(worker); });
  }

  bool finished_within(std::chrono::milliseconds time) {
    std::unique_lock<std::mutex> lock(mutex_);
    return finished_.wait_for(lock, time, [this] { return working_ == 0; });
  }

  void stop() { __atomic_store_n(&stop_, true, __ATOMIC_RELAXED); }

 private:
  void work(Worker& worker) {
    flush_subnormals();
    const ptrdiff_t pixels = static_cast<ptrdiff_t>(batch_.height) * batch_.width;
    bool running = true;
    while (running) {
      const int begin = next_.fetch_add(run_);
      const int end = std::min(begin + run_, batch_.pairs);
      running = begin < end;
      for (int i = begin; running && i < end; ++i)
        running = worker.solve(image_at(batch_.first, i * pixels),
                               image_at(batch_.second, i * pixels),
                               batch_.initial ? batch_.initial + 2 * i * pixels : nullptr,
                               batch_.flow + 2 * i * pixels, &stop_);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--working_ == 0) finished_.notify_one();
  }

  const Batch& batch_;
  const int run_;
  std::atomic<int> next_{0};
  bool stop_ = false;
  int working_ = 0;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::vector<std::thread> threads_;
};

}  // namespace

ptrdiff_t state_stride(int width) { return kMargin + round_up(width + 2); }
ptrdiff_t state_pitch(int width) {
  return kStatePlanes * state_stride(width) + kStateBlocks * round_up(width);
}

Outcome solve_batch(const Scheme& scheme, const Batch& batch, int threads, const Kernels& kernels,
                    const std::function<bool()>& interrupted) {
  if (batch.pairs == 0) return {{}, false};
  threads = std::min(threads, batch.pairs);
  const Sizes sizes(scheme, batch.height, batch.width);
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < threads; ++i)
    workers.push_back(std::make_unique<Worker>(scheme, sizes.plan(), kernels));
  Outcome outcome{{}, false};
  {
    Crew crew(batch, threads);
    for (const auto& worker : workers) crew.start(*worker);
    while (!crew.finished_within(kPollInterval)) {
      if (outcome.interrupted || !interrupted()) continue;
      outcome.interrupted = true;
      crew.stop();
    }
  }
  for (const auto& worker : workers)
    outcome.statistics = outcome.statistics + worker->statistics();
  return outcome;
}

}  // namespace tvl1
