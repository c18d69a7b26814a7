// Running a loop's iterations on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gpt2x::bpe {

/// Calls `run(i)` once for every i below `count`, on up to `num_threads` threads (0: one for each core).
/// Threads take the next i when they are free, so unequal iterations even out. The first exception is thrown
/// again here, after all threads have ended; iterations that had not begun by then are left out.
template <typename Function>
void parallel_for(std::size_t count, unsigned num_threads, const Function& run) {
  if (num_threads == 0) num_threads = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) run(i);
    } catch (...) {
      next = count;
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  };

  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min<std::size_t>(num_threads, count); ++i) helpers.emplace_back(work);
    work();  // the calling thread is one of them
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace gpt2x::bpe
