"""The one way in which gpt2x fetches a file: over https alone, so long and no longer, and whole or not at all.

Whatever is fetched has a limit that is set beforehand, is written to disk as it comes, and appears under its name only
when its length and its sha256 are the expected ones. ``GPT2X_OFFLINE=1`` forbids it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gpt2x._version import __version__
from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.paths import atomic_write

STALL_SECONDS = 20.0
"""How long to wait for a server that says nothing."""

SECONDS = 600.0
"""How long a download may take in all."""

_BLOCK_BYTES = 1 << 16


class DownloadError(Exception):
    """A server cannot be reached, refuses, breaks off or takes too long; the text says which, in a few words."""


def is_offline() -> bool:
    """True where ``GPT2X_OFFLINE`` is set to anything but 0."""
    return os.environ.get("GPT2X_OFFLINE", "0") not in ("", "0")


def check_online(what: str, remedy: str) -> None:
    """Refuse to fetch something where that is forbidden.

    Raises:
        MissingComponentError: ``GPT2X_OFFLINE`` is set.

    """
    if is_offline():
        raise MissingComponentError(
            f"{what} is not on this machine, and downloads are forbidden by GPT2X_OFFLINE; unset it, or {remedy}"
        )


def download(
    address: str,
    target: Path,
    *,
    limit: int,
    sha256: str = "",
    size: int | None = None,
    seconds: float = SECONDS,
) -> None:
    """Fetch a file into `target`.

    Args:
        address: begins with ``https://``, and so does every address that the server redirects to.
        target: appears when the file is there as a whole and is what it should be.
        limit: how many bytes it may have; checked against what the server says and against what comes.
        sha256: what it must be, where that is known.
        size: how many bytes it has, where that is known.
        seconds: how long it may take.

    Raises:
        MissingComponentError: downloads are forbidden.
        InputDataError: what came is not what was expected; nothing of it is kept.
        OutputError: `target` cannot be written.
        DownloadError: the server cannot be reached, breaks off, or takes too long.

    """
    check_online(address, "get the file in another way")
    deadline = time.monotonic() + seconds
    limit = limit if size is None else size
    with _network_errors():
        opened = _open(address)
    with opened as response:
        _check_https(response.geturl())
        declared = _declared(response)
        if declared is not None and declared > limit:
            raise _too_long(address, limit)
        digest = hashlib.sha256()
        length = 0
        with atomic_write(target) as file:
            for block in _blocks(response, deadline, seconds):
                length += len(block)
                if length > limit:
                    raise _too_long(address, limit)
                digest.update(block)
                file.write(block)
            if length < (declared or 0):
                raise DownloadError(f"broken off after {length:,} of {declared:,} bytes")
            _check_content(address, length, size, digest.hexdigest(), sha256)


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Tell what the network says from what the disk says: both are OSErrors."""
    try:
        yield
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise DownloadError(reason.splitlines()[0][:120]) from error


def _blocks(response: Any, deadline: float, seconds: float) -> Iterator[bytes]:
    """What a server sends, as it comes: `read1` waits once, so that one that drips is noticed."""
    while True:
        with _network_errors():
            block = response.read1(_BLOCK_BYTES)
        if not block:
            return
        if time.monotonic() > deadline:
            raise DownloadError(f"not done within {seconds:g} seconds")
        yield block


def _check_content(address: str, length: int, size: int | None, found: str, sha256: str) -> None:
    if size is not None and length != size:
        raise InputDataError(f"{address} has changed: it has {length:,} bytes, not {size:,}")
    if sha256 and found != sha256:
        raise InputDataError(f"{address} has changed: its sha256 is {found}, not {sha256}")


def _too_long(address: str, limit: int) -> InputDataError:
    return InputDataError(f"{address} has changed: it has more than the {limit:,} bytes that were expected")


def _declared(response: Any) -> int | None:
    """How long the server says that the file is."""
    text = response.headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdecimal() else None


def _check_https(address: str) -> None:
    if not address.lower().startswith("https://"):
        raise InputDataError(f"{address[:200]} is no https address, and gpt2x downloads over https alone")


def _open(address: str) -> Any:
    """Ask a server for a file, through a proxy if the environment names one; no other protocol is even known here."""
    from urllib import request

    _check_https(address)

    class HttpsRedirects(request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> Any:
            _check_https(args[-1])  # the new address
            return super().redirect_request(*args)

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(),
        HttpsRedirects(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    asked = request.Request(address, headers={"User-Agent": f"gpt2x/{__version__}"})
    return opener.open(asked, timeout=STALL_SECONDS)
