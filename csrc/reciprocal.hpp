// k-reciprocal re-ranking; the algorithm and its source are described in reciprocal.cpp.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace intact {

// The k-reciprocal encodings of pictures, queries first, then gallery (Zhong, Zheng, Cao, Li: Re-ranking Person
// Re-identification with k-reciprocal Encoding, CVPR 2017), kept sparse: a picture's encoding has entries only
// for the pictures in its neighbourhood.
class ReciprocalEncoding {
 public:
  // What the encodings are made from.
  struct Input {
    const float* features;           // pictures×width
    const std::int32_t* neighbours;  // pictures×(k1 + 1), nearest first
    const float* largest_square;     // pictures
    std::int64_t pictures, width, columns;
    std::int64_t queries;
    bool cosine;
  };

  ReciprocalEncoding(const Input& input, std::int64_t k1, std::int64_t k2, std::int64_t threads);

  std::int64_t queries() const { return queries_; }
  std::int64_t gallery() const { return static_cast<std::int64_t>(encodings_.size()) - queries_; }

  // Mixes the Jaccard distance of the encodings with the rescaled original one: (1 - λ)·Jaccard + λ·original.
  //
  //   distances, result: rows×gallery() of the queries first_query, first_query + 1, …
  void rerank(const float* distances, std::int64_t first_query, std::int64_t rows, float lambda,
              std::int64_t threads, float* result) const;

 private:
  using Encoding = std::vector<std::pair<std::int32_t, float>>;  // (picture, weight), pictures ascending

  Encoding encode(const Input& input, std::int64_t k1, std::int32_t picture) const;
  void expand(const Input& input, std::int64_t k2, std::int64_t threads);
  void invert();

  std::int64_t queries_;
  std::vector<float> largest_square_;
  std::vector<Encoding> encodings_;
  // Per picture, the gallery pictures whose encodings have an entry for it.
  std::vector<Encoding> encoded_by_;
};

}  // namespace intact
