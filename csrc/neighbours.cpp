// The k nearest columns of every row, by a heap of the k best so far.
//
// A candidate that is no better than the worst of them is dropped at once, so a row takes O(columns·log k) at most and
// no sort of all. The result is the order that k-reciprocal re-ranking starts from (see reciprocal.cpp).

#include "neighbours.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.hpp"

namespace intact {
namespace {

struct Neighbour {
  float rescaled;
  float distance;
  std::int32_t column;

  bool operator<(const Neighbour& other) const {
    return rescaled != other.rescaled ? rescaled < other.rescaled : column < other.column;
  }
};

float largest_square_of(const float* distances, std::int64_t columns, std::int64_t row) {
  bool valid = true;
  float largest = 0;
  for (std::int64_t c = 0; c < columns; ++c) {
    valid &= distances[c] >= 0;
    largest = distances[c] > largest ? distances[c] : largest;
  }
  const float square = largest * largest;
  if (!valid || square == std::numeric_limits<float>::infinity()) {
    throw std::invalid_argument("distances must be squarable numbers from 0 up, which row " + std::to_string(row) +
                                " is not");
  }
  return square;
}

}  // namespace

void nearest_columns(const float* distances, std::int64_t rows, std::int64_t columns, std::int64_t k,
                     std::int64_t threads, std::int32_t* nearest, float* largest_square) {
  parallel_for(rows, threads, [&] {
    return [&, heap = std::vector<Neighbour>()](std::int64_t row) mutable {
      const float* values = distances + row * columns;
      const float square = largest_square_of(values, columns, row);
      largest_square[row] = square;

      heap.clear();
      for (std::int64_t c = 0; c < columns; ++c) {
        const float distance = values[c];
        const bool full = static_cast<std::int64_t>(heap.size()) == k;
        // rescaled() never falls as the distance grows, and a later column loses a tie.
        if (full && distance >= heap.front().distance) continue;
        const Neighbour candidate{rescaled(distance, square), distance, static_cast<std::int32_t>(c)};
        if (full) {
          if (!(candidate < heap.front())) continue;
          std::pop_heap(heap.begin(), heap.end());
          heap.back() = candidate;
        } else {
          heap.push_back(candidate);
        }
        std::push_heap(heap.begin(), heap.end());
      }
      std::sort_heap(heap.begin(), heap.end());
      for (std::int64_t i = 0; i < k; ++i) nearest[row * k + i] = heap[i].column;
    };
  });
}

}  // namespace intact
