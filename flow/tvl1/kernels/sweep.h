// The iterations: one in-place sweep over the rows makes the new u and the new p.
#pragma once

#include "lanes.h"
#include "solver.h"

namespace tvl1 {
namespace {

// What an iteration reads and writes; the rows of all planes lie together, so that a sweep runs
// through memory once, forwards. Row -1 exists and is 0.
enum PlaneName { kU1, kU2, kP11, kP12, kP21, kP22, kI1wx, kI1wy, kInverseGradient, kRhoC };
constexpr PlaneName kFlowPlanes[] = {kU1, kU2};
static_assert(kRhoC + 1 == kStatePlanes, "the buffers hold a plane for each name");

struct State {
  float* data;
  int width, height;
  ptrdiff_t stride;

  TVL1_FUNCTION float* row(PlaneName plane, int y) const {
    return data + (static_cast<ptrdiff_t>(y) * kStatePlanes + plane) * stride + kMargin;
  }
};

struct Step {
  float limit, theta, taut;  // lambda theta, theta, tau / theta
};

// Left of the first column p is 0; right of the last column u repeats it, so that the forward
// difference is 0 there. What else stands beyond the last column does not reach the image.

// u = u + TH(u) + theta div p in row y, from the old p; |u_new - u|^2.
struct FlowRow {
  float *u1, *u2;
  const float *p11, *p12, *p21, *p22, *above_p12, *above_p22;
  const float *I1wx, *I1wy, *inverse, *rho_c;

  FlowRow(const State& s, int y)
      : u1(s.row(kU1, y)),
        u2(s.row(kU2, y)),
        p11(s.row(kP11, y)),
        p12(s.row(kP12, y)),
        p21(s.row(kP21, y)),
        p22(s.row(kP22, y)),
        above_p12(s.row(kP12, y - 1)),
        above_p22(s.row(kP22, y - 1)),
        I1wx(s.row(kI1wx, y)),
        I1wy(s.row(kI1wy, y)),
        inverse(s.row(kInverseGradient, y)),
        rho_c(s.row(kRhoC, y)) {}

  // From x on; the change of the first `inside` pixels only where that is not 0.
  TVL1_FUNCTION Lanes update(int x, int inside, Lanes limit, Lanes theta) const {
    const Lanes old_u1 = load(u1 + x), old_u2 = load(u2 + x);
    const Lanes ix = load(I1wx + x), iy = load(I1wy + x);
    const Lanes rho = load(rho_c + x) + (ix * old_u1 + iy * old_u2);
    const Lanes d = threshold(rho, load(inverse + x), limit);
    const Lanes div1 =
        (load(p11 + x) - load(p11 + x - 1)) + (load(p12 + x) - load(above_p12 + x));
    const Lanes div2 =
        (load(p21 + x) - load(p21 + x - 1)) + (load(p22 + x) - load(above_p22 + x));
    const Lanes new_u1 = (old_u1 - d * ix) + theta * div1;
    const Lanes new_u2 = (old_u2 - d * iy) + theta * div2;
    store(u1 + x, new_u1);
    store(u2 + x, new_u2);
    const Lanes e1 = new_u1 - old_u1, e2 = new_u2 - old_u2;
    const Lanes change = e1 * e1 + e2 * e2;
    return inside ? first(inside, change) : change;
  }
};

// p = (p + taut grad u) / (1 + taut |grad u|) in row y, from the new u of this row and the next.
struct DualRow {
  const float *u1, *u2, *below_u1, *below_u2;
  float *p11, *p12, *p21, *p22;

  // Below the last row u repeats it, so that the forward difference is 0.
  DualRow(const State& s, int y)
      : u1(s.row(kU1, y)),
        u2(s.row(kU2, y)),
        below_u1(s.row(kU1, y + 1 < s.height ? y + 1 : y)),
        below_u2(s.row(kU2, y + 1 < s.height ? y + 1 : y)),
        p11(s.row(kP11, y)),
        p12(s.row(kP12, y)),
        p21(s.row(kP21, y)),
        p22(s.row(kP22, y)) {}

  static TVL1_FUNCTION void update(const float* u, const float* below, float* p1, float* p2,
                                   Lanes taut) {
    const Lanes here = load(u);
    Lanes new_p1 = load(p1), new_p2 = load(p2);
    dual_step(load(u + 1) - here, load(below) - here, taut, new_p1, new_p2);
    store(p1, new_p1);
    store(p2, new_p2);
  }
  TVL1_FUNCTION void update(int x, Lanes taut) const {
    update(u1 + x, below_u1 + x, p11 + x, p12 + x, taut);
    update(u2 + x, below_u2 + x, p21 + x, p22 + x, taut);
  }
  void finish(int x, int width, Lanes taut) const {
    for (; x < width; x += kLanes) update(x, taut);
  }
};

// One iteration; the sum over the pixels of |u_new - u|^2. The new p of a row needs the new u of
// the next row: it follows that some vectors behind, so that both are worked on side by side.
double sweep(const State& state, const Step& step) {
  const Lanes limit(step.limit), theta(step.theta), taut(step.taut);
  const int width = state.width, whole = width / kLanes * kLanes, rest = width - whole;
  constexpr int kBehind = 4 * kLanes;
  Lanes change(0.0f);
  for (int y = 0; y < state.height; ++y) {
    const FlowRow flow(state, y);
    const DualRow dual(state, y - 1);
    const int behind = y > 0 ? kBehind : width;  // row -1 has no p
    Lanes row_change(0.0f);
    int x = 0, dual_x = 0;
    for (; x < whole && x < behind; x += kLanes)
      row_change = row_change + flow.update(x, 0, limit, theta);
    for (; x < whole; x += kLanes, dual_x += kLanes) {
      row_change = row_change + flow.update(x, 0, limit, theta);
      dual.update(dual_x, taut);
    }
    if (rest) row_change = row_change + flow.update(x, rest, limit, theta);
    flow.u1[width] = flow.u1[width - 1];
    flow.u2[width] = flow.u2[width - 1];
    if (y > 0) dual.finish(dual_x, width, taut);
    change = change + row_change;
  }
  DualRow(state, state.height - 1).finish(0, width, taut);
  return sum(change);
}

}  // namespace
}  // namespace tvl1
