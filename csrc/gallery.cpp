// The gallery's pictures by identity, and what each of them is to a query.
//
// As in Market-1501's protocol (Zheng, Shen, Tian, Wang, Wang, Tian: Scalable Person Re-identification, ICCV 2015), a
// query's matches are the pictures of its pid from other cameras. Those of its own camera are junk and take no part.
// All other pictures are rivals. The pictures are sorted by pid once, so that an identity is one range.

#include "gallery.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace intact {

Gallery::Gallery(const std::int64_t* pids, const std::int64_t* camids, const std::uint8_t* absent,
                 const std::uint8_t* alone, std::int64_t size)
    : camids_(camids, camids + size) {
  std::vector<std::int64_t> people, loners;
  for (std::int64_t g = 0; g < size; ++g) {
    (absent[g] ? absent_ : alone[g] ? loners : people).push_back(g);
  }
  std::stable_sort(people.begin(), people.end(),
                   [&](std::int64_t a, std::int64_t b) { return pids[a] < pids[b]; });

  members_ = people;
  members_.insert(members_.end(), loners.begin(), loners.end());
  for (std::size_t i = 0; i < people.size(); ++i) {
    const std::int64_t pid = pids[people[i]];
    if (i > 0 && pid == pids[people[i - 1]]) continue;
    identity_of_pid_.emplace(pid, static_cast<std::int64_t>(starts_.size()));
    starts_.push_back(static_cast<std::int64_t>(i));
  }
  for (std::size_t i = people.size(); i <= members_.size(); ++i) starts_.push_back(static_cast<std::int64_t>(i));
}

std::int64_t Gallery::count_matches(std::int64_t pid, std::int64_t camid) const {
  const auto found = identity_of_pid_.find(pid);
  if (found == identity_of_pid_.end()) return 0;
  return std::count_if(begin(found->second), end(found->second),
                       [&](std::int64_t g) { return camids_[g] != camid; });
}

bool Gallery::single_out(const float* distances, std::int64_t pid, std::int64_t camid, std::int64_t row,
                         Query& query) const {
  bool has_nan = false;
  for (std::int64_t g = 0; g < size(); ++g) has_nan |= distances[g] != distances[g];
  if (has_nan) throw std::invalid_argument("distances holds NaN in row " + std::to_string(row));

  query.matches.clear();
  query.match_distances.clear();
  const auto found = identity_of_pid_.find(pid);
  if (found != identity_of_pid_.end()) {
    query.identity = found->second;
    std::copy_if(begin(query.identity), end(query.identity), std::back_inserter(query.matches),
                 [&](std::int64_t g) { return camids_[g] != camid; });
  }
  if (query.matches.empty()) return false;
  for (const std::int64_t g : query.matches) query.match_distances.push_back(distances[g]);
  std::sort(query.match_distances.begin(), query.match_distances.end());

  constexpr float kNoRival = std::numeric_limits<float>::quiet_NaN();
  query.rivals.assign(distances, distances + size());
  for (const std::int64_t g : absent_) query.rivals[g] = kNoRival;
  std::for_each(begin(query.identity), end(query.identity), [&](std::int64_t g) { query.rivals[g] = kNoRival; });
  return true;
}

}  // namespace intact
