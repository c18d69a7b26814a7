#include "gpt2x/bpe/vocabulary.hpp"

#include "gpt2x/bpe/internal/vocabulary_tables.hpp"

namespace gpt2x::bpe {

Vocabulary::Vocabulary(std::span<const Entry> entries)
    : tables_(std::make_shared<const VocabularyTables>(entries)) {}

TokenId Vocabulary::size() const {
  return tables_->size();
}
std::string_view Vocabulary::bytes_of(TokenId id) const {
  return tables_->bytes_of(id);
}
TokenId Vocabulary::find(std::string_view bytes) const {
  return tables_->find(bytes);
}
TokenId Vocabulary::merged(TokenPair pair) const {
  return tables_->merged(pair);
}
bool Vocabulary::is_consistent() const {
  return tables_->is_consistent();
}

}  // namespace gpt2x::bpe
