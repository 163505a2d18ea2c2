// Sorting by exchange networks, without a branch. V is what both medians sort: integers side by side
// on the processor, floats on the GPU. minimum and maximum of it stand before this is included.
#pragma once

#include "pixel.h"

#if defined(__CUDACC__)
#define TVL1_NETWORK_UNROLL _Pragma("unroll")
#else
#define TVL1_NETWORK_UNROLL _Pragma("GCC unroll 32")
#endif

namespace tvl1 {
namespace {

template <class V>
TVL1_FUNCTION void exchange(V& a, V& b) {
  const V low = minimum(a, b);
  b = maximum(a, b);
  a = low;
}

// The sorted union of the sorted a[0], a[kStepA], ... (kA of them) and b[0], b[kStepB], ...:
// Batcher's odd-even merge (1968, doi 10.1145/1468075.1468121), for any two lengths.
template <int kA, int kB, int kStepA = 1, int kStepB = 1, class V>
TVL1_FUNCTION void merge(const V* a, const V* b, V* out) {
  if constexpr (kA == 0 || kB == 0) {
    TVL1_NETWORK_UNROLL
    for (int i = 0; i < kA + kB; ++i) out[i] = kB == 0 ? a[i * kStepA] : b[i * kStepB];
  } else if constexpr (kA == 1 && kB == 1) {
    out[0] = minimum(a[0], b[0]);
    out[1] = maximum(a[0], b[0]);
  } else {
    constexpr int kEven = (kA + 1) / 2 + (kB + 1) / 2, kOdd = kA / 2 + kB / 2;
    V even[kEven], odd[kOdd];
    merge<(kA + 1) / 2, (kB + 1) / 2, 2 * kStepA, 2 * kStepB>(a, b, even);
    merge<kA / 2, kB / 2, 2 * kStepA, 2 * kStepB>(a + kStepA, b + kStepB, odd);
    out[0] = even[0];
    TVL1_NETWORK_UNROLL
    for (int i = 0; i < kOdd; ++i) {
      if (i + 1 < kEven) exchange(odd[i], even[i + 1]);
      out[2 * i + 1] = odd[i];
      if (i + 1 < kEven) out[2 * i + 2] = even[i + 1];
    }
    if (kEven == kOdd + 2) out[kA + kB - 1] = even[kEven - 1];
  }
}

template <int kN, class V>
TVL1_FUNCTION void sort(V* a) {
  if constexpr (kN > 1) {
    constexpr int kHalf = kN / 2;
    V sorted[kN];
    sort<kHalf>(a);
    sort<kN - kHalf>(a + kHalf);
    merge<kHalf, kN - kHalf>(a, a + kHalf, sorted);
    TVL1_NETWORK_UNROLL
    for (int i = 0; i < kN; ++i) a[i] = sorted[i];
  }
}

}  // namespace
}  // namespace tvl1
