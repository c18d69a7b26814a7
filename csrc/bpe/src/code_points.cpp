#include "gpt2x/bpe/internal/code_points.hpp"

#include <cstdint>

#include "transcode.hpp"

namespace gpt2x::bpe {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

char* write_code_point(char32_t code_point, char* out) {
  const auto put = [&](char32_t byte) { *out++ = static_cast<char>(byte); };
  const auto put_rest = [&](int shift) { put(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put_rest(0);
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put_rest(6);
    put_rest(0);
  } else {
    put(0xF0 | code_point >> 18);
    put_rest(12);
    put_rest(6);
    put_rest(0);
  }
  return out;
}

}  // namespace

template <typename Char>
std::size_t to_utf8(std::span<const Char> text, char* out) {
  constexpr std::size_t kGroup = 16;
  char* const first = out;
  const std::size_t size = text.size();
#if GPT2X_X86_TARGETS
  const bool by_groups = can_write_groups();
#endif
  for (std::size_t i = 0; i < size;) {
#if GPT2X_X86_TARGETS
    if (by_groups) i += write_groups(text.subspan(i), out);
#endif
    if (size - i >= kGroup) {
      Char all = 0;
      for (std::size_t j = 0; j < kGroup; ++j) all |= text[i + j];
      if (all < 0x80) {
        for (std::size_t j = 0; j < kGroup; ++j) out[j] = static_cast<char>(text[i + j]);
        out += kGroup;
        i += kGroup;
        continue;
      }
    }
    // Up to the end of the group, so that a lone accent does not make the next letters slow twice.
    for (const std::size_t end = size - i < kGroup ? size : i + kGroup; i < end; ++i) {
      char32_t code_point = text[i];
      if constexpr (sizeof(Char) > 1) {
        if (is_high_surrogate(code_point) && i + 1 < size && is_low_surrogate(text[i + 1])) {
          code_point = 0x10000 + ((code_point - 0xD800) << 10) + (text[++i] - 0xDC00);
        } else if (code_point >= 0xD800 && code_point < 0xE000) {
          code_point = kReplacement;
        }
      }
      out = write_code_point(code_point, out);
    }
  }
  return static_cast<std::size_t>(out - first);
}

template std::size_t to_utf8(std::span<const std::uint8_t> text, char* out);
template std::size_t to_utf8(std::span<const char16_t> text, char* out);
template std::size_t to_utf8(std::span<const char32_t> text, char* out);

}  // namespace gpt2x::bpe
