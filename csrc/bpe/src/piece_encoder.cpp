#include "piece_encoder.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "gpt2x/bpe/encoder.hpp"
#include "gpt2x/bpe/splitter.hpp"
#include "kernels.hpp"
#include "word_cache.hpp"

namespace gpt2x::bpe {
namespace {

// Buckets at first and at most: 1 to 16 MiB for pieces of up to 15 bytes, 256 KiB to 8 MiB for those of up to
// 31 bytes or with many tokens.
constexpr std::size_t kWordBuckets = std::size_t{1} << 14;
constexpr std::size_t kMostWordBuckets = std::size_t{1} << 18;
constexpr std::size_t kPhraseBuckets = std::size_t{1} << 11;
constexpr std::size_t kMostPhraseBuckets = std::size_t{1} << 16;

template <typename Id>
class CachingEncoder final : public PieceEncoder {
 public:
  explicit CachingEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  void encode(Pattern pattern, std::string_view text, bool wellformed, TokenSink& sink) override {
    readable_end_ = text.data() + text.size() - std::min(text.size(), sizeof(Word));
    if (text.size() < sizeof(Word)) readable_end_ = nullptr;
    batch_start_ = text.data();
    num_probes_ = 0;
    learned_words_ = false;
    Splitter splitter(pattern, text, wellformed);
    while (splitter.next()) add_pieces(splitter, text, sink);
    look_up(sink);
  }

 private:
  using Phrases = WordCache<4, Id>;
  using Word = typename Words<Id>::Key;
  using Phrase = typename Phrases::Key;

  // An entry writes all its lanes, however few of them count.
  static constexpr std::size_t kRoomBehind = Phrases::kLanes;

  // Enough for memory to answer the first before the last is asked for, and few enough to stay close.
  static constexpr std::size_t kBatch = 512;

  void add_pieces(const Splitter& splitter, std::string_view text, TokenSink& sink) {
    PieceRun run{text.data() + splitter.start(), text.data() + splitter.base(), splitter.ends(),
                 readable_end_};
    while (!run.ends.empty()) {
      num_probes_ += kernels_.make_probes(run, words_.buckets(), std::span(probes_).subspan(num_probes_));
      if (num_probes_ == kBatch) {
        look_up(sink);
      } else if (!run.ends.empty()) {
        add_odd_piece(run.start, run.base + run.ends.front(), sink);
        run.start = run.base + run.ends.front();
        run.ends = run.ends.subspan(1);
      }
    }
  }

  // One that is long or at the text's end.
  void add_odd_piece(const char* start, const char* end, TokenSink& sink) {
    if (static_cast<std::size_t>(end - start) > Word::kMaxBytes) {
      add_long(start, end, sink);
    } else {
      add_probe(start, end, sink);
    }
  }

  void add_probe(const char* start, const char* end, TokenSink& sink) {
    const auto size = static_cast<std::size_t>(end - start);
    const bool quick = start <= readable_end_ && size <= Word::kMaxBytes;
    const Word key = quick ? Word::from_readable(start, size) : Word::from_exact(start, size);
    probes_[num_probes_] = {key, words_.bucket(key.hash()), end};
    __builtin_prefetch(probes_[num_probes_].bucket);
    if (++num_probes_ == kBatch) look_up(sink);
  }

  // Cuts a long piece where no token reaches across, and most often gets parts that are known. A part that is
  // a token is encoded as that token, which is what merging gives if the vocabulary is consistent.
  [[gnu::noinline]] void add_long(const char* start, const char* end, TokenSink& sink) {
    if (vocabulary_.is_consistent()) {
      for (const char* cut = start + 1; cut < end; ++cut) {
        if (vocabulary_.joins(cut[-1], cut[0])) continue;
        add_probe(start, cut, sink);
        start = cut;
      }
    }
    add_probe(start, end, sink);
  }

  void look_up(TokenSink& sink) {
    if (num_probes_ == 0) return;
    // No piece has more tokens than bytes.
    const auto num_bytes = static_cast<std::size_t>(probes_[num_probes_ - 1].end - batch_start_);
    if (tokens_.size() < num_bytes + kRoomBehind) tokens_.resize(num_bytes + kRoomBehind);
    TokenId* out = tokens_.data();
    const std::span<const Probe<Id>> probes(probes_.data(), num_probes_);
    for (std::size_t i = 0; i < num_probes_; ++i) {
      i += kernels_.look_up(probes.subspan(i), out);
      if (i == num_probes_) break;
      out = encode_rare(i, out);
    }
    learned_words_ = false;
    batch_start_ = probes_[num_probes_ - 1].end;
    num_probes_ = 0;
    sink.take({tokens_.data(), out});
    words_.grow_if_crowded();
    phrases_.grow_if_crowded();
  }

  // The piece of probe i, which is not the first word of its bucket: met long ago or never, long, or of many
  // tokens. New words come in numbers, when a text begins; they are merged together.
  [[gnu::noinline]] TokenId* encode_rare(std::size_t i, TokenId* out) {
    if (TokenId* const end = write_known(i, out)) return end;
    if (!learned_words_ && vocabulary_.is_consistent()) {
      learn_words_from(i);
      learned_words_ = true;
      if (TokenId* const end = write_known(i, out)) return end;
    }
    TokenId* const end = encode_piece(vocabulary_, piece_of(i), out);
    remember(i, {out, end});
    return end;
  }

  [[nodiscard]] std::string_view piece_of(std::size_t i) const {
    return {i == 0 ? batch_start_ : probes_[i - 1].end, probes_[i].end};
  }

  // Writes the tokens of probe i's piece if they are in one of the tables; null if not.
  TokenId* write_known(std::size_t i, TokenId* out) {
    const Probe<Id>& probe = probes_[i];
    if (const auto* entry = Words<Id>::find_in(probe.bucket, probe.key)) return entry->write_to(out);
    const std::string_view piece = piece_of(i);
    if (piece.size() > Phrase::kMaxBytes) return nullptr;
    const Phrase key = Phrase::from_exact(piece.data(), piece.size());
    const auto* entry = Phrases::find_in(phrases_.bucket(key.hash()), key);
    return entry == nullptr ? nullptr : entry->write_to(out);
  }

  void remember(std::size_t i, std::span<const TokenId> tokens) {
    const std::string_view piece = piece_of(i);
    if (piece.size() <= Word::kMaxBytes && tokens.size() <= Words<Id>::kMaxTokens) {
      words_.insert(probes_[i].key, tokens);
    } else if (piece.size() <= Phrase::kMaxBytes) {
      phrases_.insert(Phrase::from_exact(piece.data(), piece.size()), tokens);
    }
  }

  // Puts all words of the batch from probe `first` on that are not in the tables into the tables.
  void learn_words_from(std::size_t first) {
    std::size_t num_new = 0;
    for (std::size_t i = first; i < num_probes_; ++i) {
      const std::string_view piece = piece_of(i);
      if (piece.size() > Word::kMaxBytes) continue;
      std::array<TokenId, kRoomBehind> unused;
      if (write_known(i, unused.data()) != nullptr) continue;
      if (const TokenId token = vocabulary_.find(piece); token != kNoToken) {
        remember(i, {&token, 1});
        continue;
      }
      new_words_[num_new] = {piece, kNoToken, &new_tokens_[num_new * kMaxWordBytes], 0};
      new_probes_[num_new++] = static_cast<std::uint32_t>(i);
    }
    kernels().merge_words(vocabulary_.merge_rules(), std::span(new_words_).first(num_new));
    for (std::size_t i = 0; i < num_new; ++i) {
      std::array<TokenId, kRoomBehind> unused;
      if (write_known(new_probes_[i], unused.data()) != nullptr) continue;  // the same word a second time
      remember(new_probes_[i], {new_words_[i].tokens, new_words_[i].num_tokens});
    }
  }

  const Vocabulary& vocabulary_;
  const WordKernels<Id>& kernels_ = kernels().words<Id>();
  Words<Id> words_{kWordBuckets, kMostWordBuckets};
  Phrases phrases_{kPhraseBuckets, kMostPhraseBuckets};
  std::vector<TokenId> tokens_;
  const char* readable_end_ = nullptr;
  const char* batch_start_ = nullptr;
  std::size_t num_probes_ = 0;
  std::array<Probe<Id>, kBatch> probes_;

  // For learn_words_from, which does its work once for a batch.
  bool learned_words_ = false;
  std::array<WordJob, kBatch> new_words_;
  std::array<std::uint32_t, kBatch> new_probes_;
  std::array<TokenId, kBatch * kMaxWordBytes> new_tokens_;
};

}  // namespace

std::unique_ptr<PieceEncoder> make_piece_encoder(const Vocabulary& vocabulary) {
  if (vocabulary.size() <= std::size_t{std::numeric_limits<std::uint16_t>::max()} + 1) {
    return std::make_unique<CachingEncoder<std::uint16_t>>(vocabulary);
  }
  return std::make_unique<CachingEncoder<std::uint32_t>>(vocabulary);
}

}  // namespace gpt2x::bpe
