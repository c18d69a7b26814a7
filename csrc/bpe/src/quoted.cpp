#include "gpt2x/bpe/internal/quoted.hpp"

#include <cstddef>
#include <cstdint>

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

}  // namespace gpt2x::bpe
