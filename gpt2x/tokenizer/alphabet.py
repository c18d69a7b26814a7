"""GPT-2's order of the 256 bytes, and the visible character that stands for each byte in its files.

GPT-2's `vocab.bpe` and every Hugging Face byte-level `tokenizer.json` are text files, so each byte needs a visible
character: printable Latin-1 characters stand for themselves, the other 68 bytes borrow the characters from U+0100
on (a space becomes `Ġ`). Ids 0-255 of a vocabulary are the bytes in the order of those characters, so `!` is 0.
Source: `bytes_to_unicode` in openai/gpt-2, src/encoder.py.
"""

from __future__ import annotations

_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in set(_VISIBLE)]

BYTE_ORDER: tuple[int, ...] = (*_VISIBLE, *_HIDDEN)
"""The byte of each id 0-255: ``BYTE_ORDER[0] == ord("!")``."""

SINGLE_BYTES: tuple[bytes, ...] = tuple(bytes([byte]) for byte in BYTE_ORDER)
"""The same as one-byte tokens: ``SINGLE_BYTES[220] == b" "``."""

_CHARACTER = {byte: chr(byte) for byte in _VISIBLE} | {byte: chr(256 + i) for i, byte in enumerate(_HIDDEN)}
_BYTE = {character: byte for byte, character in _CHARACTER.items()}
_TABLE = "".join(_CHARACTER[byte] for byte in range(256))


def to_characters(token: bytes) -> str:
    """Spell a token with visible characters.

    >>> to_characters(b" low")
    'Ġlow'
    """
    return token.decode("latin-1").translate(_TO_CHARACTERS)


def from_characters(spelling: str) -> bytes:
    """Read a token that is spelled with visible characters.

    Raises:
        KeyError: a character that stands for no byte.

    >>> from_characters("Ġlow")
    b' low'
    """
    return bytes([_BYTE[character] for character in spelling])


_TO_CHARACTERS = dict(enumerate(_TABLE))
