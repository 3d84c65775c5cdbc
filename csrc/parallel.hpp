// A parallel loop over tasks. Threads take the next task from a shared counter, so that uneven tasks spread evenly.

#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>

namespace intact {

// Threads to use: `asked`, or OpenMP's own choice for 0; never more than there is work or hardware for.
inline int thread_count(std::int64_t asked, std::int64_t tasks) {
  const std::int64_t available = std::max(omp_get_max_threads(), omp_get_num_procs());
  const std::int64_t wanted = asked == 0 ? omp_get_max_threads() : std::min(asked, available);
  return static_cast<int>(std::max<std::int64_t>(1, std::min(wanted, tasks)));
}

// Calls work(task) for every task. make_work() is called once per thread, so that it can own scratch memory.
//
// Every task writes its own results, so that nothing depends on the number of threads or on their order.
// Of the exceptions thrown, the one of the lowest task is rethrown; tasks after it may not have run.
template <class MakeWork>
void parallel_for(std::int64_t tasks, std::int64_t threads, const MakeWork& make_work) {
  std::atomic<std::int64_t> next{0};
  std::atomic<std::int64_t> first_failed{std::numeric_limits<std::int64_t>::max()};
  std::exception_ptr failure;

#pragma omp parallel num_threads(thread_count(threads, tasks))
  {
    std::int64_t task = -1;
    try {
      auto work = make_work();
      // Tasks are handed out in order: all below a failed one have been started and will finish.
      while ((task = next.fetch_add(1)) < tasks && task < first_failed.load()) work(task);
    } catch (...) {
#pragma omp critical(intact_parallel_failure)
      if (task < first_failed.load()) {
        first_failed.store(task);
        failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace intact
