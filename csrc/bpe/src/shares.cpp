#include "gpt2x/bpe/internal/shares.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "gpt2x/bpe/internal/code_points.hpp"
#include "gpt2x/bpe/internal/special_search.hpp"

namespace gpt2x::bpe {
namespace {

// How many characters are looked at for a place to cut before more of them are.
constexpr std::size_t kWindow = 4096;

// After so many places that tokens reach across, the next one is looked for a share further on.
constexpr int kMostTries = 4;

// How many code points have that many bytes of UTF-8 together; both halves of a pair of surrogates count.
template <typename Char>
std::size_t count_code_points(std::span<const Char> text, std::size_t num_bytes) {
  std::size_t i = 0;
  for (std::size_t bytes = 0; bytes < num_bytes; ++i) {
    const char32_t code_point = text[i];
    const bool is_pair =
        is_high_surrogate(code_point) && i + 1 < text.size() && is_low_surrogate(text[i + 1]);
    i += is_pair ? 1 : 0;
    bytes += code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 && !is_pair ? 3 : 4;
  }
  return i;
}

// The first place to cut behind the first character of a window; its size if there is none.
template <typename Char>
std::size_t find_cut_in(Pattern pattern, std::span<const Char> window) {
  if constexpr (std::is_same_v<Char, char>) {
    return find_safe_cut(pattern, {window.data(), window.size()}, 1);
  } else {
    std::string utf8(window.size() * kMaxUtf8Bytes<Char>, '\0');
    utf8.resize(to_utf8(window, utf8.data()));
    return count_code_points(window, find_safe_cut(pattern, utf8, 1));
  }
}

// Whether a character starts here: no continuation byte, no second half of a pair of surrogates.
template <typename Char>
bool starts_character(std::span<const Char> text, std::size_t pos) {
  if constexpr (std::is_same_v<Char, char>) {
    return (static_cast<std::uint8_t>(text[pos]) & 0xC0) != 0x80;
  } else {
    return !is_low_surrogate(text[pos]) || !is_high_surrogate(text[pos - 1]);
  }
}

// A place to cut behind `from`, or the text's end. The two characters around a place decide, so a window that
// begins with the first of them is enough.
template <typename Char>
std::size_t find_cut(Pattern pattern, std::span<const Char> text, std::size_t from) {
  while (from < text.size()) {
    while (from > 0 && !starts_character(text, from)) --from;
    std::size_t end = std::min(from + kWindow, text.size());
    while (end < text.size() && !starts_character(text, end)) ++end;
    const std::size_t cut = find_cut_in(pattern, text.subspan(from, end - from));
    if (cut < end - from) return from + cut;
    if (end == text.size()) break;
    from = end - 1;
  }
  return text.size();
}

// Where a token ends that begins before `cut` and ends behind it; 0 if there is none. Tokens that another one
// would hide count as well, since what is found depends on all the text before.
template <typename Char>
std::size_t end_of_token_around(const SpecialTokens& specials, std::span<const Char> text, std::size_t cut) {
  const std::size_t begin = cut - std::min(cut, specials.longest());
  const std::span<const Char> window =
      text.subspan(begin, std::min(text.size(), cut + specials.longest()) - begin);
  const std::size_t end = SpecialSearch<Char>(specials, window).end_of_token_across(cut - begin);
  return end == 0 ? 0 : begin + end;
}

// Behind the last character of the part that begins at `start`.
template <typename Char>
std::size_t find_end(Pattern pattern, std::span<const Char> text, const SpecialTokens* specials,
                     std::size_t start, std::size_t share) {
  std::size_t end = find_cut(pattern, text, start + share);
  if (specials == nullptr || specials->size() == 0) return end;
  for (int tries = 1; end < text.size(); ++tries) {
    std::size_t behind = end_of_token_around(*specials, text, end);
    if (behind == 0) break;
    if (tries % kMostTries == 0) behind += std::max(share, specials->longest());
    end = find_cut(pattern, text, behind);
  }
  return end;
}

}  // namespace

std::size_t share_of(std::size_t total, unsigned num_threads) {
  return std::max(kLeastShare, total / (std::size_t{4} * std::max(1u, num_threads)));
}

template <typename Char>
std::vector<std::size_t> find_shares(Pattern pattern, std::span<const Char> text,
                                     const SpecialTokens* specials, std::size_t share) {
  std::vector<std::size_t> ends;
  std::size_t start = 0;
  do {
    const std::size_t end =
        text.size() - start > share ? find_end(pattern, text, specials, start, share) : text.size();
    ends.push_back(end);
    start = end;
  } while (start < text.size());
  return ends;
}

template std::vector<std::size_t> find_shares(Pattern, std::span<const char>, const SpecialTokens*,
                                              std::size_t);
template std::vector<std::size_t> find_shares(Pattern, std::span<const std::uint8_t>, const SpecialTokens*,
                                              std::size_t);
template std::vector<std::size_t> find_shares(Pattern, std::span<const char16_t>, const SpecialTokens*,
                                              std::size_t);
template std::vector<std::size_t> find_shares(Pattern, std::span<const char32_t>, const SpecialTokens*,
                                              std::size_t);

}  // namespace gpt2x::bpe
