"""What a method is given, looked at on its way in: a value of another type is a `TypeError`, as in tiktoken."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gpt2x.errors import UsageError, quoted

if TYPE_CHECKING:
    import numpy.typing as npt


class ArgumentTypeError(UsageError, TypeError):
    """An argument is of a type that can never work; a TypeError, as in tiktoken."""

    def __init__(self, name: str, value: object, wanted: str) -> None:
        """Say which argument is what, and what it should be."""
        self.parts = name, value, wanted
        kind = type(value).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        shown = f" ({quoted(value)})" if isinstance(value, int | float | str | bytes) else ""
        super().__init__(f"{name} is {article} {kind}{shown}; give {wanted}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.parts


def check_text(text: object, name: str = "text") -> None:
    """See that a text is a str.

    Raises:
        ArgumentTypeError: it is none.

    """
    if not isinstance(text, str):
        raise ArgumentTypeError(name, text, "a str (encode_bytes takes bytes)")


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts of a batch as a list.

    Raises:
        ArgumentTypeError: it is no iterable of str.

    """
    members = as_list(texts, "text", "a list of str")
    for position, member in enumerate(members):
        if not isinstance(member, str):
            check_text(member, f"text[{position}]")
    return members


def as_list(values: Any, name: str, wanted: str) -> list[Any]:
    """What can be iterated as a list.

    Raises:
        ArgumentTypeError: it cannot.

    """
    try:
        return list(values)
    except TypeError:
        raise ArgumentTypeError(name, values, wanted) from None


def whole_number(value: object, name: str, least: int | None = 0) -> int:
    """A whole number of Python's or NumPy's as an int.

    Raises:
        ArgumentTypeError: it is none; a bool is none either.
        UsageError: it is below `least`, if that is not None.

    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(name, value, "a whole number") from None
    if isinstance(value, bool):
        raise ArgumentTypeError(name, value, "a whole number")
    if least is not None and number < least:
        raise UsageError(f"{name} is {quoted(number)}; give {least} or more")
    return number


def check_threads(num_threads: object) -> int:
    """How many threads to use; 0, which stands for one on each core, where nothing is said.

    Raises:
        ArgumentTypeError: no whole number.
        UsageError: below 1.

    """
    # More than this helps nobody, and the core counts threads in 32 bits.
    return 0 if num_threads is None else min(whole_number(num_threads, "num_threads", 1), 1 << 16)


def check_path(path: object, name: str) -> None:
    """See that a path is a str or an `os.PathLike` of one.

    Raises:
        ArgumentTypeError: it is none.
        UsageError: it holds a NUL, which no name can.

    """
    try:
        spelled = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        spelled = None
    if not isinstance(spelled, str):
        raise ArgumentTypeError(name, path, "a path, as str or pathlib.Path")
    if "\0" in spelled:
        raise UsageError(f"{name} is {quoted(spelled)}, with a NUL in it, which no file's name has")


def copy_ids(ids: Sequence[int] | npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Copy ids into the first places of `out`, and give these.

    Raises:
        ValueError: `out` is too small, not writable, or not one axis without gaps.

    """
    if out.ndim != 1 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError("out must be a writable array of one axis without gaps")
    if len(ids) > len(out):
        raise ValueError(f"the text has {len(ids)} tokens, out has room for {len(out)}")
    out[: len(ids)] = ids
    return out[: len(ids)]
