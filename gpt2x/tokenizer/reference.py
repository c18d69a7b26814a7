r"""Byte-level BPE in its simplest form: the specification of the C++ core, and the place to learn how it works.

Encoding has three steps. `split` cuts text into pieces (roughly words) that merges never cross; a piece becomes
its UTF-8 bytes, one token each; `merge` joins the adjacent pair with the lowest rank until no pair is a token.
Training (`learn_merges`) runs the same idea forwards: the pair that occurs most often becomes the next token.
Everything is written for reading: quadratic where the core is linear, and held equal to it by the tests.
It is one file, longer than others here, so that the specification can be read from top to bottom.

Character classes are those of Unicode 16.0. Python's own `unicodedata` follows the version of the interpreter (14.0
in 3.11, 16.0 in 3.14) and the `regex` package a later one, so neither can say what a letter is here; `classify`
asks the regular-expression engine inside tiktoken, which is what "equal to tiktoken" means. It is independent of
the core's table, so that a test that compares the two means something.
"""

from __future__ import annotations

import functools
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from gpt2x.tokenizer.alphabet import SINGLE_BYTES

if TYPE_CHECKING:
    import tiktoken

UNICODE_VERSION = "16.0.0"

Pair = tuple[int, int]

CONTRACTIONS = ("'s", "'d", "'m", "'t", "'ll", "'ve", "'re")
WHITE_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


# ----------------------------------------------------------------------------------------------------------------
# Splitting


@functools.lru_cache(maxsize=1 << 16)
def classify(character: str) -> str:
    r"""The class of one character: "letter" (``\p{L}``), "number" (``\p{N}``), "space" (``\s``) or "other".

    >>> [classify(c) for c in "aж4 ½!"]
    ['letter', 'letter', 'number', 'space', 'number', 'other']
    """
    if character in WHITE_SPACE:
        return "space"
    return _first_match(character, (("letter", r"\p{L}"), ("number", r"\p{N}"))) or "other"


@functools.lru_cache(maxsize=1 << 16)
def categorize(character: str) -> str:
    r"""Like `classify`, with letters by case as o200k's pattern tells them apart, and others as deepseek's does.

    "upper" (``[\p{Lu}\p{Lt}]``), "lower" (``\p{Ll}``) or "uncased" (``[\p{Lm}\p{Lo}]``) for a letter, "mark"
    (``\p{M}``) or "punctuation" (``[\p{P}\p{S}]``) for most of the others.

    >>> [categorize(c) for c in "Aa中\u0301!\u200b"]
    ['upper', 'lower', 'uncased', 'mark', 'punctuation', 'other']
    """
    kind = classify(character)
    if kind == "letter":
        return _first_match(character, (("upper", r"[\p{Lu}\p{Lt}]"), ("lower", r"\p{Ll}"))) or "uncased"
    return _first_match(character, (("mark", r"\p{M}"), ("punctuation", r"[\p{P}\p{S}]"))) or kind


def _first_match(character: str, patterns: Iterable[tuple[str, str]]) -> str | None:
    return next((name for name, pattern in patterns if _matcher(pattern).encode_ordinary(character)), None)


@functools.cache
def _matcher(pattern: str) -> tiktoken.Encoding:
    """A tokenizer that encodes what `pattern` matches and drops the rest."""
    import tiktoken

    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    return tiktoken.Encoding(pattern, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def split(text: str, pattern: str = "gpt2") -> list[str]:
    """Cut text into the pieces of a pattern, which `SPLITTERS` has; joined together they are the text.

    Raises:
        KeyError: an unknown pattern.

    >>> split("It's 3 o'clock   now")
    ['It', "'s", ' 3', ' o', "'", 'clock', '  ', ' now']
    >>> split("It'S 1234 (gold)\\n", "cl100k")
    ['It', "'S", ' ', '123', '4', ' (', 'gold', ')\\n']
    >>> split("It'S a camelCase", "o200k")
    ["It'S", ' a', ' camel', 'Case']
    >>> split("It'S 1234 (中国)\\n", "deepseek")
    ['It', "'S", ' ', '123', '4', ' (', '中国', ')\\n']
    """
    return SPLITTERS[pattern](text)


def _isolate(piece_end: Callable[[str, int], int], text: str) -> list[str]:
    """The pieces that end where `piece_end` says; where it says "at the start", nothing matches there.

    What does not match is a piece, too, up to the next place where something does.
    """
    pieces: list[str] = []
    start = 0
    in_gap = False
    while start < len(text):
        end = piece_end(text, start)
        if end > start:
            pieces.append(text[start:end])
        elif in_gap:
            pieces[-1] += text[start]
        else:
            pieces.append(text[start])
        in_gap = end == start
        start = max(end, start + 1)
    return pieces


def gpt2_piece_end(text: str, start: int) -> int:
    r"""Where the piece that starts at `start` ends by GPT-2's pattern, whose alternatives are tried in this order::

    '(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s
    """
    for contraction in CONTRACTIONS:
        if text.startswith(contraction, start):
            return start + len(contraction)
    # One class of characters, with at most one space (U+0020 only) before it.
    first = start + 1 if text[start] == " " and start + 1 < len(text) else start
    kind = classify(text[first])
    if kind != "space":
        return _run_end(text, first, kind)
    return _space_end(text, start)


def cl100k_piece_end(text: str, start: int) -> int:
    r"""The same by cl100k's pattern::

    '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+
    |\s++$|\s*[\r\n]|\s+(?!\S)|\s
    """
    if (end := _any_case_contraction_end(text, start)) > start:
        return end
    letters = start + 1 if _goes_before_letters(text[start]) else start
    if (end := _run_end(text, letters, "letter")) > letters:
        return end
    if (end := _run_end(text, start, "number")) > start:
        return min(end, start + 3)
    if (end := _punctuation_end(text, start, "\r\n")) > start:
        return end
    if (end := _run_end(text, start, "space")) == len(text):
        return end
    return _newline_end(text, start) or _space_end(text, start)


def o200k_piece_end(text: str, start: int) -> int:
    r"""The same by o200k's pattern; its first two alternatives are those of `_word_end`, and then::

    \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
    """
    if (end := _word_end(text, start)) > start:
        return end
    if (end := _run_end(text, start, "number")) > start:
        return min(end, start + 3)
    if (end := _punctuation_end(text, start, "\r\n/")) > start:
        return end
    return _newline_end(text, start) or _space_end(text, start)


def llama3_piece_end(text: str, start: int, most_digits: int = 3) -> int:
    r"""The same by llama3's pattern, and by qwen2's, which has ``\p{N}`` for ``\p{N}{1,3}``::

    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
    |\s*[\r\n]+|\s+(?!\S)|\s+
    """
    if (end := _any_case_contraction_end(text, start)) > start:
        return end
    letters = start + 1 if _goes_before_letters(text[start]) else start
    if (end := _run_end(text, letters, "letter")) > letters:
        return end
    if (end := _run_end(text, start, "number")) > start:
        return min(end, start + most_digits)
    if (end := _punctuation_end(text, start, "\r\n")) > start:
        return end
    return _newline_end(text, start) or _space_end(text, start)


def split_deepseek(text: str) -> list[str]:
    r"""Cut text by deepseek's three patterns, each of which divides the pieces of the one before::

    \p{N}{1,3}
    [一-龥\u3040-\u309f\u30a0-\u30ff]+
    (see `_deepseek_rest_end`)
    """
    pieces = [text]
    for piece_end in (_deepseek_number_end, _chinese_or_kana_end, _deepseek_rest_end):
        pieces = [part for piece in pieces for part in _isolate(piece_end, piece)]
    return pieces


def _deepseek_number_end(text: str, start: int) -> int:
    return min(_run_end(text, start, "number"), start + 3)


def _chinese_or_kana_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and ("一" <= text[end] <= "龥" or "\u3040" <= text[end] <= "\u30ff"):
        end += 1
    return end


def _deepseek_rest_end(text: str, start: int) -> int:
    r"""The third of deepseek's patterns; `start` where it does not match::

    [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
    | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
    """
    first = text[start]
    if first in string.punctuation:
        end = start + 1
        while end < len(text) and text[end] in string.ascii_letters:
            end += 1
        if end > start + 1:
            return end
    goes_before = first not in "\r\n" and categorize(first) in ("mark", "space", "number", "other")
    for word in (start + 1, start) if goes_before else (start,):
        if (end := _category_run_end(text, word, ("upper", "lower", "uncased", "mark"))) > word:
            return end
    mark = start + 1 if first == " " else start
    if (end := _category_run_end(text, mark, ("punctuation",))) > mark:
        while end < len(text) and text[end] in "\r\n":
            end += 1
        return end
    if classify(first) != "space":
        return start
    return _newline_end(text, start) or _space_end(text, start)


SPLITTERS: dict[str, Callable[[str], list[str]]] = {
    "gpt2": functools.partial(_isolate, gpt2_piece_end),
    "cl100k": functools.partial(_isolate, cl100k_piece_end),
    "o200k": functools.partial(_isolate, o200k_piece_end),
    "llama3": functools.partial(_isolate, llama3_piece_end),
    "qwen2": functools.partial(_isolate, functools.partial(llama3_piece_end, most_digits=1)),
    "deepseek": split_deepseek,
}
"""Each pattern by the name under which the core knows it."""

_BEGINS_WORD = ("upper", "uncased", "mark")
_ENDS_WORD = ("lower", "uncased", "mark")


def _word_end(text: str, start: int) -> int:
    r"""Upper case, then lower case, of each at least one; else no lower case; `start` if there is no word at all::

    [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    """
    firsts = [start + 1, start] if _goes_before_letters(text[start]) else [start]
    for first in firsts:
        # The first part takes all it can, then gives back one character after the other until the second has one.
        for middle in range(_category_run_end(text, first, _BEGINS_WORD), first - 1, -1):
            if (end := _category_run_end(text, middle, _ENDS_WORD)) > middle:
                return _any_case_contraction_end(text, end)
    for first in firsts:
        if (end := _category_run_end(text, first, _BEGINS_WORD)) > first:
            return _any_case_contraction_end(text, end)
    return start


def _goes_before_letters(character: str) -> bool:
    r"""``[^\r\n\p{L}\p{N}]``."""
    return classify(character) in ("space", "other") and character not in "\r\n"


def _any_case_contraction_end(text: str, start: int) -> int:
    """Where a contraction in any case ends, `start` if there is none; the long s (U+017F) is an s in another case."""
    for contraction in CONTRACTIONS:
        end = start + len(contraction)
        if text[start:end].replace("ſ", "s").lower() == contraction:
            return end
    return start


def _punctuation_end(text: str, start: int, tail: str) -> int:
    """All that is neither letter, number nor white space, with one space before and the characters of `tail` after."""
    first = start + 1 if text[start] == " " else start
    end = _run_end(text, first, "other")
    if end == first:
        return start
    while end < len(text) and text[end] in tail:
        end += 1
    return end


def _newline_end(text: str, start: int) -> int:
    r"""``\s*[\r\n]``: behind the last newline of the white space at `start`, 0 if it has none."""
    return max(text.rfind(newline, start, _run_end(text, start, "space")) for newline in "\r\n") + 1


def _space_end(text: str, start: int) -> int:
    r"""``\s+(?!\S)|\s``: all white space at the end of the text, else all but its last character.

    That one is left for the piece that follows (where it is a space, it belongs to the next word).
    """
    end = _run_end(text, start, "space")
    return end if end == len(text) else max(end - 1, start + 1)


def _run_end(text: str, start: int, kind: str) -> int:
    end = start
    while end < len(text) and classify(text[end]) == kind:
        end += 1
    return end


def _category_run_end(text: str, start: int, categories: tuple[str, ...]) -> int:
    end = start
    while end < len(text) and categorize(text[end]) in categories:
        end += 1
    return end


# ----------------------------------------------------------------------------------------------------------------
# Encoding


def merge(piece: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Join adjacent tokens, lowest rank first and leftmost among equals, until no pair is a token.

    >>> ranks = {b"l": 0, b"o": 1, b"w": 2, b"lo": 3, b"low": 4}
    >>> merge(b"lowlo", ranks)
    [b'low', b'lo']
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    for _, tokens in merge_steps(piece, ranks):  # noqa: B007  (only the last step counts)
        pass
    return tokens


def merge_steps(piece: bytes, ranks: Mapping[bytes, int]) -> Iterator[tuple[int, list[bytes]]]:
    """Every step of `merge`: the rank of the token that was made, and the tokens after it."""
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        joined = [left + right for left, right in pairwise(tokens)]
        candidates = [(ranks[token], i) for i, token in enumerate(joined) if token in ranks]
        if not candidates:
            return
        rank, i = min(candidates)
        tokens = [*tokens[:i], joined[i], *tokens[i + 2 :]]
        yield rank, tokens


def encode_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """The ids of one piece; a piece that is a token itself is never taken apart."""
    return [ranks[piece]] if piece in ranks else [ranks[token] for token in merge(piece, ranks)]


def encode(text: str, ranks: Mapping[bytes, int], pattern: str = "gpt2") -> list[int]:
    """The ids of a text without special tokens."""
    return [token for piece in split(text, pattern) for token in encode_piece(piece.encode(), ranks)]


def encode_bytes(text: bytes, ranks: Mapping[bytes, int], pattern: str = "gpt2") -> list[int]:
    """The ids of any bytes: valid UTF-8 as `encode`, for the rest see `encode_broken`."""
    return encode_broken(
        text,
        lambda piece: encode_piece(piece, ranks),
        {rank: token for token, rank in ranks.items()}.__getitem__,
        lambda valid: split(valid, pattern),
    )


def encode_broken(
    text: bytes,
    encode_one: Callable[[bytes], list[int]],
    token_bytes: Callable[[int], bytes],
    split_text: Callable[[str], list[str]] = split,
) -> list[int]:
    """Encode bytes that need not be UTF-8, as tiktoken's `_encode_bytes` does.

    The valid start is split and encoded; the tokens of its last piece (and, when that begins with white space, the
    white-space tokens before it) are taken back and merged with all the bytes from the first invalid one on, as one
    piece. Only the valid start was ever text, so there is nothing to split the rest by.
    """
    valid = _valid_length(text)
    encoded = [encode_one(piece.encode()) for piece in split_text(text[:valid].decode())]
    ids = [token for piece in encoded for token in piece]
    if valid == len(text):
        return ids

    def is_space(position: int) -> bool:
        return set(token_bytes(ids[position])) <= set(b" \n\t")

    keep = len(ids) - (len(encoded[-1]) if encoded else 0)
    if keep < len(ids) and is_space(keep):
        while keep > 0 and is_space(keep - 1):
            keep -= 1
    rest = b"".join(token_bytes(token) for token in ids[keep:]) + text[valid:]
    return ids[:keep] + encode_one(rest)


def _valid_length(text: bytes) -> int:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


# ----------------------------------------------------------------------------------------------------------------
# Training


def count_pieces(texts: Iterable[str]) -> Counter[bytes]:
    """How often each piece occurs in the texts; the only thing that training needs to know of them."""
    return Counter(piece.encode() for text in texts for piece in split(text))


def learn_merges(
    pieces: Mapping[bytes, int], num_merges: int, min_frequency: int = 1
) -> list[tuple[int, int, int]]:
    """Learn merges as (left id, right id, count); merge number i makes id 256 + i.

    The pair that occurs most often wins; among equals the smallest (left id, right id). That rule, and ids 0-255 in
    GPT-2's order of bytes, make the merges those of Hugging Face's BpeTrainer. Stops when no pair is left that
    occurs `min_frequency` times.

    >>> learn_merges({b"aaab": 2}, 2)
    [(64, 64, 4), (64, 65, 2)]
    """
    byte_id = {token[0]: rank for rank, token in enumerate(SINGLE_BYTES)}
    words = {piece: [byte_id[byte] for byte in piece] for piece in pieces}
    merges: list[tuple[int, int, int]] = []
    while len(merges) < num_merges:
        counts: Counter[Pair] = Counter()
        for piece, ids in words.items():
            for pair in pairwise(ids):
                counts[pair] += pieces[piece]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < max(min_frequency, 1):
            break
        merges.append((*best, counts[best]))
        new_id = 255 + len(merges)
        words = {piece: replace_pair(ids, best, new_id) for piece, ids in words.items()}
    return merges


def replace_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Put `new_id` where `pair` stands, from left to right.

    >>> replace_pair([5, 5, 5, 9], (5, 5), 300)
    [300, 5, 9]
    """
    out: list[int] = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def tokens_of(merges: Iterable[tuple[int, int, int]]) -> list[bytes]:
    """The bytes of every token: the 256 single bytes, then one token for each merge.

    >>> tokens_of([(64, 64, 4)])[-1]
    b'aa'
    """
    tokens = list(SINGLE_BYTES)
    for left, right, _ in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens
