// GPT-2's byte-to-unicode characters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gpt2x::bpe {

/// How many bytes print as themselves in Latin-1.
inline constexpr std::size_t kNumPrinting = 188;

/// The bytes in the order of GPT-2's byte-to-unicode characters: first those that print as themselves ('!' is
/// 0), then the others, whose characters are those from U+0100 on. GPT-2's own vocabulary numbers them so,
/// and ties between merges follow from it.
[[nodiscard]] constexpr std::array<std::uint8_t, 256> gpt2_byte_order() {
  std::array<std::uint8_t, 256> byte_of_id{};
  std::size_t next = 0;
  const auto prints = [](unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  };
  for (const bool wanted : {true, false}) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (prints(byte) == wanted) byte_of_id[next++] = static_cast<std::uint8_t>(byte);
    }
  }
  return byte_of_id;
}

}  // namespace gpt2x::bpe
