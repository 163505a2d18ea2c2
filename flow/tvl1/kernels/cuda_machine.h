// The machine that the kernel is written for: a block of warps of 32 lanes. CUDA has it; on the
// processor a warp is a vector of 32 numbers, and a block's warps work one after the other between
// two barriers. Here alone the two differ.
#pragma once

#include "pixel.h"

namespace tvl1 {

constexpr int kWarpSize = 32;
constexpr int kWarps = 8;   // of a block
constexpr int kBlocks = 2;  // that a multiprocessor has registers for
constexpr int kThreads = kWarps * kWarpSize;

#if defined(__CUDACC_RTC__)

#define TVL1_DEVICE __device__ __forceinline__
#define TVL1_KERNEL extern "C" __global__ __launch_bounds__(tvl1::kThreads, tvl1::kBlocks) void
#define TVL1_SHARED __shared__
#define TVL1_UNROLL _Pragma("unroll")

typedef float Floats;
typedef int Ints;
typedef bool Bools;
typedef float2 Two;
typedef float4 Four;

#else

#define TVL1_DEVICE inline
#define TVL1_KERNEL static void
#define TVL1_SHARED static thread_local  // a block is a thread
#define TVL1_UNROLL

typedef float Floats __attribute__((vector_size(4 * kWarpSize)));
typedef int Ints __attribute__((vector_size(4 * kWarpSize)));
typedef Ints Bools;
struct alignas(8) Two {
  float x, y;
};
struct alignas(16) Four {
  float x, y, z, w;
};

#endif

// A float of each lane of a warp.
struct Wide {
  Floats v;

  Wide() = default;
#if defined(__CUDACC_RTC__)
  TVL1_DEVICE explicit Wide(float value) : v(value) {}
#else
  explicit Wide(const Floats& floats) : v(floats) {}
  explicit Wide(float value) : v(value - Floats{}) {}
#endif
};
struct Wide2 {
  Wide x, y;
};
struct Wide4 {
  Wide x, y, z, w;
};

TVL1_DEVICE Wide operator+(const Wide& a, const Wide& b) { return Wide(a.v + b.v); }
TVL1_DEVICE Wide operator-(const Wide& a, const Wide& b) { return Wide(a.v - b.v); }
TVL1_DEVICE Wide operator*(const Wide& a, const Wide& b) { return Wide(a.v * b.v); }
TVL1_DEVICE Wide operator/(const Wide& a, const Wide& b) { return Wide(a.v / b.v); }
TVL1_DEVICE Wide select(const Bools& where, const Wide& a, const Wide& b) {
  return Wide(where ? a.v : b.v);
}

#if defined(__CUDACC_RTC__)

TVL1_DEVICE Wide minimum(Wide a, Wide b) { return Wide(fminf(a.v, b.v)); }
TVL1_DEVICE Wide maximum(Wide a, Wide b) { return Wide(fmaxf(a.v, b.v)); }
TVL1_DEVICE Wide square_root(Wide a) { return Wide(sqrtf(a.v)); }

// The same, and the compiler knows nothing about it: of an index that grows evenly it would rather
// keep an address for each array.
TVL1_DEVICE Ints unknown(Ints i) {
  asm volatile("" : "+r"(i));
  return i;
}
// What follows from a thread's number is worked out where it is needed: it would stand in registers
// from the first line on.
TVL1_DEVICE int thread_index() { return unknown(static_cast<int>(threadIdx.x)); }
TVL1_DEVICE int again(int /* warp */) { return thread_index() / kWarpSize; }
TVL1_DEVICE Ints lanes() { return thread_index() % kWarpSize; }
TVL1_DEVICE Ints every_lane(int value) { return value; }
TVL1_DEVICE Wide from_lane(Wide a, Ints lane) {  // modulo 32
  return Wide(__shfl_sync(0xffffffffu, a.v, lane));
}
// From so many lanes to the right; where there is none, not from another lane.
TVL1_DEVICE Wide neighbour(Wide a, int distance) {
  return Wide(distance < 0 ? __shfl_up_sync(0xffffffffu, a.v, -distance)
                           : __shfl_down_sync(0xffffffffu, a.v, distance));
}
TVL1_DEVICE float sum(Wide a) {
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    a.v += __shfl_xor_sync(0xffffffffu, a.v, distance);
  return a.v;
}

TVL1_DEVICE Wide2 load(const Two* from, Ints i) {
  const Two value = from[i];
  return {Wide(value.x), Wide(value.y)};
}
TVL1_DEVICE Wide4 load(const Four* from, Ints i) {
  const Four value = from[i];
  return {Wide(value.x), Wide(value.y), Wide(value.z), Wide(value.w)};
}
// In global memory. The compiler makes several stores of one where it may not be made at all.
TVL1_DEVICE void store(Two* to, Ints i, Bools where, const Wide2& a) {
  if (where)
    asm("st.global.v2.f32 [%0], {%1, %2};" ::"l"(to + i), "f"(a.x.v), "f"(a.y.v) : "memory");
}
TVL1_DEVICE void store(Four* to, Ints i, Bools where, const Wide4& a) {
  if (where)
    asm("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to + i), "f"(a.x.v), "f"(a.y.v),
        "f"(a.z.v), "f"(a.w.v)
        : "memory");
}
// A lane's own place in shared memory.
TVL1_DEVICE void keep(Four* row, Ints i, const Wide4& a) {
  row[i] = make_float4(a.x.v, a.y.v, a.z.v, a.w.v);
}

// Says that a pointer found in memory leads to global memory, which is quicker than any memory.
template <class T>
TVL1_DEVICE T* global(T* pointer) {
  __builtin_assume(__isGlobal(pointer));
  return pointer;
}

// What a block does between two barriers.
template <class Body>
TVL1_DEVICE void for_each_warp(const Body& body) {
  body(thread_index() / kWarpSize);
  __syncthreads();
}

// The numbers below `count` take turns on the lanes of a warp.
template <class Body>
TVL1_DEVICE void for_each_lane(int count, const Body& body) {
  for (int i = lanes(); i < count; i += kWarpSize) body(i);
}

// What one lane does for its warp; nobody waits for it.
template <class Body>
TVL1_DEVICE void on_first_lane(const Body& body) {
  if (lanes() == 0) body();
}

// What one thread does for its block, when all have come and before any goes on.
template <class Body>
TVL1_DEVICE void one_thread(const Body& body) {
  __syncthreads();
  if (threadIdx.x == 0) body();
  __syncthreads();
}

TVL1_DEVICE int block_index() { return blockIdx.x; }
// The number before it was counted up.
TVL1_DEVICE int take_next(int* next) { return atomicAdd(next, 1); }
TVL1_DEVICE int read_flag(const int* flag) { return *static_cast<const volatile int*>(flag); }

#else

inline Wide minimum(const Wide& a, const Wide& b) { return Wide(a.v < b.v ? a.v : b.v); }
inline Wide maximum(const Wide& a, const Wide& b) { return Wide(a.v > b.v ? a.v : b.v); }
inline Wide square_root(const Wide& a) {
  Wide root;
  for (int i = 0; i < kWarpSize; ++i) root.v[i] = sqrtf(a.v[i]);
  return root;
}

inline Ints lanes() {
  Ints numbers;
  for (int i = 0; i < kWarpSize; ++i) numbers[i] = i;
  return numbers;
}
inline Ints every_lane(int value) { return Ints{} + value; }
inline Wide from_lane(const Wide& a, const Ints& lane) {
  Wide moved;
  for (int i = 0; i < kWarpSize; ++i) moved.v[i] = a.v[lane[i] & (kWarpSize - 1)];
  return moved;
}
inline Wide neighbour(const Wide& a, int distance) {
  const Ints lane = lanes() + distance;
  return from_lane(a, (lane >= 0) & (lane < kWarpSize) ? lane : lanes());
}
inline float sum(const Wide& a) {
  Floats total = a.v;
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    for (int i = 0; i < distance; ++i) total[i] += total[i + distance];
  return total[0];
}

inline Wide2 load(const Two* from, const Ints& i) {
  Wide2 a;
  for (int k = 0; k < kWarpSize; ++k) a.x.v[k] = from[i[k]].x, a.y.v[k] = from[i[k]].y;
  return a;
}
inline Wide4 load(const Four* from, const Ints& i) {
  Wide4 a;
  for (int k = 0; k < kWarpSize; ++k) {
    const Four& value = from[i[k]];
    a.x.v[k] = value.x, a.y.v[k] = value.y, a.z.v[k] = value.z, a.w.v[k] = value.w;
  }
  return a;
}
inline void store(Two* to, const Ints& i, const Bools& where, const Wide2& a) {
  for (int k = 0; k < kWarpSize; ++k)
    if (where[k]) to[i[k]] = {a.x.v[k], a.y.v[k]};
}
inline void store(Four* to, const Ints& i, const Bools& where, const Wide4& a) {
  for (int k = 0; k < kWarpSize; ++k)
    if (where[k]) to[i[k]] = {a.x.v[k], a.y.v[k], a.z.v[k], a.w.v[k]};
}

template <class T>
inline T* global(T* pointer) {
  return pointer;
}

inline Ints unknown(const Ints& i) { return i; }
inline int again(int warp) { return warp; }
inline void keep(Four* row, const Ints& i, const Wide4& a) { store(row, i, i >= 0, a); }

// The emulated block, and whether its warps work in the order of their numbers: nothing may depend
// on it, or a barrier is missing.
struct EmulatedBlock {
  int index;
  bool backwards;
};
static thread_local EmulatedBlock emulated_block;

template <class Body>
inline void for_each_warp(const Body& body) {
  for (int i = 0; i < kWarps; ++i) body(emulated_block.backwards ? kWarps - 1 - i : i);
}
template <class Body>
inline void for_each_lane(int count, const Body& body) {
  for (int i = 0; i < count; ++i) body(i);
}
template <class Body>
inline void on_first_lane(const Body& body) {
  body();
}
template <class Body>
inline void one_thread(const Body& body) {
  body();
}
inline int block_index() { return emulated_block.index; }
inline int take_next(int* next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }
inline int read_flag(const int* flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }

#endif

TVL1_FUNCTION int lesser(int a, int b) { return a < b ? a : b; }

// Rows take turns on the warps, pixels of a row on the lanes: body(y, x).
template <class Body>
TVL1_DEVICE void for_each_pixel(int height, int width, const Body& body) {
  for_each_warp([&](int warp) {
    for (int y = warp; y < height; y += kWarps)
      for_each_lane(width, [&](int x) { body(y, x); });
  });
}

}  // namespace tvl1
