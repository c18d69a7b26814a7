// Conversions between Python's objects and the core's that every part of gpt2x._bpe uses.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "gpt2x/bpe/stop_flag.hpp"

namespace conversions {

namespace py = pybind11;

inline std::string_view view(const py::bytes& bytes) {
  return static_cast<std::string_view>(bytes);
}

inline py::bytes to_bytes(std::string_view text) {
  return {text.data(), text.size()};
}

inline unsigned to_num_threads(int num_threads) {
  if (num_threads < 0) {
    throw py::value_error("num_threads is " + std::to_string(num_threads) +
                          "; give 0 for all cores, or more");
  }
  return static_cast<unsigned>(num_threads);
}

// Runs `work` without the GIL and hands back its result.
template <typename Work>
auto without_gil(const Work& work) {
  const py::gil_scoped_release released;
  return work();
}

// Work on fewer bytes (or ids) than that takes a few milliseconds, or a fifth of a second at worst.
inline constexpr std::size_t kLongWork = std::size_t{1} << 20;

// How long a signal may wait to be seen.
inline constexpr std::chrono::milliseconds kBetweenSignals{50};

// Runs `work(stop)` without the GIL. Long work has a thread of its own, while this one looks for signals:
// what a handler raises, as the one of Ctrl-C does, stops the work and is raised here. To look from within
// the work would not do, since it may have to wait for the GIL.
template <typename Work>
void interruptible(std::size_t size, const Work& work) {
  if (size < kLongWork) return without_gil([&] { work(gpt2x::bpe::kNeverStopped); });
  gpt2x::bpe::StopFlag stop;
  std::promise<void> promise;
  std::future<void> done = promise.get_future();
  std::optional<py::error_already_set> raised;
  const auto run = [&] {
    try {
      work(stop);
      promise.set_value();
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  };
  without_gil([&] {
    std::jthread worker;
    try {
      worker = std::jthread(run);
    } catch (const std::system_error&) {  // no more threads to be had
      run();
    }
    while (!raised && done.wait_for(kBetweenSignals) == std::future_status::timeout) {
      const py::gil_scoped_acquire acquired;
      if (PyErr_CheckSignals() == 0) continue;
      raised.emplace();
      stop.raise();
    }
  });
  if (raised) throw py::error_already_set(*raised);
  done.get();
}

// To be called every now and then by long work that holds the GIL.
inline void check_signals() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

}  // namespace conversions
