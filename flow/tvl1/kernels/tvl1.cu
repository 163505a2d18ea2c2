// The TV-L1 scheme (reference.py) on a GPU: a block of threads solves a pair of images from its
// pyramids to its result and takes the next one, so that a pair's iterations end when they should,
// whatever the others do, and a pair's bits do not depend on its batch.

#include "cuda_image.h"
#include "cuda_iterate.h"
#include "cuda_machine.h"
#include "cuda_median.h"
#include "cuda_problem.h"

namespace tvl1 {

// What a block's threads know together. What lives through the iterations stands here: the
// registers are theirs. One thread changes it while the others wait.
struct Shared {
  Four ring[kWarps][kRing][kWarpSize];         // cuda_iterate.h
  double change[kWarps][kMostIterations];      // of a pass: sums of |e|^2 (pixel.h)
  long long computed[kWarps];
  Counts counts;
  // The parts of the block's slot. Of two the first is in use, the other is written next.
  Two* flow[2];
  Four *dual[2], *constants, *texture;
  float* pyramid[2];
  Tap* taps;

  int pair;
  // The level in work, and where it begins in a pyramid.
  int level;
  long long offset;
  Size size;
  Cut cut;
  // The warp in work, and its rounds of a median and iterations.
  int warp, round;
  bool running;  // the iterations of this warp have not come to their end
  int left;      // iterations of this round
  int count;     // iterations of the next pass; 0: the round is over
  float last;    // the change of the last iteration (see excess())
  bool stop;     // the host wants no more
};

class Solver {
 public:
  TVL1_DEVICE Solver(const Problem& problem, Shared& shared) : p_(problem), shared_(shared) {
    one_thread([&] {
      long long pyramid = 0;
      for (int i = 0; i < p_.levels; ++i) pyramid += size(i).pixels();
      const Slot slot = slot_layout(size(0).pixels(), pyramid, p_.width);
      float* memory = p_.workspace + p_.slot_floats * block_index();
      TVL1_UNROLL
      for (int i = 0; i < 2; ++i) {
        shared_.flow[i] = reinterpret_cast<Two*>(memory + slot.flow[i]);
        shared_.dual[i] = reinterpret_cast<Four*>(memory + slot.dual[i]);
        shared_.pyramid[i] = memory + slot.pyramid[i];
      }
      shared_.constants = reinterpret_cast<Four*>(memory + slot.constants);
      shared_.texture = reinterpret_cast<Four*>(memory + slot.texture);
      shared_.taps = reinterpret_cast<Tap*>(memory + slot.taps);
      shared_.stop = false;
    });
  }

  TVL1_DEVICE void run() {
    while (take_pair()) {
      build_pyramids();
      for (start(); shared_.level >= 0 && !shared_.stop; refine()) solve_level();
      if (shared_.stop) return;
      write();
    }
  }

 private:
  TVL1_DEVICE Size size(int level) const {
    const int* size = global(p_.sizes) + 2 * level;
    return {size[0], size[1]};
  }
  TVL1_DEVICE long long pixels() const { return shared_.size.pixels(); }
  // Of v, for a flow of one pixel, and back.
  TVL1_DEVICE float unit() const { return static_cast<float>(p_.tau / p_.theta); }
  TVL1_DEVICE float pixels_per_unit() const { return static_cast<float>(p_.theta / p_.tau); }

  TVL1_DEVICE Two* flow(int which = 0) const { return global(shared_.flow[which]); }
  TVL1_DEVICE Four* dual(int which = 0) const { return global(shared_.dual[which]); }
  TVL1_DEVICE Four* constants() const { return global(shared_.constants); }
  TVL1_DEVICE Four* texture() const { return global(shared_.texture); }
  TVL1_DEVICE float* pyramid(int which) const { return global(shared_.pyramid[which]); }

  template <class T>
  static TVL1_DEVICE void swap(T* (&buffers)[2]) {
    T* first = buffers[0];
    buffers[0] = buffers[1];
    buffers[1] = first;
  }

  TVL1_DEVICE bool take_pair() {
    one_thread([&] {
      shared_.pair = take_next(p_.next);
      shared_.counts = {};
    });
    for_each_warp([&](int warp) { shared_.computed[warp] = 0; });
    return shared_.pair < p_.pairs;
  }

  TVL1_DEVICE Sampling sampling() const {
    return p_.opencv_cuda ? Sampling::opencv_cuda : Sampling::opencv;
  }
  TVL1_DEVICE Resize resize(int from, int to, double scale_y, double scale_x) const {
    Resize resize{sampling(), size(from), size(to), scale_y, scale_x, global(shared_.taps)};
    resize.prepare();
    return resize;
  }
  TVL1_DEVICE Resize smaller(int level) const {
    return resize(level - 1, level, 1 / p_.scale_step, 1 / p_.scale_step);
  }

  TVL1_DEVICE void build_pyramids() const {
    const long long frame = size(0).pixels();
    TVL1_UNROLL
    for (int which = 0; which < 2; ++which) {
      const long long first = frame * global(which ? p_.second : p_.first)[shared_.pair];
      const float* floats = static_cast<const float*>(p_.frames) + first;
      const unsigned char* bytes = static_cast<const unsigned char*>(p_.frames) + first;
      const bool float_frames = p_.float_frames;
      float* image = pyramid(which);
      const int width = p_.width;
      for_each_pixel(p_.height, width, [&](int y, int x) {
        const int i = y * width + x;
        image[i] = float_frames ? global(floats)[i] : static_cast<float>(global(bytes)[i]);
      });
    }
    long long offset = 0;
    for (int i = 1; i < p_.levels; ++i) {
      const Resize resize = smaller(i);
      const long long next = offset + resize.from.pixels();
      resize.images(pyramid(0) + offset, pyramid(1) + offset, pyramid(0) + next, pyramid(1) + next);
      offset = next;
    }
  }

  // The coarsest level's flow: 0, or the given flow made smaller level by level.
  TVL1_DEVICE void start() {
    const int coarsest = p_.levels - 1;
    const Size full = size(0);
    const float* given = p_.initial ? p_.initial + 2LL * shared_.pair * full.pixels() : nullptr;
    const Size first = given ? full : size(coarsest);
    Two* out = flow();
    const float scale = unit();
    for_each_pixel(first.height, first.width, [&](int y, int x) {
      const int i = y * first.width + x;
      out[i] = {0.0f, 0.0f};
      if (given) out[i] = {scale * global(given)[2LL * i], scale * global(given)[2LL * i + 1]};
    });
    if (given)
      for (int i = 1; i < p_.levels; ++i)
        resize_flow(smaller(i), static_cast<float>(p_.scale_step));
    enter(coarsest);
  }

  // The flow of the next level from that of the coarser one.
  TVL1_DEVICE void refine() {
    const int to = shared_.level - 1;
    if (to >= 0) {
      const Size coarse = shared_.size, fine = size(to);
      resize_flow(resize(to + 1, to, static_cast<double>(coarse.height) / fine.height,
                         static_cast<double>(coarse.width) / fine.width),
                  static_cast<float>(1 / p_.scale_step));
    }
    enter(to);
  }

  TVL1_DEVICE void resize_flow(const Resize& resize, float gain) const {
    resize.flow(flow(), flow(1), gain);
    one_thread([&] { swap(shared_.flow); });
  }

  TVL1_DEVICE void enter(int level) const {
    one_thread([&] {
      shared_.level = level;
      if (level < 0) return;
      shared_.offset = 0;
      for (int i = 0; i < level; ++i) shared_.offset += size(i).pixels();
      shared_.size = size(level);
      shared_.cut = cut_level(shared_.size.height, shared_.size.width);
      shared_.warp = 0;
    });
  }

  TVL1_DEVICE void solve_level() const {
    Four* q = dual();
    const int width = shared_.size.width;
    for_each_pixel(shared_.size.height, width, [&](int y, int x) {
      q[y * width + x] = {0.0f, 0.0f, 0.0f, 0.0f};
    });
    build_texture(pyramid(1) + shared_.offset, shared_.size, texture());
    while (shared_.warp < p_.warps && !shared_.stop) {
      if (p_.opencv_cuda)
        warp<Sampling::opencv_cuda>();
      else
        warp<Sampling::opencv>();
      iterate();
    }
  }

  template <Sampling kSampling>
  TVL1_DEVICE void warp() const {
    warp_image<kSampling>(texture(), pyramid(0) + shared_.offset, flow(), shared_.size, unit(),
                          pixels_per_unit(), static_cast<float>(p_.tau), constants());
  }

  TVL1_DEVICE void iterate() const {
    one_thread([&] {
      ++shared_.warp;
      shared_.round = 0;
      shared_.running = true;
    });
    while (shared_.running && shared_.round < p_.outer_iterations) {
      if (p_.median > 1) filter();
      one_thread([&] {
        ++shared_.round;
        shared_.left = p_.inner_iterations;
        shared_.count = lesser(shared_.left, kMostIterations);
        shared_.last = 0.0f;
      });
      while (shared_.count > 0) {
        pass();
        one_thread([&] { judge(); });
      }
    }
  }

  TVL1_DEVICE void filter() const {
    if (p_.median == 3)
      median_filter<3>(flow(), flow(1), shared_.size.height, shared_.size.width);
    else
      median_filter<5>(flow(), flow(1), shared_.size.height, shared_.size.width);
    one_thread([&] {
      swap(shared_.flow);
      shared_.counts.medians += pixels();
    });
  }

  TVL1_DEVICE void pass() const {
    switch (shared_.count) {
      case 1:
        return pass<1>();
      case 2:
        return pass<2>();
      case 3:
        return pass<3>();
      default:
        return pass<4>();
    }
  }

  template <int kCount>
  TVL1_DEVICE void pass() const {
    static_assert(kCount <= kMostIterations, "the strips overlap far enough");
    for_each_warp([&](int warp) {
      double* changes = shared_.change[warp];
      on_first_lane([&] {
        for (int k = 0; k < kCount; ++k) changes[k] = 0;
      });
      for (int task = warp; task < shared_.cut.tasks(shared_.size.height); task += kWarps) {
        March<kCount> march({flow(), dual(), constants(), flow(1), dual(1), shared_.size.height,
                             shared_.size.width, static_cast<float>(p_.lambda),
                             static_cast<float>(p_.tau)},
                            shared_.cut, task, shared_.ring[again(warp)]);
        const int rows = march.run();
        on_first_lane([&] { shared_.computed[warp] += rows * kWarpSize * kCount; });
        TVL1_UNROLL
        for (int k = 0; k < kCount; ++k) {
          const float change = sum(march.change[k]);
          on_first_lane([&] { changes[k] += static_cast<double>(change); });
        }
      }
    });
  }

  // After a pass, one thread: how many of its iterations count, and how many the next one makes.
  TVL1_DEVICE void judge() const {
    Shared& s = shared_;
    int done = 0;
    bool running = true;
    float change = s.last, earlier = change;
    for (; running && done < s.count; ++done) {
      earlier = change;
      change = excess(done);
      running = change > 1.0f;
    }
    s.stop = p_.stop && read_flag(p_.stop);
    if (s.stop) {
      s.count = 0;
      s.running = false;
    } else if (done < s.count) {  // it went too far: again, up to there
      s.count = done;
    } else {
      swap(s.flow);
      swap(s.dual);
      s.counts.iterations += done * pixels();
      s.left -= done;
      s.last = change;
      s.running = running;
      s.count = running ? lesser(s.left, until_enough(change, earlier)) : 0;
    }
  }

  // The sum of |u_new - u|^2 of an iteration of the pass, over what is small enough to stop, which
  // is 1. v changed by -tau e, and so u = (theta / tau) v by -theta e.
  TVL1_DEVICE float excess(int iteration) const {
    double sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += shared_.change[warp][iteration];
    const auto theta = static_cast<double>(static_cast<float>(p_.theta));
    const double change = theta * theta * sum;
    const double enough = p_.epsilon * p_.epsilon * static_cast<double>(pixels());
    if (!(change > enough)) return 1.0f;
    return maximum(static_cast<float>(change / enough), 1.0000001f);  // rounding may not say 1
  }

  // How many iterations it takes to get from `change` to 1 if each shrinks it as the last one did.
  // To go too far costs as much as to stop short.
  static TVL1_DEVICE int until_enough(float change, float earlier) {
    const float ratio = change / earlier;
    int count = 1;
    for (float hope = change * ratio; hope > 1.0f && count < kMostIterations; hope = hope * ratio)
      ++count;
    return count;
  }

  TVL1_DEVICE void write() const {
    const long long first = shared_.pair * static_cast<long long>(size(0).pixels());
    const Two* v = flow();
    float* out = p_.flow;
    unsigned char* encoded = p_.encoded;
    const bool symmetric = p_.encoding == kSymmetric;
    const double bound = p_.bound;
    const auto gain = static_cast<float>((symmetric ? 127.0 : 127.5) / bound);
    const float scale = pixels_per_unit();
    for_each_pixel(p_.height, p_.width, [&](int y, int x) {
      const int i = y * p_.width + x;
      const float u[2] = {scale * v[i].x, scale * v[i].y};
      TVL1_UNROLL
      for (int k = 0; k < 2; ++k) {
        const long long at = 2 * (first + i) + k;
        if (out) global(out)[at] = u[k];
        if (encoded)
          global(encoded)[at] = symmetric ? encode_symmetric(u[k], gain)
                                          : encode_dense_flow(u[k], gain, bound);
      }
    });
    if (p_.counts)
      one_thread([&] {
        for (int i = 0; i < kWarps; ++i) shared_.counts.computed += shared_.computed[i];
        p_.counts[shared_.pair] = shared_.counts;
      });
  }

  const Problem& p_;
  Shared& shared_;
};

}  // namespace tvl1

TVL1_KERNEL solve_pairs(const tvl1::Problem* problem) {
  TVL1_SHARED tvl1::Shared shared;
  tvl1::Solver(*problem, shared).run();
}
