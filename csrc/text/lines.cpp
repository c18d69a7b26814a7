#include "lines.hpp"

#include <algorithm>

#include "features.hpp"

namespace gpt2x::text {
namespace {

using Byte = unsigned char;

char lower_ascii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// U+00A0 to U+00FF, of which U+00C0 to U+00DE without the multiplication sign are capitals; `lead` is 0xC2 or
// 0xC3.
bool is_latin1(Byte lead, Byte next) {
  return (lead == 0xC2 && next >= 0xA0 && next <= 0xBF) || (lead == 0xC3 && next >= 0x80 && next <= 0xBF);
}
bool is_latin1_capital(Byte lead, Byte next) {
  return lead == 0xC3 && next <= 0x9E && next != 0x97;
}

// U+2010 to U+2027: hyphens, dashes, quotation marks, bullets, dots.
bool is_mark(std::string_view three) {
  const auto last = static_cast<Byte>(three[2]);
  return static_cast<Byte>(three[1]) == 0x80 && last >= 0x90 && last <= 0xA7;
}
bool is_apostrophe(char last_byte) {
  return static_cast<Byte>(last_byte) == 0x98 || static_cast<Byte>(last_byte) == 0x99;
}

}  // namespace

std::vector<std::string_view> lines_of(std::string_view data) {
  std::vector<std::string_view> lines;
  while (!data.empty()) {
    const size_t end = std::min(data.find('\n'), data.size());
    std::string_view line = data.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    data.remove_prefix(std::min(end + 1, data.size()));
  }
  return lines;
}

bool read_line(std::string_view line, LineForm form, std::string& cased, std::string& lowered) {
  cased.clear();
  lowered.clear();
  const auto add = [&](std::string_view bytes) {
    cased.append(bytes);
    lowered.append(bytes);
  };
  for (size_t i = 0; i < line.size();) {
    const auto c = static_cast<Byte>(line[i]);
    const size_t left = line.size() - i;
    if (c < 0x80) {
      const char own = form.fields && c == '\t' ? kFieldSeparator : line[i];
      cased.push_back(own);
      lowered.push_back(lower_ascii(own));
      i += 1;
    } else if (left >= 2 && is_latin1(c, static_cast<Byte>(line[i + 1]))) {
      add(line.substr(i, 2));
      if (is_latin1_capital(c, static_cast<Byte>(line[i + 1]))) lowered.back() += 0x20;
      i += 2;
    } else if (left >= 3 && c == 0xE2 && is_mark(line.substr(i, 3))) {
      add(form.typographic && is_apostrophe(line[i + 2]) ? "'" : line.substr(i, 3));
      i += 3;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace gpt2x::text
