"""Makes the golden files that the Python, C++ and Rust tests read.

    python tests/golden/make_golden.py

songs.tiktoken      a vocabulary of 1,000 tokens, learned by gpt2x from the packaged songs; no special tokens
encode_vectors.tsv  a text, as hexadecimal bytes, a tab, and its ids separated by spaces; both may be empty.
                    The ids are tiktoken's: `encode_ordinary` for UTF-8, `_encode_bytes` for other bytes.

text_features.tsv   a text, the same in lower case, both as hexadecimal bytes, and its features of 22 bits, ascending, by the
                    readable definition (`gpt2x/classify/features.py`); tabs between the three.

The first two depend on the packaged songs; run this again when they change.
"""

# ruff: noqa: E501  (a row of cases is one kind of case)

from __future__ import annotations

import sys
from pathlib import Path

import tiktoken

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from gpt2x.classify.features import features_of, to_bytes  # noqa: E402
from gpt2x.data.lyrics import read_songs, song_document  # noqa: E402
from gpt2x.tokenizer import Tokenizer, train  # noqa: E402
from gpt2x.tokenizer.saving import write_rank_file  # noqa: E402

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2002\u2007\u200a\u2028\u2029\u202f\u205f\u3000"
NO_SPACES = "\x1c\x1f\u180e\u200b\u200d\ufeff"

# fmt: off
CASES: list[str | bytes] = [
    # Nothing, one thing, whitespace
    *["", "a", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "a ", " a", "a\n", "a \n b", "a  b", "a   b"],
    *["\n\n\n a", " \t a\t ", "a\r\n\r\nb", "  \n  x", "x" + " " * 50, " " * 50 + "x", "\n" * 40 + "y", "a\tb", "\ta"],
    # Every kind of white space and what only looks like it: alone, between words, doubled, before a word
    *SPACES, *NO_SPACES,
    *[f"love{c}me" for c in SPACES + NO_SPACES],
    *[f"love{c}{c}me" for c in SPACES + NO_SPACES],
    *[f"love {c}me" for c in "\u3000\u2003\u2028\x85"],
    *[f"love{c} me" for c in "\u3000\u2003\u2028\x85"],
    *[f"love{c}{c}" for c in "\u3000\u2003\u2028\x85"],
    "love \u3000 \u2003\n\u2028 me",
    # Contractions: only where a piece starts, only lower case, only the straight apostrophe
    *["don't", "it's", "I'm", "we'll", "they've", "you're", "she'd", "DON'T", "IT'S", "don’t", "'tis", "'s", " 's"],
    *["''s", "s's's", "'ll'll", "'l", "'v", "'re'", "rock 'n' roll", "'" * 3, "a'b'c", "it's' s", "1's", "'S", "'ſ"],
    *["\n's", "  's"],
    # Digits and numbers that are no digits
    *["1234567890", " 2024", "3.14159", "1,000,000", "½ ¾ ² ³", "٣٤٥", "Ⅳ ⅻ", "一二三", "①②③", "x1y2", "0x1F", "१२३"],
    # Scripts
    *["Straße über naïve café", "Ελλάδα γειά", "Привет, мир", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก"],
    *["你好,世界", "こんにちは世界。", "안녕하세요 방탄소년단", "Việt Nam", "ქართული", "አማርኛ", "தமிழ்", "한국", "ﷺ", "𠮷野家"],
    # Combining marks are neither letters nor numbers
    *["e\u0301", "cafe\u0301 noir", "a\u0300\u0301\u0302b", "\u0301", " \u0301x", "Z\u0335a\u0335l\u0335go\u0335", "क्षि"],
    # Emoji: sequences with joiners, skin tones, flags, keycaps
    *["😀", " 😀", "😀😀😀", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇰🇷🇯🇵", "1\ufe0f\u20e3", "❤\ufe0f love ❤", "a😀b"],
    *["🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "🤷🏻\u200d♀\ufe0f!"],
    # Punctuation and code
    *["...", "!?!?", "----", "a-b_c", "[Chorus]", "(oh, oh)", "#hash @at", "x = y[0] + z;", "if (a && b) { return; }"],
    *["<|endoftext|>", "https://example.com/a?b=c&d=e", "C:\\path\\file", "€100 £5 ¥9", "“quoted” – text…", "a\x00b"],
    "\x7f",
    # Unicode: newest letters of 16.0, unassigned, private, last of each plane
    *["\U00010d4a\U00010d65", "\U0001e5d0", "\u0378", "\ue000", "\uffff", "\U0010ffff", "\ufffd", "\ua7cb\u1c89"],
    # Words of the songs, and runs that merge many times
    *["love", " love", "Love", "LOVE", "loveloveloveyou", "I love you", "oh " * 20, "la" * 50, "na na na na", "yeah yeah"],
    *["a" * n for n in (2, 3, 7, 31, 32, 33, 64, 127, 200)],
    *["ab" * 60, "^" * 70, "!" * 33, "0" * 45, "é" * 40, "漢" * 40, " the" * 30, "the" * 30, "\u0301" * 20, "'" * 21],
    "In the middle of the night\nI was driving through the rain\n\n[Chorus]\nOh, oh, oh — don't you know it's over?\n",
    # Not UTF-8: cut, stray, overlong, surrogates, beyond the end, in the middle, after spaces
    *[b"\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xfe"],
    *[b"love\xff", b"love\xff me", b"\xfflove", b"I love \xe2\x82", b"a b  \xff", b"a \n\t \xff", b"it's\xff", b"   \xff  "],
    *[b"love \xc2\xa0\xff", b"the end\n\n\xf0\x9f\x98", b"a\xffb\xffc", b"\x00\xff\x00", bytes(range(128, 256))],
    *["안녕".encode()[:-1], "한국 love".encode()[1:], "😀😀".encode()[:-2], b"oh " * 9 + b"\xc3(", b"1 2 \xff 3", b"\r\n\xff"],
    b"don't \xfft",
]
FEATURE_BITS = 22
FEATURE_CASES = [
    *["", " ", "a", "A", "ab", "...", "\x1f", "\x1f\x1f", "rain", "Rain RAIN rain", "Don't PANIC: it's 42 degrees", "''a'b'"],
    *["One field\x1fand another\x1f", "« Déjà vu » — “so”", "日本語 テキスト", "İstanbul ǅ ß ſ", "e\u0301 é", "\x00\t\n\v\f\r", "\x85\xa0"],
    *["\u2028\u2060\u206f\u2070", "\ud800 x", "x" * 300, "Ten Easy Pasta Recipes " * 12, "A B C D E F G H I J"],
]
# fmt: on


def main() -> None:
    """Write all files."""
    write_features()
    write_vectors()


def write_features() -> None:
    """Write ``text_features.tsv``."""
    lines = []
    for text in FEATURE_CASES:
        codes = sorted({feature.code for feature in features_of(text, FEATURE_BITS)})
        cells = [to_bytes(text).hex(), to_bytes(text.lower()).hex(), " ".join(map(str, codes))]
        lines.append("\t".join(cells) + "\n")
    (HERE / "text_features.tsv").write_text("".join(lines), encoding="ascii")
    print(f"{len(lines)} texts with features")


def write_vectors() -> None:
    """Write the vocabulary and ``encode_vectors.tsv``."""
    trained = train(map(song_document, read_songs()), 1000, special_tokens=(), name="songs")
    write_rank_file(trained.vocabulary, HERE / "songs.tiktoken")
    tokenizer = Tokenizer.load(HERE / "songs.tiktoken", pattern="gpt2")
    oracle = tiktoken.Encoding(
        "songs", pat_str=tokenizer.pat_str, mergeable_ranks=dict(tokenizer.mergeable_ranks), special_tokens={}
    )
    lines = []
    for case in dict.fromkeys(CASES):
        data = case if isinstance(case, bytes) else case.encode()
        ids = oracle._encode_bytes(data) if isinstance(case, bytes) else oracle.encode_ordinary(case)
        lines.append(f"{data.hex()}\t{' '.join(map(str, ids))}\n")
    (HERE / "encode_vectors.tsv").write_text("".join(lines), encoding="ascii")
    print(f"{len(lines)} vectors")


if __name__ == "__main__":
    main()
