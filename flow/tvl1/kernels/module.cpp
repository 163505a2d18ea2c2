// The Python module flow.tvl1._cpu; its callers in cpu.py check what it takes.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "batch.h"

namespace nb = nanobind;

namespace {

template <class T, int kDimensions>
using Array = nb::ndarray<T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;

tvl1::Image image(const uint8_t* bytes) { return {bytes, nullptr}; }
tvl1::Image image(const float* floats) { return {nullptr, floats}; }

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (const tvl1::Kernels* kernels : tvl1::supported_kernels()) names.push_back(kernels->name);
  return names;
}

const tvl1::Kernels& kernels_named(const std::string& target) {
  for (const tvl1::Kernels* kernels : tvl1::supported_kernels())
    if (kernels->name == target) return *kernels;
  throw std::invalid_argument("this processor does not run the target " + target);
}

bool interrupted() {
  const nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

nb::dict as_dict(const tvl1::Statistics& statistics) {
  nb::dict result;
  result["iterations_s"] = statistics.iterations;
  result["warp_s"] = statistics.warp;
  result["median_s"] = statistics.median;
  result["pyramid_s"] = statistics.pyramid;
  result["pixel_iterations"] = statistics.pixel_iterations;
  result["pixel_warps"] = statistics.pixel_warps;
  result["pixel_medians"] = statistics.pixel_medians;
  return result;
}

template <class Pixel>
nb::dict solve(Array<const Pixel, 3> first, Array<const Pixel, 3> second,
               std::optional<Array<const float, 4>> initial, Array<float, 4> flow, double tau,
               double lambda, double theta, double scale_step, double epsilon, int scales,
               int warps, int inner_iterations, int outer_iterations, int median,
               bool opencv_cuda, int threads, const std::string& target) {
  const auto sampling = opencv_cuda ? tvl1::Sampling::opencv_cuda : tvl1::Sampling::opencv;
  const tvl1::Scheme scheme{tau,   lambda,           theta,            scale_step, epsilon, scales,
                            warps, inner_iterations, outer_iterations, median,     sampling};
  const tvl1::Batch batch{image(first.data()),
                          image(second.data()),
                          initial ? initial->data() : nullptr,
                          flow.data(),
                          static_cast<int>(flow.shape(0)),
                          static_cast<int>(flow.shape(1)),
                          static_cast<int>(flow.shape(2))};
  const tvl1::Kernels& kernels = kernels_named(target);
  tvl1::Outcome outcome;
  {
    const nb::gil_scoped_release no_gil;
    outcome = tvl1::solve_batch(scheme, batch, threads, kernels, interrupted);
  }
  if (outcome.interrupted) throw nb::python_error();
  return as_dict(outcome.statistics);
}

template <class Pixel>
void define_solve(nb::module_& module) {
  module.def("solve", &solve<Pixel>, nb::arg("first").noconvert(), nb::arg("second").noconvert(),
             nb::arg("initial").none(), nb::arg("flow").noconvert(), nb::kw_only(),
             nb::arg("tau"), nb::arg("lambda_"), nb::arg("theta"), nb::arg("scale_step"),
             nb::arg("epsilon"), nb::arg("scales"), nb::arg("warps"), nb::arg("inner_iterations"),
             nb::arg("outer_iterations"), nb::arg("median"), nb::arg("opencv_cuda"),
             nb::arg("threads"), nb::arg("target"));
}

}  // namespace

NB_MODULE(_cpu, module) {
  module.def("targets", &targets);
  define_solve<uint8_t>(module);
  define_solve<float>(module);
}
