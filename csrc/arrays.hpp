// The checks of arrays that come from Python.

#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

namespace intact {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string described(const py::array& array) {
  return py::str(static_cast<const py::object&>(array.dtype())).cast<std::string>() + " of shape " +
         py::str(array.attr("shape")).cast<std::string>();
}

// Takes an argument as an aligned, C-contiguous array of T, which is a copy only where the argument has another layout.
//
// Throws std::invalid_argument (ValueError), naming the argument, unless it is an array of exactly this type and
// number of dimensions.
template <class T>
Array<T> checked(const py::object& object, const char* name, py::ssize_t dimensions) {
  const std::string wanted = std::to_string(dimensions) + "-dimensional array of " +
                             py::str(static_cast<const py::object&>(py::dtype::of<T>())).cast<std::string>();
  if (!py::isinstance<py::array>(object)) {
    throw std::invalid_argument(std::string(name) + " must be a " + wanted);
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().equal(py::dtype::of<T>()) || array.ndim() != dimensions) {
    throw std::invalid_argument(std::string(name) + " must be a " + wanted + ", not " + described(array));
  }
  if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) array = array.attr("copy")();
  Array<T> contiguous = Array<T>::ensure(array);
  if (!contiguous) throw std::bad_alloc();
  return contiguous;
}

inline void check_length(const py::array& array, const char* name, py::ssize_t axis, std::int64_t expected) {
  if (array.shape(axis) != expected) {
    throw std::invalid_argument(std::string(name) + " must have the length " + std::to_string(expected) +
                                " along axis " + std::to_string(axis) + ", not the shape " +
                                py::str(array.attr("shape")).cast<std::string>());
  }
}

inline void check_range(std::int64_t value, const char* name, std::int64_t lowest, std::int64_t highest) {
  if (value < lowest || value > highest) {
    throw std::invalid_argument(std::string(name) + " must be between " + std::to_string(lowest) + " and " +
                                std::to_string(highest) + ", not " + std::to_string(value));
  }
}

}  // namespace intact
