#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "check.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/encoder.hpp"
#include "gpt2x/bpe/rank_file.hpp"
#include "gpt2x/bpe/tokenizer.hpp"
#include "samples.hpp"

using namespace gpt2x::bpe;

namespace {

using Tokens = std::vector<TokenId>;

Tokenizer sample_tokenizer() {
  return {samples::vocabulary(samples::ranks()), Pattern::kGpt2};
}

// The tokens of one piece, without any memory.
Tokens merged(const Tokenizer& tokenizer, std::string_view piece) {
  Tokens tokens(piece.size());
  const TokenId* const end = encode_piece(tokenizer.vocabulary().tables(), piece, tokens.data());
  tokens.resize(static_cast<std::size_t>(end - tokens.data()));
  return tokens;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

}  // namespace

TEST("encoding equals the reference on text and on bytes that are none") {
  std::mt19937 random(7);
  const Tokenizer tokenizer = sample_tokenizer();
  for (int i = 0; i < 6'000; ++i) {
    const std::string text = samples::random_text(random, random() % 20, i % 2 == 0);
    const Tokens tokens = tokenizer.encode(text);
    CHECK_EQ(tokens, reference::encode(samples::ranks(), text));
    CHECK_EQ(tokenizer.count(text), tokens.size());
    CHECK_EQ(tokenizer.decode(tokens), text);
  }
}

TEST("random bytes come back from their tokens") {
  std::mt19937 random(8);
  const Tokenizer tokenizer = sample_tokenizer();
  for (int i = 0; i < 3'000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    CHECK_EQ(tokenizer.decode(tokenizer.encode(bytes)), bytes);
  }
}

TEST("white space before broken UTF-8 is merged again together with it") {
  const Tokenizer tokenizer = sample_tokenizer();
  for (const std::string_view text :
       {"a  \xff", "  \n\t \xff ", "\xff", "  \xe2\x80", "the town \xc3", "\u3000\xff"}) {
    CHECK_EQ(tokenizer.encode(text), reference::encode(samples::ranks(), text));
  }
}

TEST("a long piece has the same tokens each time it comes, and one with the same ends has its own") {
  std::mt19937 random(13);
  const Tokenizer tokenizer = sample_tokenizer();
  const std::string ends = samples::random_letters(random, 300, 8);
  for (const std::size_t size : {1'023, 1'024, 1'025, 1'400, 5'000}) {
    std::vector<std::string> pieces;
    for (int i = 0; i < 2; ++i)
      pieces.push_back(ends + samples::random_letters(random, size - 600, 8) + ends);
    for (int round = 0; round < 4; ++round) {
      for (const std::string& piece : pieces) {
        Tokens expected{tokenizer.vocabulary().find(",")};
        for (int i = 0; i < 2; ++i) {
          for (const TokenId token : merged(tokenizer, piece)) expected.push_back(token);
          expected.push_back(expected.front());
        }
        CHECK_EQ(tokenizer.encode("," + piece + "," + piece + ","), expected);
      }
    }
  }
}

TEST("more long pieces than there is memory for have their tokens each time") {
  std::mt19937 random(14);
  const Tokenizer tokenizer = sample_tokenizer();
  std::vector<std::string> pieces;
  for (int i = 0; i < 3; ++i) pieces.push_back(samples::random_letters(random, std::size_t{1} << 20, 8));
  for (int round = 0; round < 3; ++round) {
    for (const std::string& piece : pieces) CHECK_EQ(tokenizer.encode(piece), merged(tokenizer, piece));
  }
}

TEST("an unknown id is named") {
  const Tokenizer tokenizer = sample_tokenizer();
  CHECK_THROWS(tokenizer.decode(Tokens{1, 999'999}), UnknownTokenError, "999999");
  CHECK_THROWS(tokenizer.decode(Tokens{kNoToken}), UnknownTokenError, "4294967295");
  CHECK_EQ(tokenizer.decode({}), "");
}

TEST("a batch gives each text's tokens for any number of threads") {
  std::mt19937 random(9);
  const Tokenizer tokenizer = sample_tokenizer();
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(samples::random_text(random, random() % 200, false));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<Tokens> expected;
  for (const std::string& text : texts) expected.push_back(tokenizer.encode(text));
  for (const unsigned num_threads : {0, 1, 2, 7, 100})
    CHECK_EQ(tokenizer.encode_batch(views, num_threads), expected);
  CHECK_EQ(tokenizer.encode_batch({}, 2).size(), 0u);
}

TEST("a flag that has been raised stops the encoding of any text, and the tokenizer goes on to serve") {
  const Tokenizer tokenizer = sample_tokenizer();
  StopFlag stop;
  const EncodeOptions options{.stop = stop};
  const std::vector<char32_t> code_points(samples::kText.begin(), samples::kText.begin() + 5);
  const std::string broken = std::string(samples::kText) + "\xff";
  const auto encode_all = [&] {
    CountingSink sink;
    tokenizer.encode(samples::kText, sink, Tokenizer::Text::kAnyBytes, options);
    tokenizer.encode(broken, sink, Tokenizer::Text::kAnyBytes, options);
    tokenizer.encode(std::span<const char32_t>(code_points), sink, options);
    return sink.count;
  };
  const std::size_t count = encode_all();
  CHECK(count > 0);
  stop.raise();
  CountingSink sink;
  CHECK_THROWS(tokenizer.encode(samples::kText, sink, Tokenizer::Text::kAnyBytes, options), Stopped, "");
  CHECK_THROWS(tokenizer.encode(broken, sink, Tokenizer::Text::kAnyBytes, options), Stopped, "");
  CHECK_THROWS(tokenizer.encode(std::span<const char32_t>(code_points), sink, options), Stopped, "");
  CHECK_EQ(tokenizer.encode(samples::kText), reference::encode(samples::ranks(), samples::kText));
}

TEST("a long piece is left soon after the flag has been raised") {
  // Merging all of it takes a hundred times as long as the flag stays down.
  std::mt19937 random(10);
  reference::Ranks ranks = samples::ranks(0);
  ranks["abc"] = 257;
  ranks["ab"] = 258;
  const Tokenizer tokenizer(samples::vocabulary(ranks), Pattern::kGpt2);
  const std::string piece = samples::random_letters(random, 20'000'000, 3);
  StopFlag stop;
  const std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop.raise();
  });
  CountingSink sink;
  CHECK_THROWS(tokenizer.encode(piece, sink, Tokenizer::Text::kAnyBytes, {.stop = stop}), Stopped, "");
  CHECK_EQ(sink.count, 0u);
}

TEST("a flag that is asked attends at the next check, and the work goes on") {
  struct Counting : StopFlag {
    void attend() override {
      ++count;
      settle();
    }
    int count = 0;
  };
  Counting flag;
  flag.check();
  CHECK_EQ(flag.count, 0);
  flag.ask();
  const Tokenizer tokenizer = sample_tokenizer();
  CountingSink sink;
  tokenizer.encode(samples::kText, sink, Tokenizer::Text::kAnyBytes, {.stop = flag});
  CHECK_EQ(flag.count, 1);
  CHECK_EQ(sink.count, tokenizer.count(samples::kText));
  flag.raise();
  flag.ask();
  CHECK_THROWS(flag.check(), Stopped, "stopped");
}

TEST("threads may share a tokenizer") {
  const Tokenizer tokenizer = sample_tokenizer();
  const Tokens expected = tokenizer.encode(samples::kText);
  std::vector<int> num_equal(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& equal : num_equal) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) {
          const Tokens tokens = tokenizer.encode(samples::kText);
          equal += tokens == expected && tokenizer.decode(tokens) == samples::kText;
        }
      });
    }
  }
  CHECK_EQ(num_equal, std::vector<int>(4, 100));
}

// Each line: the hexadecimal bytes of a text, a tab, its ids with blanks between. The same files serve Python
// and Rust.
TEST("the golden vectors hold") {
  const std::filesystem::path folder = GPT2X_GOLDEN_DIR;
  const std::filesystem::path ranks = folder / "songs.tiktoken";
  const std::filesystem::path vectors = folder / "encode_vectors.tsv";
  if (!exists(ranks) || !exists(vectors)) return;  // a source tree without the shared test data

  const Tokenizer tokenizer(vocabulary_from_ranks(parse_rank_file(read_file(ranks))), Pattern::kGpt2);
  std::ifstream file(vectors);
  std::size_t num_lines = 0;
  for (std::string line; std::getline(file, line); ++num_lines) {
    const std::size_t tab = line.find('\t');
    CHECK(tab != std::string::npos);
    const std::string text = from_hex(std::string_view(line).substr(0, tab));
    std::istringstream numbers(line.substr(tab + 1));
    const Tokens expected{std::istream_iterator<TokenId>(numbers), {}};
    CHECK_EQ(tokenizer.encode(text), expected);
    CHECK_EQ(tokenizer.decode(expected), text);
  }
  CHECK(num_lines > 0);
}
