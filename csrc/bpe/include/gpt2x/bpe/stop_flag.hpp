// Taking back a long piece of work: whoever waits for it raises a flag, and whoever does it looks at the flag
// every few thousand bytes, on every thread.
#pragma once

#include <atomic>

#include "gpt2x/bpe/errors.hpp"

namespace gpt2x::bpe {

class StopFlag {
 public:
  StopFlag() = default;
  StopFlag(const StopFlag&) = delete;
  StopFlag& operator=(const StopFlag&) = delete;
  virtual ~StopFlag() = default;

  /// May be called by any thread, at any time.
  void raise() noexcept { state_.store(State::kRaised, std::memory_order_relaxed); }

  /// The same, but what is done about it is up to attend().
  void ask() noexcept {
    State quiet = State::kQuiet;
    state_.compare_exchange_strong(quiet, State::kAsked, std::memory_order_relaxed);
  }

  /// Throws Stopped if the flag has been raised; else costs as little as reading a variable.
  void check() {
    const State state = state_.load(std::memory_order_relaxed);
    if (state == State::kQuiet) [[likely]]
      return;
    if (state == State::kRaised) throw Stopped();
    attend();
  }

 protected:
  /// Called by check() after ask(), on whichever thread, until it calls settle().
  virtual void attend() { settle(); }

  void settle() noexcept {
    State asked = State::kAsked;
    state_.compare_exchange_strong(asked, State::kQuiet, std::memory_order_relaxed);
  }

 private:
  enum class State : unsigned char { kQuiet, kAsked, kRaised };
  std::atomic<State> state_{State::kQuiet};
};

/// The flag of work that nobody takes back.
inline StopFlag never_stopped;

}  // namespace gpt2x::bpe
