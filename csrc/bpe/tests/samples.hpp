// Text, vocabularies and random input that several tests use.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gpt2x/bpe/vocabulary.hpp"
#include "reference.hpp"

namespace samples {

/// A few lines with words, contractions, numbers, punctuation, white space and several scripts.
extern const std::string_view kText;

/// Tokens by bytes: the 256 bytes and what `num_merges` merges learned from kText make.
const reference::Ranks& ranks(std::size_t num_merges = 300);

/// The same as the core's vocabulary.
gpt2x::bpe::Vocabulary vocabulary(const reference::Ranks& ranks);

/// Text from a few building blocks that meet in ways which matter to the pattern; `malformed` adds broken
/// UTF-8.
std::string random_text(std::mt19937& random, std::size_t num_blocks, bool malformed);

/// Letters from a small alphabet: pieces in which many merges compete.
std::string random_letters(std::mt19937& random, std::size_t length, unsigned alphabet_size);

/// 128 letters of which no two neighbours come twice, and a vocabulary in which how many of them there are
/// decides how they begin: those of an odd number merge from the right on, and leave a "z" before them alone;
/// of an even number, the first merges with the "z".
std::string letters_decided_by_the_end();
reference::Ranks ranks_decided_by_the_end();

}  // namespace samples
