// Going through the lines of a file's contents.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace gpt2x::bpe {

/// Calls `use(line, number)` for every line that is not empty. Numbers count all lines, from 1 on; a carriage
/// return before a line's end belongs to the end.
template <typename Function>
void for_each_line(std::string_view contents, Function&& use) {
  for (std::size_t number = 1; !contents.empty(); ++number) {
    std::string_view line = contents.substr(0, contents.find('\n'));
    contents.remove_prefix(std::min(line.size() + 1, contents.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) use(line, number);
  }
}

}  // namespace gpt2x::bpe
