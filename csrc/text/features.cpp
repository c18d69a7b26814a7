#include "features.hpp"

#include <algorithm>

#include "parallel.hpp"
#include "sorting.hpp"

namespace gpt2x::text {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ULL;
constexpr size_t kShortest = 3, kLongest = 5;  // bytes of a part of a word
constexpr size_t kMostRepeated = 1 << 20;      // features of a text of 300 KB

enum Style : uint64_t { kFirst, kLast, kFirstPair, kNoWord, kCapitals, kShouted, kLength };

bool is_digit(unsigned char c) {
  return c >= '0' && c <= '9';
}
bool is_upper(unsigned char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_letter(unsigned char c) {
  return is_upper(c) || (c >= 'a' && c <= 'z');
}
bool is_space(unsigned char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Bytes of a mark of the blocks "Latin-1 punctuation" (U+00A0-U+00BF) and "General Punctuation"
// (U+2000-U+206F) at the front of `text`, 0 where another character stands.
size_t mark_length(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.size() >= 2 && at(0) == 0xC2 && at(1) >= 0xA0) return 2;
  if (text.size() >= 3 && at(0) == 0xE2 && (at(1) == 0x80 || (at(1) == 0x81 && at(2) < 0xB0))) return 3;
  return 0;
}

// Bytes of the word character at the front of `text`, 0 where none stands. An apostrophe before a letter is
// one, but not at the beginning of a word. A byte of a longer character is a character of its own.
size_t word_character(std::string_view text, bool inside) {
  const auto c = static_cast<unsigned char>(text[0]);
  if (is_letter(c) || is_digit(c)) return 1;
  if (c >= 128) return mark_length(text) == 0;
  return inside && c == '\'' && text.size() > 1 && is_letter(static_cast<unsigned char>(text[1]));
}

// Words, and marks one by one.
void split(std::string_view text, std::vector<std::string_view>& tokens) {
  tokens.clear();
  for (size_t i = 0; i < text.size();) {
    if (is_space(static_cast<unsigned char>(text[i]))) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size()) {
      const size_t step = word_character(text.substr(end), end > i);
      if (step == 0) break;
      end += step;
    }
    if (end == i) end += std::max<size_t>(mark_length(text.substr(i)), 1);
    tokens.push_back(text.substr(i, end - i));
    i = end;
  }
}

uint64_t begin_hash() {
  return 0xcbf29ce484222325ULL;
}

uint64_t extend_hash(uint64_t hash, char byte) {  // FNV-1a
  return (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
}

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = begin_hash();
  for (const char byte : bytes) hash = extend_hash(hash, byte);
  return mix(hash);
}

uint64_t join(uint64_t first, uint64_t second) {
  return mix(first * 31 + second);
}

std::string_view next_field(std::string_view& rest) {
  const size_t end = std::min(rest.find(kFieldSeparator), rest.size());
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

}  // namespace

uint64_t mix(uint64_t bits) {
  bits ^= bits >> 33;
  bits *= 0xff51afd7ed558ccdULL;
  bits ^= bits >> 33;
  bits *= 0xc4ceb9fe1a85ec53ULL;
  return bits ^ bits >> 33;
}

size_t letter_length(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const bool is_kana = text.size() >= 3 && at(0) == 0xE3 && at(1) >= 0x81 && at(1) <= 0x83;
  const bool is_chinese =
      text.size() >= 3 && ((at(0) == 0xE3 && at(1) >= 0x90) || (at(0) >= 0xE4 && at(0) <= 0xE9));
  if (is_kana || is_chinese) return 3;
  return text.size() >= 4 && at(0) == 0xF0 && at(1) >= 0xA0 ? 4 : 0;
}

void FeatureReader::read(std::string_view cased, std::string_view lowered, std::vector<uint32_t>& found) {
  found.clear();
  found_ = &found;
  most_ = kMostRepeated;
  const auto fields = 1 + std::count(cased.begin(), cased.end(), kFieldSeparator);
  for (int64_t field = 0; field < fields; ++field) {
    split(next_field(cased), cased_);
    split(next_field(lowered), lowered_);
    add_words(static_cast<uint64_t>(field));
    for (const std::string_view token : cased_) add(kCasedWord, hash_bytes(token));
    add_style(static_cast<uint64_t>(field));
  }
}

uint32_t FeatureReader::number_of(Group group, uint64_t hash) const {
  return static_cast<uint32_t>(mix(hash + (group + 1) * kGolden)) & mask_;
}

uint32_t FeatureReader::letter_number(std::string_view letter) const {
  return number_of(kCharacters, hash_bytes(letter));
}

void FeatureReader::add(Group group, uint64_t hash) {
  if (found_->size() == most_) drop_repetitions();
  found_->push_back(static_cast<uint32_t>(group) << kGroupShift | number_of(group, hash));
}

// A text of megabytes has few features that it does not repeat.
void FeatureReader::drop_repetitions() {
  sort_once(*found_, spare_);
  most_ = std::max(kMostRepeated, 2 * found_->size());
}

void FeatureReader::add_words(uint64_t field) {
  words_.clear();
  for (const std::string_view token : lowered_) words_.push_back(hash_bytes(token));
  for (size_t k = 0; k < words_.size(); ++k) {
    add(kWord, words_[k]);
    add(kFieldWord, join(words_[k], field));
    if (k + 1 < words_.size()) {
      const uint64_t pair = join(words_[k], words_[k + 1]);
      add(kPair, pair);
      add(kFieldPair, join(pair, field));
    }
    add_parts(lowered_[k]);
  }
}

// Parts of the word between < and >, but not the whole. Each is the one before and a byte.
void FeatureReader::add_parts(std::string_view token) {
  marked_.assign(1, '<').append(token).append(1, '>');
  const size_t longest = std::min(kLongest, marked_.size() - 1);
  for (size_t at = 0; at + kShortest <= marked_.size(); ++at) {
    const size_t most = std::min(longest, marked_.size() - at);
    uint64_t hash = begin_hash();
    for (size_t length = 1; length <= most; ++length) {
      hash = extend_hash(hash, marked_[at + length - 1]);
      if (length >= kShortest) add(kCharacters, mix(hash));
    }
  }
}

void FeatureReader::style(uint64_t what, uint64_t field, uint64_t value) {
  add(kStyle, join(join(value, what), field));
}

void FeatureReader::add_style(uint64_t field) {
  if (words_.empty()) {
    style(kNoWord, field, 0);
  } else {
    style(kFirst, field, words_.front());
    style(kLast, field, words_.back());
    if (words_.size() > 1) style(kFirstPair, field, join(words_[0], words_[1]));
  }
  uint64_t letters = 0, capitals = 0, shouted = 0;
  for (const std::string_view token : cased_) {
    const auto first = static_cast<unsigned char>(token[0]);
    letters += is_letter(first);
    capitals += is_upper(first);
    shouted += is_upper(first) && token.size() > 1 && is_upper(static_cast<unsigned char>(token[1]));
  }
  style(kCapitals, field, letters ? capitals * 5 / letters : 9);
  style(kShouted, field, std::min<uint64_t>(shouted, 5));
  style(kLength, field, std::min<uint64_t>(words_.size() / 3, 30));
}

FeatureRows::FeatureRows(std::span<const std::string_view> cased, std::span<const std::string_view> lowered,
                         int bits, int threads)
    : blocks_((cased.size() + kBlockRows - 1) / kBlockRows), size_(static_cast<int64_t>(cased.size())) {
  parallel_for(static_cast<int64_t>(blocks_.size()), threads, [&](int64_t b) {
    Block& block = blocks_[b];
    FeatureReader reader(bits);
    std::vector<uint32_t> found, spare;
    block.offsets.push_back(0);
    for (int64_t i = b * kBlockRows; i < std::min(size_, (b + 1) * kBlockRows); ++i) {
      reader.read(cased[i], lowered[i], found);
      sort_once(found, spare);
      block.features.insert(block.features.end(), found.begin(), found.end());
      block.offsets.push_back(static_cast<int64_t>(block.features.size()));
      found.clear();
      reader.read_letters(lowered[i], [&](uint32_t number) { found.push_back(number); });
      sort_once(found, spare);
      block.letters.insert(block.letters.end(), found.begin(), found.end());
    }
    block.features.shrink_to_fit();
    sort_once(block.letters, spare);
  });
}

int64_t FeatureRows::num_features() const {
  int64_t sum = 0;
  for (const Block& block : blocks_) sum += static_cast<int64_t>(block.features.size());
  return sum;
}

std::span<const uint32_t> FeatureRows::row(int64_t i) const {
  const Block& block = blocks_[i / kBlockRows];
  const int64_t place = i % kBlockRows;
  const auto start = static_cast<size_t>(block.offsets[place]);
  return std::span(block.features).subspan(start, static_cast<size_t>(block.offsets[place + 1]) - start);
}

std::vector<int32_t> FeatureRows::document_counts(std::span<const int64_t> rows, int bits) const {
  std::vector<int32_t> counts(size_t{1} << bits);
  for (const int64_t i : rows)
    for (const uint32_t feature : row(i)) ++counts[feature & kNumberMask];
  return counts;
}

std::vector<uint8_t> FeatureRows::group_bits(int bits) const {
  std::vector<uint8_t> found(size_t{1} << bits);
  for (const Block& block : blocks_) {
    for (const uint32_t feature : block.features)
      found[feature & kNumberMask] |= static_cast<uint8_t>(1u << (feature >> kGroupShift));
    for (const uint32_t number : block.letters) found[number] |= kLetterBit;
  }
  return found;
}

void FeatureRows::class_counts(std::span<const int64_t> rows, std::span<const int32_t> truth,
                               std::span<const float> row_weights, int stride,
                               std::span<float> counts) const {
  for (const int64_t i : rows)
    for (const uint32_t feature : row(i))
      counts[static_cast<size_t>(feature & kNumberMask) * stride + truth[i]] += row_weights[i];
}

void FeatureRows::keep(std::span<const int32_t> columns, int threads) {
  parallel_for(static_cast<int64_t>(blocks_.size()), threads, [&](int64_t b) {
    Block& block = blocks_[b];
    size_t to = 0, from = 0;
    for (size_t place = 0; place + 1 < block.offsets.size(); ++place) {
      for (const auto end = static_cast<size_t>(block.offsets[place + 1]); from < end; ++from) {
        const int32_t column = columns[block.features[from] & kNumberMask];
        if (column < 0) continue;
        block.features[to++] = (block.features[from] & ~kNumberMask) | static_cast<uint32_t>(column);
      }
      block.offsets[place + 1] = static_cast<int64_t>(to);
    }
    block.features.resize(to);
    block.features.shrink_to_fit();
  });
}

}  // namespace gpt2x::text
