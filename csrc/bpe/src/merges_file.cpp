#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "gpt2x/bpe/byte_order.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/byte_pool.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/vocabulary.hpp"
#include "lines.hpp"

namespace gpt2x::bpe {
namespace {

// The bytes by the code points that spell them: those that print spell themselves.
constexpr auto kSpelledBytes = [] {
  std::array<std::optional<char>, 0x100 + 256 - kNumPrinting> spelled{};
  const std::array<std::uint8_t, 256> order = gpt2_byte_order();
  for (std::size_t i = 0; i < order.size(); ++i) {
    spelled[i < kNumPrinting ? order[i] : 0x100 + i - kNumPrinting] = static_cast<char>(order[i]);
  }
  return spelled;
}();

// Writes the bytes that a spelling stands for; false if it is none. All its characters are below U+0144, so
// at most two bytes of UTF-8.
bool spell_out(std::string_view spelling, std::string& bytes) {
  bytes.clear();
  for (std::size_t i = 0; i < spelling.size(); ++i) {
    auto code_point = std::uint32_t{static_cast<std::uint8_t>(spelling[i])};
    if (code_point >= 0x80) {
      if (code_point < 0xC2 || code_point > 0xC5 || i + 1 == spelling.size()) return false;
      const auto second = std::uint32_t{static_cast<std::uint8_t>(spelling[++i])};
      if (second >> 6 != 2) return false;
      code_point = (code_point & 31) << 6 | (second & 63);
    }
    if (code_point >= kSpelledBytes.size() || !kSpelledBytes[code_point]) return false;
    bytes += *kSpelledBytes[code_point];
  }
  return true;
}

class MergesParser {
 public:
  explicit MergesParser(std::size_t num_lines) {
    tokens_.reserve(256 + num_lines);
    for (const std::uint8_t byte : gpt2_byte_order()) add(std::string(1, static_cast<char>(byte)));
  }

  void parse_line(std::string_view line, std::size_t line_number) {
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || !read_token(line.substr(0, space), left_) ||
        !read_token(line.substr(space + 1), right_) || !add(left_.append(right_))) {
      throw FormatError("line " + std::to_string(line_number) + ": " + quoted(line) +
                        " is no merge of two known tokens into a new one");
    }
  }

  std::vector<RankedToken> take() { return std::move(tokens_); }

 private:
  // False for what is no token yet.
  bool read_token(std::string_view spelling, std::string& bytes) const {
    return spell_out(spelling, bytes) && known_.find(bytes) != BytePool::kAbsent;
  }

  // False for what is a token already.
  bool add(std::string_view bytes) {
    const auto rank = static_cast<TokenId>(tokens_.size());
    if (known_.insert(bytes, rank) != rank) return false;
    tokens_.push_back({std::string(bytes), rank});
    return true;
  }

  std::vector<RankedToken> tokens_;
  BytePool known_;
  std::string left_, right_;
};

}  // namespace

std::vector<RankedToken> parse_merges_file(std::string_view contents) {
  MergesParser parser(static_cast<std::size_t>(std::count(contents.begin(), contents.end(), '\n')) + 1);
  for_each_line(contents, [&](std::string_view line, std::size_t number) {
    if (number == 1 && line.starts_with("#version")) return;
    parser.parse_line(line, number);
  });
  return parser.take();
}

}  // namespace gpt2x::bpe
