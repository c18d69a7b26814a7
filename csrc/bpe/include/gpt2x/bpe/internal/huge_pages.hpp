// Asking for large pages.
//
// The first touch of each page of 4 KiB costs a fault, of a microsecond and more on a virtual machine: as
// much as encoding the kilobytes that the page holds. Linux has pages of 2 MiB for who asks.
#pragma once

#include <cstddef>

namespace gpt2x::bpe {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

/// Asks for large pages in memory that has not been touched. A wish: where it cannot be granted, nothing
/// happens. Memory smaller than two large pages is left alone.
void advise_huge_pages(void* data, std::size_t num_bytes);

}  // namespace gpt2x::bpe
