#include "gpt2x/bpe/internal/decoder.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "gpt2x/bpe/errors.hpp"
#include "gpt2x/bpe/internal/quoted.hpp"
#include "gpt2x/bpe/internal/vocabulary_tables.hpp"

namespace gpt2x::bpe {

Decoder::Decoder(const Vocabulary& vocabulary, std::span<const Vocabulary::Entry> special_tokens) {
  const VocabularyTables& tables = vocabulary.tables();
  TokenId size = tables.size();
  for (const auto& [bytes, id] : special_tokens) {
    if (bytes.empty()) throw FormatError("special token " + std::to_string(id) + " is empty");
    if (id >= Vocabulary::kMaxSize) {
      throw FormatError("special token " + quoted(bytes) + " has id " + std::to_string(id) +
                        ", which is not below " + std::to_string(Vocabulary::kMaxSize));
    }
    size = std::max(size, id + 1);
  }
  lengths_.resize(size);
  Copy unknown{};
  unknown.back() = static_cast<char>(kLong);  // looked at more closely, and found to be none
  copies_.resize(size, unknown);
  for (TokenId id = 0; id < tables.size(); ++id) set({tables.bytes_of(id), id});
  for (const Vocabulary::Entry& special : special_tokens) {
    if (lengths_[special.id] != 0) {
      throw FormatError("special token " + quoted(special.bytes) + " has id " + std::to_string(special.id) +
                        ", which another token has");
    }
    set(special);
  }
}

void Decoder::set(const Vocabulary::Entry& entry) {
  const auto& [bytes, id] = entry;
  lengths_[id] = static_cast<std::uint8_t>(std::min<std::size_t>(bytes.size(), kLong));
  if (bytes.size() < kCopyBytes) {
    std::ranges::copy(bytes, copies_[id].begin());
    copies_[id].back() = static_cast<char>(bytes.size());
  } else {
    copies_[id].back() = static_cast<char>(kLong);
    long_tokens_.emplace(id, bytes);
  }
}

std::string_view Decoder::bytes_of(TokenId id) const {
  const std::size_t length = length_of(id);
  if (length >= kCopyBytes) return long_tokens_.at(id);
  return length == 0 ? std::string_view() : std::string_view(copies_[id].data(), length);
}

template <typename Id>
std::size_t Decoder::num_bytes(std::span<const Id> ids) const {
  std::size_t total = 0;
  bool odd = false;
  for (const Id id : ids) {
    // A negative id becomes a large one.
    const auto index = static_cast<std::uint64_t>(id);
    const std::uint8_t length = index < lengths_.size() ? lengths_[index] : 0;
    total += length;
    odd |= length == 0 || length == kLong;
  }
  if (!odd) return total;

  total = 0;
  for (const Id id : ids) {
    const std::size_t length = length_of(static_cast<std::uint64_t>(id));
    if (length == 0) throw UnknownTokenError("no token has id " + std::to_string(id));
    total += length;
  }
  return total;
}

template <typename Id>
void Decoder::lengths(std::span<const Id> ids, std::uint32_t* lengths) const {
  static_cast<void>(num_bytes(ids));
  std::ranges::transform(ids, lengths, [&](Id id) {
    return static_cast<std::uint32_t>(length_of(static_cast<std::uint64_t>(id)));
  });
}

template <typename Id>
char* Decoder::write(std::span<const Id> ids, char* out, std::size_t capacity) const {
  const char* const room_end = out + capacity;
  const char* const last_copy = capacity < kCopyBytes ? nullptr : room_end - kCopyBytes;
  const Id* next = ids.data();
  const Id* const end = next + ids.size();
  for (; next != end && out <= last_copy; ++next) {
    const auto id = static_cast<std::uint64_t>(*next);
    const bool known = id < copies_.size();
    const Copy& copy = copies_[known ? id : 0];
    const auto length = static_cast<std::uint8_t>(copy.back());
    if (!known || length == kLong) [[unlikely]] {
      out = write_one(id, out, room_end);
    } else {
      std::memcpy(out, copy.data(), kCopyBytes);
      out += length;
    }
  }
  // The last ones may end where the buffer does.
  for (; next != end; ++next) out = write_one(static_cast<std::uint64_t>(*next), out, room_end);
  return out;
}

char* Decoder::write_one(std::uint64_t id, char* out, const char* end) const {
  const std::string_view bytes =
      id < copies_.size() ? bytes_of(static_cast<TokenId>(id)) : std::string_view();
  if (bytes.empty() || bytes.size() > static_cast<std::size_t>(end - out)) {
    throw std::invalid_argument("the ids have changed while they were decoded; decode a copy of them");
  }
  return std::ranges::copy(bytes, out).out;
}

#define GPT2X_DECODE_FROM(Id)                                                    \
  template std::size_t Decoder::num_bytes<Id>(std::span<const Id>) const;        \
  template void Decoder::lengths<Id>(std::span<const Id>, std::uint32_t*) const; \
  template char* Decoder::write<Id>(std::span<const Id>, char*, std::size_t) const
GPT2X_DECODE_FROM(std::uint16_t);
GPT2X_DECODE_FROM(std::int16_t);
GPT2X_DECODE_FROM(std::uint32_t);
GPT2X_DECODE_FROM(std::int32_t);
GPT2X_DECODE_FROM(std::uint64_t);
GPT2X_DECODE_FROM(std::int64_t);
#undef GPT2X_DECODE_FROM

}  // namespace gpt2x::bpe
