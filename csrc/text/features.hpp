// A text as a set of hashed features.
//
// A feature is a group and a number below 2^bits, the hash of what it stands for; each counts once for a
// text. Rows are kept in blocks, 4 bytes a feature, so that 167,000 texts of 400 features take 270 MB and are
// never copied as a whole.
//
// The definition is gpt2x/classify/features.py, word for word the same; change both together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gpt2x::text {

enum Group : uint32_t { kWord, kFieldWord, kCasedWord, kPair, kFieldPair, kCharacters, kStyle, kGroups };

inline constexpr char kFieldSeparator = '\x1f';
inline constexpr int kMostBits = 24;
inline constexpr int kGroupShift = 28;  // a feature is group << 28 | number
inline constexpr uint32_t kNumberMask = (1u << kGroupShift) - 1;

// What a number was seen as: a bit 1 << group for each group of features that have it, and this one where it
// is that of a letter of a script without blanks (letter_length).
inline constexpr uint8_t kLetterBit = 1u << kGroups;
static_assert(kGroups < 8);

// Bits well mixed: the finalizer of MurmurHash3 (Austin Appleby, public domain).
uint64_t mix(uint64_t bits);

// Bytes of the letter of a script without blanks at the front of `text`, 0 where another character stands:
// Chinese characters (U+3400-U+9FFF, U+20000-U+3FFFF) and kana (U+3040-U+30FF). Between blanks stands a whole
// sentence of them, which is one word here; what was learned of it are its letters.
size_t letter_length(std::string_view text);

// Reads texts one after the other; its room is used again.
class FeatureReader {
 public:
  explicit FeatureReader(int bits) : mask_((1u << bits) - 1) {}

  // Features of one text, in any order and some repeated. `lowered` is the text in lower case; both are
  // UTF-8, and their fields are separated by kFieldSeparator.
  void read(std::string_view cased, std::string_view lowered, std::vector<uint32_t>& found);

  // Calls see(number) for each letter of a script without blanks: the number that its bytes have as a feature
  // of kCharacters.
  template <class See>
  void read_letters(std::string_view lowered, const See& see) const {
    for (size_t i = 0; i < lowered.size();) {
      const bool is_common = static_cast<unsigned char>(lowered[i]) < 0xE3;  // most texts have no others
      const size_t length = is_common ? 0 : letter_length(lowered.substr(i));
      if (length > 0) see(letter_number(lowered.substr(i, length)));
      i += length > 0 ? length : 1;
    }
  }

 private:
  uint32_t letter_number(std::string_view letter) const;
  uint32_t number_of(Group group, uint64_t hash) const;
  void add(Group group, uint64_t hash);
  void drop_repetitions();
  void add_words(uint64_t field);
  void add_parts(std::string_view token);
  void style(uint64_t what, uint64_t field, uint64_t value);
  void add_style(uint64_t field);

  uint32_t mask_;
  std::vector<uint32_t>* found_ = nullptr;
  size_t most_ = 0;  // features that are found before repetitions are dropped
  std::vector<uint32_t> spare_;
  std::vector<std::string_view> cased_, lowered_;
  std::vector<uint64_t> words_;
  std::string marked_;
};

class FeatureRows {
 public:
  // Reads texts on up to `threads` threads; the views are not kept.
  FeatureRows(std::span<const std::string_view> cased, std::span<const std::string_view> lowered, int bits,
              int threads);

  int64_t size() const { return size_; }
  int64_t num_features() const;
  std::span<const uint32_t> row(int64_t i) const;

  // In how many of the rows each of 2^bits numbers is.
  std::vector<int32_t> document_counts(std::span<const int64_t> rows, int bits) const;

  // What each of 2^bits numbers was seen as in all rows, 0 where none has it; of numbers, so before keep().
  std::vector<uint8_t> group_bits(int bits) const;

  // Adds a row's weight to counts[number * stride + truth] for each feature of each of the rows.
  void class_counts(std::span<const int64_t> rows, std::span<const int32_t> truth,
                    std::span<const float> row_weights, int stride, std::span<float> counts) const;

  // Gives each number the one that stands at its place in `columns` (of 2^bits), and drops it where that is
  // negative.
  void keep(std::span<const int32_t> columns, int threads);

 private:
  static constexpr int64_t kBlockRows = 2048;
  struct Block {
    std::vector<uint32_t> features;
    std::vector<int64_t> offsets;   // rows + 1
    std::vector<uint32_t> letters;  // the numbers of letters of scripts without blanks, each once
  };
  std::vector<Block> blocks_;
  int64_t size_;
};

}  // namespace gpt2x::text
