#include "check.hpp"
#include "lines.hpp"
#include "samples.hpp"

using namespace gpt2x::text;

namespace {

using Views = std::vector<std::string_view>;

// A line as it is read, a bar, and in lower case; "left" where Python has to read it.
std::string read(std::string_view line, bool typographic = true, bool fields = false) {
  std::string cased, lowered;
  return read_line(line, {typographic, fields}, cased, lowered) ? cased + "|" + lowered : "left";
}

}  // namespace

TEST("lines end with a line feed, with or without a carriage return before it, and with nothing else") {
  CHECK_EQ(lines_of(""), Views());
  CHECK_EQ(lines_of("\n"), Views({""}));
  CHECK_EQ(lines_of("a\r\nb\rc\x0C\n\nd"), Views({"a", "b\rc\x0C", "", "d"}));
  CHECK_EQ(lines_of("a\r"), Views({"a"}));
}

TEST("common characters are lowered and typographic marks kept or made plain") {
  CHECK_EQ(read("Don\xE2\x80\x99t"), "Don't|don't");
  CHECK_EQ(read("Don\xE2\x80\x99t", false), "Don\xE2\x80\x99t|don\xE2\x80\x99t");
  CHECK_EQ(read("\xC3\x80\xC3\x97\xC3\x9E\xC3\x9F"),
           "\xC3\x80\xC3\x97\xC3\x9E\xC3\x9F|\xC3\xA0\xC3\x97\xC3\xBE\xC3\x9F");
  CHECK_EQ(read("a\tB", true, true),
           "a\x1F"
           "B|a\x1F"
           "b");
  CHECK_EQ(read("a\tB"), "a\tB|a\tb");
}

TEST("other characters and what is no UTF-8 are left to Python") {
  for (const std::string_view line :
       {"e\xCC\x81", "\xC4\xB0", "\xE6\x97\xA5", "\xF0\x9F\x98\x80", "\xE2\x80\xA8", "\xC2\x85", "\xFF",
        "\xC3", "\xC3(", "\xE2", "\xE2\x80", "\xC0\x80", "\xED\xA0\x80"})
    CHECK_EQ(read(line), "left");
}

TEST("no line is read beyond its end") {
  samples::Random random;
  for (int i = 0; i < 500; ++i) {
    const std::string bytes = samples::noise(random.below(40), random);
    const std::vector<char> exact(bytes.begin(), bytes.end());  // so that a sanitizer sees a byte too far
    for (const std::string_view line : lines_of({exact.data(), exact.size()})) CHECK(!read(line).empty());
  }
}
