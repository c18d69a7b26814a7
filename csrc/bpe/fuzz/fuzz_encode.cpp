// Differential fuzzing: whatever the bytes, the core must give what the plain reference gives.
//
// With clang, -DGPT2X_FUZZ=ON links this with libFuzzer. With any compiler, replay.cpp drives it with files
// (a crash that was found elsewhere) or with random input.
//
// The first byte of an input chooses vocabulary and pattern, the second one what stands before the text, the
// rest is the text. Tokenizers stay from input to input, so that their caches fill and are asked.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../src/kernels.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/special_search.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "gpt2x/bpe/internal/unicode.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "reference.hpp"
#include "samples.hpp"
#include "target.hpp"

namespace bpe = gpt2x::bpe;

namespace {

using Tokens = std::vector<bpe::TokenId>;
using Pieces = std::vector<std::string>;

// ---------------------------------------------------------------------------------------------------------------------
// Vocabularies

bpe::TokenId next_id(const reference::Ranks& ranks) {
  bpe::TokenId next = 0;
  for (const auto& [bytes, id] : ranks) next = std::max(next, id + 1);
  return next;
}

/// Learned merges, and runs of dashes up to twice as long as what is merged by scanning.
reference::Ranks with_long_tokens() {
  reference::Ranks ranks = samples::ranks();
  for (std::size_t length = 2; length <= 2 * bpe::kMaxScanBytes; length *= 2)
    ranks.emplace(std::string(length, '-'), next_id(ranks));
  return ranks;
}

/// Ids that 16 bits cannot hold, with holes between.
reference::Ranks with_wide_ids() {
  reference::Ranks ranks = samples::ranks();
  for (auto& [bytes, id] : ranks) id *= 300;
  return ranks;
}

/// The learned tokens under random ids: merges come in an order that nothing learned, and single bytes may
/// rank behind what they are part of.
reference::Ranks with_random_ids() {
  reference::Ranks ranks = samples::ranks();
  std::vector<bpe::TokenId> ids;
  for (const auto& [bytes, id] : ranks) ids.push_back(id);
  std::mt19937 random(5);
  std::ranges::shuffle(ids, random);
  std::size_t next = 0;
  for (auto& [bytes, id] : ranks) id = ids[next++];
  return ranks;
}

/// Tokens that no merges lead to, and that fit together in many ways.
reference::Ranks with_random_tokens() {
  reference::Ranks ranks = samples::ranks(100);
  std::mt19937 random(6);
  for (int i = 0; i < 200; ++i) {
    std::string bytes;
    while (bytes.size() < 2 + random() % 5) bytes += "abc '\n"[random() % 6];
    ranks.emplace(bytes, next_id(ranks));
  }
  ranks.emplace("<|a|>", next_id(ranks));
  return ranks;
}

struct Subject {
  explicit Subject(reference::Ranks tokens, bpe::Pattern by)
      : ranks(std::move(tokens)), pattern(by), tokenizer(samples::vocabulary(ranks), by) {}

  reference::Ranks ranks;
  bpe::Pattern pattern;
  bpe::Tokenizer tokenizer;
};

/// Each vocabulary with each pattern.
const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = [] {
    std::vector<Subject> made;
    for (const std::string_view name : bpe::kPatternNames) {
      const bpe::Pattern pattern = bpe::pattern_from_name(name);
      for (const reference::Ranks& ranks :
           {samples::ranks(), samples::ranks(0), with_long_tokens(), with_wide_ids(), with_random_ids(),
            with_random_tokens(), samples::ranks_decided_by_the_end()})
        made.emplace_back(ranks, pattern);
    }
    return made;
  }();
  return all;
}

// ---------------------------------------------------------------------------------------------------------------------
// What must hold

void check_tokenizer(const Subject& subject, std::string_view text, bool wellformed) {
  const bpe::Tokenizer& tokenizer = subject.tokenizer;
  const Tokens expected = reference::encode(subject.ranks, text, subject.pattern);
  require(tokenizer.encode(text) == expected, "encode differs from the reference");
  require(tokenizer.encode(text) == expected, "encode differs from the reference the second time");
  require(tokenizer.count(text) == expected.size(), "count differs from encode");
  require(tokenizer.decode(expected) == text, "decode does not give the text back");
  if (wellformed) {
    const auto promised = bpe::Tokenizer::Text::kWellformedUtf8;
    require(tokenizer.encode(text, promised) == expected, "a promise of UTF-8 changes the tokens");
  }
  if (tokenizer.vocabulary().size() <= std::size_t{std::numeric_limits<std::uint16_t>::max()} + 1) {
    const std::vector<std::uint16_t> narrow = tokenizer.encode<std::uint16_t>(text);
    require(std::ranges::equal(narrow, expected), "16-bit tokens differ");
  }
}

Pieces pieces_of(bpe::Pattern pattern, std::string_view text) {
  Pieces pieces;
  bpe::for_each_piece(pattern, text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

/// Returns the pieces.
Pieces check_splitting(bpe::Pattern pattern, std::string_view text, std::size_t cut_from) {
  Pieces expected = reference::split(text, pattern);
  require(pieces_of(pattern, text) == expected, "pieces differ from the reference");

  const std::size_t cut = bpe::find_safe_cut(pattern, text, std::min(cut_from, text.size()));
  Pieces parts = reference::split(text.substr(0, cut), pattern);
  for (std::string& piece : reference::split(text.substr(cut), pattern)) parts.push_back(std::move(piece));
  require(parts == expected, "a cut that is called safe changes the pieces");
  return expected;
}

/// One version of the block splitter, `window` bytes at a time, in memory that is no longer than it says.
void check_find_starts(const bpe::Kernels& version, std::string_view text, const Pieces& expected,
                       std::size_t window) {
  std::size_t next = 0;
  std::size_t expected_start = 0;
  bpe::BlockCarry carry;
  for (std::size_t from = 0; from < text.size(); from += window) {
    const std::size_t to = std::min(from + window, text.size());
    std::vector<std::uint32_t> starts(to - from + bpe::kStartsSlack);
    const std::size_t count = version.find_starts(carry, text, from, to, starts.data());
    for (std::size_t i = 0; i < count; ++i) {
      require(next < expected.size() && from + starts[i] == expected_start, "piece starts differ,",
              version.name);
      expected_start += expected[next++].size();
    }
  }
  require(next == expected.size(), "piece starts are missing,", version.name);
}

template <typename Merge>
Tokens merged(std::string_view piece, Merge merge) {
  Tokens tokens(piece.size());
  tokens.resize(static_cast<std::size_t>(merge(tokens.data()) - tokens.data()));
  return tokens;
}

/// The text, and in it a few of its bytes again and again.
std::string with_repetition(std::string_view text, std::size_t choice) {
  if (text.empty()) return {};
  const std::size_t start = choice % text.size();
  const std::string_view unit = text.substr(start, 1 + choice / 7 % 70);
  std::string repeated(text.substr(0, start));
  while (repeated.size() < 2'500) repeated += unit;
  return repeated += text.substr(start);
}

void check_merging(const bpe::VocabularyTables& vocabulary, std::string_view text, bpe::TokenId limit) {
  const auto by_heap = [&](std::string_view piece, bpe::TokenId below) {
    return merged(piece, [&](bpe::TokenId* out) { return merge_by_heap(vocabulary, piece, out, below); });
  };
  const std::string_view piece = text.substr(0, bpe::kMaxScanBytes);
  for (const bpe::TokenId below : {bpe::kNoToken, limit}) {
    const Tokens scanned =
        merged(piece, [&](bpe::TokenId* out) { return merge_by_scan(vocabulary, piece, out, below); });
    require(scanned == by_heap(piece, below), "scanning differs from the heap");
  }
  if (vocabulary.is_consistent()) {
    const Tokens windows =
        merged(text, [&](bpe::TokenId* out) { return merge_by_windows(vocabulary, text, out); });
    require(windows == by_heap(text, bpe::kNoToken), "windows differ from the heap");
  }

  const std::string repeated = with_repetition(text.substr(0, 200), limit);
  const Tokens repeating =
      merged(repeated, [&](bpe::TokenId* out) { return merge_by_repeating(vocabulary, repeated, out); });
  require(repeating == by_heap(repeated, bpe::kNoToken), "repeating differs from the heap");

  std::vector<std::string> words;
  for (std::size_t at = 0, size = 1; at < text.size(); at += size, size = size % bpe::kMaxWordBytes + 1)
    words.emplace_back(text.substr(at, size));
  for (const bpe::Kernels* version : bpe::usable_kernels()) {
    std::vector<Tokens> buffer;
    std::vector<bpe::WordJob> jobs;
    buffer.reserve(words.size());
    for (const std::string& word : words) {
      buffer.emplace_back(word.size());
      jobs.emplace_back(word, jobs.size() % 2 == 0 ? bpe::kNoToken : limit, buffer.back().data());
    }
    version->merge_words(vocabulary.merge_rules(), jobs);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const std::span<const bpe::TokenId> together(jobs[i].tokens, jobs[i].num_tokens);
      require(std::ranges::equal(together, by_heap(words[i], jobs[i].rank_limit)),
              "words that are merged together differ from the heap,", version->name);
    }
  }
}

/// Keys of pieces that are made in place, and what a table has for them: up to the first that it has not.
template <typename Id>
void check_look_up(const bpe::Kernels& version, const bpe::Vocabulary& vocabulary, std::string_view text,
                   const Pieces& pieces) {
  using Words = bpe::Words<Id>;
  using Key = typename Words::Key;
  Words table({.first = 16, .usual = 32, .most = 64});
  Tokens expected;
  std::vector<std::uint32_t> ends;
  std::size_t end = 0;
  for (const std::string& piece : pieces) {
    end += piece.size();
    ends.push_back(static_cast<std::uint32_t>(end));
  }
  // In memory of its own, of which the last bytes are the last that may be read.
  const std::vector<char> copy(text.begin(), text.end());
  const char* const readable = copy.size() < sizeof(Key) ? nullptr : copy.data() + copy.size() - sizeof(Key);
  std::vector<bpe::Probe<Id>> probes(pieces.size());
  bpe::PieceRun run{copy.data(), copy.data(), ends, readable};
  const std::size_t count = version.words<Id>().make_probes(run, table.buckets(), probes);
  require(count + run.ends.size() == pieces.size(), "a piece is lost between keys,", version.name);

  std::size_t num_known = 0;
  for (; num_known < count; ++num_known) {
    const std::string& piece = pieces[num_known];
    const Key key = Key::from_exact(piece.data(), piece.size());
    require(probes[num_known].key.difference(key) == 0, "a piece's key differs,", version.name);
    const bpe::TokenId token = vocabulary.find(piece);
    if (token == bpe::kNoToken) break;
    typename Words::Entry* const bucket = table.bucket(key.hash());
    if (bucket->count() != 0 && bucket->key.difference(key) != 0) break;
    if (bucket->count() == 0) table.insert(key, {&token, 1});
    expected.push_back(token);
  }
  Tokens tokens(expected.size() + Words::kLanes);
  bpe::TokenId* out = tokens.data();
  const std::size_t found = version.words<Id>().look_up(std::span(probes).first(count), out);
  require(found == num_known, "another piece is known,", version.name);
  require(std::ranges::equal(std::span(tokens.data(), out), expected), "known tokens differ,", version.name);
}

/// Parts of the text as special tokens, found in it and in what is left of it.
void check_special_tokens(std::string_view text, std::size_t choice) {
  std::vector<bpe::Vocabulary::Entry> tokens;
  for (std::size_t at = choice, size = 1; at < text.size() && tokens.size() < 9;
       at += size + choice % 5, ++size) {
    const std::string_view part = text.substr(at, size);
    const auto same = [&](const bpe::Vocabulary::Entry& other) { return other.bytes == part; };
    if (std::ranges::none_of(tokens, same))
      tokens.push_back({part, static_cast<bpe::TokenId>(tokens.size())});
  }
  const bpe::SpecialTokens specials(tokens);
  bpe::SpecialSearch<char> search(specials, text);
  for (std::size_t pos = 0; pos < text.size();) {
    const bpe::Vocabulary::Entry* longest = nullptr;
    for (const bpe::Vocabulary::Entry& token : tokens) {
      if (!text.substr(pos).starts_with(token.bytes)) continue;
      if (longest == nullptr || token.bytes.size() > longest->bytes.size()) longest = &token;
    }
    if (longest == nullptr) {
      ++pos;
      continue;
    }
    const auto match = search.next();
    require(match && match->start == pos && match->id == longest->id, "another special token is found");
    pos += longest->bytes.size();
    require(match->end == pos, "a special token ends elsewhere");
  }
  require(!search.next(), "a special token is found that is not there");
}

/// Words, so that the reference is quick, up to where a text begins that is to meet the edge of a window.
std::string words_before(std::uint8_t choice) {
  constexpr std::uint8_t kFirst = 224;
  std::string text;
  if (choice < kFirst) return text;
  const std::size_t length = bpe::Splitter::kWindow + 1 - (choice - kFirst);
  while (text.size() < length) text += samples::kText.substr(0, 97);
  return text.substr(0, length);
}

}  // namespace

std::string random_input(std::mt19937& random) {
  const std::string choice{static_cast<char>(random()), static_cast<char>(random())};
  const bool malformed = random() % 2 == 0;
  return choice + samples::random_text(random, random() % 60, malformed);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Subject& subject = subjects()[data[0] % subjects().size()];
  const std::string before = words_before(data[1]);
  const std::string input = std::string(before).append(reinterpret_cast<const char*>(data) + 2, size - 2);
  // No byte before or behind it may be read.
  const std::vector<char> bytes(input.begin(), input.end());
  const std::string_view text(bytes.data(), bytes.size());
  const std::size_t valid = bpe::valid_utf8_prefix(text);

  check_tokenizer(subject, text, valid == text.size());
  check_splitting(subject.pattern, text, size > 2 ? data[2] : 0);
  const bpe::Vocabulary& vocabulary = subject.tokenizer.vocabulary();
  check_merging(vocabulary.tables(), text.substr(before.size()),
                std::uint32_t{data[1]} * vocabulary.size() / 256);

  check_special_tokens(text.substr(before.size()), data[1] % 32);

  const std::vector<char> valid_bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(valid));
  const std::string_view valid_text(valid_bytes.data(), valid);
  const Pieces pieces = reference::split(valid_text);
  for (const bpe::Kernels* version : bpe::usable_kernels()) {
    for (const std::size_t window : {std::size_t{64}, bpe::Splitter::kWindow})
      check_find_starts(*version, valid_text, pieces, window);
    check_look_up<std::uint32_t>(*version, vocabulary, valid_text, pieces);
    if (vocabulary.size() <= std::numeric_limits<std::uint16_t>::max())
      check_look_up<std::uint16_t>(*version, vocabulary, valid_text, pieces);
  }
  return 0;
}
