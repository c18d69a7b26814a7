#include "gpt2x/bpe/internal/huge_pages.hpp"

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gpt2x::bpe {

void advise_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t num_bytes) {
#if defined(__linux__)
  if (num_bytes < 2 * kHugePageBytes) return;
  // Whole small pages; the kernel finds the large ones in them.
  constexpr std::uintptr_t kPage = 4096;
  const auto first = (reinterpret_cast<std::uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const auto last = (reinterpret_cast<std::uintptr_t>(data) + num_bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace gpt2x::bpe
