// Re-ranking with k-reciprocal encoding (Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with k-reciprocal
// Encoding, CVPR 2017), with the rounding and the inequalities of the authors' published code.
//
// 1. Section 3.2: R(p, k) are those of p's k nearest neighbours that have p among theirs. R*(p, k1) adds R(q, k1/2) for
//    every q in R(p, k1) of which more than 2/3 lie in R(p, k1).
// 2. Section 3.3: p is encoded as V(p, g) = exp(-d(p, g)) for g in R*, else 0, scaled to the sum 1.
// 3. Section 3.4, local query expansion: V(p) becomes the mean of V over p's k2 nearest pictures.
// 4. Section 3.3: the Jaccard distance is 1 - Σ min(V(p), V(g)) / Σ max(V(p), V(g)). As encodings sum to 1, the second
//    sum is 2 minus the first, which an inverted index finds from the entries that both have.
// 5. Section 3.5: the result is (1 - λ)·Jaccard + λ·d.
//
// d is the squared distance divided by the largest of its row. Encodings are sparse, so that memory grows with the
// pictures and not with their square.

#include "reciprocal.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "neighbours.hpp"
#include "parallel.hpp"

namespace intact {
namespace {

using Pictures = std::vector<std::int32_t>;

// Those of a picture's first `k` neighbours that have it among their first `k`, nearest first.
Pictures reciprocal_neighbours(const ReciprocalEncoding::Input& input, std::int32_t picture, std::int64_t k) {
  k = std::min(k, input.columns);
  const std::int32_t* own = input.neighbours + picture * input.columns;
  Pictures result;
  std::copy_if(own, own + k, std::back_inserter(result), [&](std::int32_t other) {
    const std::int32_t* back = input.neighbours + other * input.columns;
    return std::find(back, back + k, picture) != back + k;
  });
  return result;
}

float distance_between(const ReciprocalEncoding::Input& input, std::int32_t a, std::int32_t b) {
  const float* x = input.features + a * input.width;
  const float* y = input.features + b * input.width;
  if (!input.cosine) {
    double square = 0;
    for (std::int64_t i = 0; i < input.width; ++i) {
      const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      square += difference * difference;
    }
    return static_cast<float>(std::sqrt(square));
  }
  double product = 0, norm_x = 0, norm_y = 0;
  for (std::int64_t i = 0; i < input.width; ++i) {
    product += static_cast<double>(x[i]) * y[i];
    norm_x += static_cast<double>(x[i]) * x[i];
    norm_y += static_cast<double>(y[i]) * y[i];
  }
  const double norms = std::sqrt(norm_x) * std::sqrt(norm_y);
  return static_cast<float>(norms > 0 ? 1 - product / norms : 1);
}

}  // namespace

ReciprocalEncoding::ReciprocalEncoding(const Input& input, std::int64_t k1, std::int64_t k2, std::int64_t threads)
    : queries_(input.queries),
      largest_square_(input.largest_square, input.largest_square + input.queries),
      encodings_(static_cast<std::size_t>(input.pictures)) {
  parallel_for(input.pictures, threads, [&] {
    return [&](std::int64_t i) { encodings_[i] = encode(input, k1, static_cast<std::int32_t>(i)); };
  });
  if (k2 > 1) expand(input, k2, threads);
  invert();
}

ReciprocalEncoding::Encoding ReciprocalEncoding::encode(const Input& input, std::int64_t k1,
                                                        std::int32_t picture) const {
  const Pictures reciprocal = reciprocal_neighbours(input, picture, k1 + 1);
  const auto half = static_cast<std::int64_t>(std::nearbyint(static_cast<double>(k1) / 2)) + 1;
  Pictures expanded = reciprocal;
  for (const std::int32_t candidate : reciprocal) {
    const Pictures theirs = reciprocal_neighbours(input, candidate, half);
    const auto common = std::count_if(theirs.begin(), theirs.end(), [&](std::int32_t other) {
      return std::find(reciprocal.begin(), reciprocal.end(), other) != reciprocal.end();
    });
    if (static_cast<double>(common) > 2.0 / 3 * static_cast<double>(theirs.size())) {
      expanded.insert(expanded.end(), theirs.begin(), theirs.end());
    }
  }
  std::sort(expanded.begin(), expanded.end());
  expanded.erase(std::unique(expanded.begin(), expanded.end()), expanded.end());

  Encoding encoding;
  float total = 0;
  for (const std::int32_t other : expanded) {
    const float weight = std::exp(-rescaled(distance_between(input, picture, other), input.largest_square[picture]));
    encoding.emplace_back(other, weight);
    total += weight;
  }
  for (auto& [other, weight] : encoding) weight /= total;
  return encoding;
}

void ReciprocalEncoding::expand(const Input& input, std::int64_t k2, std::int64_t threads) {
  const std::int64_t used = std::min(k2, input.columns);
  std::vector<Encoding> expanded(encodings_.size());
  parallel_for(input.pictures, threads, [&] {
    return [&, sums = std::vector<float>(encodings_.size(), 0.0F), touched = Pictures()](std::int64_t i) mutable {
      touched.clear();
      for (std::int64_t n = 0; n < used; ++n) {
        for (const auto& [other, weight] : encodings_[input.neighbours[i * input.columns + n]]) {
          if (sums[other] == 0) touched.push_back(other);
          sums[other] += weight;
        }
      }
      std::sort(touched.begin(), touched.end());
      for (const std::int32_t other : touched) {
        expanded[i].emplace_back(other, sums[other] / static_cast<float>(used));
        sums[other] = 0;
      }
    };
  });
  encodings_ = std::move(expanded);
}

void ReciprocalEncoding::invert() {
  encoded_by_.resize(encodings_.size());
  for (std::int64_t g = 0; g < gallery(); ++g) {
    for (const auto& [other, weight] : encodings_[queries_ + g]) {
      encoded_by_[other].emplace_back(static_cast<std::int32_t>(g), weight);
    }
  }
}

void ReciprocalEncoding::rerank(const float* distances, std::int64_t first_query, std::int64_t rows, float lambda,
                                std::int64_t threads, float* result) const {
  parallel_for(rows, threads, [&] {
    return [&, shared = std::vector<float>()](std::int64_t row) mutable {
      shared.assign(static_cast<std::size_t>(gallery()), 0.0F);
      for (const auto& [other, weight] : encodings_[first_query + row]) {
        for (const auto& [g, theirs] : encoded_by_[other]) shared[g] += std::min(weight, theirs);
      }
      const float square = largest_square_[first_query + row];
      for (std::int64_t g = 0; g < gallery(); ++g) {
        const float jaccard = 1 - shared[g] / (2 - shared[g]);
        const float original = rescaled(distances[row * gallery() + g], square);
        result[row * gallery() + g] = jaccard * (1 - lambda) + original * lambda;
      }
    };
  });
}

}  // namespace intact
