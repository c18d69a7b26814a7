"""Downloads: https alone, so long and no longer, whole or not at all, and never where they are forbidden."""

from __future__ import annotations

import email.message
import hashlib
import itertools
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from gpt2x import download as module
from gpt2x.download import DownloadError, download
from gpt2x.errors import InputDataError, MissingComponentError
from tests.conftest import Response, Serve

ADDRESS = "https://example.org/file"
CONTENT = b"la " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where the file should come to; nothing else is ever left there."""
    path = tmp_path / "cache" / "file"
    yield path
    if path.parent.exists():
        assert [found.name for found in path.parent.iterdir()] == (["file"] if path.exists() else [])


def test_a_file_that_is_what_it_should_be_is_kept(serve: Serve, target: Path) -> None:
    serve(CONTENT, declared=str(len(CONTENT)))
    download(ADDRESS, target, limit=10**6, size=len(CONTENT), sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("declared", "expected", "sentence"),
    [
        (None, {"limit": 2999}, "has more than the 2,999 bytes that were expected"),
        ("3000", {"limit": 2999}, "has more than the 2,999 bytes that were expected"),
        ("9" * 30, {"limit": 10**6}, "has more than the 1,000,000 bytes that were expected"),
        ("about 10", {"limit": 10**6, "size": 3001}, "has 3,000 bytes, not 3,001"),
        (None, {"limit": 10**6, "size": 2999}, "has more than the 2,999 bytes"),
        (None, {"limit": 10**6, "sha256": "0" * 64}, f"its sha256 is {SHA256}, not 000"),
    ],
)
def test_another_file_is_refused_and_not_kept(
    serve: Serve, target: Path, declared: str | None, expected: dict[str, Any], sentence: str
) -> None:
    serve(CONTENT, declared=declared)
    with pytest.raises(InputDataError, match=f"{ADDRESS} has changed: it.*{sentence.removeprefix('it')}"):
        download(ADDRESS, target, **expected)
    assert not target.exists()


def test_a_file_that_breaks_off_leaves_the_old_one(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("old")
    serve(CONTENT, declared="3001")
    with pytest.raises(DownloadError, match="broken off after 3,000 of 3,001 bytes"):
        download(ADDRESS, target, limit=10**6)
    assert target.read_text() == "old"


def test_a_server_that_never_ends_is_stopped_at_the_limit(serve: Serve, target: Path) -> None:
    serve(b"", read1=bytes)
    with pytest.raises(InputDataError, match="has more than the 10,000,000 bytes"):
        download(ADDRESS, target, limit=10**7)


def test_a_server_that_drips_is_given_up(serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(b"", read1=lambda size: b"x")
    clock = itertools.count()
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with pytest.raises(DownloadError, match="not done within 60 seconds"):
        download(ADDRESS, target, limit=10**8, seconds=60)


@pytest.mark.parametrize("error", [ConnectionResetError("reset by peer"), HTTPException("reset by peer")])
def test_what_the_network_says_is_not_taken_for_what_the_disk_says(
    serve: Serve, target: Path, error: Exception
) -> None:
    def broken(size: int) -> bytes:
        raise error

    serve(b"", read1=broken)
    with pytest.raises(DownloadError, match="reset by peer"):
        download(ADDRESS, target, limit=10**6)


@pytest.mark.parametrize(
    "address", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "/x", ""]
)
def test_no_other_protocol_is_spoken(target: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GPT2X_OFFLINE", "0")
    with pytest.raises(InputDataError, match="is no https address"):
        download(address, target, limit=10**6)


@pytest.mark.parametrize("moved_to", ["http://example.org/file", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch, moved_to: str
) -> None:
    """Once on the way, by what opens the address, and once more at the end, whoever opened it."""
    real_open = module._open
    serve(CONTENT, moved_to=moved_to)
    with pytest.raises(InputDataError, match=f"{moved_to} is no https address"):
        download(ADDRESS, target, limit=10**6)

    def moved(self: Any, request: urllib.request.Request) -> Any:
        headers = email.message.Message()
        headers["Location"] = moved_to
        answer = Response(b"", None, request.full_url)
        answer.code, answer.msg, answer.info = 302, "Found", lambda: headers  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(module, "_open", real_open)
    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", moved)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    with pytest.raises((InputDataError, DownloadError), match="is no https address|not allowed"):
        download(ADDRESS, target, limit=10**6)


@pytest.mark.parametrize("value", ["1", "yes"])
def test_nothing_is_asked_for_where_downloads_are_forbidden(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    asked = serve(CONTENT)
    monkeypatch.setenv("GPT2X_OFFLINE", value)
    with pytest.raises(MissingComponentError, match="downloads are forbidden by GPT2X_OFFLINE"):
        download(ADDRESS, target, limit=10**6)
    assert asked == []
    assert not target.parent.exists()
