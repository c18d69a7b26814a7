"""Which requests are answered: those that a browser sends for our own page, on this machine, of a reasonable size.

Any web page that a browser shows may send requests to 127.0.0.1. Three headers that no page can forge tell them apart:
``Host`` holds the name that the browser looked up, so a name that was pointed at this machine (DNS rebinding) shows
there; ``Origin`` names the page that asks; ``Sec-Fetch-Site`` says whether that is our own. A request for a song must
be JSON besides, which another page may not send before a preflight that is never granted (Fetch standard, §4.8).
"""

from __future__ import annotations

import re
from email.message import Message
from http import HTTPStatus

from gpt2x.errors import quoted

MAX_BODY_BYTES = 16_384
"""No request for a song is longer."""

_LOCAL_HOST = re.compile(r"(?i)(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?", re.ASCII)


class Refusal(Exception):
    """A request that is not answered: the status, and a sentence with the reason and the remedy."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def check_origin(headers: Message, *, is_page: bool) -> None:
    """Refuse what does not come from this machine's own page.

    Args:
        headers: of the request.
        is_page: it asks for the page itself, to which others may link.

    Raises:
        Refusal: 400 without one Host, 403 for another host or origin.

    """
    hosts = headers.get_all("Host") or []
    if len(hosts) != 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the request has {len(hosts)} Host headers; send one")
    if not _LOCAL_HOST.fullmatch(hosts[0].strip()):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"the page is not served as {quoted(hosts[0])}; open it as 127.0.0.1 or localhost",
        )
    for origin in headers.get_all("Origin") or []:
        if origin.strip().lower() != f"http://{hosts[0].strip().lower()}":
            raise Refusal(
                HTTPStatus.FORBIDDEN, f"requests from {quoted(origin)} are refused; use the page itself"
            )
    site = headers.get("Sec-Fetch-Site", "none").strip().lower()
    is_link = is_page and headers.get("Sec-Fetch-Mode", "").strip().lower() == "navigate"
    if site not in ("none", "same-origin") and not is_link:
        raise Refusal(HTTPStatus.FORBIDDEN, "requests from other pages are refused; use the page itself")


def body_length(headers: Message) -> int:
    """How long the JSON is that a request announces.

    Raises:
        Refusal: 400, 411, 413 or 415.

    """
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the request is {quoted(media_type)}; send application/json"
        )
    lengths = headers.get_all("Content-Length") or []
    if "Transfer-Encoding" in headers or not lengths:
        raise Refusal(
            HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is; send Content-Length"
        )
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,30}", lengths[0].strip()):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"the Content-Length {quoted(', '.join(lengths))} is no length; send the number of bytes",
        )
    length = int(lengths[0])
    if length > MAX_BODY_BYTES:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the request has {length} bytes; send at most {MAX_BODY_BYTES}",
        )
    return length
