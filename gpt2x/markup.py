"""HTML and SVG as values: text is escaped where it enters, so that no title or name can become a tag. No torch."""

from __future__ import annotations

import html
import json
import re
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""Elements of HTML that have no end tag."""


_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0, production 2, leaves out: control characters and lone surrogates."""


class Markup(str):
    """Text that is markup already; any other string is escaped when it becomes part of some."""


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """One element; None and "" among the children, and None among the attributes, are left out.

    In the names of attributes a trailing underscore is dropped (``class_``), all others become hyphens.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{element}{''.join(words)}>"
    if element in VOID:
        return Markup(start)
    return Markup(f"{start}{join(*children)}</{element}>")


def join(*children: object) -> Markup:
    """Elements and text one after the other."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def json_script(name: str, value: Any) -> Markup:
    """Data inside a page, which nothing in it can end early: it is ASCII without ``<``.

    >>> json_script("data", {"title": "</script>"})
    '<script type="application/json" id="data">{"title": "\\\\u003c/script>"}</script>'
    """
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)


def _escaped(child: object) -> str:
    return child if isinstance(child, Markup) else html.escape(_text(child))


def _text(value: object) -> str:
    """Numbers of a drawing to a tenth, without ".0"; what is no character of XML becomes a replacement character."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return _NO_CHARACTER.sub("\ufffd", str(value))
