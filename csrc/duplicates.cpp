// Rows that repeat an earlier row, by hashing and sorting.
//
// Every row is hashed, and the pairs (hash, index) are sorted. Among rows of one hash, each is compared in full with
// the distinct rows before it. So a collision costs time but changes no result, and the lowest index comes first.

#include "duplicates.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "parallel.hpp"

namespace intact {
namespace {

std::uint64_t hash_of(const float* row, std::int64_t width) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (std::int64_t i = 0; i < width; ++i) {
    const float value = row[i] + 0.0F;  // -0 becomes 0
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    hash = (hash ^ bits) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

void first_equal_rows(const float* rows, std::int64_t count, std::int64_t width, std::int64_t threads,
                      std::int64_t* first) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> hashed(static_cast<std::size_t>(count));
  parallel_for(count, threads, [&] {
    return [&](std::int64_t i) { hashed[i] = {hash_of(rows + i * width, width), i}; };
  });
  std::sort(hashed.begin(), hashed.end());

  std::vector<std::int64_t> distinct;
  for (std::size_t i = 0; i < hashed.size(); ++i) {
    if (i == 0 || hashed[i].first != hashed[i - 1].first) distinct.clear();
    const std::int64_t row = hashed[i].second;
    const auto equal = std::find_if(distinct.begin(), distinct.end(), [&](std::int64_t other) {
      return std::equal(rows + row * width, rows + (row + 1) * width, rows + other * width);
    });
    first[row] = equal == distinct.end() ? row : *equal;
    if (equal == distinct.end()) distinct.push_back(row);
  }
}

}  // namespace intact
