"""The one way in which gpt2x fetches a file: over https alone, so long and no longer, and whole or not at all.

Whatever is fetched has a limit that is set beforehand, is written to disk as it comes, and appears under its name only
when its length and its sha256 are the expected ones. What came before a connection broke stays beside the target, and
the next try asks for the rest alone (RFC 9110, sections 13.1.5 and 14): the server is told which version the beginning
is of, and sends the whole file if it has another by now. ``GPT2X_OFFLINE=1`` forbids it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from gpt2x._version import __version__
from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.paths import output_errors, try_lock
from gpt2x.paths.files import umask

STALL_SECONDS = 20.0
"""How long to wait for a server that says nothing."""

SECONDS = 600.0
"""How long a download may take in all."""

_BLOCK_BYTES = 1 << 16
_PARTIAL, _NO_SUCH_RANGE = 206, 416


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
    check: Callable[[Path], None] | None = None,
) -> None:
    """Fetch a file into `target`, or the rest of one that an earlier try began to fetch.

    Args:
        address: begins with ``https://``, and so does every address that the server redirects to.
        target: appears when the file is there as a whole and is what it should be.
        limit: how many bytes it may have; checked against what the server says and against what comes.
        sha256: what it must be, where that is known.
        size: how many bytes it has, where that is known.
        seconds: how long it may take.
        check: looks at the whole file, under another name, before it appears; raises InputDataError to refuse it.

    Raises:
        MissingComponentError: downloads are forbidden.
        InputDataError: what came is not what was expected; nothing of it is kept.
        OutputError: `target` cannot be written.
        DownloadError: the server cannot be reached, breaks off, or takes too long; what came is kept for the next try
            where it can be told that the rest belongs to it.

    """
    check_online(address, "get the file in another way")
    _check_https(address)
    deadline = time.monotonic() + seconds
    limit = limit if size is None else size
    with output_errors(target), _part_of(target) as part:
        part.find_beginning(address, verified=bool(sha256))
        while True:
            try:
                found = _receive(address, part, limit, deadline, seconds)
                _check_content(address, part.length, size, found, sha256)
                if check is not None:
                    part.flush()
                    check(part.path)
                break
            except InputDataError:
                if not part.start:
                    raise
                part.start = 0  # perhaps the halves of two versions: once more, as a whole
        part.finish(target)


def _receive(address: str, part: _Part, limit: int, deadline: float, seconds: float) -> str:
    """Write what the server sends behind what is there; returns the sha256 of it all."""
    with _network_errors():
        opened = _ask(address, part)
    with opened as response:
        _check_https(response.geturl())
        if not (part.start and _begins_at(response, part.start)):
            part.begin(address, _version_of(response))
        declared = _declared(response)
        whole = None if declared is None else part.start + declared
        if whole is not None and whole > limit:
            raise _too_long(address, limit)
        digest = part.digest()
        for block in _blocks(response, deadline, seconds):
            if part.length + len(block) > limit:
                raise _too_long(address, limit)
            digest.update(block)
            part.write(block)
    if part.length < (whole or 0):
        more = "; try again to go on from there" if part.can_go_on else ""
        raise DownloadError(f"broken off after {part.length:,} of {whole:,} bytes{more}")
    return digest.hexdigest()


def _ask(address: str, part: _Part) -> Any:
    """Ask for the rest of a file, or for all of it where there is none or the server knows of no rest."""
    from urllib.error import HTTPError

    if part.start:
        headers = {"Range": f"bytes={part.start}-"} | ({"If-Range": part.version} if part.version else {})
        try:
            return _open(address, headers)
        except HTTPError as error:
            if error.code != _NO_SUCH_RANGE:
                raise
    part.start = 0
    return _open(address, {})


def _begins_at(response: Any, start: int) -> bool:
    """Whether this is the part of the file that begins there, and not the whole file."""
    partial = getattr(response, "status", None) == _PARTIAL
    return partial and (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _version_of(response: Any) -> str:
    """What tells this version of a file from others: a strong ETag, else the time of its last change; "" if unknown."""
    tag = response.headers.get("ETag") or ""
    return tag if tag.startswith('"') else response.headers.get("Last-Modified") or ""


# -- what has come so far -----------------------------------------------------------------------------------------


class _Part:
    """The beginning of a file, beside its target; what it is the beginning of stands in a small file of its own."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file
        self.about = path.with_name(f"{path.name}.json")
        self.start = 0
        """How many bytes of it are asked for no more."""
        self.length = 0
        self.version, self.verified = "", False

    @property
    def can_go_on(self) -> bool:
        """Whether the rest can be asked for later, and be told from that of another version."""
        return bool(self.length and (self.version or self.verified))

    def find_beginning(self, address: str, *, verified: bool) -> None:
        """Go on after what is there, if that is of this address and of a version that can be asked for.

        Args:
            address: where the rest would come from.
            verified: the whole will be compared with a checksum, which would tell if the rest is of another version.

        """
        self.verified = verified
        try:
            known = json.loads(self.about.read_text(encoding="utf-8"))
            here, version = known["address"] == address, str(known["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if here and (version or verified):
            self.start = self.length = os.fstat(self.file.fileno()).st_size
            self.version = version

    def begin(self, address: str, version: str) -> None:
        """Begin anew, with nothing."""
        self.start, self.length, self.version = 0, 0, version
        self.about.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")

    def digest(self) -> Any:
        """The sha256 of what is there; what is written next follows on it."""
        digest, self.length = hashlib.sha256(), 0
        self.file.seek(0)
        self.file.truncate(self.start)
        while block := self.file.read(_BLOCK_BYTES):
            digest.update(block)
            self.length += len(block)
        return digest

    def write(self, block: bytes) -> None:
        """Write what has come behind what is there."""
        self.file.write(block)
        self.length += len(block)

    def flush(self) -> None:
        """Let others see what was written."""
        self.file.flush()

    def finish(self, target: Path) -> None:
        """Give the whole file its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.about.unlink(missing_ok=True)
        self.path.chmod(0o666 & ~umask())  # others may read a cache that is shared
        self.path.replace(os.path.realpath(target))

    def remove(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[_Part]:
    """What has come of a file; it stays when the network or the user ends it, if it can be gone on with."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.part")
    with path.open("a+b", buffering=0) as shared:
        if _is_ours_alone(shared, path):
            part = _Part(path, os.fdopen(os.dup(shared.fileno()), "r+b"))
        else:  # another process fetches the same file: neither waits, and this one keeps nothing
            descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
            part = _Part(Path(name), os.fdopen(descriptor, "r+b"))
        with part.file:
            try:
                yield part
            except (DownloadError, KeyboardInterrupt):
                part.flush()
                if part.path != path or not part.can_go_on:
                    part.remove()
                raise
            except BaseException:
                part.remove()
                raise


def _is_ours_alone(file: IO[bytes], path: Path) -> bool:
    """Lock the beginning of a file; False where another process is at it, or has just given it its name."""
    if not try_lock(file):
        return False
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


# -- the network --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Tell what the network says from what the disk says: both are OSErrors."""
    from http.client import (
        HTTPException,
    )  # with ssl and email 20 ms, for which no command waits that only reads

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


def _open(address: str, headers: dict[str, str]) -> Any:
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
    asked = request.Request(address, headers={"User-Agent": f"gpt2x/{__version__}", **headers})
    return opener.open(asked, timeout=STALL_SECONDS)
