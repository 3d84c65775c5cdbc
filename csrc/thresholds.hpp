// Binary search for the lower bound, with conditional moves instead of branches.

#pragma once

#include <cstdint>

namespace intact {

// Index of the first of `count` ascending thresholds that is ≥ value; value ≤ thresholds[count - 1].
inline std::int64_t first_reached(const float* thresholds, std::int64_t count, float value) {
  // Branch-free, as the outcome of each comparison is as good as random.
  const float* base = thresholds;
  while (count > 1) {
    const std::int64_t half = count / 2;
    base += base[half - 1] < value ? half : 0;
    count -= half;
  }
  return base - thresholds;
}

}  // namespace intact
