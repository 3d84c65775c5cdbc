// The Python module intact_fast._C: checks every argument, releases the GIL, and calls the algorithms.
//
// Each algorithm and its source are described at the head of its own file.

#include <pybind11/pybind11.h>

#include <limits>
#include <memory>

#include "arrays.hpp"
#include "duplicates.hpp"
#include "gallery.hpp"
#include "multi_shot.hpp"
#include "neighbours.hpp"
#include "reciprocal.hpp"
#include "single_shot.hpp"

namespace intact {
namespace {

// Far beyond any use; keeps products of sizes within 64 bits.
constexpr std::int64_t kMaxRank = 1'000'000;
constexpr std::int64_t kMaxRepeats = 1'000'000;
constexpr std::int64_t kMaxThreads = 1 << 16;
constexpr std::int64_t kMaxPictures = std::numeric_limits<std::int32_t>::max();

Gallery make_gallery(const py::object& pids, const py::object& camids, const py::object& absent,
                     const py::object& alone) {
  const auto checked_pids = checked<std::int64_t>(pids, "pids", 1);
  const auto checked_camids = checked<std::int64_t>(camids, "camids", 1);
  const auto checked_absent = checked<bool>(absent, "absent", 1);
  const auto checked_alone = checked<bool>(alone, "alone", 1);
  const std::int64_t size = checked_pids.shape(0);
  if (size == 0) throw std::invalid_argument("pids is empty");
  check_range(size, "the length of pids", 1, kMaxPictures);
  check_length(checked_camids, "camids", 0, size);
  check_length(checked_absent, "absent", 0, size);
  check_length(checked_alone, "alone", 0, size);
  // numpy's booleans may be views of any bytes, which C++'s may not.
  const auto* is_absent = reinterpret_cast<const std::uint8_t*>(checked_absent.data());
  const auto* is_alone = reinterpret_cast<const std::uint8_t*>(checked_alone.data());
  py::gil_scoped_release released;
  return Gallery(checked_pids.data(), checked_camids.data(), is_absent, is_alone, size);
}

Array<std::int64_t> count_matches(const Gallery& gallery, const py::object& query_pids,
                                  const py::object& query_camids) {
  const auto pids = checked<std::int64_t>(query_pids, "query_pids", 1);
  const auto camids = checked<std::int64_t>(query_camids, "query_camids", 1);
  check_length(camids, "query_camids", 0, pids.shape(0));
  Array<std::int64_t> counts(pids.shape(0));
  const std::int64_t* pid = pids.data();
  const std::int64_t* camid = camids.data();
  std::int64_t* count = counts.mutable_data();
  const std::int64_t queries = pids.shape(0);
  py::gil_scoped_release released;
  for (std::int64_t q = 0; q < queries; ++q) count[q] = gallery.count_matches(pid[q], camid[q]);
  return counts;
}

// The arguments that every protocol shares.
struct Queries {
  Queries(const Gallery& gallery, const py::object& distances, const py::object& pids, const py::object& camids,
          std::int64_t max_rank, std::int64_t threads)
      : distances(checked<float>(distances, "distances", 2)),
        pids(checked<std::int64_t>(pids, "query_pids", 1)),
        camids(checked<std::int64_t>(camids, "query_camids", 1)),
        count(this->distances.shape(0)) {
    check_length(this->distances, "distances", 1, gallery.size());
    check_length(this->pids, "query_pids", 0, count);
    check_length(this->camids, "query_camids", 0, count);
    check_range(max_rank, "max_rank", 1, kMaxRank);
    check_range(threads, "threads", 0, kMaxThreads);
  }

  Array<float> distances;
  Array<std::int64_t> pids, camids;
  std::int64_t count;
};

py::tuple rank_multi_shot(const Gallery& gallery, const py::object& distances, const py::object& query_pids,
                          const py::object& query_camids, std::int64_t max_rank, std::int64_t threads) {
  const Queries queries(gallery, distances, query_pids, query_camids, max_rank, threads);
  Array<double> cmc({queries.count, max_rank});
  Array<double> ap(queries.count), inp(queries.count);
  const float* d = queries.distances.data();
  const std::int64_t *pids = queries.pids.data(), *camids = queries.camids.data();
  double *cmc_out = cmc.mutable_data(), *ap_out = ap.mutable_data(), *inp_out = inp.mutable_data();
  {
    py::gil_scoped_release released;
    multi_shot(gallery, d, pids, camids, queries.count, max_rank, threads, cmc_out, ap_out, inp_out);
  }
  return py::make_tuple(cmc, ap, inp);
}

Array<double> rank_exact(const Gallery& gallery, const py::object& distances, const py::object& query_pids,
                         const py::object& query_camids, std::int64_t max_rank, std::int64_t threads) {
  const Queries queries(gallery, distances, query_pids, query_camids, max_rank, threads);
  Array<double> cmc({queries.count, max_rank});
  const float* d = queries.distances.data();
  const std::int64_t *pids = queries.pids.data(), *camids = queries.camids.data();
  double* out = cmc.mutable_data();
  py::gil_scoped_release released;
  exact_single_shot(gallery, d, pids, camids, queries.count, max_rank, threads, out);
  return cmc;
}

Array<double> rank_sampled(const Gallery& gallery, const py::object& distances, const py::object& query_pids,
                           const py::object& query_camids, std::int64_t max_rank, std::int64_t repeats,
                           std::uint64_t seed, std::int64_t threads) {
  const Queries queries(gallery, distances, query_pids, query_camids, max_rank, threads);
  check_range(repeats, "repeats", 1, kMaxRepeats);
  Array<double> cmc({queries.count, max_rank});
  const float* d = queries.distances.data();
  const std::int64_t *pids = queries.pids.data(), *camids = queries.camids.data();
  double* out = cmc.mutable_data();
  py::gil_scoped_release released;
  sampled_single_shot(gallery, d, pids, camids, queries.count, max_rank, repeats, seed, threads, out);
  return cmc;
}

Array<std::int64_t> find_first_equal_rows(const py::object& rows, std::int64_t threads) {
  const auto values = checked<float>(rows, "rows", 2);
  check_range(threads, "threads", 0, kMaxThreads);
  Array<std::int64_t> first(values.shape(0));
  const float* in = values.data();
  std::int64_t* out = first.mutable_data();
  const std::int64_t count = values.shape(0), width = values.shape(1);
  py::gil_scoped_release released;
  first_equal_rows(in, count, width, threads, out);
  return first;
}

py::tuple find_nearest(const py::object& distances, std::int64_t k, std::int64_t threads) {
  const auto values = checked<float>(distances, "distances", 2);
  const std::int64_t rows = values.shape(0), columns = values.shape(1);
  check_range(columns, "the number of columns of distances", 1, kMaxPictures);
  check_range(k, "k", 1, columns);
  check_range(threads, "threads", 0, kMaxThreads);
  Array<std::int32_t> nearest({rows, k});
  Array<float> largest_square(rows);
  const float* in = values.data();
  std::int32_t* indices = nearest.mutable_data();
  float* largest = largest_square.mutable_data();
  {
    py::gil_scoped_release released;
    nearest_columns(in, rows, columns, k, threads, indices, largest);
  }
  return py::make_tuple(nearest, largest_square);
}

std::unique_ptr<ReciprocalEncoding> make_encoding(const py::object& features, const py::object& neighbours,
                                                  const py::object& largest_square, std::int64_t queries,
                                                  std::int64_t k1, std::int64_t k2, bool cosine,
                                                  std::int64_t threads) {
  const auto checked_features = checked<float>(features, "features", 2);
  const auto checked_neighbours = checked<std::int32_t>(neighbours, "neighbours", 2);
  const auto checked_squares = checked<float>(largest_square, "largest_square", 1);
  const std::int64_t pictures = checked_features.shape(0);
  check_range(pictures, "the number of rows of features", 1, kMaxPictures);
  check_range(checked_features.shape(1), "the number of columns of features", 1, kMaxPictures);
  check_length(checked_neighbours, "neighbours", 0, pictures);
  check_range(checked_neighbours.shape(1), "the number of columns of neighbours", 1, pictures);
  check_length(checked_squares, "largest_square", 0, pictures);
  check_range(queries, "queries", 0, pictures);
  check_range(k1, "k1", 1, kMaxPictures);
  check_range(k2, "k2", 1, kMaxPictures);
  check_range(threads, "threads", 0, kMaxThreads);
  const std::int32_t* indices = checked_neighbours.data();
  for (py::ssize_t i = 0; i < checked_neighbours.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= pictures) {
      throw std::invalid_argument("neighbours holds " + std::to_string(indices[i]) + ", which is no row of features");
    }
  }
  const ReciprocalEncoding::Input input{checked_features.data(), indices,  checked_squares.data(),      pictures,
                                        checked_features.shape(1), checked_neighbours.shape(1), queries, cosine};
  py::gil_scoped_release released;
  return std::make_unique<ReciprocalEncoding>(input, k1, k2, threads);
}

Array<float> rerank(const ReciprocalEncoding& encoding, const py::object& distances, std::int64_t first_query,
                    double weight, std::int64_t threads) {
  const auto values = checked<float>(distances, "distances", 2);
  const std::int64_t rows = values.shape(0);
  check_length(values, "distances", 1, encoding.gallery());
  check_range(first_query, "first_query", 0, encoding.queries());
  check_range(rows, "the number of rows of distances", 0, encoding.queries() - first_query);
  if (!(weight >= 0 && weight <= 1)) {
    throw std::invalid_argument("weight must be between 0 and 1, not " + std::to_string(weight));
  }
  check_range(threads, "threads", 0, kMaxThreads);
  Array<float> result({rows, encoding.gallery()});
  const float* in = values.data();
  float* out = result.mutable_data();
  py::gil_scoped_release released;
  encoding.rerank(in, first_query, rows, static_cast<float>(weight), threads, out);
  return result;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Re-identification evaluation in C++; intact_fast.evaluation documents what it computes.";

  py::class_<Gallery>(module, "Gallery")
      .def(py::init(&make_gallery), py::arg("pids"), py::arg("camids"), py::arg("absent"), py::arg("alone"))
      .def("count_matches", &count_matches, py::arg("query_pids"), py::arg("query_camids"))
      .def("multi_shot", &rank_multi_shot, py::arg("distances"), py::arg("query_pids"), py::arg("query_camids"),
           py::arg("max_rank"), py::arg("threads") = 0)
      .def("exact_single_shot", &rank_exact, py::arg("distances"), py::arg("query_pids"), py::arg("query_camids"),
           py::arg("max_rank"), py::arg("threads") = 0)
      .def("sampled_single_shot", &rank_sampled, py::arg("distances"), py::arg("query_pids"),
           py::arg("query_camids"), py::arg("max_rank"), py::arg("repeats"), py::arg("seed"), py::arg("threads") = 0);

  module.def("first_equal_rows", &find_first_equal_rows, py::arg("rows"), py::arg("threads") = 0);
  module.def("nearest_columns", &find_nearest, py::arg("distances"), py::arg("k"), py::arg("threads") = 0);

  py::class_<ReciprocalEncoding>(module, "ReciprocalEncoding")
      .def(py::init(&make_encoding), py::arg("features"), py::arg("neighbours"), py::arg("largest_square"),
           py::arg("queries"), py::arg("k1"), py::arg("k2"), py::arg("cosine"), py::arg("threads") = 0)
      .def("rerank", &rerank, py::arg("distances"), py::arg("first_query"), py::arg("weight"),
           py::arg("threads") = 0);
}

}  // namespace intact
