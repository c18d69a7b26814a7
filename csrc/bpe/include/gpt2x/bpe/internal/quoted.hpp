#pragma once

#include <string>
#include <string_view>

namespace gpt2x::bpe {

/// Bytes for an error message: in double quotes, unprintable ones as \xNN, long ones cut.
[[nodiscard]] std::string quoted(std::string_view bytes);

}  // namespace gpt2x::bpe
