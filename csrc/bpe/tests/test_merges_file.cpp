#include "check.hpp"
#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/rank_file.hpp"

using namespace gpt2x::bpe;

TEST("a list of merges begins with the 256 bytes in GPT-2's order") {
  const auto tokens = parse_merges_file("#version: 0.2\n");
  CHECK_EQ(tokens.size(), 256u);
  CHECK_EQ(tokens[0].bytes, "!");
  CHECK_EQ(tokens[187].bytes, "\xFF");
  CHECK_EQ(tokens[188].bytes, std::string(1, '\0'));
  CHECK_EQ(tokens[220].bytes, " ");
  CHECK_EQ(tokens[255].bytes, "\xAD");
  for (TokenId id = 0; id < 256; ++id) CHECK_EQ(tokens[id].rank, id);
}

TEST("each merge makes the next token, of the bytes that its characters spell") {
  const auto tokens = parse_merges_file("h e\n\u0120 t\r\n\n\u0120t he\n\u00C3 \u0142\n");
  CHECK_EQ(tokens.size(), 260u);
  CHECK_EQ(tokens[256].bytes, "he");
  CHECK_EQ(tokens[257].bytes, " t");
  CHECK_EQ(tokens[258].bytes, " the");
  CHECK_EQ(tokens[259].bytes, "\xC3\xA0");
  CHECK_EQ(tokens[259].rank, 259u);
}

TEST("a line that is no merge of two known tokens is named") {
  for (const char* line :
       {"he", "h", " e", "th e", "h \u0144", "h \u4E00", "h\te", "h  e", "\xC4", "h \xC4"}) {
    CHECK_THROWS(parse_merges_file(std::string("a b\n") + line), FormatError, "line 2: ");
  }
  CHECK_THROWS(parse_merges_file("a b\na b\n"), FormatError, "line 2: \"a b\" is no merge");
  CHECK_THROWS(parse_merges_file("a b\n#version: 0.2\n"), FormatError, "line 2: ");
  CHECK_THROWS(parse_merges_file("a b\n\nx yz\n"), FormatError, "line 3: \"x yz\" is no merge");
}
