// Many pairs of images of one size, on several threads.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "solver.h"

namespace tvl1 {

// Pair i is image i of `first` and of `second`, all (pairs, height, width). Where an image's second
// is the next one's first, its pyramid is made once.
struct Batch {
  Image first, second;
  const float* initial;  // (pairs, height, width, 2) or null
  float* flow;           // (pairs, height, width, 2)
  int pairs, height, width;
};

// The targets that this machine runs, the fastest first.
std::vector<const Kernels*> supported_kernels();

struct Outcome {
  Statistics statistics;
  bool interrupted;
};

// Fills batch.flow. `interrupted` is asked by the calling thread many times a second; once it is
// true the work ends early. The result is the same for any number of threads.
Outcome solve_batch(const Scheme& scheme, const Batch& batch, int threads, const Kernels& kernels,
                    const std::function<bool()>& interrupted);

}  // namespace tvl1
