#include "gpt2x/bpe/internal/vocabulary_tables.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "affixes.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "kernels.hpp"

namespace gpt2x::bpe {

VocabularyTables::VocabularyTables(std::span<const Entry> entries) {
  for (const Entry& entry : entries) add_token(entry);
  find_byte_tokens();
  find_joined_bytes();
  if (!find_consistent_merges()) find_all_merges();
}

void VocabularyTables::add_token(const Entry& entry) {
  const auto [bytes, id] = entry;
  if (id >= kMaxSize) {
    throw FormatError("token " + quoted(bytes) + " has id " + std::to_string(id) + ", which is not below " +
                      std::to_string(kMaxSize));
  }
  if (bytes.empty()) throw FormatError("token " + std::to_string(id) + " is empty");
  if (!bytes_of(id).empty()) {
    throw FormatError("id " + std::to_string(id) + " is given to two tokens, " + quoted(bytes_of(id)) +
                      " and " + quoted(bytes));
  }
  if (const TokenId other = tokens_.insert(bytes, id); other != id) {
    throw FormatError("token " + quoted(bytes) + " has two ids, " + std::to_string(other) + " and " +
                      std::to_string(id));
  }
}

void VocabularyTables::find_byte_tokens() {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_tokens_[byte] = find({&c, 1});
    if (byte_tokens_[byte] != kNoToken) continue;
    throw FormatError("no token for the single byte " + quoted({&c, 1}) +
                      "; a byte-level vocabulary has all 256 of them");
  }
}

void VocabularyTables::find_joined_bytes() {
  joined_bytes_.resize(1024);
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view bytes = bytes_of(id);
    for (std::size_t i = 1; i < bytes.size(); ++i) {
      const std::size_t index = index_of(bytes[i - 1], bytes[i]);
      joined_bytes_[index / 64] |= std::uint64_t{1} << index % 64;
    }
  }
}

// From short to long, the bytes of each token are merged with the merges found so far that have a lower rank.
// Two tokens must remain: they are the pair that makes it. Tokens of one length do not occur in each other,
// so they can be merged at the same time. Returns false as soon as one fails.
bool VocabularyTables::find_consistent_merges() {
  byte_merges_.assign(1u << 16, kNoToken);
  parts_.assign(size(), {kNoToken, kNoToken});
  merges_ = PairMap(tokens_.size());
  std::array<std::vector<TokenId>, kMaxWordBytes + 1> words;  // by length
  std::vector<TokenId> longer;
  for (TokenId id = 0; id < size(); ++id) {
    const std::size_t length = bytes_of(id).size();
    if (length > 1) (length <= kMaxWordBytes ? words[length] : longer).push_back(id);
  }
  std::ranges::sort(longer, {}, [&](TokenId id) { return bytes_of(id).size(); });

  bool consistent = std::ranges::all_of(words, [&](const auto& ids) { return merge_tokens_of_length(ids); });
  for (auto first = longer.begin(); consistent && first != longer.end();) {
    const std::size_t length = bytes_of(*first).size();
    const auto end =
        std::find_if(first, longer.end(), [&](TokenId id) { return bytes_of(id).size() != length; });
    consistent = merge_tokens_of_length({first, end});
    first = end;
  }
  if (!consistent) parts_.clear();
  return consistent;
}

bool VocabularyTables::merge_tokens_of_length(std::span<const TokenId> ids) {
  if (ids.empty()) return true;
  const std::size_t length = bytes_of(ids.front()).size();
  std::vector<TokenId> parts(length * ids.size());
  std::vector<WordJob> jobs;
  jobs.reserve(ids.size());
  for (const TokenId id : ids) jobs.push_back({bytes_of(id), id, &parts[length * jobs.size()]});
  if (length <= kMaxWordBytes) {
    kernels().merge_words(merge_rules(), jobs);
  } else {
    for (WordJob& job : jobs) {
      job.num_tokens = static_cast<std::size_t>(
          merge_bytes(*this, bytes_of(job.rank_limit), job.tokens, job.rank_limit) - job.tokens);
    }
  }
  for (const WordJob& job : jobs) {
    if (job.num_tokens != 2) return false;
    add_merge({job.tokens[0], job.tokens[1]}, job.rank_limit);
    parts_[job.rank_limit] = {job.tokens[0], job.tokens[1]};
  }
  return true;
}

void VocabularyTables::add_merge(TokenPair parts, TokenId id) {
  merges_.insert(parts, id);
  const std::string_view bytes = bytes_of(id);
  if (bytes.size() == 2) byte_merges_[index_of(bytes[0], bytes[1])] = id;
}

// Every split of every token into two tokens: of those that it starts with, each whose length and that of one
// that it ends with add up to its own. Both are chains from long to short, so that one is followed while the
// other is followed back. No chain has more tokens than the token has bytes, and a split that is found is one
// of these bytes.
void VocabularyTables::find_all_merges() {
  merges_ = PairMap(tokens_.size());
  byte_merges_.assign(1u << 16, kNoToken);
  const std::vector<TokenId> prefixes = longest_prefixes(tokens_);
  const std::vector<TokenId> suffixes = longest_suffixes(tokens_);
  std::vector<TokenId> rights;  // from long to short
  for (TokenId id = 0; id < size(); ++id) {
    rights.clear();
    for (TokenId right = suffixes[id]; right != kNoToken; right = suffixes[right]) rights.push_back(right);
    for (TokenId left = prefixes[id]; left != kNoToken; left = prefixes[left]) {
      const std::size_t rest = bytes_of(id).size() - bytes_of(left).size();
      while (!rights.empty() && bytes_of(rights.back()).size() < rest) rights.pop_back();
      if (rights.empty()) break;
      if (bytes_of(rights.back()).size() == rest) add_merge({left, rights.back()}, id);
    }
  }
}

// While the two tokens are made from their bytes, the last token of the left side and the first token of the
// right side stand side by side; they stay two tokens in the end unless one of these pairs merges before
// either of the two goes into a larger token. Walking from the end of that history to its start, the one of
// the two that was made last is taken apart. A merge on the left side comes before one of the same rank here;
// one here before one of the same rank on the right side.
bool VocabularyTables::can_follow(TokenId left, TokenId right) const {
  TokenId left_becomes = kNoToken;  // what the two go into; kNoToken if they stay
  TokenId right_becomes = kNoToken;
  for (;;) {
    const TokenId here = merged({left, right});
    if (here != kNoToken && here < left_becomes && here <= right_becomes) return false;
    const bool left_is_byte = parts_[left].left == kNoToken;
    const bool right_is_byte = parts_[right].left == kNoToken;
    if (left_is_byte && right_is_byte) return true;
    if (right_is_byte || (!left_is_byte && left > right)) {
      left_becomes = left;
      left = parts_[left].right;
    } else {
      right_becomes = right;
      right = parts_[right].left;
    }
  }
}

}  // namespace gpt2x::bpe
