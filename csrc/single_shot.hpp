// Single-shot CMC, exact or sampled; described in exact_single_shot.cpp and sampled_single_shot.cpp.

#pragma once

#include <cstdint>

#include "gallery.hpp"

namespace intact {

// Single-shot CMC of every query: each identity keeps one picture that is not junk to the query. A tie counts
// against the query.
//
//   distances: queries×G row-major
//   cmc: queries×max_rank; NaN for a query without any match

// Expected over all draws, in closed form: with a match at distance d kept, every other identity beats it with
// probability (its pictures at distance ≤ d)/(its pictures), independently of the rest, so that the number of
// those ahead is Poisson-binomial; averaged over the matches.
void exact_single_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                       const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank,
                       std::int64_t threads, double* cmc);

// Averaged over `repeats` drawn galleries that all queries share. In each, every picture has a random priority,
// a function of (seed, repeat, index) alone, and an identity keeps its picture of the lowest one.
void sampled_single_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                         const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank,
                         std::int64_t repeats, std::uint64_t seed, std::int64_t threads, double* cmc);

}  // namespace intact
