#include "samples.hpp"

#include <array>

#include "gpt2x/bpe/trainer.hpp"

namespace samples {

const std::string_view kText =
    "I'll tell you what we've learned: it's never over, they're singing, we'd dance, I'm here, don't go.\n"
    "The rain came down on the town, and the town came down with the rain; nobody's name remained.\n\n"
    "[Chorus]\nla la la la, na na na na, aaaaah aaaah aaa aa a\n    four blanks,\ttabs\t\tand  two\r\n"
    "1 12 123 1234 12345 in 1999 and 2026 (100 %), $5.00!!! ... --- ??? ===\n"
    "for (int i = 0; i < 10; ++i) { total += values[i]; }  // the sum of the first ten values\n"
    "Die Straße ist naß, où êtes-vous, señor, Ελλάδα, Россия, हिन्दी, 한국어 노래, 日本語の歌, 中文歌曲, "
    "שלום, سلام 😀👩‍👩‍👧\n";

const reference::Ranks& ranks(std::size_t num_merges) {
  static std::map<std::size_t, reference::Ranks> made;
  reference::Ranks& ranks = made[num_merges];
  if (!ranks.empty()) return ranks;

  std::map<std::string, std::uint64_t> counts;
  for (const std::string& piece : reference::split(kText)) ++counts[piece];
  std::vector<std::string> bytes_of;
  for (const std::uint8_t byte : gpt2x::bpe::gpt2_byte_order())
    bytes_of.emplace_back(1, static_cast<char>(byte));
  for (const auto& merge : reference::learn({counts.begin(), counts.end()}, num_merges)) {
    bytes_of.push_back(bytes_of[merge.left] + bytes_of[merge.right]);
  }
  for (std::size_t id = 0; id < bytes_of.size(); ++id)
    ranks[bytes_of[id]] = static_cast<gpt2x::bpe::TokenId>(id);
  return ranks;
}

gpt2x::bpe::Vocabulary vocabulary(const reference::Ranks& ranks) {
  std::vector<gpt2x::bpe::Vocabulary::Entry> entries;
  for (const auto& [bytes, rank] : ranks) entries.push_back({bytes, rank});
  return gpt2x::bpe::Vocabulary(entries);
}

std::string random_text(std::mt19937& random, std::size_t num_blocks, bool malformed) {
  static constexpr std::array<std::string_view, 40> kBlocks{
      " ",    "  ",      "\n", "\t",   "\r\n", "\u0085", "\u00a0", "\u2003", "\u3000", "\u200b",
      "\x1f", "'",       "'s", "'ll",  "'VE",  "'re",    "a",      "b",      "the",    "town",
      "aaaa", "STRASSE", "é",  "한국", "中",   "\u0301", "1",      "42",     "²",      "\U0001d7d8",
      "!",    "...",     "^^", "\x7f", "😀",   "\ufeff", "rain",   "ing",    "ed",     "\U0010ffff"};
  static constexpr std::array<std::string_view, 8> kBroken{
      "\x80", "\xc3", "\xe2\x80", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf0\x9f\x98", "\xf5\x80\x80\x80"};
  std::string text;
  for (std::size_t i = 0; i < num_blocks; ++i) {
    const bool broken = malformed && random() % 6 == 0;
    text += broken ? kBroken[random() % kBroken.size()] : kBlocks[random() % kBlocks.size()];
  }
  return text;
}

std::string random_letters(std::mt19937& random, std::size_t length, unsigned alphabet_size) {
  std::string text(length, 'a');
  for (char& letter : text) letter = static_cast<char>('a' + random() % alphabet_size);
  return text;
}

std::string letters_decided_by_the_end() {
  std::string letters;
  for (char first = 'a'; first <= 'l'; ++first) {
    letters += first;
    for (char second = static_cast<char>(first + 1); second <= 'l'; ++second) (letters += first) += second;
  }
  return letters.substr(0, 128);
}

reference::Ranks ranks_decided_by_the_end() {
  reference::Ranks made = ranks(0);
  const auto add = [&made](const std::string& bytes) {
    made.emplace(bytes, static_cast<gpt2x::bpe::TokenId>(made.size()));
  };
  const std::string letters = letters_decided_by_the_end();
  for (std::size_t i = letters.size() - 2; i >= 1; --i) add(letters.substr(i, 2));  // all pairs but the first
  add(letters.substr(0, 3));
  add("z" + letters.substr(0, 1));
  add(letters.substr(0, 2));
  for (std::size_t size = 5; size < letters.size(); size += 2) add(letters.substr(0, size));
  return made;
}

}  // namespace samples
