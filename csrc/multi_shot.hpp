// CMC, mAP and mINP over the whole gallery; the definitions are in multi_shot.cpp.

#pragma once

#include <cstdint>

#include "gallery.hpp"

namespace intact {

// CMC, average precision and inverse negative penalty of every query over the whole gallery.
//
// A tie counts against the query: a rival at a match's distance is ranked before it.
//
//   distances: queries×G row-major
//   cmc: queries×max_rank; ap, inp: queries; NaN for a query without any match
void multi_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank, std::int64_t threads,
                double* cmc, double* ap, double* inp);

}  // namespace intact
