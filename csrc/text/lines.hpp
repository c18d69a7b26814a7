// Raw lines of UTF-8, brought to the form in which texts are read, where that needs no tables of Unicode.
//
// Most lines are of ASCII, Latin-1 and typographic marks: each has one composed form (NFC), and its lower
// case is a bit or nothing. A line with any other character is left to Python (gpt2x/classify/inputs.py:
// in_form, and str.lower).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gpt2x::text {

struct LineForm {
  bool typographic;  // the quotation marks U+2018 and U+2019 become ', as in the text form NFC
  bool fields;       // a tab separates fields
};

// The lines of `data`, which end with \n or \r\n; what is behind the last line end is one too, unless it is
// empty.
std::vector<std::string_view> lines_of(std::string_view data);

// Writes a line as it is read and in lower case; false where it has other characters than those above.
bool read_line(std::string_view line, LineForm form, std::string& cased, std::string& lowered);

}  // namespace gpt2x::text
