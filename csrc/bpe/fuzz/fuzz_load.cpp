// Fuzzing what reads files: whatever they hold, a file is refused in one sentence, or what it gives works.
//
// The core reads rank files and lists of merges. Of tokenizer.json and of files of counts it gets what Python
// has parsed, special tokens and pieces with counts; here those come as lines of a rank file, too. Python's
// side has a fuzzer of its own (tests/tokenizer/fuzz_files.py).
//
// Random bytes would not get past the first line. So an input is not a file but a list of edits to a good
// one: the first byte chooses what is read, the second one the good file, the rest is read edit by edit. Run
// it as fuzz_encode: with libFuzzer, or with replay.cpp.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "gpt2x/bpe/trainer.hpp"
#include "gpt2x_bpe.h"
#include "reference.hpp"
#include "samples.hpp"
#include "target.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GPT2X_COUNT_MEMORY
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define GPT2X_COUNT_MEMORY
#endif
#ifdef GPT2X_COUNT_MEMORY
// As in sanitizer/allocator_interface.h, which not every compiler brings.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                         void (*on_free)(const volatile void*));
#endif

namespace bpe = gpt2x::bpe;

namespace {

using RankedTokens = std::vector<bpe::RankedToken>;

// ---------------------------------------------------------------------------------------------------------------------
// Good files

/// Pieces and their counts as lines of a rank file: " the", " rain", "aaaaaaaa", "\r\n" and so on.
constexpr std::string_view kCounts =
    "IHRoZQ== 30\nIHJhaW4= 22\nIHRvd24= 7\nYWFhYWFhYWE= 5\nYWI= 4\nYWJhYmFi 4\nDQo= 3\n4piD 1\nAAAA 1\neA== "
    "1\n";

/// "<|endoftext|>", "<|end|>", "<|", "the", "\n\n".
constexpr std::string_view kSpecials =
    "PHxlbmRvZnRleHR8Pg== 1000\nPHxlbmR8Pg== 1001\nPHw= 1003\ndGhl 1004\nCgo= 2000\n";

/// The alphabet of lists of merges, by byte.
std::array<std::string, 256> spellings() {
  std::array<std::string, 256> spelled;
  const auto order = bpe::gpt2_byte_order();
  for (std::size_t id = 0; id < order.size(); ++id) {
    // The first 188 print as themselves, the others as the characters from U+0100 on; all in UTF-8.
    const std::size_t code_point = id < 188 ? order[id] : 0x100 + id - 188;
    std::string& spelling = spelled[order[id]];
    if (code_point >= 0x80) spelling += static_cast<char>(0xC0 | code_point >> 6);
    spelling += static_cast<char>(code_point < 0x80 ? code_point : 0x80 | (code_point & 63));
  }
  return spelled;
}

std::string spelled(std::string_view bytes) {
  static const std::array<std::string, 256> all = spellings();
  std::string spelling;
  for (const char byte : bytes) spelling += all[static_cast<std::uint8_t>(byte)];
  return spelling;
}

/// The list of merges of a consistent vocabulary without holes whose first ids are the bytes in GPT-2's
/// order.
std::string format_merges_file(const bpe::Vocabulary& vocabulary) {
  std::string contents = "#version: 0.2\n";
  for (bpe::TokenId id = 256; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes_of(id);
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const bpe::TokenPair pair{vocabulary.find(bytes.substr(0, cut)), vocabulary.find(bytes.substr(cut))};
      if (pair.left == bpe::kNoToken || pair.right == bpe::kNoToken || vocabulary.merged(pair) != id)
        continue;
      contents += spelled(bytes.substr(0, cut)) + ' ' + spelled(bytes.substr(cut)) + '\n';
    }
  }
  return contents;
}

/// Learned merges and, under the last ids, tokens that no merges lead to.
reference::Ranks with_odd_tokens() {
  reference::Ranks ranks = samples::ranks(40);
  for (const std::string_view bytes : {"<|a|>", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "rain town"})
    ranks.emplace(bytes, static_cast<bpe::TokenId>(ranks.size()));
  return ranks;
}

const std::vector<bpe::Vocabulary>& good_vocabularies() {
  static const std::vector<bpe::Vocabulary> all = [] {
    std::vector<bpe::Vocabulary> made;
    for (const reference::Ranks& ranks :
         {samples::ranks(40), samples::ranks(0), samples::ranks(), with_odd_tokens()})
      made.push_back(samples::vocabulary(ranks));
    return made;
  }();
  return all;
}

// ---------------------------------------------------------------------------------------------------------------------
// Edits

/// No file becomes larger, so that the reference is quick.
constexpr std::size_t kMaxFile = std::size_t{1} << 15;

constexpr std::array<std::string_view, 48> kWords{
    "\n", "\r\n", " ", "\t", "\v", std::string_view("\0", 1), "\xFF", "\xC4", "\xEF\xBB\xBF", "=", "==",
    // numbers
    "0", "-0", "-1", "+1", "0x10", "1e3", "1.0", "255", "256", "257", "296", "556", "65535", "65536", "70000",
    "16777215", "16777216", "4294967295", "4294967296", "9223372036854775808", "18446744073709551616",
    "99999999999999999999999999999999999999999",
    // tokens in base64, good and bad: "a", "ab", "abc", bits left over, padding in the middle
    "YQ==", "YWI=", "YWJj", "YR==", "Y===", "YQ==YQ==", "AAAAAAAA", "_-8=",
    // merges
    "a b", "\xC4\xA0 t", "\xC4\xA0\xC4\xA0 \xC4\xA0", "\xC5\x83", "\xC5\x84", "\xF0\x9F\x98\x80",
    "#version: 0.2"};

/// What is left of an input; zeros once it is at its end.
class Choices {
 public:
  explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool at_end() const { return bytes_.empty(); }

  std::size_t byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }

  /// Below `limit`, or 0.
  std::size_t below(std::size_t limit) {
    const std::size_t high = byte();
    const std::size_t number = high << 8 | byte();
    return limit == 0 ? 0 : number % limit;
  }

  std::string take(std::size_t size) {
    std::string taken;
    while (taken.size() < size && !at_end()) taken += static_cast<char>(byte());
    return taken;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

struct Range {
  std::size_t start;
  std::size_t size;
};

/// A line with its end: the one in which a position is, counted from the end, where the odd tokens are.
Range choose_line(const std::string& file, Choices& choices) {
  const std::size_t at = file.size() - choices.below(file.size());
  const std::size_t before = at < 2 ? std::string::npos : file.rfind('\n', at - 2);
  const std::size_t start = before == std::string::npos ? 0 : before + 1;
  return {start, std::min(file.find('\n', start), file.size() - 1) + 1 - start};
}

/// The part of a line before the space, or the one behind it.
Range choose_field(const std::string& file, Choices& choices) {
  if (file.empty()) return {0, 0};
  const Range line = choose_line(file, choices);
  const std::size_t end = line.start + line.size - (file[line.start + line.size - 1] == '\n' ? 1 : 0);
  const std::size_t space = std::min(file.find(' ', line.start), end);
  if (choices.byte() % 2 == 0 || space == end) return {line.start, space - line.start};
  return {space + 1, end - space - 1};
}

/// Up to 63 times, now and then without its end.
void repeat_line(std::string& file, const Range& line, Choices& choices) {
  const std::string text = file.substr(line.start, line.size);
  for (std::size_t times = choices.byte() % 64; times > 0 && file.size() < kMaxFile; --times) {
    file.insert(line.start, text, 0, text.size() - (choices.byte() % 16 == 15 ? 1 : 0));
  }
}

void move_line(std::string& file, const Range& line, Choices& choices) {
  const std::string text = file.substr(line.start, line.size);
  file.erase(line.start, line.size);
  file.insert(file.empty() ? 0 : choose_line(file, choices).start, text);
}

void edit_field(std::string& file, Choices& choices) {
  const Range field = choose_field(file, choices);
  const std::size_t kind = choices.byte() % 4;
  if (kind == 0) {
    file.insert(field.start, choices.take(choices.byte() % 16));
  } else {
    file.replace(field.start, kind == 1 ? 0 : field.size, kWords[choices.byte() % kWords.size()]);
  }
}

void edit(std::string& file, Choices& choices) {
  enum Kind { kRepeatLine, kMoveLine, kDropLine, kFlipBit, kCut, kNumOthers };
  const std::size_t kind = choices.byte() % (2 * kNumOthers);
  if (file.empty() || kind >= kNumOthers) return edit_field(file, choices);
  if (kind == kFlipBit) {
    file[file.size() - 1 - choices.below(file.size())] ^= static_cast<char>(1 << choices.byte() % 8);
    return;
  }
  if (kind == kCut) return file.resize(file.size() - choices.below(file.size()));

  const Range line = choose_line(file, choices);
  if (kind == kRepeatLine) return repeat_line(file, line, choices);
  if (kind == kMoveLine) return move_line(file, line, choices);
  file.erase(line.start, line.size);
}

std::string edited(std::string file, Choices& choices) {
  for (int i = 0; i < 64 && !choices.at_end() && file.size() < kMaxFile; ++i) edit(file, choices);
  return file;
}

// ---------------------------------------------------------------------------------------------------------------------
// What must hold

/// What was asked for since the start, freed or not. Only the address sanitizer tells; else 0.
std::size_t allocated_so_far() {
#ifdef GPT2X_COUNT_MEMORY
  static std::size_t sum = 0;
  static const auto count = [](const volatile void*, std::size_t size) { sum += size; };
  static const bool counts =
      __sanitizer_install_malloc_and_free_hooks(count, [](const volatile void*) {}) != 0;
  require(counts, "allocations cannot be counted");
  return sum;
#else
  return 0;
#endif
}

void check_sentence(std::string_view sentence) {
  const auto is_visible = [](char c) { return c >= 0x20 && c < 0x7F; };
  require(!sentence.empty() && sentence.size() < 500, "an error is no sentence:", sentence.data());
  require(std::ranges::all_of(sentence, is_visible), "an error holds control characters:", sentence.data());
}

/// What `load` gives, or nothing if it throws an `Error`; other exceptions get through, and end the fuzzer.
template <typename Error, typename Load>
auto unless_refused(const Load& load, std::string* reason = nullptr) -> std::optional<decltype(load())> {
  try {
    return load();
  } catch (const Error& error) {
    check_sentence(error.what());
    if (reason != nullptr) *reason = error.what();
    return std::nullopt;
  }
}

std::optional<RankedTokens> parse_ranks(std::string_view contents) {
  return unless_refused<bpe::FormatError>([&] { return bpe::parse_rank_file(contents); });
}

RankedTokens tokens_of(const bpe::Vocabulary& vocabulary) {
  RankedTokens tokens;
  for (bpe::TokenId id = 0; id < vocabulary.size(); ++id) {
    if (const std::string_view bytes = vocabulary.bytes_of(id); !bytes.empty())
      tokens.push_back({std::string(bytes), id});
  }
  return tokens;
}

bool are_equal(const RankedTokens& some, const RankedTokens& others) {
  return std::ranges::equal(
      some, others, [](const auto& a, const auto& b) { return a.bytes == b.bytes && a.rank == b.rank; });
}

/// A text in which the last tokens, which are the likeliest to be odd, occur.
std::string text_with(const RankedTokens& tokens) {
  std::string text(samples::kText.substr(0, 120));
  for (std::size_t i = tokens.size(); i > 0 && text.size() < 1000; --i) {
    text += tokens[i - 1].bytes.substr(0, 200);
    if (i % 4 == 0) text += ' ';
  }
  return text;
}

/// It holds the tokens and no others, works as the reference does, and is the same again once it was written.
void check_vocabulary(const bpe::Vocabulary& vocabulary, RankedTokens tokens, bpe::Pattern pattern) {
  std::ranges::sort(tokens, {}, &bpe::RankedToken::rank);
  require(are_equal(tokens_of(vocabulary), tokens), "a vocabulary has other tokens than its file");
  reference::Ranks ranks;
  for (const bpe::RankedToken& token : tokens) {
    ranks.emplace(token.bytes, token.rank);
    require(vocabulary.find(token.bytes) == token.rank, "a token is not found");
  }

  const std::string text = text_with(tokens);
  const bpe::Tokenizer tokenizer(vocabulary, pattern);
  const std::vector<bpe::TokenId> ids = tokenizer.encode(text);
  require(ids == reference::encode(ranks, text, pattern), "encode differs from the reference");
  require(tokenizer.decode(ids) == text, "decode does not give the text back");

  const std::string written = bpe::format_rank_file(vocabulary);
  require(are_equal(bpe::parse_rank_file(written), tokens),
          "a rank file that is written reads back otherwise");
}

/// Reading takes memory for the file's bytes, and a little for each id up to the largest.
void check_memory(std::size_t allocated, std::size_t file_size, bpe::TokenId largest) {
  constexpr std::size_t kFixed = std::size_t{1} << 21, kForByte = 200, kForId = 100;
  require(allocated <= kFixed + kForByte * file_size + kForId * largest, "reading takes too much memory");
}

bpe::TokenId largest_rank(const RankedTokens& tokens) {
  bpe::TokenId largest = 0;
  for (const bpe::RankedToken& token : tokens) {
    if (token.rank < bpe::Vocabulary::kMaxSize) largest = std::max(largest, token.rank);
  }
  return largest;
}

/// The C functions refuse what is refused, for the same reason, and write what is read.
void check_c_api(std::string_view contents, bpe::Pattern pattern, const bpe::Vocabulary* expected,
                 const std::string& reason) {
  gpt2x_bpe_tokenizer* tokenizer = nullptr;
  const char* const name = bpe::kPatternNames[static_cast<std::size_t>(pattern)].data();
  const gpt2x_bpe_status status = gpt2x_bpe_load_memory(contents.data(), contents.size(), name, &tokenizer);
  if (expected == nullptr) {
    require(status == GPT2X_BPE_BAD_FORMAT, "the C API has another status");
    require(tokenizer == nullptr && gpt2x_bpe_last_error() == reason, "the C API has another reason");
    return;
  }
  require(status == GPT2X_BPE_OK, "the C API refuses:", gpt2x_bpe_last_error());
  require(gpt2x_bpe_vocab_size(tokenizer) == expected->size(), "the C API has another size");
  std::string written = bpe::format_rank_file(*expected);
  std::string by_c(written.size(), '\0');
  std::size_t size = 0;
  require(
      gpt2x_bpe_save_memory(tokenizer, by_c.data(), by_c.size(), &size) == GPT2X_BPE_OK && by_c == written,
      "the C API writes otherwise");
  gpt2x_bpe_free(tokenizer);
}

void check_rank_file(std::string_view contents, bpe::Pattern pattern) {
  RankedTokens tokens;
  std::string reason;
  const std::size_t before = allocated_so_far();
  const auto vocabulary = unless_refused<bpe::FormatError>(
      [&] { return bpe::vocabulary_from_ranks(tokens = bpe::parse_rank_file(contents)); }, &reason);
  check_memory(allocated_so_far() - before, contents.size(), largest_rank(tokens));
  check_c_api(contents, pattern, vocabulary ? &*vocabulary : nullptr, reason);
  if (vocabulary) check_vocabulary(*vocabulary, tokens, pattern);
}

void check_merges_file(std::string_view contents, bpe::Pattern pattern) {
  const std::size_t before = allocated_so_far();
  const auto tokens = unless_refused<bpe::FormatError>([&] { return bpe::parse_merges_file(contents); });
  if (!tokens) return check_memory(allocated_so_far() - before, contents.size(), 256);
  const bpe::Vocabulary vocabulary = bpe::vocabulary_from_ranks(*tokens);
  check_memory(allocated_so_far() - before, contents.size(), vocabulary.size());
  require(vocabulary.size() == tokens->size(), "a list of merges leaves holes between ids");
  check_vocabulary(vocabulary, *tokens, pattern);
  if (!vocabulary.is_consistent()) return;
  const std::string written = format_merges_file(vocabulary);
  require(are_equal(bpe::parse_merges_file(written), *tokens),
          "a list of merges that is written reads back otherwise");
}

/// Lines as special tokens of a vocabulary that has ids below 1000.
void check_special_tokens(std::string_view contents, bpe::Pattern pattern,
                          const bpe::Vocabulary& vocabulary) {
  const std::optional<RankedTokens> tokens = parse_ranks(contents);
  if (!tokens) return;
  std::vector<bpe::Vocabulary::Entry> entries;
  for (const bpe::RankedToken& token : *tokens) entries.push_back({token.bytes, token.rank});
  const auto specials = unless_refused<bpe::FormatError>([&] { return bpe::SpecialTokens(entries); });
  const auto tokenizer =
      unless_refused<bpe::FormatError>([&] { return bpe::Tokenizer(vocabulary, pattern, entries); });
  if (!specials || !tokenizer) return;
  const std::string text = text_with(*tokens);
  const std::vector<bpe::TokenId> ids =
      tokenizer->encode(text, bpe::Tokenizer::Text::kAnyBytes, {.specials = &*specials});
  require(tokenizer->decode(ids) == text, "decode does not give the text with special tokens back");
}

std::vector<bpe::Merge> learn(const bpe::PieceCounter& counter, const bpe::LearnOptions& options) {
  bpe::MergeLearner learner(counter, options);
  std::vector<bpe::Merge> merges;
  while (const auto merge = learner.next()) merges.push_back(*merge);
  return merges;
}

/// Merges to continue from that nobody has learned: they are refused, or made.
void check_continuing(const bpe::PieceCounter& counter, Choices& choices) {
  std::vector<bpe::TokenPair> pairs;
  for (std::size_t left = choices.byte(); pairs.size() < 40; left = choices.byte()) {
    // Near the ids that exist by then.
    pairs.push_back(
        {static_cast<bpe::TokenId>(pairs.size() + left), static_cast<bpe::TokenId>(choices.below(300))});
  }
  static_cast<void>(unless_refused<std::invalid_argument>(
      [&] { return learn(counter, {.max_merges = 10, .continue_from = pairs}); }));
}

struct Counted {
  explicit Counted(bpe::Pattern pattern) : counter(pattern) {}

  void add(const std::string& piece, std::uint64_t count) {
    if (piece.empty()) {
      const auto added =
          unless_refused<std::invalid_argument>([&] { return counter.add_piece("", count), true; });
      return require(!added, "an empty piece is counted");
    }
    counter.add_piece(piece, count);
    expected[piece] += count;
    fits &= count <= (std::numeric_limits<std::uint64_t>::max() - num_bytes) / piece.size();
    num_bytes += count * piece.size();
    longest = std::max(longest, piece.size());
  }

  bpe::PieceCounter counter;
  std::map<std::string, std::uint64_t> expected;
  std::uint64_t num_bytes = 0;
  bool fits =
      true;  // into 64 bits, as who reads counts has to see to; if not, nothing but to end is asked for
  std::size_t longest = 0;
};

/// Nothing is lost, nor if all is added to another counter.
void check_totals(const Counted& counted) {
  require(counted.counter.num_unique() == counted.expected.size(), "pieces are lost or doubled");
  require(counted.counter.num_bytes() == counted.num_bytes, "the bytes of all pieces add up otherwise");
  bpe::PieceCounter again(bpe::Pattern::kGpt2);
  for (const auto& [piece, count] : counted.counter.items()) {
    const auto found = counted.expected.find(std::string(piece));
    require(found != counted.expected.end() && found->second == count, "a piece has another count");
    again.add_piece(piece, count);
  }
  require(again.items() == counted.counter.items(), "counts that are added again are others");
}

void check_learning(const Counted& counted) {
  constexpr std::size_t kNumMerges = 12, kLongest = 200;  // so that the reference is quick
  const std::vector<bpe::Merge> merges = learn(counted.counter, {.max_merges = kNumMerges});
  if (!counted.fits || counted.longest > kLongest) return;
  const std::vector<std::pair<std::string, std::uint64_t>> pieces(counted.expected.begin(),
                                                                  counted.expected.end());
  require(merges == reference::learn(pieces, kNumMerges), "learned merges differ from the reference");
}

/// Lines as pieces and counts; `shift` makes the counts large.
void check_counts(std::string_view contents, bpe::Pattern pattern, unsigned shift, Choices& choices) {
  const std::optional<RankedTokens> lines = parse_ranks(contents);
  if (!lines) return;
  Counted counted(pattern);
  for (const bpe::RankedToken& line : *lines) counted.add(line.bytes, std::uint64_t{line.rank} << shift);
  check_totals(counted);
  check_learning(counted);
  check_continuing(counted.counter, choices);
}

}  // namespace

std::string random_input(std::mt19937& random) {
  std::string input(2 + random() % 24, '\0');
  for (char& byte : input) byte = static_cast<char>(random());
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  enum Kind { kRankFile, kMergesFile, kSpecialTokens, kCounted, kNumKinds };
  const std::size_t kind = data[0] % kNumKinds;
  const auto pattern = static_cast<bpe::Pattern>(data[0] / kNumKinds % bpe::kPatternNames.size());
  const bpe::Vocabulary& good = good_vocabularies()[data[1] % good_vocabularies().size()];
  // Only the last of them is not consistent, and has no list of merges.
  const bpe::Vocabulary& learned = good_vocabularies()[data[1] % (good_vocabularies().size() - 1)];

  Choices choices({data + 2, size - 2});
  const std::string file = edited(kind == kRankFile        ? bpe::format_rank_file(good)
                                  : kind == kMergesFile    ? format_merges_file(learned)
                                  : kind == kSpecialTokens ? std::string(kSpecials)
                                                           : std::string(kCounts),
                                  choices);
  // No byte before or behind it may be read.
  const std::vector<char> bytes(file.begin(), file.end());
  const std::string_view contents(bytes.data(), bytes.size());
  if (kind == kRankFile) check_rank_file(contents, pattern);
  if (kind == kMergesFile) check_merges_file(contents, pattern);
  if (kind == kSpecialTokens) check_special_tokens(contents, pattern, good);
  if (kind == kCounted) check_counts(contents, pattern, data[1] / 4, choices);
  return 0;
}
