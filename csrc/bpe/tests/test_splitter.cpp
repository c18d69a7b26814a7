#include <random>

#include "../src/kernels.hpp"
#include "check.hpp"
#include "gpt2x/bpe/internal/splitter.hpp"
#include "reference.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Positions = std::vector<std::size_t>;

// By the byte-by-byte splitter, which other tests hold against the reference.
Positions plain_ends(Pattern pattern, std::string_view text) {
  Positions ends(text.size());
  ends.resize(next_piece_ends(pattern, text, 0, ends));
  return ends;
}

Positions ends_by_splitter(Pattern pattern, std::string_view text, bool wellformed) {
  Positions ends;
  Splitter splitter(pattern, text, wellformed);
  while (splitter.next()) {
    CHECK_EQ(splitter.start(), ends.empty() ? 0 : ends.back());
    for (const std::uint32_t end : splitter.ends()) ends.push_back(splitter.base() + end);
  }
  return ends;
}

// By one version of the block splitter, `window` bytes at a time.
Positions ends_by_version(const Kernels& version, std::string_view text, std::size_t window) {
  Positions starts;
  BlockCarry carry;
  std::vector<std::uint32_t> buffer(window + kStartsSlack);
  for (std::size_t from = 0; from < text.size(); from += window) {
    const std::size_t to = std::min(from + window, text.size());
    const std::size_t count = version.find_starts(carry, text, from, to, buffer.data());
    for (std::size_t i = 0; i < count; ++i) starts.push_back(from + buffer[i]);
  }
  if (starts.empty()) return {};
  CHECK_EQ(starts.front(), 0u);
  starts.erase(starts.begin());
  starts.push_back(text.size());
  return starts;
}

void check_all_versions(std::string_view text) {
  const Positions expected = plain_ends(Pattern::kGpt2, text);
  for (const Kernels* version : usable_kernels()) {
    CHECK_EQ(ends_by_version(*version, text, 64), expected);
  }
  CHECK_EQ(ends_by_splitter(Pattern::kGpt2, text, true), expected);
}

}  // namespace

TEST("every version that this processor can run equals the plain splitter on random text") {
  std::mt19937 random(21);
  for (int i = 0; i < 20'000; ++i) check_all_versions(samples::random_text(random, random() % 60, false));
}

TEST("blocks equal the plain splitter wherever their edges fall") {
  const std::vector<std::string> cases{
      "it's",
      "we'll go",
      "they'VE 've",
      "''s",
      "x'",
      "'s's'll",
      "  a",
      "\n\n\nb",
      " \n x",
      "\u3000\u3000y",
      "a\u00a0b",
      " \u2003 'm",
      "12 345",
      "\u00b2\u0663 7",
      "naïve Ωmega",
      "한국어 노래",
      "日本語。中",
      "😀😀 🎵's",
      "\u200b !?",
      "\u0301\u0301a",
      "\t\t'd",
      "'\u00a0",
      "a'\u00e9",
      "\u00e9's",
      "\U0001d7d8\U0001d7d9 x",
      "\x1f \x1c",
      "\u0085\u0085z",
  };
  for (const std::string& special : cases) {
    for (const char filler : {'a', ' ', '!', '7', '\n'}) {
      for (std::size_t offset = 0; offset <= 130; ++offset) {
        const std::string before(offset, filler);
        check_all_versions(before + special);
        check_all_versions(before + special + "b c");
        check_all_versions(before + special + std::string(70, ' '));
      }
    }
  }
}

TEST("windows of any size give the same") {
  std::mt19937 random(22);
  for (int i = 0; i < 50; ++i) {
    std::string text = samples::random_text(random, 1'500, false);
    if (i % 5 == 0) text += std::string(3 * Splitter::kWindow, "a 7!"[i / 5 % 4]);
    text += samples::random_text(random, 1'500, false);
    const Positions expected = plain_ends(Pattern::kGpt2, text);
    for (const Kernels* version : usable_kernels()) {
      for (const std::size_t window : {64, 128, 4096, 1 << 20}) {
        CHECK_EQ(ends_by_version(*version, text, window), expected);
      }
    }
    CHECK_EQ(ends_by_splitter(Pattern::kGpt2, text, true), expected);
  }
}

TEST("without the promise of UTF-8, and for other patterns, the splitter goes byte by byte") {
  std::mt19937 random(23);
  for (int i = 0; i < 2'000; ++i) {
    const std::string text = samples::random_text(random, random() % 60, i % 2 == 0);
    for (const Pattern pattern : {Pattern::kGpt2, Pattern::kCl100k, Pattern::kO200k}) {
      CHECK_EQ(ends_by_splitter(pattern, text, false), plain_ends(pattern, text));
    }
  }
}

TEST("an empty text has no pieces for a splitter either") {
  CHECK(ends_by_splitter(Pattern::kGpt2, "", true).empty());
  CHECK(ends_by_splitter(Pattern::kCl100k, "", false).empty());
}
