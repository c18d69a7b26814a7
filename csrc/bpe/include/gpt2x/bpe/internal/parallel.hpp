// Running a loop's iterations on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <semaphore>
#include <system_error>
#include <thread>
#include <vector>

namespace gpt2x::bpe {

/// The number of threads that is meant: 0 is one for each core.
inline unsigned num_threads_for(unsigned asked) {
  return asked != 0 ? asked : std::max(1u, std::thread::hardware_concurrency());
}

/// Calls `run(i)` once for every i below `count`, on up to `num_threads` threads (0: one for each core).
/// Threads take the next i when they are free, so unequal iterations even out; where the system gives fewer
/// threads, these do all. The first exception is thrown again here, after all threads have ended; iterations
/// that had not begun by then are left out. While this thread waits for the others, it calls `idle` now and
/// then, which may throw, too.
template <typename Function, typename Idle>
void parallel_for(std::size_t count, unsigned num_threads, const Function& run, const Idle& idle) {
  num_threads = num_threads_for(num_threads);
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto guarded = [&](const auto& work) {
    try {
      work();
    } catch (...) {
      next = count;
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  };
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) run(i);
  };

  {
    std::counting_semaphore<> num_ended{0};
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min<std::size_t>(num_threads, count); ++i) {
      try {
        helpers.emplace_back([&] {
          guarded(work);
          num_ended.release();
        });
      } catch (const std::system_error&) {
        break;  // the system gives no more threads; those that there are do the work
      }
    }
    guarded(work);  // the calling thread is one of them
    guarded([&] {
      for (std::size_t i = 0; i < helpers.size(); ++i) {
        while (!num_ended.try_acquire_for(std::chrono::milliseconds(50))) idle();
      }
    });
  }
  if (error) std::rethrow_exception(error);
}

template <typename Function>
void parallel_for(std::size_t count, unsigned num_threads, const Function& run) {
  parallel_for(count, num_threads, run, [] {});
}

}  // namespace gpt2x::bpe
