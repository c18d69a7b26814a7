"""Between Python's strings and bytes: what is not quite text, and where the characters are."""

from __future__ import annotations

from typing import Any

from gpt2x.errors import InputDataError


class NotUtf8Error(InputDataError):
    """Bytes that are no text."""

    def __init__(self, source: str, byte: int, offset: int) -> None:
        """Say which byte of what it is."""
        self.source, self.byte, self.offset = source, byte, offset
        super().__init__(f"{self.finding}; convert the file to UTF-8 first, or pass errors='replace'")

    @property
    def finding(self) -> str:
        """The sentence without its remedy, which is another one on the command line."""
        return f"{self.source} is not UTF-8 text: byte 0x{self.byte:02x} at offset {self.offset}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.byte, self.offset)


def to_utf8(text: str) -> bytes:
    r"""UTF-8 of any Python string: surrogate pairs join, a lone surrogate becomes U+FFFD, as in tiktoken.

    >>> to_utf8("\ud83d\ude00") == "😀".encode(), to_utf8("\ud83d") == "\ufffd".encode()
    (True, True)
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def as_bytes(text: str | bytes) -> bytes:
    """`to_utf8` of a string; bytes as they are."""
    return text if isinstance(text, bytes) else to_utf8(text)


def is_inside_character(data: bytes, position: int) -> bool:
    """True where cutting valid UTF-8 would cut a character in two.

    >>> [is_inside_character("é".encode(), position) for position in (0, 1, 2)]
    [False, True, False]
    """
    return position < len(data) and 0x80 <= data[position] < 0xC0


def floor_to_character(data: bytes, position: int) -> int:
    """The last position up to `position` at which valid UTF-8 may be cut.

    >>> floor_to_character("aé".encode(), 2), floor_to_character("aé".encode(), 3)
    (1, 3)
    """
    while is_inside_character(data, position):
        position -= 1
    return position


def ceil_to_character(data: bytes, position: int) -> int:
    """The first position from `position` on at which valid UTF-8 may be cut."""
    while is_inside_character(data, position):
        position += 1
    return position
