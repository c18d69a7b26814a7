// A loop over threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace gpt2x::text {

// Calls work(i) for each i below count, on up to `threads` threads; the first exception is thrown again here.
template <class Work>
void parallel_for(int64_t count, int threads, const Work& work) {
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex guard;
  const auto run = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      next = count;
      const std::lock_guard lock(guard);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  const int64_t helpers = std::min<int64_t>(threads, count) - 1;
  try {
    for (int64_t i = 0; i < helpers; ++i) others.emplace_back(run);
  } catch (const std::system_error&) {
    // no more threads to be had: those that run do it all
  }
  run();
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace gpt2x::text
