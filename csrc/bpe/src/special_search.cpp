#include "gpt2x/bpe/internal/special_search.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"

namespace gpt2x::bpe {
namespace {

// Parts of a text are read from their ends to their beginnings. They grow, so that a token that comes soon is
// found soon, and stop growing where they still fit the second-level cache: whoever encodes the text between
// the tokens then finds it there.
constexpr std::size_t kFirstPart = 256;
constexpr std::size_t kLargestPart = std::size_t{1} << 16;

// How many characters are looked at together.
constexpr std::size_t kBlock = 64;

// Not 0 if a character of the block is `last`, and with `kPairs` the one before it `before`. No branches, and
// numbers of the characters' own size, so that the compiler makes vector instructions of it; by itself, since
// it did not where this stood inside another loop (1 GB/s instead of 15).
template <typename Char, bool kPairs>
[[gnu::noinline]] Char ends_in_block(const Char* block, Char before, Char last) {
  Char any = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const auto here = static_cast<Char>(block[i] ^ last);
    const auto behind = static_cast<Char>(kPairs ? *(block + i - 1) ^ before : 0);
    any |= static_cast<Char>(static_cast<Char>(here | behind) == 0);
  }
  return any;
}

constexpr bool is_continuation(char c) {
  return (static_cast<std::uint8_t>(c) & 0xC0) == 0x80;
}

// Calls `use` with the bytes of a character, the last one first; a surrogate has three.
template <typename Char, typename Use>
void for_each_byte_backwards(Char c, const Use& use) {
  if constexpr (std::is_same_v<Char, char>) {
    use(static_cast<std::uint8_t>(c));
  } else {
    char32_t rest = c;
    if (rest < 0x80) return use(static_cast<std::uint8_t>(rest));
    const unsigned num_bytes = rest < 0x800 ? 2 : rest < 0x10000 ? 3 : 4;
    for (unsigned i = 1; i < num_bytes; ++i, rest >>= 6) use(static_cast<std::uint8_t>(0x80 | (rest & 0x3F)));
    use(static_cast<std::uint8_t>((0xF00u >> num_bytes & 0xFF) | rest));
  }
}

// A token read backwards. Its first bytes stand beside it as a number that is ordered as they are, so that
// sorting and the first levels of the automaton seldom have to look for the others.
struct Spelling {
  std::uint64_t first_bytes;
  const char* end;  // of the token
  std::uint32_t size;
  std::uint32_t index;

  [[nodiscard]] std::uint8_t byte(std::size_t i) const {
    constexpr std::size_t kHeld = sizeof first_bytes;
    if (i < kHeld) return static_cast<std::uint8_t>(first_bytes >> 8 * (kHeld - 1 - i));
    return static_cast<std::uint8_t>(*(end - 1 - i));
  }

  friend bool operator<(const Spelling& a, const Spelling& b) {
    if (a.first_bytes != b.first_bytes) return a.first_bytes < b.first_bytes;
    for (std::size_t i = 0; i < std::min(a.size, b.size); ++i) {
      if (a.byte(i) != b.byte(i)) return a.byte(i) < b.byte(i);
    }
    return a.size < b.size;
  }
};

std::vector<Spelling> sorted_spellings(std::span<const Vocabulary::Entry> tokens) {
  std::vector<Spelling> spellings;
  spellings.reserve(tokens.size());
  for (const Vocabulary::Entry& token : tokens) {
    Spelling spelling{0, token.bytes.data() + token.bytes.size(),
                      static_cast<std::uint32_t>(token.bytes.size()),
                      static_cast<std::uint32_t>(spellings.size())};
    for (std::size_t i = 0; i < sizeof spelling.first_bytes; ++i) {
      const char next = i < spelling.size ? *(spelling.end - 1 - i) : '\0';
      spelling.first_bytes = spelling.first_bytes << 8 | static_cast<std::uint8_t>(next);
    }
    spellings.push_back(spelling);
  }
  std::ranges::sort(spellings, std::less<>());
  return spellings;
}

}  // namespace

SpecialTokens::SpecialTokens(std::span<const Vocabulary::Entry> tokens)
    : automaton_(std::make_shared<const SpecialAutomaton>(tokens)) {}

std::size_t SpecialTokens::size() const {
  return automaton_->size();
}
TokenId SpecialTokens::largest_id() const {
  return automaton_->largest_id();
}
std::size_t SpecialTokens::longest() const {
  return automaton_->longest();
}

SpecialAutomaton::SpecialAutomaton(std::span<const Vocabulary::Entry> tokens) {
  tokens_.reserve(tokens.size());
  std::size_t total = 0;
  for (const auto& [bytes, id] : tokens) {
    if (bytes.empty()) throw FormatError("special token " + std::to_string(id) + " is empty");
    total += bytes.size();
    if (total >= kNone) throw std::length_error("special tokens of 4 GiB or more together");
    longest_ = std::max(longest_, bytes.size());
    largest_id_ = std::max(largest_id_, id);
    const auto num_bytes = static_cast<std::uint32_t>(bytes.size());
    const auto num_continuations = static_cast<std::uint32_t>(std::ranges::count_if(bytes, is_continuation));
    tokens_.push_back({num_bytes, num_bytes - num_continuations, id});
  }
  add_fallbacks(add_nodes(tokens));
  find_endings(tokens);
}

// Level by level. The spellings that begin with what a node stands for stand side by side when they are
// sorted; the first of them may be the node's own. Returns each node's parent.
std::vector<SpecialAutomaton::Node> SpecialAutomaton::add_nodes(std::span<const Vocabulary::Entry> tokens) {
  struct Range {
    std::uint32_t first;
    std::uint32_t last;
  };
  const std::vector<Spelling> spellings = sorted_spellings(tokens);
  std::vector<Node> parents;
  std::vector<Range> ranges;
  const auto add = [&](Node parent, std::uint8_t label, Range range) {
    parents.push_back(parent);
    labels_.push_back(label);
    longest_tokens_.push_back(kNone);
    ranges.push_back(range);
  };
  add(kRoot, 0, {0, static_cast<std::uint32_t>(spellings.size())});
  std::size_t depth = 0;
  std::size_t level_end = 1;
  for (Node node = 0; node < ranges.size(); ++node) {
    if (node == level_end) {
      ++depth;
      level_end = ranges.size();
    }
    first_children_.push_back(static_cast<Node>(ranges.size()));
    auto [first, last] = ranges[node];
    for (; first < last && spellings[first].size == depth; ++first) {
      if (longest_tokens_[node] != kNone) {
        throw FormatError("special token " + quoted(tokens[spellings[first].index].bytes) + " occurs twice");
      }
      longest_tokens_[node] = spellings[first].index;
    }
    while (first < last) {
      const std::uint8_t label = spellings[first].byte(depth);
      std::uint32_t end = first + 1;
      while (end < last && spellings[end].byte(depth) == label) ++end;
      add(node, label, {first, end});
      first = end;
    }
  }
  first_children_.push_back(static_cast<Node>(ranges.size()));
  for (Node node = first_children_[kRoot]; node < first_children_[kRoot + 1]; ++node) {
    root_children_[labels_[node]] = node;
  }
  return parents;
}

// A parent's fallback is known before its children's, since it is nearer to the root.
void SpecialAutomaton::add_fallbacks(std::span<const Node> parents) {
  fallbacks_.assign(parents.size(), kRoot);
  for (Node node = 1; node < parents.size(); ++node) {
    if (parents[node] == kRoot) continue;
    fallbacks_[node] = next(fallbacks_[parents[node]], labels_[node]);
    if (longest_tokens_[node] == kNone) longest_tokens_[node] = longest_tokens_[fallbacks_[node]];
  }
}

void SpecialAutomaton::find_endings(std::span<const Vocabulary::Entry> tokens) {
  std::vector<Ending> pairs;
  std::vector<Ending> last_bytes;
  const auto add = [](std::vector<Ending>& endings, Ending ending) {
    if (endings.size() <= kFewEndings && std::ranges::find(endings, ending) == endings.end())
      endings.push_back(ending);
  };
  bool all_have_pairs = true;
  for (const auto& [bytes, id] : tokens) {
    const auto last = static_cast<std::uint8_t>(bytes.back());
    is_last_byte_[last] = true;
    has_non_ascii_last_byte_ |= last >= 0x80;
    add(last_bytes, {0, last});
    all_have_pairs &= bytes.size() > 1;
    if (bytes.size() > 1) add(pairs, {static_cast<std::uint8_t>(bytes[bytes.size() - 2]), last});
  }
  endings_are_pairs_ = all_have_pairs && pairs.size() <= kFewEndings;
  const std::vector<Ending>& few = endings_are_pairs_ ? pairs : last_bytes;
  if (few.empty() || few.size() > kFewEndings) return;
  num_endings_ = few.size();
  std::ranges::fill(std::ranges::copy(few, endings_.begin()).out, endings_.end(), few.front());
  endings_are_ascii_ = std::ranges::all_of(
      few, [](const Ending& ending) { return ending.before < 0x80 && ending.last < 0x80; });
}

SpecialAutomaton::Node SpecialAutomaton::child(Node node, std::uint8_t byte) const {
  constexpr std::ptrdiff_t kFew = 8;
  const std::uint8_t* const first = labels_.data() + first_children_[node];
  const std::uint8_t* const last = labels_.data() + first_children_[node + 1];
  const std::uint8_t* const found =
      last - first <= kFew ? std::find(first, last, byte) : std::lower_bound(first, last, byte);
  return found != last && *found == byte ? static_cast<Node>(found - labels_.data()) : kRoot;
}

template <typename Char>
SpecialSearch<Char>::SpecialSearch(const SpecialTokens& tokens, std::span<const Char> text, std::size_t start,
                                   StopFlag& stop)
    : tokens_(tokens.automaton()),
      text_(text),
      stop_(stop),
      done_(start),
      scanned_(start),
      part_size_(kFirstPart) {}

template <typename Char>
auto SpecialSearch<Char>::next() -> std::optional<Match> {
  for (;;) {
    while (!found_.empty()) {
      const Candidate candidate = found_.back();
      found_.pop_back();
      if (candidate.start < done_) continue;  // inside the match before
      done_ = end_of(candidate);
      return Match{candidate.start, done_, candidate.index, tokens_.tokens_[candidate.index].id};
    }
    scanned_ = std::max(scanned_, done_);
    if (scanned_ >= text_.size() || tokens_.size() == 0) return std::nullopt;
    scan_next_part();
  }
}

template <typename Char>
std::size_t SpecialSearch<Char>::end_of_token_across(std::size_t place) {
  scan(0, place, text_.size());
  const auto first = std::ranges::find_if(
      found_.rbegin(), found_.rend(), [&](const Candidate& candidate) { return end_of(candidate) > place; });
  return first == found_.rend() ? 0 : end_of(*first);
}

template <typename Char>
std::size_t SpecialSearch<Char>::end_of(const Candidate& candidate) const {
  const SpecialAutomaton::Token& token = tokens_.tokens_[candidate.index];
  return candidate.start + (std::is_same_v<Char, char> ? token.num_bytes : token.num_chars);
}

// A token that begins in the part may end behind it, so reading begins there. No part is shorter than a token
// may be, so that nothing is read more than twice.
template <typename Char>
void SpecialSearch<Char>::scan_next_part() {
  stop_.check();
  const std::size_t left = text_.size() - scanned_;
  const std::size_t size = std::min(left, std::max(part_size_, tokens_.longest()));
  const std::size_t readable = std::min(left - size, tokens_.longest() - 1) + size;
  scan(scanned_, scanned_ + size, scanned_ + readable);
  scanned_ += size;
  part_size_ = std::min(2 * part_size_, kLargestPart);
}

template <typename Char>
void SpecialSearch<Char>::scan(std::size_t begin, std::size_t end, std::size_t readable_end) {
  SpecialAutomaton::Node node = SpecialAutomaton::kRoot;
  for (std::size_t pos = readable_end; pos > begin;) {
    if (node == SpecialAutomaton::kRoot) {
      pos = skip(begin, pos);
      if (pos == begin) break;
    }
    --pos;
    for_each_byte_backwards(text_[pos], [&](std::uint8_t byte) { node = tokens_.next(node, byte); });
    const std::uint32_t index = tokens_.longest_tokens_[node];
    if (index != SpecialAutomaton::kNone && pos < end) found_.push_back({pos, index});
  }
}

template <typename Char>
bool SpecialSearch<Char>::may_end_token(Char c) const {
  if constexpr (std::is_same_v<Char, char>) {
    return tokens_.is_last_byte_[static_cast<std::uint8_t>(c)];
  } else {
    return c < 0x80 ? tokens_.is_last_byte_[c] : tokens_.has_non_ascii_last_byte_;
  }
}

// Behind the last character in [begin, end) that a token may end with; `begin` if there is none.
template <typename Char>
std::size_t SpecialSearch<Char>::skip(std::size_t begin, std::size_t end) const {
  // Of code points, only those that are ASCII are as long as a byte.
  if (tokens_.num_endings_ > 0 && (std::is_same_v<Char, char> || tokens_.endings_are_ascii_)) {
    constexpr std::size_t kFew = SpecialAutomaton::kFewEndings;
    const bool one = tokens_.num_endings_ == 1;
    if (tokens_.endings_are_pairs_) {
      end = one ? skip_blocks<1, true>(begin, end) : skip_blocks<kFew, true>(begin, end);
    } else {
      end = one ? skip_blocks<1, false>(begin, end) : skip_blocks<kFew, false>(begin, end);
    }
  }
  while (end > begin && !may_end_token(text_[end - 1])) --end;
  return end;
}

// Passes over blocks in which no token ends. The inner loops have no branches, so that the compiler makes
// vector instructions of them. The block at `begin` is left, since nothing is known of what is before it.
template <typename Char>
template <std::size_t kCount, bool kPairs>
std::size_t SpecialSearch<Char>::skip_blocks(std::size_t begin, std::size_t end) const {
  std::array<Char, kCount> before;
  std::array<Char, kCount> last;
  for (std::size_t k = 0; k < kCount; ++k) {
    before[k] = static_cast<Char>(tokens_.endings_[k].before);
    last[k] = static_cast<Char>(tokens_.endings_[k].last);
  }
  for (; end - begin > kBlock; end -= kBlock) {
    const Char* const block = text_.data() + end - kBlock;
    Char any = 0;
    for (std::size_t k = 0; k < kCount; ++k) any |= ends_in_block<Char, kPairs>(block, before[k], last[k]);
    if (any != 0) break;
  }
  return end;
}

template class SpecialSearch<char>;
template class SpecialSearch<std::uint8_t>;
template class SpecialSearch<char16_t>;
template class SpecialSearch<char32_t>;

}  // namespace gpt2x::bpe
