"""A text may have fields, such as a headline and a description, with a separator between them."""

from __future__ import annotations

FIELD_SEPARATOR = "\x1f"
"""Stands between the fields of a text: ASCII's unit separator. One that stands in a file is read as a blank."""


def unseparated(text: str) -> str:
    """The text as one field.

    >>> unseparated("Rain\\x1fIt is wet")
    'Rain It is wet'
    """
    return text.replace(FIELD_SEPARATOR, " ")
