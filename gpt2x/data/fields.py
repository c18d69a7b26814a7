"""A row of a file becomes one text, which may have fields, such as a headline and a description."""

from __future__ import annotations

FIELD_SEPARATOR = "\x1f"
"""Stands between the fields of a text: ASCII's unit separator. One that stands in a file is read as a blank."""

FORMS = ("playground", "full")
"""How the text columns of a row become one text (`news`): joined, or each a field of its own."""


def unseparated(text: str) -> str:
    """The text as one field.

    >>> unseparated("Rain\\x1fIt is wet")
    'Rain It is wet'
    """
    return text.replace(FIELD_SEPARATOR, " ")
