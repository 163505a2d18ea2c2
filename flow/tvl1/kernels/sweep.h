// The iterations: one in-place sweep over the rows makes the new v and the new q (pixel.h).
#pragma once

#include "lanes.h"
#include "solver.h"

namespace tvl1 {
namespace {

// What an iteration reads and writes. Planes that are read beside a pixel too stand row by row; the
// others take turns, a vector of each, so that a sweep follows few streams through memory.
enum PlaneName { kV1, kV2, kQ11, kQ21 };
enum BlockName { kQ12, kQ22, kI1wx, kI1wy, kRhoC, kInverseGradient };
constexpr PlaneName kFlowPlanes[] = {kV1, kV2};
static_assert(kQ21 + 1 == kStatePlanes, "the buffers hold a plane for each name");
static_assert(kInverseGradient + 1 == kStateBlocks, "the buffers hold a vector for each name");

// Row -1 exists and is 0.
struct State {
  float* data;
  int width, height;
  ptrdiff_t stride, pitch;  // of a plane's row, of all rows of a y

  TVL1_FUNCTION float* row(PlaneName plane, int y) const {
    return data + y * pitch + plane * stride + kMargin;
  }
  // Where the blocks of row y begin; x is a multiple of kLanes.
  TVL1_FUNCTION float* blocks(int y) const { return data + y * pitch + kStatePlanes * stride; }
  static TVL1_FUNCTION float* at(float* blocks, BlockName name, int x) {
    return blocks + kStateBlocks * x + kLanes * name;
  }
  static TVL1_FUNCTION const float* at(const float* blocks, BlockName name, int x) {
    return blocks + kStateBlocks * x + kLanes * name;
  }
};

struct Step {
  float lambda, theta, tau;

  float unit() const { return tau / theta; }  // of v, for a flow of one pixel
};

// Left of the first column q is 0; right of the last column v repeats it, so that the forward
// difference is 0 there. What else stands beyond the last column does not reach the image.

// v = v - tau e in row y, e = div q + d grad I1w, from the old q.
class FlowRow {
 public:
  FlowRow(const State& s, int y)
      : v1_(s.row(kV1, y)),
        v2_(s.row(kV2, y)),
        q11_(s.row(kQ11, y)),
        q21_(s.row(kQ21, y)),
        here_(s.blocks(y)),
        above_(s.blocks(y - 1)) {}

  // For the pixels from x on; what it returns is e.
  struct Change {
    Lanes e1, e2;
  };
  TVL1_FUNCTION Change update(int x, Lanes lambda, Lanes tau) const {
    const Lanes v1 = load(v1_ + x), v2 = load(v2_ + x);
    const Lanes I1wx = block(here_, kI1wx, x), I1wy = block(here_, kI1wy, x);
    const Lanes d = threshold(v1, v2, I1wx, I1wy, block(here_, kRhoC, x),
                              block(here_, kInverseGradient, x), lambda);
    const Lanes div1 = (load(q11_ + x) - load(q11_ + x - 1)) +
                       (block(here_, kQ12, x) - block(above_, kQ12, x));
    const Lanes div2 = (load(q21_ + x) - load(q21_ + x - 1)) +
                       (block(here_, kQ22, x) - block(above_, kQ22, x));
    const Lanes e1 = div1 + d * I1wx, e2 = div2 + d * I1wy;
    store(v1_ + x, v1 - tau * e1);
    store(v2_ + x, v2 - tau * e2);
    return {e1, e2};
  }
  void close(int width) const {
    v1_[width] = v1_[width - 1];
    v2_[width] = v2_[width - 1];
  }

 private:
  static TVL1_FUNCTION Lanes block(const float* blocks, BlockName name, int x) {
    return load(State::at(blocks, name, x));
  }

  float *v1_, *v2_;
  const float *q11_, *q21_, *here_, *above_;
};

// q = (q - grad v) / (1 + |grad v|) in row y, from the new v of this row and the next. Root and
// quotient take long: a vector is started before the one before it is finished.
class DualRow {
 public:
  // Below the last row v repeats it, so that the forward difference is 0.
  DualRow(const State& s, int y)
      : v1_(s.row(kV1, y)),
        v2_(s.row(kV2, y)),
        below_v1_(s.row(kV1, y + 1 < s.height ? y + 1 : y)),
        below_v2_(s.row(kV2, y + 1 < s.height ? y + 1 : y)),
        q11_(s.row(kQ11, y)),
        q21_(s.row(kQ21, y)),
        blocks_(s.blocks(y)) {}

  struct Started {
    Lanes q11, q12, q21, q22, norm1, norm2;  // q - grad v, 1 + |grad v|
  };
  TVL1_FUNCTION Started start(int x) const {
    const Lanes v1 = load(v1_ + x), v2 = load(v2_ + x);
    const Lanes v1x = v1 - load(v1_ + x + 1), v1y = v1 - load(below_v1_ + x);
    const Lanes v2x = v2 - load(v2_ + x + 1), v2y = v2 - load(below_v2_ + x);
    return {v1x + load(q11_ + x),
            v1y + load(State::at(blocks_, kQ12, x)),
            v2x + load(q21_ + x),
            v2y + load(State::at(blocks_, kQ22, x)),
            dual_norm(v1x, v1y),
            dual_norm(v2x, v2y)};
  }
  TVL1_FUNCTION void finish(int x, const Started& s) const {
    const Lanes shrink1 = Lanes(1.0f) / s.norm1, shrink2 = Lanes(1.0f) / s.norm2;
    store(q11_ + x, s.q11 * shrink1);
    store(State::at(blocks_, kQ12, x), s.q12 * shrink1);
    store(q21_ + x, s.q21 * shrink2);
    store(State::at(blocks_, kQ22, x), s.q22 * shrink2);
  }
  // What is left from x on, where `started` belongs.
  void finish_row(int x, int width, Started started) const {
    for (; x + kLanes < width; x += kLanes) {
      finish(x, started);
      started = start(x + kLanes);
    }
    finish(x, started);
  }

 private:
  const float *v1_, *v2_, *below_v1_, *below_v2_;
  float *q11_, *q21_, *blocks_;
};

// One iteration; the sum over the pixels of |u_new - u|^2. The new q of a row needs the new v of
// the next row: it follows that some vectors behind, so that both are worked on side by side.
double sweep(const State& state, const Step& step) {
  const Lanes lambda(step.lambda), tau(step.tau);
  const int width = state.width;
  const int last = (width - 1) / kLanes * kLanes, rest = width - last;
  constexpr int kAhead = 3 * kLanes;
  Lanes change1(0.0f), change2(0.0f);
  for (int y = 0; y < state.height; ++y) {
    const FlowRow flow(state, y);
    const DualRow dual(state, y - 1);
    const auto update = [&](int x) __attribute__((always_inline)) {
      const FlowRow::Change change = flow.update(x, lambda, tau);
      change1 = change1 + change.e1 * change.e1;
      change2 = change2 + change.e2 * change.e2;
    };
    const auto update_last = [&] {
      const FlowRow::Change change = flow.update(last, lambda, tau);
      const Lanes e1 = first(rest, change.e1), e2 = first(rest, change.e2);
      change1 = change1 + e1 * e1;
      change2 = change2 + e2 * e2;
    };
    const int ahead = y > 0 ? kAhead : width;  // row -1 has no q
    int x = 0, dual_x = 0;
    for (; x < last && x < ahead; x += kLanes) update(x);
    if (x < last) {
      DualRow::Started started = dual.start(0);
      for (; x < last; x += kLanes, dual_x += kLanes) {
        dual.finish(dual_x, started);
        started = dual.start(dual_x + kLanes);
        update(x);
      }
      update_last();
      dual.finish_row(dual_x, width, started);
    } else {
      update_last();
      if (y > 0) dual.finish_row(0, width, dual.start(0));
    }
    flow.close(width);
  }
  const DualRow bottom(state, state.height - 1);
  bottom.finish_row(0, width, bottom.start(0));
  // v changed by -tau e, and so u = (theta / tau) v by -theta e.
  return static_cast<double>(step.theta) * step.theta * (sum(change1) + sum(change2));
}

}  // namespace
}  // namespace tvl1
