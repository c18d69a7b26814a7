// Encoders that are not in use, for the next call that needs one.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "piece_encoder.hpp"

namespace gpt2x::bpe {

/// Lends an encoder to one call at a time. There is no lock: a process that forks while another thread holds
/// an encoder has one encoder less in the child, and no mutex that nobody will ever unlock.
class EncoderPool {
 public:
  explicit EncoderPool(const VocabularyTables& vocabulary) : vocabulary_(vocabulary) {}
  ~EncoderPool() {
    for (std::atomic<PieceEncoder*>& place : idle_) delete place.load();
  }
  EncoderPool(const EncoderPool&) = delete;
  EncoderPool& operator=(const EncoderPool&) = delete;

  template <typename Work>
  void with_encoder(const Work& work) {
    std::unique_ptr<PieceEncoder> encoder = acquire();
    work(*encoder);
    give_back(std::move(encoder));  // after an exception it is dropped instead
  }

 private:
  std::unique_ptr<PieceEncoder> acquire() {
    for (std::atomic<PieceEncoder*>& place : idle_) {
      if (place.load(std::memory_order_relaxed) == nullptr) continue;
      if (PieceEncoder* const encoder = place.exchange(nullptr))
        return std::unique_ptr<PieceEncoder>(encoder);
    }
    return make_piece_encoder(vocabulary_);
  }

  void give_back(std::unique_ptr<PieceEncoder> encoder) {
    for (std::atomic<PieceEncoder*>& place : idle_) {
      PieceEncoder* empty = nullptr;
      if (!place.compare_exchange_strong(empty, encoder.get())) continue;
      static_cast<void>(encoder.release());
      return;
    }
  }

  const VocabularyTables& vocabulary_;
  std::array<std::atomic<PieceEncoder*>, 64> idle_{};  // more threads than that make theirs anew
};

}  // namespace gpt2x::bpe
