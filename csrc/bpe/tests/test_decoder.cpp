#include <random>
#include <stdexcept>

#include "check.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/decoder.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kLong = "<|a special token of more than sixteen bytes|>";

template <typename Id>
std::string decode(const Decoder& decoder, const std::vector<Id>& ids) {
  const std::span<const Id> span(ids);
  std::string text(decoder.num_bytes(span), '\0');
  decoder.write(span, text.data(), text.size());
  return text;
}

}  // namespace

TEST("tokens of every length give their bytes, whatever the type of the ids") {
  std::mt19937 random(31);
  reference::Ranks ranks = samples::ranks();
  for (std::size_t length = 2; length <= 40; ++length) {
    ranks.emplace(std::string(length, '='), static_cast<TokenId>(ranks.size()));
  }
  const auto end = static_cast<TokenId>(ranks.size());
  const Vocabulary vocabulary = samples::vocabulary(ranks);
  const std::vector<Vocabulary::Entry> specials{{kEnd, end}, {kLong, end + 7}};
  const Decoder decoder(vocabulary, specials);
  CHECK_EQ(decoder.bytes_of(end), kEnd);
  CHECK_EQ(decoder.bytes_of(end + 7), kLong);
  CHECK_EQ(decoder.bytes_of(end + 1), "");
  CHECK_EQ(decoder.bytes_of(kNoToken), "");
  for (int i = 0; i < 500; ++i) {
    std::vector<std::uint16_t> ids;
    std::string expected;
    for (std::size_t left = random() % 20; left > 0; --left) {
      const auto id =
          static_cast<std::uint16_t>(random() % 10 == 0 ? end + 7 * (random() % 2) : random() % end);
      ids.push_back(id);
      expected += decoder.bytes_of(id);
    }
    CHECK_EQ(decode(decoder, ids), expected);
    CHECK_EQ(decode(decoder, std::vector<std::uint32_t>(ids.begin(), ids.end())), expected);
    CHECK_EQ(decode(decoder, std::vector<std::int64_t>(ids.begin(), ids.end())), expected);
    std::vector<std::uint32_t> lengths(ids.size());
    decoder.lengths(std::span<const std::uint16_t>(ids), lengths.data());
    for (std::size_t j = 0; j < ids.size(); ++j) CHECK_EQ(lengths[j], decoder.bytes_of(ids[j]).size());
  }
}

TEST("the first unknown id is named, also a negative one") {
  const Decoder decoder(samples::vocabulary(samples::ranks()), {});
  CHECK_THROWS(decode(decoder, std::vector<std::uint32_t>{1, 999'999, 888'888}), UnknownTokenError, "999999");
  CHECK_THROWS(decode(decoder, std::vector<std::int32_t>{1, -1}), UnknownTokenError, "-1");
  CHECK_THROWS(decode(decoder, std::vector<std::int64_t>{std::int64_t{1} << 40}), UnknownTokenError,
               "1099511627776");
}

TEST(
    "ids that have changed since they were looked at are refused, and nothing is written behind the buffer") {
  const std::vector<Vocabulary::Entry> specials{{kLong, 9'000}};
  const Decoder decoder(samples::vocabulary(samples::ranks()), specials);
  for (const std::size_t capacity : {0, 1, 20, 40, 200}) {
    for (const std::int64_t changed : {std::int64_t{9'000}, std::int64_t{8'999}, std::int64_t{-1}}) {
      std::vector<std::int64_t> ids(200, changed);
      std::string room(capacity, 'x');
      CHECK_THROWS(decoder.write(std::span<const std::int64_t>(ids), room.data(), room.size()),
                   std::invalid_argument, "have changed");
    }
  }
}

TEST("a special token must have bytes and an id of its own") {
  const Vocabulary vocabulary = samples::vocabulary(samples::ranks());
  const auto with = [&](std::string_view bytes, TokenId id) {
    const std::vector<Vocabulary::Entry> specials{{bytes, id}};
    return Decoder(vocabulary, specials);
  };
  CHECK_THROWS(with(kEnd, 0), FormatError, "id 0");
  CHECK_THROWS(with("", 9'000), FormatError, "empty");
  CHECK_THROWS(with(kEnd, Vocabulary::kMaxSize), FormatError, "16777216");
}
