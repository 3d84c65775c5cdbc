// The gallery by identity, with the matches, the junk and the rivals of a query (see gallery.cpp).

#pragma once

#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

namespace intact {

// What a query without any match scores.
constexpr double kNoScore = std::numeric_limits<double>::quiet_NaN();

// One query seen against the gallery. Kept between queries as scratch memory.
struct Query {
  // Distance of every gallery picture; NaN, which compares false with everything, for those that are not rivals.
  std::vector<float> rivals;
  // The query's matches: gallery indices in the order of the gallery, and their distances in ascending order.
  std::vector<std::int64_t> matches;
  std::vector<float> match_distances;
  // The query's own identity.
  std::int64_t identity = -1;
};

// The identities of a gallery.
//
// Absent pictures take no part. Pictures that stand alone are each an identity of their own and match nobody.
class Gallery {
 public:
  Gallery(const std::int64_t* pids, const std::int64_t* camids, const std::uint8_t* absent,
          const std::uint8_t* alone, std::int64_t size);

  std::int64_t size() const { return static_cast<std::int64_t>(camids_.size()); }
  std::int64_t identities() const { return static_cast<std::int64_t>(starts_.size()) - 1; }

  // The pictures of an identity, as gallery indices in ascending order.
  const std::int64_t* begin(std::int64_t identity) const { return members_.data() + starts_[identity]; }
  const std::int64_t* end(std::int64_t identity) const { return members_.data() + starts_[identity + 1]; }
  std::int64_t size_of(std::int64_t identity) const { return starts_[identity + 1] - starts_[identity]; }

  // Number of the query's matches: pictures of its pid from another camera.
  std::int64_t count_matches(std::int64_t pid, std::int64_t camid) const;

  // Fills `query` from one row of distances; false, and `query` is of no use, if it has no match.
  //
  // Throws std::invalid_argument if the row holds NaN; `row` is for the message.
  bool single_out(const float* distances, std::int64_t pid, std::int64_t camid, std::int64_t row,
                  Query& query) const;

 private:
  std::vector<std::int64_t> camids_;
  std::vector<std::int64_t> absent_;
  std::vector<std::int64_t> members_;
  std::vector<std::int64_t> starts_;
  std::unordered_map<std::int64_t, std::int64_t> identity_of_pid_;
};

}  // namespace intact
