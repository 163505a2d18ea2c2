// Several iterations (pixel.h) in one pass over the image.
//
// A warp marches down a strip of the image, a column a lane. Of the kCount iterations, stage k
// works two rows above stage k - 1: it takes the row that this one finished a step before, so that
// the stages of a step do not wait for each other, and v and q stay in registers meanwhile.
// The strips of neighbouring warps overlap: each iteration spoils a column more at the left and
// the right, and a row more at the top and the bottom of what a warp has read.
#pragma once

#include "cuda_machine.h"

namespace tvl1 {

constexpr int kMostIterations = 4;  // of a pass
constexpr int kStripStep = kWarpSize - 2 * kMostIterations;
constexpr int kRing = 2 * (kMostIterations - 1);  // rows between the first stage and the last

// Of a pixel: dual (q11, q12, q21, q22), constants (I1wx, I1wy, rho_c, 1 / (tau |grad I1w|^2)).
struct Pass {
  const Two* flow;
  const Four *dual, *constants;
  Two* new_flow;
  Four* new_dual;
  int height, width;
  float lambda, tau;
};

// How a level is cut into tasks for the warps. It does not depend on the iterations of a pass, so
// that the sums over the pixels do not either.
struct Cut {
  int strips, rows;  // rows of a segment

  TVL1_DEVICE int tasks(int height) const { return strips * ((height + rows - 1) / rows); }
};

TVL1_DEVICE Cut cut_level(int height, int width) {
  const int wider = width - 2 * kMostIterations;
  Cut best{wider > kStripStep ? (wider + kStripStep - 1) / kStripStep : 1, height};
  // Steps of the warp that has most to do, and of all: while it works alone, another block has the
  // multiprocessor for itself. A task makes some more steps than it has rows.
  int least = 0;
  for (int segments = 1; segments <= 2 * kWarps && segments <= height; ++segments) {
    const Cut cut{best.strips, (height + segments - 1) / segments};
    const int tasks = cut.tasks(height), steps = cut.rows + 2 * kRing;
    const int cost = ((tasks + kWarps - 1) / kWarps * kWarps + tasks) * steps;
    if (segments == 1 || cost < least) best = cut, least = cost;
  }
  return best;
}

template <int kCount>
class March {
 public:
  Wide change[kCount];  // of each iteration: the sum of |e|^2 (pixel.h) over a lane's own pixels

  TVL1_DEVICE March(const Pass& pass, const Cut& cut, int task, Four (*ring)[kWarpSize])
      : pass_(pass), ring_(ring), lane_(lanes()) {
    const int strip = task % cut.strips, x = strip * kStripStep;
    const bool leftmost = strip == 0, rightmost = strip == cut.strips - 1;
    begin_ = task / cut.strips * cut.rows;
    end_ = lesser(begin_ + cut.rows, pass.height);
    first_ = begin_ > kCount ? begin_ - kCount : 0;
    bottom_ = lesser(end_ + kCount, pass.height);

    const Ints column = lane_ + x, last = every_lane(pass.width - 1);
    index_ = (column < last ? column : last) + first_ * pass.width;
    // v repeats the last column to the right of it, so that the forward difference is 0 there; q
    // is 0 left of the first.
    right_ = lane_ + (column < last ? every_lane(1) : every_lane(0));
    left_factor_ = select(column < 1, Wide(0.0f), Wide(1.0f));
    const int from = leftmost ? 0 : kMostIterations;
    const int to = rightmost ? kWarpSize : kWarpSize - kMostIterations;
    own_ = (lane_ >= from) & (lane_ < to) & (column < pass.width);
  }

  // Returns how many rows were read.
  TVL1_DEVICE int run() {
    constexpr int kTurn = kCount > 1 ? 2 * (kCount - 1) : 1;  // the ring's length here
    TVL1_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const Wide zero(0.0f);
      change[k] = zero;
      row_above_[k] = {{zero, zero}, {zero, zero, zero, zero}};
      in_[k] = row_above_[k];
    }
    int y = first_, turn = 0;
    while (y <= end_ + 2 * (kCount - 1)) {
      // Where every stage is at rows of this task, no border needs care.
      if (turn == 0 && y > begin_ + 2 * (kCount - 1))
        for (; y + kTurn <= end_; y += kTurn) {
          TVL1_UNROLL
          for (int i = 0; i < kTurn; ++i) step<false, kTurn>(y + i, i);
        }
      step<true, kTurn>(y, turn);
      ++y;
      turn = turn + 1 < kTurn ? turn + 1 : 0;
    }
    TVL1_UNROLL
    for (int k = 0; k < kCount; ++k) change[k] = select(own_, change[k], Wide(0.0f));
    return bottom_ - first_;
  }

 private:
  struct Row {
    Wide2 v;
    Wide4 q;
  };

  // All stages a row further, the last one first: each takes what the one before left a step ago.
  template <bool kBorder, int kTurn>
  TVL1_DEVICE void step(int y, int turn) {
    // The first stage's row is on its way while the others work.
    const Ints index = kBorder ? index_ - beyond(y) * pass_.width : index_;
    in_[0].v = load(pass_.flow, index);
    in_[0].q = load(pass_.dual, index);
    const Wide4 first_constants = load(pass_.constants, index);
    index_ = unknown(index_ + pass_.width);
    Row finished;
    TVL1_UNROLL
    for (int k = kCount - 1; k >= 0; --k) {
      const int row = y - 2 * k;
      if (kBorder && (row < first_ || row > bottom_)) continue;
      Wide4 constants = first_constants;
      const int slot = turn - 2 * k;
      if (k > 0) constants = load(ring_[slot < 0 ? slot + kTurn : slot], lane_);
      const Row row_above = advance<kBorder>(k, row, constants);
      if (k + 1 < kCount)
        in_[k + 1] = row_above;
      else if (!kBorder)
        finished = row_above;
      else if (row > begin_ && row <= end_)
        write(row_above);
    }
    if (!kBorder) write(finished);
    if (kCount > 1) keep(ring_[turn], lane_, first_constants);
  }

  // How far y is below the last row that is read.
  TVL1_DEVICE int beyond(int y) const { return y < bottom_ ? 0 : y - bottom_ + 1; }

  TVL1_DEVICE void write(const Row& finished) const {
    const Ints index = index_ - 2 * kCount * pass_.width;
    store(pass_.new_flow, index, own_, finished.v);
    store(pass_.new_dual, index, own_, finished.q);
  }

  // Iteration k of the row that waits in in_[k], and what can then be finished: the row above it.
  template <bool kBorder>
  TVL1_DEVICE Row advance(int k, int row, const Wide4& c) {
    const Row& old = in_[k];
    Row& above = row_above_[k];
    Wide2 v = above.v;  // below the last row v repeats it: the forward difference is 0 there
    if (!kBorder || row < bottom_) {
      const Wide lambda(pass_.lambda), tau(pass_.tau);
      const Wide d = threshold(old.v.x, old.v.y, c.x, c.y, c.z, c.w, lambda);
      const Wide left1 = left_factor_ * neighbour(old.q.x, -1);
      const Wide left2 = left_factor_ * neighbour(old.q.z, -1);
      const Wide div1 = (old.q.x - left1) + (old.q.y - above.q.y);
      const Wide div2 = (old.q.z - left2) + (old.q.w - above.q.w);
      const Wide e1 = div1 + d * c.x, e2 = div2 + d * c.y;
      v = {old.v.x - tau * e1, old.v.y - tau * e2};
      if (!kBorder || (row >= begin_ && row < end_)) {
        change[k] = change[k] + e1 * e1;
        change[k] = change[k] + e2 * e2;
      }
    }
    const Wide v1x = above.v.x - from_lane(above.v.x, right_), v1y = above.v.x - v.x;
    const Wide v2x = above.v.y - from_lane(above.v.y, right_), v2y = above.v.y - v.y;
    const Wide shrink1 = Wide(1.0f) / dual_norm(v1x, v1y);
    const Wide shrink2 = Wide(1.0f) / dual_norm(v2x, v2y);
    const Row finished{above.v,
                       {(above.q.x + v1x) * shrink1, (above.q.y + v1y) * shrink1,
                        (above.q.z + v2x) * shrink2, (above.q.w + v2y) * shrink2}};
    above = {v, old.q};
    return finished;
  }

  const Pass pass_;
  Four (*const ring_)[kWarpSize];  // constants of the rows between the stages
  const Ints lane_;
  int first_, begin_, end_, bottom_;  // rows: that are read from first_ to bottom_, own between
  Ints index_, right_;
  Wide left_factor_;
  Bools own_;

  Row in_[kCount];         // the row that a stage takes next
  Row row_above_[kCount];  // the row that it took last: v after the iteration, q before it
};

}  // namespace tvl1
