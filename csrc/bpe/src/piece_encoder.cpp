#include "piece_encoder.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "kernels.hpp"
#include "long_pieces.hpp"
#include "word_cache.hpp"

namespace gpt2x::bpe {
namespace {

// Buckets at first, usually and at most: 128 KiB, 2 MiB and 16 MiB for pieces of up to 15 bytes, and as much
// for those of up to 31 bytes or with many tokens.
template <typename Cache>
constexpr typename Cache::Sizes kSizes = [] {
  constexpr std::size_t kBytes = 2 * sizeof(typename Cache::Entry);
  return typename Cache::Sizes{(std::size_t{128} << 10) / kBytes, (std::size_t{2} << 20) / kBytes,
                               (std::size_t{16} << 20) / kBytes};
}();

// Hands tokens on, and keeps them.
class RecordingSink final : public TokenSink {
 public:
  explicit RecordingSink(TokenSink& sink) : sink_(sink) {}

  void write(std::span<const TokenId> tokens) override {
    sink_.write(tokens);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

  [[nodiscard]] std::vector<TokenId>& tokens() { return tokens_; }

 private:
  TokenSink& sink_;
  std::vector<TokenId> tokens_;
};

template <typename Id>
class CachingEncoder final : public PieceEncoder {
 public:
  explicit CachingEncoder(const VocabularyTables& vocabulary) : vocabulary_(vocabulary) {}

  void encode(Pattern pattern, std::string_view text, bool wellformed, TokenSink& sink,
              StopFlag& stop) override {
    stop_ = &stop;
    readable_end_ = text.data() + text.size() - std::min(text.size(), sizeof(Word));
    if (text.size() < sizeof(Word)) readable_end_ = nullptr;
    batch_start_ = text.data();
    num_probes_ = 0;
    num_missed_ = 0;
    Splitter splitter(pattern, text, wellformed, stop);
    while (splitter.next()) add_pieces(splitter, text, sink);
    look_up(sink);
    if (tokens_.size() > kMostKeptTokens) tokens_ = {};
  }

 private:
  using Phrases = WordCache<4, Id>;
  using Word = typename Words<Id>::Key;
  using Phrase = typename Phrases::Key;

  // An entry writes all its lanes, however few of them count.
  static constexpr std::size_t kSlackBehind = Phrases::kLanes;

  // Enough for memory to answer the first before the last is asked for, and few enough to stay close.
  static constexpr std::size_t kBatch = 512;

  // Nor do more bytes than that wait, but for a single piece: there is room for a token a byte.
  static constexpr std::ptrdiff_t kMostBatchBytes = std::ptrdiff_t{1} << 20;

  // A buffer for more tokens than that, which only a very long piece needs, is given back.
  static constexpr std::size_t kMostKeptTokens = std::size_t{1} << 20;

  // Longer pieces are remembered as a whole, not part by part.
  static constexpr std::size_t kMostPartBytes = 1024;

  // How many bytes of a long piece are looked at for places to cut before the parts are looked up.
  static constexpr std::size_t kCutBytes = 1024;

  // So many pieces of a batch are merged by themselves before the rest is searched for new words.
  static constexpr std::size_t kManyMissed = 4;

  void add_pieces(const Splitter& splitter, std::string_view text, TokenSink& sink) {
    const PieceRun run{text.data() + splitter.start(), text.data() + splitter.base(), splitter.ends(),
                       readable_end_};
    add_run(run, sink, [&](const char* start, const char* end) {
      if (static_cast<std::size_t>(end - start) > Word::kMaxBytes) {
        add_long(start, end, sink);
      } else {
        add_probe(start, end, sink);
      }
    });
  }

  // Makes probes of pieces. `add_odd(start, end)` does it for one that is long or at the text's end.
  template <typename AddOdd>
  [[gnu::always_inline]] void add_run(PieceRun run, TokenSink& sink, const AddOdd& add_odd) {
    while (!run.ends.empty()) {
      num_probes_ += kernels_.make_probes(run, words_.buckets(), std::span(probes_).subspan(num_probes_));
      if (num_probes_ == kBatch) {
        look_up(sink);
      } else if (!run.ends.empty()) {
        add_odd(run.start, run.base + run.ends.front());
        run.start = run.base + run.ends.front();
        run.ends = run.ends.subspan(1);
      }
    }
  }

  void add_probe(const char* start, const char* end, TokenSink& sink) {
    const auto size = static_cast<std::size_t>(end - start);
    const bool quick = start <= readable_end_ && size <= Word::kMaxBytes;
    const Word key = quick ? Word::from_readable(start, size) : Word::from_exact(start, size);
    probes_[num_probes_] = {key, words_.bucket(key.hash()), end};
    __builtin_prefetch(probes_[num_probes_].bucket);
    if (++num_probes_ == kBatch || end - batch_start_ > kMostBatchBytes) look_up(sink);
  }

  // A very long piece is looked for as a whole first: one that comes again and again is compared, not merged.
  [[gnu::noinline]] void add_long(const char* start, const char* end, TokenSink& sink) {
    const std::string_view piece(start, end);
    if (piece.size() <= kMostPartBytes || piece.size() > LongPieces::kMaxBytes) return add_parts(piece, sink);
    look_up(sink);
    if (const std::span<const TokenId> tokens = long_pieces_.find(piece); !tokens.empty()) {
      sink.write(tokens);
    } else if (!long_pieces_.seen_before(piece)) {
      return add_parts(piece, sink);
    } else {
      RecordingSink recorder(sink);
      add_parts(piece, recorder);
      look_up(recorder);
      long_pieces_.insert(piece, recorder.tokens());
    }
    batch_start_ = end;
  }

  // Cuts a long piece where no token reaches across, and most often gets parts that are known. A part that is
  // a token is encoded as that token, which is what merging gives if the vocabulary is consistent.
  void add_parts(std::string_view piece, TokenSink& sink) {
    const char* start = piece.data();
    const char* const end = start + piece.size();
    if (vocabulary_.is_consistent()) {
      for (const char* from = start; from + 1 < end; from += kCutBytes) {
        const auto size = std::min<std::size_t>(kCutBytes, static_cast<std::size_t>(end - from) - 1);
        const std::size_t num_cuts = vocabulary_.find_cuts(from, size, cuts_.data());
        if (num_cuts == 0) continue;
        add_run({start, from, std::span(cuts_).first(num_cuts), readable_end_}, sink,
                [&](const char* part_start, const char* part_end) { add_part(part_start, part_end, sink); });
        start = from + cuts_[num_cuts - 1];
      }
    }
    add_part(start, end, sink);
  }

  void add_part(const char* start, const char* end, TokenSink& sink) {
    const auto size = static_cast<std::size_t>(end - start);
    if (size > Word::kMaxBytes && size <= Phrase::kMaxBytes) {
      __builtin_prefetch(phrases_.bucket(Phrase::from_exact(start, size).hash()));
    }
    add_probe(start, end, sink);
  }

  void look_up(TokenSink& sink) {
    if (num_probes_ == 0) return;
    // No piece has more tokens than bytes.
    const auto num_bytes = static_cast<std::size_t>(probes_[num_probes_ - 1].end - batch_start_);
    if (tokens_.size() < num_bytes + kSlackBehind) tokens_.resize(num_bytes + kSlackBehind);
    TokenId* out = tokens_.data();
    const std::span<const Probe<Id>> probes(probes_.data(), num_probes_);
    for (std::size_t i = 0; i < num_probes_; ++i) {
      i += kernels_.look_up(probes.subspan(i), out);
      if (i == num_probes_) break;
      out = encode_rare(i, out);
    }
    num_missed_ = 0;
    batch_start_ = probes_[num_probes_ - 1].end;
    num_probes_ = 0;
    sink.write({tokens_.data(), out});
    words_.grow_if_crowded();
    phrases_.grow_if_crowded();
  }

  // The piece of probe i, which is not the first word of its bucket: met long ago or never, long, or of many
  // tokens. Where new words come in numbers, as when a text begins, they are merged together.
  [[gnu::noinline]] TokenId* encode_rare(std::size_t i, TokenId* out) {
    if (TokenId* const end = write_known(i, out)) return end;
    if (++num_missed_ == kManyMissed && vocabulary_.is_consistent()) {
      learn_words_from(i);
      if (TokenId* const end = write_known(i, out)) return end;
    }
    TokenId* const end = encode_piece(vocabulary_, piece_of(i), out, *stop_);
    remember(i, {out, end});
    return end;
  }

  [[nodiscard]] std::string_view piece_of(std::size_t i) const {
    return {i == 0 ? batch_start_ : probes_[i - 1].end, probes_[i].end};
  }

  // Writes the tokens of probe i's piece if they are in one of the tables; null if not.
  TokenId* write_known(std::size_t i, TokenId* out) {
    const Probe<Id>& probe = probes_[i];
    if (const auto* entry = words_.find_in(probe.bucket, probe.key)) return entry->write_to(out);
    const std::string_view piece = piece_of(i);
    if (piece.size() > kMostPartBytes) return nullptr;
    if (piece.size() > Phrase::kMaxBytes) {
      const std::span<const TokenId> tokens = long_pieces_.find(piece);
      return tokens.empty() ? nullptr : std::ranges::copy(tokens, out).out;
    }
    if (!may_be_phrase(piece)) return nullptr;
    const Phrase key = Phrase::from_exact(piece.data(), piece.size());
    const auto* entry = phrases_.find_in(phrases_.bucket(key.hash()), key);
    return entry == nullptr ? nullptr : entry->write_to(out);
  }

  // A piece has no more tokens than bytes.
  static bool may_be_phrase(std::string_view piece) {
    return piece.size() > Words<Id>::kMaxTokens && piece.size() <= Phrase::kMaxBytes;
  }

  void remember(std::size_t i, std::span<const TokenId> tokens) {
    const std::string_view piece = piece_of(i);
    if (piece.size() <= Word::kMaxBytes && tokens.size() <= Words<Id>::kMaxTokens) {
      words_.insert(probes_[i].key, tokens);
    } else if (piece.size() <= Phrase::kMaxBytes) {
      phrases_.insert(Phrase::from_exact(piece.data(), piece.size()), tokens);
    } else if (piece.size() <= kMostPartBytes) {
      long_pieces_.insert(piece, tokens);
    }
  }

  // Puts the words of the batch that are not in the tables into the tables, from probe `first` on.
  void learn_words_from(std::size_t first) {
    const std::size_t num_unknown = find_unknown_words(first);
    std::size_t num_new = 0;
    for (std::size_t k = 0; k < num_unknown; ++k) {
      const std::size_t i = unknown_words_[k];
      const std::string_view piece = piece_of(i);
      std::array<TokenId, kSlackBehind> unused;
      if (may_be_phrase(piece) && write_known(i, unused.data()) != nullptr) continue;
      if (const TokenId token = vocabulary_.find(piece); token != kNoToken) {
        remember(i, {&token, 1});
      } else {
        new_words_[num_new] = {piece, kNoToken, &new_tokens_[num_new * kMaxWordBytes]};
        unknown_words_[num_new++] = static_cast<std::uint32_t>(i);
      }
    }
    kernels().merge_words(vocabulary_.merge_rules(), std::span(new_words_).first(num_new));
    for (std::size_t k = 0; k < num_new; ++k) {
      const Probe<Id>& probe = probes_[unknown_words_[k]];
      if (words_.find_in(probe.bucket, probe.key) != nullptr) continue;  // the same word a second time
      remember(unknown_words_[k], {new_words_[k].tokens, new_words_[k].num_tokens});
    }
  }

  // Notes which probes have words that are not among the words, and asks for the memory that will be looked
  // at next. Returns how many.
  std::size_t find_unknown_words(std::size_t first) {
    std::size_t num_unknown = 0;
    for (std::size_t i = first; i < num_probes_; ++i) {
      const Probe<Id>& probe = probes_[i];
      const std::string_view piece = piece_of(i);
      if (piece.size() > Word::kMaxBytes || words_.find_in(probe.bucket, probe.key) != nullptr) continue;
      unknown_words_[num_unknown++] = static_cast<std::uint32_t>(i);
      vocabulary_.prefetch(piece);
      if (may_be_phrase(piece)) {
        __builtin_prefetch(phrases_.bucket(Phrase::from_exact(piece.data(), piece.size()).hash()));
      }
    }
    return num_unknown;
  }

  const VocabularyTables& vocabulary_;
  const WordKernels<Id>& kernels_ = kernels().words<Id>();
  Words<Id> words_{kSizes<Words<Id>>};
  Phrases phrases_{kSizes<Phrases>};
  LongPieces long_pieces_;
  std::vector<TokenId> tokens_;
  StopFlag* stop_ = nullptr;
  const char* readable_end_ = nullptr;
  const char* batch_start_ = nullptr;
  std::size_t num_probes_ = 0;
  std::array<Probe<Id>, kBatch> probes_;
  std::array<std::uint32_t, kCutBytes> cuts_;

  // For learn_words_from, which does its work at most once for a batch.
  std::size_t num_missed_ = 0;
  std::array<WordJob, kBatch> new_words_;
  std::array<std::uint32_t, kBatch> unknown_words_;  // places of probes
  std::array<TokenId, kBatch * kMaxWordBytes> new_tokens_;
};

}  // namespace

std::unique_ptr<PieceEncoder> make_piece_encoder(const VocabularyTables& vocabulary) {
  if (vocabulary.size() <= std::size_t{std::numeric_limits<std::uint16_t>::max()} + 1) {
    return std::make_unique<CachingEncoder<std::uint16_t>>(vocabulary);
  }
  return std::make_unique<CachingEncoder<std::uint32_t>>(vocabulary);
}

}  // namespace gpt2x::bpe
