#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "check.hpp"
#include "features.hpp"
#include "samples.hpp"

using namespace gpt2x::text;

namespace {

std::string from_hex(std::string_view digits) {
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16)));
  return bytes;
}

std::vector<uint32_t> features_of(std::string_view cased, std::string_view lowered, int bits = 22) {
  const FeatureRows rows(std::span(&cased, 1), std::span(&lowered, 1), bits, 1);
  const auto row = rows.row(0);
  return {row.begin(), row.end()};
}

size_t count(const std::vector<uint32_t>& features, Group group) {
  return static_cast<size_t>(std::count_if(features.begin(), features.end(), [group](uint32_t feature) {
    return feature >> kGroupShift == static_cast<uint32_t>(group);
  }));
}

}  // namespace

// Each line: a text, the same in lower case, and its features by the readable definition in Python, which is
// held to the same file.
TEST("features are those of the golden file") {
  const std::filesystem::path golden = std::filesystem::path(GPT2X_GOLDEN_DIR) / "text_features.tsv";
  if (!exists(golden)) return;  // a source tree without the shared test data
  std::ifstream file(golden);
  size_t num_lines = 0;
  for (std::string line; std::getline(file, line); ++num_lines) {
    std::istringstream cells(line);
    std::string cased, lowered;
    std::getline(cells, cased, '\t');
    std::getline(cells, lowered, '\t');
    const std::vector<uint32_t> expected{std::istream_iterator<uint32_t>(cells), {}};
    CHECK_EQ(features_of(from_hex(cased), from_hex(lowered)), expected);
  }
  CHECK(num_lines > 20);
}

TEST("a text without a word has features of style alone") {
  for (const std::string_view text : {"", " ", "\t\n"}) {
    const auto features = features_of(text, text);
    CHECK_EQ(features.size(), 4u);
    CHECK_EQ(count(features, kStyle), 4u);
  }
}

TEST("features are sorted, each once, and below the bound") {
  for (const int bits : {1, 8, kMostBits}) {
    const auto features = features_of("Rain rain RAIN and rain", "rain rain rain and rain", bits);
    CHECK(std::is_sorted(features.begin(), features.end()));
    CHECK(std::adjacent_find(features.begin(), features.end()) == features.end());
    for (const uint32_t feature : features) {
      CHECK((feature & kNumberMask) < 1u << bits);
      CHECK(feature >> kGroupShift < kGroups);
    }
  }
}

TEST("a word of a megabyte is read, and a million words") {
  const std::string word(1 << 20, 'x');
  const auto of_word = features_of(word, word);
  CHECK_EQ(count(of_word, kWord), 1u);
  CHECK_EQ(count(of_word, kCharacters), 9u);  // <xx <xxx <xxxx, xxx xxxx xxxxx, and the three that end in >
  std::string words;
  for (int i = 0; i < 1 << 20; ++i) words += "ab ";
  const auto of_words = features_of(words, words);
  CHECK_EQ(count(of_words, kWord), 1u);
  CHECK_EQ(count(of_words, kPair), 1u);
}

TEST("bytes that are no UTF-8 are characters like others") {
  CHECK_EQ(count(features_of("\xFF", "\xFF"), kWord), 1u);
  CHECK_EQ(count(features_of("a\xC3", "a\xC3"), kWord), 1u);
  CHECK_EQ(count(features_of("\xE2\x80", "\xE2\x80"), kWord), 1u);  // the beginning of a mark, cut
  samples::Random random;
  for (int i = 0; i < 200; ++i) {
    const std::string bytes = samples::noise(random.below(60), random);
    CHECK(!features_of(bytes, bytes).empty());
  }
}

TEST("rows do not depend on the number of threads, and know their order") {
  const auto texts = samples::headlines(5000);
  const auto views = samples::views_of(texts);
  const FeatureRows one(views, views, 16, 1), many(views, views, 16, 5);
  CHECK_EQ(many.size(), 5000);
  CHECK_EQ(many.num_features(), one.num_features());
  for (int64_t i = 0; i < one.size(); ++i) CHECK(std::ranges::equal(one.row(i), many.row(i)));
  CHECK_EQ(features_of(texts[4999], texts[4999], 16),
           std::vector(one.row(4999).begin(), one.row(4999).end()));
}

TEST("features without a column are dropped and the others renamed") {
  const auto texts = samples::headlines(3000);
  const auto views = samples::views_of(texts);
  FeatureRows rows(views, views, 10, 3);
  const FeatureRows before(views, views, 10, 1);
  std::vector<int32_t> columns(1 << 10, -1);
  for (int32_t number = 0; number < 1 << 10; number += 3) columns[number] = number / 3;
  rows.keep(columns, 3);
  for (int64_t i = 0; i < rows.size(); ++i) {
    std::vector<uint32_t> expected;
    for (const uint32_t feature : before.row(i))
      if ((feature & kNumberMask) % 3 == 0)
        expected.push_back((feature & ~kNumberMask) | (feature & kNumberMask) / 3);
    CHECK(std::ranges::equal(rows.row(i), expected));
  }
}

TEST("a text of megabytes has the features of its words, each once") {
  std::string once, often;
  for (const std::string& text : samples::headlines(3000)) once += text + ' ';
  std::replace(once.begin(), once.end(), kFieldSeparator, ' ');
  once += once;
  for (int i = 0; i < 20; ++i) often += once;
  CHECK(often.size() > 2000000);
  CHECK_EQ(features_of(often, often), features_of(once, once));
}

TEST("letters of scripts without blanks are Chinese characters and kana") {
  for (const std::string_view letter : {"\xE3\x81\x80", "\xE3\x83\xBF", "\xE3\x90\x80", "\xE9\xBF\xBF"})
    CHECK_EQ(letter_length(letter), 3u);
  for (const std::string_view letter : {"\xF0\xA0\x80\x80", "\xF0\xBF\xBF\xBF"})
    CHECK_EQ(letter_length(letter), 4u);
  for (const std::string_view other :
       {"", "a", "\xC3\xA9", "\xE3\x80\x82", "\xE3\x84\x80", "\xE3\x8F\xBF", "\xEA\xB0\x80", "\xEF\xBC\x8C",
        "\xF0\x9F\x98\x80", "\xE4\xB8", "\xF0\xA0\x80"})
    CHECK_EQ(letter_length(other), 0u);
}

TEST("each number knows the groups that have it") {
  const std::string_view text = "rain \xE9\x9B\xA8\xE5\xA4\xA9";
  for (const int bits : {4, 22}) {
    const FeatureRows rows(std::span(&text, 1), std::span(&text, 1), bits, 1);
    std::vector<uint8_t> expected(size_t{1} << bits);
    for (const uint32_t feature : rows.row(0))
      expected[feature & kNumberMask] |= static_cast<uint8_t>(1u << (feature >> kGroupShift));
    size_t letters = 0;
    const auto found = rows.group_bits(bits);
    for (size_t number = 0; number < found.size(); ++number) {
      CHECK_EQ(found[number] & ~kLetterBit, int{expected[number]});
      if (!(found[number] & kLetterBit)) continue;
      ++letters;
      CHECK(expected[number] & 1u << kCharacters);
    }
    if (bits == 22) CHECK_EQ(letters, 2u);
  }
}
