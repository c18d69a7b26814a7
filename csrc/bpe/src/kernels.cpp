#include "kernels.hpp"

#include <array>
#include <cstring>

#include "split_blocks.hpp"
#include "target.hpp"
#include "word_loops.hpp"
#include "word_merger.hpp"

namespace gpt2x::bpe {
namespace {

// Eight bytes in one 64-bit word; a byte's answer is its highest bit.
class Bytes8 {
 public:
  explicit Bytes8(const char* data) { std::memcpy(&bytes_, data, sizeof bytes_); }

  [[nodiscard]] std::uint64_t high() const { return bytes_ & kHigh; }
  [[nodiscard]] std::uint64_t continuation() const { return bytes_ & ~bytes_ << 1 & kHigh; }

  /// ASCII bytes from `low` to `high`, the case of letters left aside if `fold` is 0x20.
  [[nodiscard]] std::uint64_t between(std::uint8_t low, std::uint8_t high, std::uint8_t fold = 0) const {
    const std::uint64_t ascii = (bytes_ | kOnes * fold) & ~kHigh;
    // Adding carries into a byte's highest bit, and never beyond, from `low` on and from `high` + 1 on.
    const std::uint64_t from_low = ascii + kOnes * (0x80 - low);
    const std::uint64_t above_high = ascii + kOnes * (0x7F - high);
    return from_low & ~above_high & ~bytes_ & kHigh;
  }

 private:
  static constexpr std::uint64_t kOnes = 0x0101010101010101u;
  static constexpr std::uint64_t kHigh = 0x80 * kOnes;

  std::uint64_t bytes_;
};

struct PortableClassify {
  static BlockMasks masks(const char* block) {
    BlockMasks masks{};
    for (int i = 0; i < 8; ++i) {
      const Bytes8 bytes(block + 8 * i);
      const auto add = [&](std::uint64_t& mask, std::uint64_t high_bits) {
        // The product gathers the eight highest bits in the topmost byte.
        mask |= ((high_bits >> 7) * 0x0102040810204080u >> 56) << 8 * i;
      };
      add(masks.letter, bytes.between('a', 'z', 0x20));
      add(masks.number, bytes.between('0', '9'));
      const std::uint64_t blank = bytes.between(' ', ' ');
      add(masks.blank, blank);
      add(masks.white, bytes.between('\t', '\r') | blank);
      add(masks.apostrophe, bytes.between('\'', '\''));
      add(masks.non_ascii, bytes.high());
      add(masks.continuation, bytes.continuation());
    }
    return masks;
  }
};

}  // namespace

const Kernels kPortableKernels{"portable", find_starts<PortableClassify>, merge_words,
                               kWordKernels<std::uint16_t>, kWordKernels<std::uint32_t>};

std::span<const Kernels* const> usable_kernels() {
#if GPT2X_X86_TARGETS
  static const std::array<const Kernels*, 3> kAll{&kAvx512Kernels, &kAvx2Kernels, &kPortableKernels};
  static const std::size_t first = [] {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return avx512 ? 0 : avx2 ? 1 : 2;
  }();
#else
  static const std::array<const Kernels*, 1> kAll{&kPortableKernels};
  constexpr std::size_t first = 0;
#endif
  return std::span(kAll).subspan(first);
}

const Kernels& kernels() {
  static const Kernels& fastest = *usable_kernels().front();
  return fastest;
}

}  // namespace gpt2x::bpe
