// The formulas of one pixel, shared by the CPU and the CUDA solver.
//
// Sources: Zach, Pock, Bischof 2007 (doi 10.1007/978-3-540-74936-3_22); Sanchez, Meinhardt-Llopis,
// Facciolo 2013 (doi 10.5201/ipol.2013.26), Algorithm 1; OpenCV's modules optflow and cudaoptflow.
// F is float, or a type of several floats with the same operators (lanes.h).
#pragma once

#if !defined(__CUDACC_RTC__)
#include <math.h>
#endif

#if defined(__CUDACC__)
#define TVL1_FUNCTION __host__ __device__ __forceinline__
#else
#define TVL1_FUNCTION inline __attribute__((always_inline))
#endif

namespace tvl1 {

TVL1_FUNCTION float minimum(float a, float b) { return a < b ? a : b; }
TVL1_FUNCTION float maximum(float a, float b) { return a > b ? a : b; }
TVL1_FUNCTION float square_root(float a) { return sqrtf(a); }

// The first argument may be NaN: the result is then `low`.
template <class F>
TVL1_FUNCTION F clamp(F value, F low, F high) {
  return minimum(maximum(value, low), high);
}

// The iterations work on v = (tau / theta) u and q = -p, which leaves the scheme the fewest
// products and takes every difference straight from memory:
//   v = v - tau (div q + d grad I1w), d = clamp(rho / (theta |grad I1w|^2), -lambda, lambda)
//   q = (q - grad v) / (1 + |grad v|)

// 1 / (tau |grad I1w|^2), which makes d of rho in the unit of v. The square is not below the
// epsilon of float: the result is finite, and flat parts of the image do not move.
template <class F>
TVL1_FUNCTION F inverse_gradient(F I1wx, F I1wy, F tau) {
  return F(1.0f) / (tau * maximum(I1wx * I1wx + I1wy * I1wy, F(1.1920929e-7f)));
}

// rho_c = unit (I1w - I0) - I1wx v1 - I1wy v2 with unit = tau / theta: the residual of the
// linearised brightness in the unit of v, less its part that the iterations change.
template <class F>
TVL1_FUNCTION F residual_constant(F I1w, F I1wx, F I1wy, F v1, F v2, F I0, F unit) {
  return unit * (I1w - I0) - I1wx * v1 - I1wy * v2;
}

// The operator TH: d of the first formula.
template <class F>
TVL1_FUNCTION F threshold(F v1, F v2, F I1wx, F I1wy, F rho_c, F inverse_gradient, F lambda) {
  const F rho = rho_c + I1wy * v2 + I1wx * v1;
  return clamp(rho * inverse_gradient, F(0.0f) - lambda, lambda);
}

// 1 + |grad v| for one component of the flow.
template <class F>
TVL1_FUNCTION F dual_norm(F vx, F vy) {
  return F(1.0f) + square_root(vx * vx + vy * vy);
}

// Weights of the samples at -1, 0, 1, 2 for a position at t of [0, 1) (Keys 1981,
// doi 10.1109/TASSP.1981.1163711). At t = 0 they are exactly 0, 1, 0, 0.
template <class F>
TVL1_FUNCTION void cubic_weights(F t, float a, F weight[4]) {
  const F A(a), s = F(1.0f) - t, q = t + F(1.0f);
  weight[0] = ((A * q - F(5.0f * a)) * q + F(8.0f * a)) * q - F(4.0f * a);
  weight[1] = (F(a + 2.0f) * t - F(a + 3.0f)) * t * t + F(1.0f);
  weight[2] = (F(a + 2.0f) * s - F(a + 3.0f)) * s * s + F(1.0f);
  weight[3] = F(1.0f) - weight[0] - weight[1] - weight[2];
}

// cv::remap with INTER_CUBIC.
struct OpenCVCubic {
  template <class F>
  static TVL1_FUNCTION void weights(F t, F weight[4]) {
    cubic_weights(t, -0.75f, weight);
  }
};

// Catmull-Rom, as OpenCV's CUDA solver warps. It divides by the sum of the weights too, which is 1
// but for rounding.
struct CatmullRom {
  template <class F>
  static TVL1_FUNCTION void weights(F t, F weight[4]) {
    cubic_weights(t, -0.5f, weight);
  }
};

// Where output sample `index` lies in the input of a bilinear resize; scale = input / output size.
TVL1_FUNCTION float half_pixel_coordinate(int index, double scale) {
  return static_cast<float>((index + 0.5) * scale - 0.5);  // cv::resize
}
TVL1_FUNCTION float corner_coordinate(int index, double scale) {
  return static_cast<float>(index) * static_cast<float>(scale);  // cv::cuda::resize
}

// The two samples between which a coordinate lies, and the weight of the higher one.
struct Tap {
  int low, high;
  float weight;
};

TVL1_FUNCTION Tap tap(float coordinate, int size) {
  const float last = static_cast<float>(size - 1);
  const float inside = clamp(coordinate, 0.0f, last);
  const int low = static_cast<int>(inside);
  return {low, low + 1 < size ? low + 1 : low, inside - static_cast<float>(low)};
}

// A flow value in pixels as an image value, in the two schemes of flow.encoding.encode and bit for
// bit as there. What is no number becomes the lowest value.

// "symmetric", gain = 127 / bound.
TVL1_FUNCTION unsigned char encode_symmetric(float v, float gain) {
  const float rounded = rintf(gain * v);  // a product that is rounded itself: nothing to fuse
  return static_cast<unsigned char>(128.0f + clamp(rounded, -127.0f, 127.0f));
}

// "dense_flow", gain = 127.5 / bound: round(255 (v + bound) / (2 bound)) in double, in which GPUs
// are slow; nearly always float leaves no doubt.
TVL1_FUNCTION unsigned char encode_dense_flow(float v, float gain, double bound) {
  const float near = clamp(127.5f + gain * v, -1.0f, 256.0f);
  float rounded = rintf(near);
  if (fabsf(near - rounded) > 0.499f)
    rounded = static_cast<float>(rint(255.0 * (static_cast<double>(v) + bound) / (2.0 * bound)));
  return static_cast<unsigned char>(clamp(rounded, 0.0f, 255.0f));
}

}  // namespace tvl1
