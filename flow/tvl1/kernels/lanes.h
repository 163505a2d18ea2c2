// Several floats side by side: as many as one vector register of the compiled target holds.
//
// Everything that depends on the target has internal linkage: an inline function of one target
// must never be the copy that the linker keeps for another.
#pragma once

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "pixel.h"

namespace tvl1 {
namespace {

// TVL1_LANES: any number, without instructions of the processor's own, so that the layout of a wide
// one can be tested on every other.
#if defined(TVL1_LANES)
#define TVL1_BITS 0
#elif defined(__AVX512F__)
#define TVL1_BITS 512
#elif defined(__AVX2__)
#define TVL1_BITS 256
#elif defined(__SSE4_1__)
#define TVL1_BITS 128
#else
#define TVL1_BITS 0
#define TVL1_LANES 4
#endif

#if defined(TVL1_LANES)
constexpr int kLanes = TVL1_LANES;
#else
constexpr int kLanes = TVL1_BITS / 32;
#endif

typedef float FloatVector __attribute__((vector_size(4 * kLanes)));
typedef int IntVector __attribute__((vector_size(4 * kLanes)));

struct Lanes {
  static constexpr int count = kLanes;
  FloatVector v;

  Lanes() = default;
  TVL1_FUNCTION Lanes(FloatVector vector) : v(vector) {}
  TVL1_FUNCTION explicit Lanes(float value) : v(value - FloatVector{}) {}
};

TVL1_FUNCTION Lanes operator+(Lanes a, Lanes b) { return a.v + b.v; }
TVL1_FUNCTION Lanes operator-(Lanes a, Lanes b) { return a.v - b.v; }
TVL1_FUNCTION Lanes operator*(Lanes a, Lanes b) { return a.v * b.v; }
TVL1_FUNCTION Lanes operator/(Lanes a, Lanes b) { return a.v / b.v; }

#if TVL1_BITS == 512
TVL1_FUNCTION Lanes minimum(Lanes a, Lanes b) { return _mm512_min_ps(a.v, b.v); }
TVL1_FUNCTION Lanes maximum(Lanes a, Lanes b) { return _mm512_max_ps(a.v, b.v); }
TVL1_FUNCTION Lanes square_root(Lanes a) { return _mm512_sqrt_ps(a.v); }
#elif TVL1_BITS == 256
TVL1_FUNCTION Lanes minimum(Lanes a, Lanes b) { return _mm256_min_ps(a.v, b.v); }
TVL1_FUNCTION Lanes maximum(Lanes a, Lanes b) { return _mm256_max_ps(a.v, b.v); }
TVL1_FUNCTION Lanes square_root(Lanes a) { return _mm256_sqrt_ps(a.v); }
#elif TVL1_BITS == 128
TVL1_FUNCTION Lanes minimum(Lanes a, Lanes b) { return _mm_min_ps(a.v, b.v); }
TVL1_FUNCTION Lanes maximum(Lanes a, Lanes b) { return _mm_max_ps(a.v, b.v); }
TVL1_FUNCTION Lanes square_root(Lanes a) { return _mm_sqrt_ps(a.v); }
#else
TVL1_FUNCTION Lanes minimum(Lanes a, Lanes b) { return a.v < b.v ? a.v : b.v; }
TVL1_FUNCTION Lanes maximum(Lanes a, Lanes b) { return a.v > b.v ? a.v : b.v; }
TVL1_FUNCTION Lanes square_root(Lanes a) {
  for (int i = 0; i < kLanes; ++i) a.v[i] = sqrtf(a.v[i]);
  return a;
}
#endif

// Of integers, which most processors compare faster than floats.
#if TVL1_BITS == 512
TVL1_FUNCTION IntVector minimum(IntVector a, IntVector b) {
  return (IntVector)_mm512_min_epi32((__m512i)a, (__m512i)b);
}
TVL1_FUNCTION IntVector maximum(IntVector a, IntVector b) {
  return (IntVector)_mm512_max_epi32((__m512i)a, (__m512i)b);
}
#elif TVL1_BITS == 256
TVL1_FUNCTION IntVector minimum(IntVector a, IntVector b) {
  return (IntVector)_mm256_min_epi32((__m256i)a, (__m256i)b);
}
TVL1_FUNCTION IntVector maximum(IntVector a, IntVector b) {
  return (IntVector)_mm256_max_epi32((__m256i)a, (__m256i)b);
}
#elif TVL1_BITS == 128
TVL1_FUNCTION IntVector minimum(IntVector a, IntVector b) {
  return (IntVector)_mm_min_epi32((__m128i)a, (__m128i)b);
}
TVL1_FUNCTION IntVector maximum(IntVector a, IntVector b) {
  return (IntVector)_mm_max_epi32((__m128i)a, (__m128i)b);
}
#else
TVL1_FUNCTION IntVector minimum(IntVector a, IntVector b) { return a < b ? a : b; }
TVL1_FUNCTION IntVector maximum(IntVector a, IntVector b) { return a > b ? a : b; }
#endif

TVL1_FUNCTION Lanes load(const float* from) {
  FloatVector v;
  memcpy(&v, from, sizeof v);
  return v;
}
TVL1_FUNCTION void store(float* to, Lanes a) { memcpy(to, &a.v, sizeof a.v); }

// 0, 1, 2, ... as integers.
TVL1_FUNCTION IntVector lane_numbers() {
  IntVector numbers;
  for (int i = 0; i < kLanes; ++i) numbers[i] = i;
  return numbers;
}

// The first n lanes, 0 in the others whatever they hold.
TVL1_FUNCTION Lanes first(int n, Lanes a) {
  const IntVector kept = lane_numbers() < n;
  return (FloatVector)((IntVector)a.v & kept);
}

// Whether a lane of a comparison's result is set.
TVL1_FUNCTION bool any(IntVector mask) {
#if TVL1_BITS == 512
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif TVL1_BITS == 256
  return _mm256_movemask_ps((__m256)mask) != 0;
#elif TVL1_BITS == 128
  return _mm_movemask_ps((__m128)mask) != 0;
#else
  int set = 0;
  for (int i = 0; i < kLanes; ++i) set |= mask[i];
  return set != 0;
#endif
}

// The largest integers not above a, which must lie within the range of int.
TVL1_FUNCTION IntVector floor_to_int(Lanes a) {
  const IntVector truncated = __builtin_convertvector(a.v, IntVector);
  return truncated + (IntVector)(__builtin_convertvector(truncated, FloatVector) > a.v);
}
TVL1_FUNCTION Lanes to_float(IntVector a) { return __builtin_convertvector(a, FloatVector); }

// The sum in the order of the lanes.
TVL1_FUNCTION double sum(Lanes a) {
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += static_cast<double>(a.v[i]);
  return total;
}

}  // namespace
}  // namespace tvl1
