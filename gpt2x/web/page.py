"""The page: one file of HTML with its style and its script, and a policy that lets a browser run nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from gpt2x.paths import assets_dir

PAGE = "sing.html"


@dataclass(frozen=True, slots=True)
class Page:
    """What is sent for the page.

    Attributes:
        content: the HTML, in UTF-8.
        policy: a Content-Security-Policy: the page's own script and style by their digests, requests to where it came
            from, and nothing of anyone else's.

    """

    content: bytes
    policy: str


def packaged_page() -> Page:
    """The page that ships with gpt2x."""
    return page_of((assets_dir() / PAGE).read_text(encoding="utf-8"))


def page_of(text: str) -> Page:
    """A page and the policy for its own scripts and styles."""
    policy = (
        f"default-src 'none'; script-src {_digests(text, 'script')}; style-src {_digests(text, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.encode("utf-8"), policy)


def _digests(text: str, element: str) -> str:
    """The digest of each script or style, as CSP 3, §2.3.1 writes them."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", text, flags=re.DOTALL)
    digests = (hashlib.sha256(content.encode("utf-8")).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
