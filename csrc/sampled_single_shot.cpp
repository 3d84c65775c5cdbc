// The single-shot CMC as protocols estimate it: over drawn galleries that keep one picture of each identity (as that of
// CUHK03: Li, Zhao, Xiao, Wang: DeepReID, CVPR 2014).
//
// Every picture has a random priority, and an identity keeps its picture of the lowest one: a uniform choice. Of a
// query's own identity, the choice is among its matches. The match's rank is then 1 plus the number of kept rivals at
// most as far. The priorities come from SplitMix64 as a function of (seed, repeat, index), so that nothing depends on
// the order of the work. The estimate converges to exact_single_shot.

#include <algorithm>
#include <vector>

#include "parallel.hpp"
#include "single_shot.hpp"

namespace intact {
namespace {

constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15;

// SplitMix64's output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// The priorities of the pictures in one drawn gallery.
class Draw {
 public:
  Draw(std::uint64_t seed, std::int64_t repeat)
      : key_(mixed(seed + kStep * (static_cast<std::uint64_t>(repeat) + 1))) {}

  // The one of the pictures [begin, end) that is kept; the first of equal priorities.
  std::int64_t kept(const std::int64_t* begin, const std::int64_t* end) const {
    return *std::min_element(begin, end,
                             [&](std::int64_t a, std::int64_t b) { return priority(a) < priority(b); });
  }

 private:
  std::uint64_t priority(std::int64_t picture) const {
    return mixed(key_ + kStep * (static_cast<std::uint64_t>(picture) + 1));
  }

  std::uint64_t key_;
};

}  // namespace

void sampled_single_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                         const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank,
                         std::int64_t repeats, std::uint64_t seed, std::int64_t threads, double* cmc) {
  const std::int64_t identities = gallery.identities();
  std::vector<std::int64_t> kept(static_cast<std::size_t>(repeats * identities));
  parallel_for(repeats, threads, [&] {
    return [&](std::int64_t repeat) {
      const Draw draw(seed, repeat);
      for (std::int64_t identity = 0; identity < identities; ++identity) {
        kept[repeat * identities + identity] = draw.kept(gallery.begin(identity), gallery.end(identity));
      }
    };
  });

  parallel_for(queries, threads, [&] {
    return [&, query = Query()](std::int64_t q) mutable {
      const float* row_of_distances = distances + q * gallery.size();
      double* row = cmc + q * max_rank;
      if (!gallery.single_out(row_of_distances, query_pids[q], query_camids[q], q, query)) {
        std::fill_n(row, max_rank, kNoScore);
        return;
      }
      std::fill_n(row, max_rank, 0.0);
      for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
        const std::int64_t* matches = query.matches.data();
        const float match =
            row_of_distances[Draw(seed, repeat).kept(matches, matches + query.matches.size())];
        const std::int64_t* drawn = kept.data() + repeat * identities;
        std::int64_t ahead = 0;
        for (std::int64_t identity = 0; identity < identities; ++identity) {
          ahead += query.rivals[drawn[identity]] <= match;
        }
        if (ahead < max_rank) row[ahead] += 1;
      }
      double found = 0;
      for (std::int64_t k = 0; k < max_rank; ++k) {
        found += row[k];
        row[k] = found / static_cast<double>(repeats);
      }
    };
  });
}

}  // namespace intact
