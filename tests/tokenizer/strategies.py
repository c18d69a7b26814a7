"""Texts that are likely to find a mistake: what the splitting pattern decides by, in all mixtures."""

from __future__ import annotations

from hypothesis import strategies as st

# fmt: off
PARTS = [
    *"abzAZ019 \n\t\r!?.,-_'’[]()",
    *["  ", "\n\n", " \n ", "\r\n", "'s", "'t", "'ll", "'ve", "'re", "'d", "'m", "'S", "'l", "it's", "don't", "love"],
    *"\v\f\x1c\x1f\x85\xa0\u1680\u180e\u2000\u200a\u200b\u200d\u2028\u2029\u202f\u205f\u3000\ufeff\ufffd",
    *"éßжΩ漢字あア한글नि\u0301\u0335½²٣Ⅳ①ªº",
    *["😀", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇰🇷", "\U00010d4a", "\U0001e5d0", "𠮷", "\U0010ffff", "\x00", "aaaa"],
    *["1234", " love", "<|endoftext|>"],
]
# fmt: on


def awkward_text() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


def any_text() -> st.SearchStrategy[str]:
    """All code points but surrogates, which are no text."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | awkward_text()


def awkward_bytes() -> st.SearchStrategy[bytes]:
    """Text with bytes in it that are not valid UTF-8, and text cut off in the middle of a character."""
    broken = [
        b"\x80",
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xc2",
        b"\xa0",
    ]
    parts = (
        st.sampled_from([part.encode() for part in PARTS]) | st.sampled_from(broken) | st.binary(max_size=3)
    )
    return st.lists(parts, max_size=30).map(b"".join)
