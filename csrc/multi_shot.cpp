// CMC, mAP and mINP over the whole gallery, by counting instead of sorting.
//
// Of a query's matches in ascending distance, let r(m) be the rivals at most as far as the m-th (m = 1, …, M). Its rank
// is then r(m) + m, and these scores follow:
//
//   CMC(k) = 1 if r(1) + 1 ≤ k, else 0
//   AP     = 1/M · Σ m / (r(m) + m), as torchreid and fast-reid define it, without interpolation
//   INP    = M / (r(M) + M): Ye, Shen, Lin, Xiang, Shao, Hoi: Deep Learning for Person Re-identification: A Survey and
//            Outlook, TPAMI 2021; the same in fast-reid
//
// Only r is needed, so no row of distances is ever sorted. Few matches are compared with every rival; among many, each
// rival is placed by binary search.

#include "multi_shot.hpp"

#include <algorithm>
#include <vector>

#include "clones.hpp"
#include "parallel.hpp"
#include "thresholds.hpp"

namespace intact {
namespace {

// Up to this many thresholds, comparing every value with each of them (vectorised) beats binary search.
constexpr std::int64_t kFew = 48;
// Values that stay in the first-level cache while all thresholds pass over them.
constexpr std::int64_t kTile = 4096;

INTACT_CLONES
void count_directly(const float* values, std::int64_t size, const float* thresholds, std::int64_t count,
                    std::int64_t* reached) {
  for (std::int64_t begin = 0; begin < size; begin += kTile) {
    const std::int64_t end = std::min(begin + kTile, size);
    for (std::int64_t t = 0; t < count; ++t) {
      const float threshold = thresholds[t];
      std::int32_t within = 0;
      for (std::int64_t i = begin; i < end; ++i) within += values[i] <= threshold;
      reached[t] += within;
    }
  }
}

void count_by_search(const float* values, std::int64_t size, const float* thresholds, std::int64_t count,
                     std::int64_t* reached) {
  for (std::int64_t i = 0; i < size; ++i) ++reached[first_reached(thresholds, count, values[i])];
  for (std::int64_t t = 1; t < count; ++t) reached[t] += reached[t - 1];
}

// Moves the values that are ≤ farthest to the front and returns how many they are.
std::int64_t keep_within(std::vector<float>& values, float farthest) {
  // Branch-free, as near features leave few and poor ones most.
  std::int64_t kept = 0;
  for (const float value : values) {
    values[kept] = value;
    kept += value <= farthest;
  }
  return kept;
}

// reached[t]: how many values are ≤ thresholds[t], which ascend. NaN is never counted; the values are reordered.
void count_reached(std::vector<float>& values, const std::vector<float>& thresholds,
                   std::vector<std::int64_t>& reached) {
  const auto count = static_cast<std::int64_t>(thresholds.size());
  reached.assign(thresholds.size(), 0);
  const std::int64_t size = keep_within(values, thresholds.back());
  (count <= kFew ? count_directly : count_by_search)(values.data(), size, thresholds.data(), count, reached.data());
}

}  // namespace

void multi_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank, std::int64_t threads,
                double* cmc, double* ap, double* inp) {
  parallel_for(queries, threads, [&] {
    return [&, query = Query(), rivals_ahead = std::vector<std::int64_t>()](std::int64_t q) mutable {
      if (!gallery.single_out(distances + q * gallery.size(), query_pids[q], query_camids[q], q, query)) {
        ap[q] = inp[q] = kNoScore;
        std::fill_n(cmc + q * max_rank, max_rank, kNoScore);
        return;
      }
      count_reached(query.rivals, query.match_distances, rivals_ahead);

      const auto matches = static_cast<std::int64_t>(rivals_ahead.size());
      double precision = 0;
      for (std::int64_t m = 0; m < matches; ++m) {
        precision += static_cast<double>(m + 1) / static_cast<double>(rivals_ahead[m] + m + 1);
      }
      ap[q] = precision / static_cast<double>(matches);
      inp[q] = static_cast<double>(matches) / static_cast<double>(rivals_ahead.back() + matches);
      for (std::int64_t k = 0; k < max_rank; ++k) cmc[q * max_rank + k] = rivals_ahead.front() <= k ? 1 : 0;
    };
  });
}

}  // namespace intact
