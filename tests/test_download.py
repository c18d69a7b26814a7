"""Downloads: https alone, so long and no longer, whole or not at all, and never where they are forbidden."""

from __future__ import annotations

import email.message
import hashlib
import http.server
import itertools
import threading
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
    """Where the file should come to; nothing else is left there but the beginning of a file."""
    path = tmp_path / "cache" / "file"
    yield path
    if path.parent.exists():
        names = {found.name for found in path.parent.iterdir()}
        assert names - {".file.part", ".file.part.json"} == ({"file"} if path.exists() else set())
        assert (".file.part" in names) == (".file.part.json" in names)


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
    assert not (target.parent / ".file.part").exists(), (
        "no version and no checksum: nothing could go on with it"
    )


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


# -- a download that goes on where another ended ------------------------------------------------------------------


class Server:
    """A real HTTP server on this machine: one file, with a version, that breaks off after some bytes if told so."""

    def __init__(self) -> None:
        self.content, self.headers, self.breaks_after, self.ranges = CONTENT, {"ETag": '"1"'}, 10**9, True
        self.asked: list[tuple[str | None, str | None]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted, version = handler.headers["Range"], handler.headers["If-Range"]
        self.asked.append((wanted, version))
        start = 0
        if wanted and self.ranges and version in (None, *self.headers.values()):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        for name, value in ({"Content-Length": str(len(self.content) - start)} | self.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(self.content[start : start + self.breaks_after])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Stands where the address leads; https itself is left to urllib, as in the tests above."""
    started = Server()

    def to_server(address: str, headers: dict[str, str]) -> Any:
        place = f"http://127.0.0.1:{started.server.server_port}/file"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        response = opener.open(urllib.request.Request(place, headers=headers), timeout=20)
        response.geturl = lambda: address
        return response

    monkeypatch.setenv("GPT2X_OFFLINE", "0")
    monkeypatch.setattr(module, "_open", to_server)
    yield started
    started.close()


def begin(server: Server, target: Path, after: int = 1000, **expected: Any) -> None:
    """A first try that breaks off."""
    server.breaks_after = after
    with pytest.raises(DownloadError, match=f"broken off after {after:,} of 3,000 bytes; try again to go on"):
        download(ADDRESS, target, limit=10**6, **expected)
    server.breaks_after = 10**9
    assert not target.exists()


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, '"1"'),
        (
            {"ETag": 'W/"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"},
            "Thu, 01 Jan 2026 00:00:00 GMT",
        ),
    ],
)
def test_the_next_try_asks_for_the_rest_of_that_version(
    server: Server, target: Path, headers: dict[str, str], version: str
) -> None:
    server.headers = headers
    begin(server, target, 1000)
    assert (target.parent / ".file.part").read_bytes() == CONTENT[:1000]
    server.breaks_after = 500
    with pytest.raises(DownloadError, match="broken off after 1,500 of 3,000 bytes"):
        download(ADDRESS, target, limit=10**6)
    server.breaks_after = 10**9
    download(ADDRESS, target, limit=10**6, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.asked == [(None, None), ("bytes=1000-", version), ("bytes=1500-", version)]
    assert [found.name for found in target.parent.iterdir()] == ["file"]


def test_a_file_that_has_changed_meanwhile_comes_as_a_whole(server: Server, target: Path) -> None:
    begin(server, target)
    server.content, server.headers = b"new " * 700, {"ETag": '"2"'}
    download(ADDRESS, target, limit=10**6)
    assert target.read_bytes() == server.content
    assert server.asked[1] == ("bytes=1000-", '"1"')


def test_a_server_that_knows_no_ranges_sends_the_whole_file(server: Server, target: Path) -> None:
    begin(server, target)
    server.ranges = False
    download(ADDRESS, target, limit=10**6, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_halves_of_two_versions_are_found_and_fetched_again(server: Server, target: Path) -> None:
    """Without a version there is the checksum alone, which is compared when all is there."""
    server.headers = {}
    begin(server, target, sha256=SHA256)
    part = target.parent / ".file.part"
    part.write_bytes(b"x" * 1000)
    download(ADDRESS, target, limit=10**6, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.asked[1:] == [("bytes=1000-", None), (None, None)]


def test_a_beginning_that_is_longer_than_the_file_is_given_up(server: Server, target: Path) -> None:
    begin(server, target)
    server.content = CONTENT[:900]
    download(ADDRESS, target, limit=10**6)
    assert target.read_bytes() == CONTENT[:900]


def test_the_beginning_of_another_address_is_no_beginning_of_this(server: Server, target: Path) -> None:
    begin(server, target)
    download(f"{ADDRESS}-of-another-name", target, limit=10**6)
    assert server.asked[1] == (None, None)
    assert target.read_bytes() == CONTENT


def test_a_server_out_of_reach_does_not_cost_the_beginning(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(server, target)
    with monkeypatch.context() as patch:

        def unreachable(address: str, headers: dict[str, str]) -> Any:
            raise ConnectionRefusedError("refused")

        patch.setattr(module, "_open", unreachable)
        with pytest.raises(DownloadError, match="refused"):
            download(ADDRESS, target, limit=10**6)
    download(ADDRESS, target, limit=10**6)
    assert server.asked[1] == ("bytes=1000-", '"1"')
    assert target.read_bytes() == CONTENT


def test_a_limit_holds_for_the_beginning_and_the_rest_together(server: Server, target: Path) -> None:
    begin(server, target)
    with pytest.raises(InputDataError, match="has more than the 2,999 bytes"):
        download(ADDRESS, target, limit=2999)
    assert list(target.parent.iterdir()) == []


def test_two_processes_do_not_write_into_one_beginning(server: Server, target: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    begin(server, target)
    with (target.parent / ".file.part").open("a+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        download(ADDRESS, target, limit=10**6)
        assert target.read_bytes() == CONTENT
        assert (target.parent / ".file.part").read_bytes() == CONTENT[:1000]


def test_a_check_refuses_a_file_before_it_appears(server: Server, target: Path) -> None:
    seen: list[bytes] = []

    def check(path: Path) -> None:
        seen.append(path.read_bytes())
        assert not target.exists()
        raise InputDataError("not this one")

    with pytest.raises(InputDataError, match="not this one"):
        download(ADDRESS, target, limit=10**6, check=check)
    assert seen == [CONTENT]
    assert list(target.parent.iterdir()) == []
