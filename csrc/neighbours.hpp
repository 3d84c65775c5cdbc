// Nearest neighbours in the order that k-reciprocal re-ranking starts from; described in neighbours.cpp.

#pragma once

#include <cstdint>

namespace intact {

// The published re-ranking works on squared distances, each row divided by its largest. In float32 and in this
// order, so that rows tie exactly where they do there.
inline float rescaled(float distance, float largest_square) {
  return largest_square > 0 ? distance * distance / largest_square : 0;
}

// The `k` nearest columns of every row, nearest first; the lower index first where `rescaled` ties.
//
//   distances: rows×columns row-major, not negative
//   nearest: rows×k indices; largest_square: rows, the square of each row's largest distance
//
// Throws std::invalid_argument if a row holds NaN, infinity or a negative number.
void nearest_columns(const float* distances, std::int64_t rows, std::int64_t columns, std::int64_t k,
                     std::int64_t threads, std::int32_t* nearest, float* largest_square);

}  // namespace intact
