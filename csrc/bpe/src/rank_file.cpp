#include "gpt2x/bpe/rank_file.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "lines.hpp"

namespace gpt2x::bpe {
namespace {

constexpr std::string_view kBase64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNoDigit = 64;

constexpr auto kBase64Values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::uint8_t i = 0; i < kBase64Digits.size(); ++i)
    values[static_cast<std::uint8_t>(kBase64Digits[i])] = i;
  return values;
}();

// Strict: whole groups of four, padding at the end only. Nothing if `text` is anything else.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  std::uint32_t bits = 0;
  unsigned num_bits = 0;
  for (const char c : text) {
    const std::uint8_t value = kBase64Values[static_cast<std::uint8_t>(c)];
    if (value == kNoDigit) return std::nullopt;
    bits = bits << 6 | value;
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes += static_cast<char>(bits >> num_bits);
  }
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (j < group.size() ? static_cast<std::uint8_t>(group[j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j)
      text += j <= group.size() ? kBase64Digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

RankedToken parse_line(std::string_view line, std::size_t line_number) {
  const auto fail = [&](const std::string& what) -> FormatError {
    return FormatError("line " + std::to_string(line_number) + ": " + what + " in " + quoted(line));
  };
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) throw fail("no space between token and rank");

  std::optional<std::string> bytes = decode_base64(line.substr(0, space));
  if (!bytes) throw fail("the token is not base64");
  TokenId rank = 0;
  const auto [end, error] = std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
  if (error != std::errc{} || end != line.data() + line.size()) throw fail("the rank is not a number");
  return {std::move(*bytes), rank};
}

}  // namespace

std::vector<RankedToken> parse_rank_file(std::string_view contents) {
  std::vector<RankedToken> tokens;
  for_each_line(contents, [&](std::string_view line, std::size_t number) {
    tokens.push_back(parse_line(line, number));
  });
  return tokens;
}

std::string read_file(const std::filesystem::path& path) {
  errno = 0;
  try {
    std::ifstream file(path, std::ios::binary);
    if (file) return {std::istreambuf_iterator<char>(file), {}};
  } catch (const std::ios_base::failure&) {  // opened, but not to be read: a folder
  }
  const std::string reason = errno != 0 ? ": " + std::generic_category().message(errno) : "";
  throw IoError("cannot read '" + path.string() + "'" + reason);
}

Vocabulary vocabulary_from_ranks(const std::vector<RankedToken>& tokens) {
  std::vector<Vocabulary::Entry> entries;
  entries.reserve(tokens.size());
  for (const RankedToken& token : tokens) entries.push_back({token.bytes, token.rank});
  return Vocabulary(entries);
}

std::string format_rank_file(const Vocabulary& vocabulary) {
  std::string contents;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes_of(id);
    if (!bytes.empty()) contents += encode_base64(bytes) + ' ' + std::to_string(id) + '\n';
  }
  return contents;
}

}  // namespace gpt2x::bpe
