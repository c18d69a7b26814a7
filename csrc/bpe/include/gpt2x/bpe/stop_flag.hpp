// Taking back a long piece of work: whoever waits for it raises a flag, and whoever does it looks at the flag
// every few thousand bytes, on every thread.
#pragma once

#include <atomic>
#include <stdexcept>

namespace gpt2x::bpe {

/// What work ends with when its flag has been raised.
class Stopped : public std::runtime_error {
 public:
  Stopped() : std::runtime_error("stopped") {}
};

class StopFlag {
 public:
  /// May be called by any thread, at any time.
  void raise() noexcept { raised_.store(true, std::memory_order_relaxed); }

  /// Throws Stopped if the flag has been raised; else costs as little as reading a variable.
  void check() const {
    if (raised_.load(std::memory_order_relaxed)) [[unlikely]]
      throw Stopped();
  }

 private:
  std::atomic<bool> raised_{false};
};

/// The flag of work that nobody takes back.
inline const StopFlag kNeverStopped;

}  // namespace gpt2x::bpe
