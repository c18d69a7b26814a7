// A large array of zeros, in large pages where there are any: a table that is entered at random places would
// otherwise also miss the processor's address cache at every step.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "gpt2x/bpe/internal/huge_pages.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gpt2x::bpe {

template <typename T>
class HugeArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  /// All bytes are zero. Throws std::bad_alloc.
  explicit HugeArray(std::size_t size) : data_(allocate(size * sizeof(T)), Free{size * sizeof(T)}) {}

  T& operator[](std::size_t i) { return data_.get()[i]; }
  const T& operator[](std::size_t i) const { return data_.get()[i]; }

 private:
#if defined(__linux__)
  static void* map(std::size_t bytes) {
    void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    return mapped;
  }

  // Whole huge pages, if it is not less than one; the part of the mapping before the first one is given back.
  static T* allocate(std::size_t bytes) {
    if (bytes < kHugePageBytes) return static_cast<T*>(map(bytes));
    void* const mapped = map(bytes + kHugePageBytes);
    void* aligned = mapped;
    std::size_t space = bytes + kHugePageBytes;
    std::align(kHugePageBytes, bytes, aligned, space);
    auto* const first = static_cast<char*>(aligned);
    if (first != mapped) munmap(mapped, static_cast<std::size_t>(first - static_cast<char*>(mapped)));
    if (space > bytes) munmap(first + round_up(bytes), space - round_up(bytes));
    madvise(first, bytes, MADV_HUGEPAGE);  // also for a single one, which advise_huge_pages leaves alone
    return reinterpret_cast<T*>(first);
  }
  static std::size_t round_up(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

  struct Free {
    std::size_t bytes;
    void operator()(T* data) const { munmap(data, round_up(bytes)); }
  };
#else
  static T* allocate(std::size_t bytes) {
    void* const data = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (data == nullptr) throw std::bad_alloc();
    std::memset(data, 0, bytes);
    return static_cast<T*>(data);
  }

  struct Free {
    std::size_t bytes;
    void operator()(T* data) const { std::free(data); }
  };
#endif

  std::unique_ptr<T, Free> data_;
};

}  // namespace gpt2x::bpe
