"""What `HashedLinear` sees in a text, in readable Python: the definition that csrc/text/features.cpp is held to.

Seven groups of features, each of which counts once for a text, however often it occurs:

==============  ===========================================================================================
word            each word or mark, in lower case
field word      the same, apart for each field: "trump" in a headline is not "trump" in a description
cased word      each word as it is written
pair            two neighbouring words
field pair      the same, apart for each field
characters      3 to 5 bytes of ``<word>``: "<cli", "limat", "ate>" make climates akin to climate
style           of each field the first word, the last, the first two, the share of capitalised words,
                how many words stand in capitals, how many words there are
==============  ===========================================================================================

A feature is known by a hash of `BITS` bits (Weinberger et al. 2009, "Feature hashing for large scale multitask
learning"), so there is no vocabulary to keep. Two features may share a number; with 4 million numbers that costs less
than a tenth of a point.

>>> [token.decode() for token in split_tokens(b"don't panic: 42")]
["don't", 'panic', ':', '42']
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gpt2x.data.fields import FIELD_SEPARATOR

GROUPS = ("word", "field word", "cased word", "pair", "field pair", "characters", "style")
GROUP_SHIFT = 28
"""A feature is ``group << GROUP_SHIFT | number``."""

NUMBER_MASK = (1 << GROUP_SHIFT) - 1
SHORTEST, LONGEST = 3, 5

_WORD, _FIELD_WORD, _CASED, _PAIR, _FIELD_PAIR, _CHARACTERS, _STYLE = range(len(GROUPS))
_FIRST, _LAST, _FIRST_PAIR, _NO_WORD, _CAPITALS, _SHOUTED, _LENGTH = range(7)
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15

LETTER = r"[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
"""A letter of a script without blanks: Chinese characters and kana. A sentence of them is one word to `split_tokens`,
so a text is known by its letters (``Scorer`` of gpt2x._text), and they are what an explanation names."""

_PIECE = re.compile(f"{LETTER}|(?:(?!{LETTER}).)+", re.DOTALL)

# Marks of Latin-1 (U+00A0-U+00BF) and of General Punctuation (U+2000-U+206F), in UTF-8.
_MARK = rb"\xc2[\xa0-\xff]|\xe2\x80[\x00-\xff]|\xe2\x81[\x00-\xaf]"
_CHARACTER = rb"(?!" + _MARK + rb")[A-Za-z0-9\x80-\xff]"
_TOKEN = re.compile(
    rb"(?:" + _CHARACTER + rb")(?:" + _CHARACTER + rb"|'(?=[A-Za-z]))*|" + _MARK + rb"|[^ \t\n\v\f\r]",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a text, and the words it was made of (none for most of style)."""

    code: int
    """``group << GROUP_SHIFT | number``."""
    words: tuple[str, ...]


def split_tokens(text: bytes) -> list[bytes]:
    """Words (letters, digits, apostrophes inside, all beyond ASCII but marks), and marks one by one."""
    return _TOKEN.findall(text)


def mix(bits: int) -> int:
    """The finalizer of MurmurHash3, 64 bits (Austin Appleby, public domain)."""
    bits ^= bits >> 33
    bits = bits * 0xFF51AFD7ED558CCD & _MASK
    bits ^= bits >> 33
    bits = bits * 0xC4CEB9FE1A85EC53 & _MASK
    return bits ^ bits >> 33


def hash_bytes(text: bytes) -> int:
    """FNV-1a, mixed."""
    found = 0xCBF29CE484222325
    for byte in text:
        found = (found ^ byte) * 0x100000001B3 & _MASK
    return mix(found)


def join(first: int, second: int) -> int:
    """The hash of two hashes, in their order."""
    return mix((first * 31 + second) & _MASK)


def features_of(text: str, bits: int) -> list[Feature]:
    """All features of a text, as they come and with repetitions; a row holds the sorted set of their codes."""
    found = []
    lowered = text.lower().split(FIELD_SEPARATOR)
    for field, (cased, low) in enumerate(zip(text.split(FIELD_SEPARATOR), lowered, strict=True)):
        cased_tokens, tokens = (split_tokens(to_bytes(part)) for part in (cased, low))
        for group, value, words in (
            *_word_features(tokens, field),
            *_style_features(cased_tokens, tokens, field),
        ):
            found.append(_feature(group, value, words, bits))
        for token in cased_tokens:
            found.append(_feature(_CASED, hash_bytes(token), (token,), bits))
    return found


def to_bytes(text: str) -> bytes:
    """UTF-8, in which half a surrogate pair is three bytes of its own."""
    return text.encode("utf-8", "surrogatepass")


Found = tuple[int, int, tuple[bytes, ...]]


def _feature(group: int, value: int, words: tuple[bytes, ...], bits: int) -> Feature:
    number = mix((value + (group + 1) * _GOLDEN) & _MASK) & ((1 << bits) - 1)
    return Feature(
        group << GROUP_SHIFT | number, tuple(word.decode("utf-8", "replace").lower() for word in words)
    )


def _word_features(tokens: list[bytes], field: int) -> Iterator[Found]:
    hashes = [hash_bytes(token) for token in tokens]
    for k, token in enumerate(tokens):
        yield _WORD, hashes[k], (token,)
        yield _FIELD_WORD, join(hashes[k], field), (token,)
        if k + 1 < len(tokens):
            pair = join(hashes[k], hashes[k + 1])
            yield _PAIR, pair, (token, tokens[k + 1])
            yield _FIELD_PAIR, join(pair, field), (token, tokens[k + 1])
        marked, pieces = b"<" + token + b">", _pieces(token)
        for length in range(SHORTEST, min(LONGEST, len(marked) - 1) + 1):
            for at in range(len(marked) - length + 1):
                named = tuple(dict.fromkeys(pieces[max(at - 1, 0) : at + length - 1]))
                yield _CHARACTERS, hash_bytes(marked[at : at + length]), named


def _pieces(token: bytes) -> list[bytes]:
    """For each byte of a word its letter of a script without blanks, or what stands between such letters.

    >>> [piece.decode() for piece in _pieces("ab雨".encode())]
    ['ab', 'ab', '雨', '雨', '雨']
    """
    found = _PIECE.findall(token.decode("utf-8", "surrogateescape"))
    encoded = [piece.encode("utf-8", "surrogateescape") for piece in found]
    return [piece for piece in encoded for _ in piece]


def _style_features(cased: list[bytes], tokens: list[bytes], field: int) -> Iterator[Found]:
    def style(what: int, value: int, *words: bytes) -> Found:
        return _STYLE, join(join(value, what), field), words

    if not tokens:
        yield style(_NO_WORD, 0)
    else:
        yield style(_FIRST, hash_bytes(tokens[0]), tokens[0])
        yield style(_LAST, hash_bytes(tokens[-1]), tokens[-1])
        if len(tokens) > 1:
            yield style(_FIRST_PAIR, join(hash_bytes(tokens[0]), hash_bytes(tokens[1])), *tokens[:2])
    letters = sum(token[:1].isalpha() for token in cased)  # of bytes: ASCII letters
    capitals = sum(token[:1].isupper() for token in cased)
    shouted = sum(token[:1].isupper() and token[1:2].isupper() for token in cased)
    yield style(_CAPITALS, capitals * 5 // letters if letters else 9)
    yield style(_SHOUTED, min(shouted, 5))
    yield style(_LENGTH, min(len(tokens) // 3, 30))
