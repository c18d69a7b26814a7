// Conversions between Python's objects and the core's that every part of gpt2x._bpe uses.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <semaphore>
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

// A flag that is raised when the handler of a signal raises something, as that of Ctrl-C does. Only the
// thread that made the call looks for signals, since Python's main thread alone may handle them, and it does
// so within its work: on another thread that work would find nothing of the text and of the encoder's memory
// in its cache, which costs a sixth of the time.
class SignalFlag final : public gpt2x::bpe::StopFlag {
 public:
  /// To be called with the GIL held, after the work.
  void raise_again() const {
    if (raised_) throw py::error_already_set(*raised_);
  }

 private:
  void attend() override {
    if (std::this_thread::get_id() != caller_) return;
    settle();
    const py::gil_scoped_acquire acquired;
    if (PyErr_CheckSignals() == 0) return;
    raised_.emplace();
    raise();
    throw gpt2x::bpe::Stopped();
  }

  std::thread::id caller_ = std::this_thread::get_id();
  std::optional<py::error_already_set> raised_;
};

// Asks a flag ten times a second, as long as it lives. To ask more often would make work wait for the GIL
// more often where other threads hold it.
class Clock {
 public:
  explicit Clock(gpt2x::bpe::StopFlag& flag) {
    try {
      thread_ = std::jthread([this, &flag] {
        while (!over_.try_acquire_for(std::chrono::milliseconds(100))) flag.ask();
      });
    } catch (const std::system_error&) {  // no more threads to be had: signals wait
    }
  }
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  ~Clock() { over_.release(); }

 private:
  std::binary_semaphore over_{0};
  std::jthread thread_;
};

// Runs `work(stop)` without the GIL. If it is long, signals are handled on the way, and what a handler raises
// stops the work and is raised here.
template <typename Work>
void interruptible(std::size_t size, const Work& work) {
  if (size < kLongWork) return without_gil([&] { work(gpt2x::bpe::never_stopped); });
  SignalFlag flag;
  without_gil([&] {
    const Clock clock(flag);
    try {
      work(flag);
    } catch (const gpt2x::bpe::Stopped&) {
    }
  });
  flag.raise_again();
}

// To be called every now and then by long work that holds the GIL.
inline void check_signals() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

}  // namespace conversions
