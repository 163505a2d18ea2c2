// The TV-L1 scheme on one pair of images. Compiled once for each target of the machine's family.
//
// Nothing here has external linkage but the table at the end (see lanes.h), so no C++ library.

#include "solver.h"

#include "lanes.h"
#include "median.h"
#include "resize.h"
#include "sweep.h"
#include "warp.h"

#if !defined(TVL1_TARGET)
#error "TVL1_TARGET names the target: v2, v3, v4 or plain"
#endif
#define TVL1_JOIN(a, b) a##b
#define TVL1_TABLE(target) TVL1_JOIN(kernels_, target)
#define TVL1_TEXT(a) #a
#define TVL1_NAME(target) TVL1_TEXT(target)

namespace tvl1 {
namespace {

// Adds the time of its life to a sum.
struct Stopwatch {
  double& seconds;
  const double start = now();
  explicit Stopwatch(double& sum) : seconds(sum) {}
  ~Stopwatch() { seconds += now() - start; }
};

void swap(float*& a, float*& b) {
  float* c = a;
  a = b;
  b = c;
}

Plane plane_of(const Level& level, float* data) {
  return {data, level.width, level.height, level.stride};
}

template <class Pixel>
void copy_image(const Pixel* image, const Plane& to) {
  for (int y = 0; y < to.height; ++y)
    for (int x = 0; x < to.width; ++x)
      to.data[y * to.stride + x] = static_cast<float>(image[y * ptrdiff_t(to.width) + x]);
}

void build_pyramid(const Scheme& scheme, const Plan& plan, Image image, const Scratch& scratch,
                   float* pyramid) {
  const Plane finest = plane_of(plan.levels[0], pyramid);
  if (image.bytes)
    copy_image(image.bytes, finest);
  else
    copy_image(image.floats, finest);
  const double scale = 1 / scheme.scale_step;
  for (int i = 1; i < plan.count; ++i) {
    const Level &from = plan.levels[i - 1], &to = plan.levels[i];
    resize(scheme.sampling, plane_of(from, pyramid + from.offset),
           plane_of(to, pyramid + to.offset), scale, scale, 1.0f, scratch);
  }
}

class Solver {
 public:
  Solver(const Scheme& scheme, const Plan& plan, const Pair& pair, const Scratch& scratch,
         const bool* stop, Statistics& statistics)
      : scheme_(scheme),
        plan_(plan),
        pair_(pair),
        scratch_(scratch),
        stop_(stop),
        statistics_(statistics),
        step_{static_cast<float>(scheme.lambda), static_cast<float>(scheme.theta),
              static_cast<float>(scheme.tau)} {}

  bool run() {
    for (int i = plan_.count - 1; i >= 0; --i) {
      {
        Stopwatch watch(statistics_.pyramid);
        if (i == plan_.count - 1)
          start();
        else
          refine(i);
        build_texture(scheme_.sampling, pair_.I1 + plan_.levels[i].offset, plan_.levels[i],
                      texture(i));
      }
      if (!solve_level(i)) return false;
    }
    write_flow();
    return true;
  }

 private:
  State state(int i) const {
    const Level& level = plan_.levels[i];
    const ptrdiff_t pitch = state_pitch(level.width);
    return {scratch_.state + pitch, level.width, level.height, state_stride(level.width), pitch};
  }

  Texture texture(int i) const {
    return {scratch_.texture, plan_.levels[i].width, plan_.levels[i].height};
  }

  // All planes of the level 0 with their row -1, and so p as well.
  State clear(int i) const {
    const State cleared = state(i);
    memset(cleared.data - cleared.pitch, 0, sizeof(float) * cleared.pitch * (cleared.height + 1));
    return cleared;
  }

  static Plane flow_plane(const State& state, PlaneName name) {
    return {state.row(name, 0), state.width, state.height, state.pitch};
  }

  // The coarsest level's flow: 0, or the given flow made smaller level by level.
  void start() const {
    const int coarsest = plan_.count - 1;
    const State to = clear(coarsest);
    if (!pair_.initial) return;
    const Level& finest = plan_.levels[0];
    for (const PlaneName name : kFlowPlanes) {
      float* data = scratch_.texture;
      float* smaller = data + finest.height * finest.stride;
      const float* given = pair_.initial + (name == kV2);
      for (int y = 0; y < finest.height; ++y, given += 2 * finest.width)
        for (int x = 0; x < finest.width; ++x)
          data[y * finest.stride + x] = step_.unit() * given[2 * x];
      for (int i = 1; i < plan_.count; ++i) {
        resize(scheme_.sampling, plane_of(plan_.levels[i - 1], data),
               plane_of(plan_.levels[i], smaller), 1 / scheme_.scale_step, 1 / scheme_.scale_step,
               static_cast<float>(scheme_.scale_step), scratch_);
        swap(data, smaller);
      }
      const Level& level = plan_.levels[coarsest];
      for (int y = 0; y < to.height; ++y)
        memcpy(to.row(name, y), data + y * level.stride, sizeof(float) * to.width);
    }
  }

  // The flow of level i from that of the coarser level i + 1.
  void refine(int i) const {
    const State coarse = state(i + 1);
    const Level& from = plan_.levels[i + 1];
    const ptrdiff_t size = from.height * from.stride;
    float* copies[2] = {scratch_.texture, scratch_.texture + size};
    for (const PlaneName name : kFlowPlanes)
      for (int y = 0; y < coarse.height; ++y)
        memcpy(copies[name] + y * from.stride, coarse.row(name, y), sizeof(float) * from.width);
    const State fine = clear(i);
    const double scale_x = double(coarse.width) / fine.width;
    const double scale_y = double(coarse.height) / fine.height;
    for (const PlaneName name : kFlowPlanes)
      resize(scheme_.sampling, plane_of(from, copies[name]), flow_plane(fine, name), scale_x,
             scale_y, static_cast<float>(1 / scheme_.scale_step), scratch_);
  }

  bool solve_level(int i) const {
    const State level = state(i);
    for (int warps = 0; warps < scheme_.warps; ++warps) {
      {
        Stopwatch watch(statistics_.warp);
        warp_level(i, level);
      }
      if (!iterate(level)) return false;
    }
    return true;
  }

  void warp_level(int i, const State& level) const {
    const float* I0 = pair_.I0 + plan_.levels[i].offset;
    const ptrdiff_t stride = plan_.levels[i].stride;
    if (scheme_.sampling == Sampling::opencv)
      warp<OpenCVCubic>(level, step_, I0, stride, texture(i));
    else
      warp<CatmullRom>(level, step_, I0, stride, texture(i));
    statistics_.pixel_warps += pixels(level);
  }

  bool iterate(const State& level) const {
    const double enough = scheme_.epsilon * scheme_.epsilon * static_cast<double>(pixels(level));
    bool running = true;
    for (int outer = 0; running && outer < scheme_.outer_iterations; ++outer) {
      if (scheme_.median > 1) {
        Stopwatch watch(statistics_.median);
        median_filter(level, scheme_.median, scratch_);
        statistics_.pixel_medians += pixels(level);
      }
      Stopwatch watch(statistics_.iterations);
      for (int inner = 0; running && inner < scheme_.inner_iterations; ++inner) {
        if (__atomic_load_n(stop_, __ATOMIC_RELAXED)) return false;
        running = sweep(level, step_) > enough;
        statistics_.pixel_iterations += pixels(level);
      }
    }
    return true;
  }

  void write_flow() const {
    const State finest = state(0);
    const float pixels = 1 / step_.unit();
    float* out = pair_.flow;
    for (int y = 0; y < finest.height; ++y) {
      const float *v1 = finest.row(kV1, y), *v2 = finest.row(kV2, y);
      for (int x = 0; x < finest.width; ++x) {
        *out++ = pixels * v1[x];
        *out++ = pixels * v2[x];
      }
    }
  }

  static int64_t pixels(const State& level) { return int64_t(level.width) * level.height; }

  const Scheme& scheme_;
  const Plan& plan_;
  const Pair& pair_;
  const Scratch& scratch_;
  const bool* stop_;
  Statistics& statistics_;
  const Step step_;
};

bool solve(const Scheme& scheme, const Plan& plan, const Pair& pair, const Scratch& scratch,
           const bool* stop, Statistics& statistics) {
  return Solver(scheme, plan, pair, scratch, stop, statistics).run();
}

}  // namespace

extern const Kernels TVL1_TABLE(TVL1_TARGET) = {TVL1_NAME(TVL1_TARGET), kLanes, build_pyramid,
                                                solve};

}  // namespace tvl1
