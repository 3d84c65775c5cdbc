// The single-shot CMC in closed form, where a protocol draws galleries with one picture of each identity.
//
// Keep one match, at distance d. Another identity is ahead of it if its drawn picture is at a distance ≤ d. Of its n
// pictures let w be that near: the chance is w/n, independently of all other identities. So the number of identities
// ahead has a Poisson-binomial distribution. Its first max_rank probabilities come from the recurrence over the chances
// p (Barlow, Heidtmann: Computing k-out-of-n System Reliability, IEEE Transactions on Reliability, 1984):
//
//   P'(k) = (1 - p)·P(k) + p·P(k - 1)
//
// The query's CMC is their cumulative sum, averaged over its matches, of which each is as likely to be the one kept.
// Identities with the chance 1 only shift the ranks; those with the chance 0 are left out.

#include <algorithm>
#include <numeric>
#include <vector>

#include "clones.hpp"
#include "parallel.hpp"
#include "single_shot.hpp"
#include "thresholds.hpp"

namespace intact {
namespace {

// The identities that may or must be ahead of one match.
struct Rivals {
  std::int64_t certain = 0;
  std::vector<double> chances;
};

// Sorts the other identities by what they are to each match.
class Contest {
 public:
  explicit Contest(const Gallery& gallery) : gallery_(gallery) {}

  // Of each match, in ascending distance; at most max_rank certain rivals are counted.
  const std::vector<Rivals>& judge(const Query& query, std::int64_t max_rank) {
    const auto matches = static_cast<std::int64_t>(query.match_distances.size());
    if (of_match_.size() < query.match_distances.size()) {
      of_match_.resize(query.match_distances.size());
      newly_within_.resize(query.match_distances.size(), 0);
    }
    for (std::int64_t m = 0; m < matches; ++m) {
      of_match_[m].certain = 0;
      of_match_[m].chances.clear();
    }
    for (std::int64_t identity = 0; identity < gallery_.identities(); ++identity) {
      if (identity != query.identity) judge_identity(identity, query, matches, max_rank);
    }
    return of_match_;
  }

 private:
  void judge_identity(std::int64_t identity, const Query& query, std::int64_t matches, std::int64_t max_rank) {
    const float* thresholds = query.match_distances.data();
    const float farthest = thresholds[matches - 1];
    std::int64_t nearest = matches;
    for (const std::int64_t* g = gallery_.begin(identity); g != gallery_.end(identity); ++g) {
      const float distance = query.rivals[*g];
      if (!(distance <= farthest)) continue;
      const std::int64_t match = first_reached(thresholds, matches, distance);
      ++newly_within_[match];
      nearest = std::min(nearest, match);
    }
    const std::int64_t size = gallery_.size_of(identity);
    std::int64_t within = 0;
    for (std::int64_t m = nearest; m < matches; ++m) {
      within += newly_within_[m];
      newly_within_[m] = 0;
      Rivals& rivals = of_match_[m];
      if (rivals.certain >= max_rank) continue;
      if (within == size) {
        ++rivals.certain;
      } else {
        rivals.chances.push_back(static_cast<double>(within) / static_cast<double>(size));
      }
    }
  }

  const Gallery& gallery_;
  std::vector<Rivals> of_match_;
  // All 0 between identities.
  std::vector<std::int64_t> newly_within_;
};

// Less than this in all is nothing beside 1 in double precision, whatever is added to it.
constexpr double kNegligible = 1e-30;
constexpr std::size_t kChancesBetweenLooks = 32;

// moved[k] = (1 - chance)·ahead[k] + chance·ahead[k - 1] for k < reach.
INTACT_CLONES
void take_chance(const double* ahead, double* moved, std::int64_t reach, double chance) {
  moved[0] = ahead[0] - ahead[0] * chance;
  for (std::int64_t k = 1; k < reach; ++k) moved[k] = ahead[k] - ahead[k] * chance + ahead[k - 1] * chance;
}

// ahead[k], k < length: the probability that exactly k of the chances come true. What goes beyond is of no rank
// asked for and never comes back, so that soon nothing is left of a match that is surely far behind.
void poisson_binomial(const std::vector<double>& chances, std::int64_t length, std::vector<double>& ahead,
                      std::vector<double>& moved) {
  // Two buffers, so that the loop over k has no dependence and is vectorised; both are 0 where not yet reached.
  ahead.assign(static_cast<std::size_t>(length), 0);
  moved.assign(static_cast<std::size_t>(length), 0);
  ahead[0] = 1;
  std::int64_t reach = 1;
  for (std::size_t i = 0; i < chances.size(); ++i) {
    reach = std::min(reach + 1, length);
    take_chance(ahead.data(), moved.data(), reach, chances[i]);
    std::swap(ahead, moved);
    if (i % kChancesBetweenLooks == 0 && std::accumulate(ahead.begin(), ahead.end(), 0.0) < kNegligible) {
      std::fill(ahead.begin(), ahead.end(), 0.0);
      return;
    }
  }
}

}  // namespace

void exact_single_shot(const Gallery& gallery, const float* distances, const std::int64_t* query_pids,
                       const std::int64_t* query_camids, std::int64_t queries, std::int64_t max_rank,
                       std::int64_t threads, double* cmc) {
  parallel_for(queries, threads, [&] {
    return [&, query = Query(), contest = Contest(gallery), ahead = std::vector<double>(),
            moved = std::vector<double>()](std::int64_t q) mutable {
      double* row = cmc + q * max_rank;
      if (!gallery.single_out(distances + q * gallery.size(), query_pids[q], query_camids[q], q, query)) {
        std::fill_n(row, max_rank, kNoScore);
        return;
      }
      const std::vector<Rivals>& rivals = contest.judge(query, max_rank);
      std::fill_n(row, max_rank, 0.0);
      const std::size_t matches = query.match_distances.size();
      for (std::size_t m = 0; m < matches; ++m) {
        if (rivals[m].certain >= max_rank) continue;
        poisson_binomial(rivals[m].chances, max_rank - rivals[m].certain, ahead, moved);
        for (std::int64_t k = rivals[m].certain; k < max_rank; ++k) row[k] += ahead[k - rivals[m].certain];
      }
      double within = 0;
      for (std::int64_t k = 0; k < max_rank; ++k) {
        within += row[k];
        // A sum of rounded probabilities may end a few ulp above 1.
        row[k] = std::min(within / static_cast<double>(matches), 1.0);
      }
    };
  });
}

}  // namespace intact
