#include "gpt2x/bpe/vocabulary.hpp"

#include <algorithm>
#include <vector>

#include "gpt2x/bpe/errors.hpp"

namespace gpt2x::bpe {

std::string quoted(std::string_view bytes) {
  constexpr std::size_t kMaxShown = 40;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : bytes.substr(0, kMaxShown)) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      result += c;
    } else {
      result.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return result += bytes.size() > kMaxShown ? "...\"" : "\"";
}

Vocabulary::Vocabulary(std::span<const Entry> entries) {
  for (const Entry& entry : entries) add_token(entry);
  find_byte_tokens();
  find_merges();
}

void Vocabulary::add_token(const Entry& entry) {
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

void Vocabulary::find_byte_tokens() {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_tokens_[byte] = find({&c, 1});
    if (byte_tokens_[byte] != kNoToken) continue;
    throw FormatError("no token for the single byte " + quoted({&c, 1}) +
                      "; a byte-level vocabulary has all 256 of them");
  }
}

// Every split of every token into two tokens. Only lengths that some token has are tried, so that one very
// long token cannot make this quadratic.
void Vocabulary::find_merges() {
  std::vector<bool> has_length;
  for (TokenId id = 0; id < size(); ++id) {
    const std::size_t length = bytes_of(id).size();
    if (length >= has_length.size()) has_length.resize(length + 1);
    has_length[length] = length > 0;
  }
  std::vector<std::size_t> lengths;
  for (std::size_t length = 1; length < has_length.size(); ++length) {
    if (has_length[length]) lengths.push_back(length);
  }

  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view bytes = bytes_of(id);
    for (const std::size_t length : lengths) {
      if (length >= bytes.size()) break;
      if (!has_length[bytes.size() - length]) continue;
      const TokenId left = find(bytes.substr(0, length));
      if (left == kNoToken) continue;
      const TokenId right = find(bytes.substr(length));
      if (right != kNoToken) merges_.insert({left, right}, id);
    }
  }
}

}  // namespace gpt2x::bpe
