// The loops that encoding spends its time in, in versions for several processors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"
#include "word_cache.hpp"

namespace gpt2x::bpe {

/// Slots that a caller of find_starts must leave free behind the starts that it asks for.
inline constexpr std::size_t kStartsSlack = 16;

/// Pieces of up to 15 bytes; nearly all are.
template <typename Id>
using Words = WordCache<2, Id>;

/// A piece that is to be looked up. It starts where the one before ends.
template <typename Id>
struct Probe {
  typename Words<Id>::Key key;
  typename Words<Id>::Entry* bucket;
  const char* end;
};

/// Pieces to make probes for: they end at base + ends[i], the first of them starts at `start`. Those that
/// start behind `readable_end` may not be read beyond their ends.
struct PieceRun {
  const char* start;
  const char* base;
  std::span<const std::uint32_t> ends;
  const char* readable_end;
};

/// The longest word that merge_words takes.
inline constexpr std::size_t kMaxWordBytes = 16;

/// A word to be merged.
struct WordJob {
  WordJob() = default;
  /// `tokens` holds one for each byte: 1 to kMaxWordBytes. Of longer ones nothing is kept.
  WordJob(std::string_view word, TokenId rank_limit, TokenId* tokens)
      : size(static_cast<std::uint32_t>(word.size())), rank_limit(rank_limit), tokens(tokens) {
    if (size <= kMaxWordBytes) std::memcpy(bytes.data(), word.data(), size);
  }

  std::array<std::uint8_t, kMaxWordBytes + 1> bytes{};  // zeros behind the word
  std::uint32_t size = 0;
  TokenId rank_limit = kNoToken;  // merges of this rank or above are not made; kNoToken for none
  TokenId* tokens = nullptr;
  std::size_t num_tokens = 0;  // the result
};

template <typename Id>
struct WordKernels {
  /// Makes probes until `probes` is full, or a piece is too long or may not be read beyond; takes
  /// those pieces from the run. Returns how many. The buckets are then on their way into the cache.
  std::size_t (*make_probes)(PieceRun& run, typename Words<Id>::Buckets buckets, std::span<Probe<Id>> probes);

  /// Writes the tokens of the first probes, up to one that is not first in its bucket, and returns how many
  /// probes these were. Moves `out` behind the tokens, and may write Words<Id>::kLanes values more.
  std::size_t (*look_up)(std::span<const Probe<Id>> probes, TokenId*& out);
};

struct Kernels {
  const char* name;

  /// Writes where the pieces of GPT-2's pattern start in [from, to), relative to `from`, and returns how many
  /// do. `text` is well-formed UTF-8. `from` is 0 or the `to` of the call before, with the same carry; `to`
  /// is the text's end or a multiple of 64 bytes behind `from`. There may be to - from starts, and
  /// kStartsSlack values more are written to.
  std::size_t (*find_starts)(BlockCarry& carry, std::string_view text, std::size_t from, std::size_t to,
                             std::uint32_t* starts);

  /// What merging the bytes of each word gives.
  void (*merge_words)(const MergeRules& rules, std::span<WordJob> jobs);

  WordKernels<std::uint16_t> words16;
  WordKernels<std::uint32_t> words32;

  template <typename Id>
  [[nodiscard]] const WordKernels<Id>& words() const {
    if constexpr (sizeof(Id) == 2) {
      return words16;
    } else {
      return words32;
    }
  }
};

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

/// The versions that this processor can run, the fastest first; the last one runs everywhere.
std::span<const Kernels* const> usable_kernels();

/// The first of these.
const Kernels& kernels();

}  // namespace gpt2x::bpe
