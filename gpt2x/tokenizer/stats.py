"""What a vocabulary is made of, and how it serves a text: bytes per token, unused tokens, and what each script costs.

A text is taken as its distinct pieces and their counts (`Corpus`): each piece is encoded once, so that gigabytes take
as long as their words do, and the totals are exact.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.comparing import readable
from gpt2x.tokenizer.corpus import Corpus
from gpt2x.tokenizer.tokenizer import Tokenizer

SCRIPTS = (
    *(
        "Latin",
        "Cyrillic",
        "Greek",
        "Han",
        "Hiragana",
        "Katakana",
        "Hangul",
        "Arabic",
        "Hebrew",
        "Devanagari",
    ),
    *(
        "Bengali",
        "Tamil",
        "Telugu",
        "Thai",
        "Georgian",
        "Armenian",
        "Ethiopic",
        "Gujarati",
        "Gurmukhi",
        "Kannada",
    ),
    *(
        "Malayalam",
        "Sinhala",
        "Oriya",
        "Khmer",
        "Lao",
        "Myanmar",
        "Tibetan",
        "Mongolian",
        "Cherokee",
        "Bopomofo",
    ),
    *(
        "Canadian_Aboriginal",
        "Syriac",
        "Thaana",
        "Tifinagh",
        "Nko",
        "Vai",
        "Yi",
        "Javanese",
        "Balinese",
        "Braille",
    ),
)
"""The scripts that are told apart; the rest is "other"."""

NO_SCRIPT = "numbers, marks, spaces"
"""What belongs to no script: Unicode's Common and Inherited."""

PART = "part of a character"


def new_corpus(tokenizer: Tokenizer, *, num_threads: int | None = None) -> Corpus:
    """An empty corpus that splits as this tokenizer does.

    Raises:
        UsageError: the core does not know its pattern.

    """
    pattern = patterns.NATIVE.get(tokenizer.pat_str)
    if pattern is None:
        raise UsageError(
            f"the vocabulary {quoted(tokenizer.name)} splits by {quoted(tokenizer.pat_str)}; text can be measured only "
            f"with a pattern of {', '.join(patterns.BY_NAME)}"
        )
    return Corpus(pattern, num_threads=num_threads)


def describe(tokenizer: Tokenizer, corpus: Corpus | None = None, *, limit: int = 10) -> dict[str, Any]:
    """Describe a vocabulary and, if a corpus is given, how it serves that text.

    Returns:
        The object that `gpt2x bpe stats --json` prints; docs/reference/bpe.md has its shape.

    """
    return {
        "tokenizer": tokenizer.name,
        "pattern": patterns.NATIVE.get(tokenizer.pat_str, tokenizer.pat_str),
        "splitting": patterns.route(tokenizer.pat_str),
        "vocab_size": tokenizer.n_vocab,
        "special_tokens": dict(tokenizer.special_tokens),
        "added_tokens": dict(tokenizer.added_tokens),
        "vocabulary": describe_vocabulary(tokenizer, limit=limit),
        "text": None if corpus is None else describe_text(tokenizer, corpus, limit=limit),
    }


def describe_vocabulary(tokenizer: Tokenizer, *, limit: int = 10) -> dict[str, Any]:
    """Lengths and scripts of the tokens, special ones left out."""
    ranks = tokenizer.mergeable_ranks
    longest = sorted(ranks, key=lambda token: (-len(token), ranks[token]))[:limit]
    scripts = Counter(map(script_of, ranks))
    return {
        "tokens": len(ranks),
        "mean_bytes": round(sum(map(len, ranks)) / len(ranks), 4),
        "begin_with_space": sum(token.startswith(b" ") for token in ranks),
        "lengths": {str(size): count for size, count in sorted(Counter(map(len, ranks)).items())},
        "longest": [{"id": ranks[token], "bytes": len(token), "text": readable(token)} for token in longest],
        "scripts": dict(scripts.most_common()),
    }


def describe_text(tokenizer: Tokenizer, corpus: Corpus, *, limit: int = 10) -> dict[str, Any]:
    """Bytes per token, unused tokens, and the cost of each script."""
    used: Counter[int] = Counter()
    scripts: dict[str, Counter[str]] = {}
    num_whole = 0
    for piece, count in corpus.items():
        ids = tokenizer.encode_piece(piece)
        num_whole += count if len(ids) == 1 else 0
        for token in ids:
            used[token] += count
        costs = scripts.setdefault(script_of(piece), Counter())
        costs["characters"] += count * len(piece.decode("utf-8", "replace"))
        costs["bytes"] += count * len(piece)
        costs["tokens"] += count * len(ids)
    ranks = tokenizer.mergeable_ranks
    unused = [token for token in sorted(ranks, key=ranks.__getitem__) if not used[ranks[token]]]
    merged = [token for token in unused if len(token) > 1]
    num_tokens = used.total()
    return {
        "bytes": corpus.num_bytes,
        "pieces": corpus.num_pieces,
        "unique_pieces": corpus.num_unique,
        "tokens": num_tokens,
        "bytes_per_token": _ratio(corpus.num_bytes, num_tokens),
        "tokens_per_piece": _ratio(num_tokens, corpus.num_pieces),
        "pieces_of_one_token": _ratio(num_whole, corpus.num_pieces),
        "unused": len(merged),
        "unused_bytes": len(unused) - len(merged),
        "first_unused": [{"id": ranks[token], "text": readable(token)} for token in merged[:limit]],
        "most_used": [
            {"id": token, "count": count, "text": readable(tokenizer.decode_single_token_bytes(token))}
            for token, count in sorted(used.items(), key=lambda item: (-item[1], item[0]))[:limit]
        ],
        "scripts": [
            {"script": script, **costs, "bytes_per_token": _ratio(costs["bytes"], costs["tokens"])}
            for script, costs in sorted(scripts.items(), key=lambda item: (-item[1]["bytes"], item[0]))
        ],
    }


def script_of(token: bytes) -> str:
    """The script of the first character that has one.

    >>> script_of(b" low"), script_of("한".encode()), script_of(b"123"), script_of("한".encode()[:2])
    ('Latin', 'Hangul', 'numbers, marks, spaces', 'part of a character')
    """
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return PART
    return next((script for script in map(_script, text) if script != NO_SCRIPT), NO_SCRIPT)


@functools.lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    if "a" <= character <= "z" or "A" <= character <= "Z":
        return "Latin"
    match = _pattern().match(character)
    if match is None:
        return "other"
    return NO_SCRIPT if match.lastgroup == "none" else match.lastgroup


@functools.cache
def _pattern() -> Any:
    """Matches a character of a known script in the group of that name, one of no script in the group "none"."""
    import regex

    groups = [rf"(?P<{script}>\p{{Script={script}}})" for script in SCRIPTS]
    return regex.compile("|".join([r"(?P<none>\p{Script=Common}|\p{Script=Inherited})", *groups]))


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
