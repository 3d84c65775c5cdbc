// Rows that repeat an earlier row; the algorithm is described in duplicates.cpp.

#pragma once

#include <cstdint>

namespace intact {

// first[i]: the lowest index of a row equal to row i. -0 equals 0; the rows hold no NaN.
void first_equal_rows(const float* rows, std::int64_t count, std::int64_t width, std::int64_t threads,
                      std::int64_t* first);

}  // namespace intact
