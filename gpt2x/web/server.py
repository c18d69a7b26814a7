"""The HTTP server: the page, what it offers, and songs that stream as they are written.

    GET /            the page
    GET /choices     JSON: what can be asked for, and the values to begin with
    POST /songs      JSON in (`gpt2x.web.asking`), a song out

A song is a stream of JSON lines (``application/x-ndjson``): ``{"event": "start", title, seed, run}``, then ``{"event":
"text", text}`` as it is written, then ``{"event": "end", tokens, tokens_per_second, report, summary, copied, command}``
or, if it breaks off, ``{"event": "error", error}``. Every refusal is ``{"error": one sentence}`` with a 4xx status.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from gpt2x.console import complain, say
from gpt2x.errors import ExitCode, Gpt2xError, UsageError, describe_os_error, shortened, wants_traceback
from gpt2x.generate.engine import Engine
from gpt2x.generate.lyrics import title_of
from gpt2x.generate.originality import copied_spans
from gpt2x.generate.overlap_index import SongIndex
from gpt2x.generate.report import report
from gpt2x.generate.rhyme import packaged_rhymes
from gpt2x.generate.song_settings import SongSettings, words_of_song
from gpt2x.web.asking import choices, read_wish
from gpt2x.web.checks import MAX_BODY_BYTES, Refusal, body_length, check_origin
from gpt2x.web.page import packaged_page
from gpt2x.web.reading import TimedReader
from gpt2x.web.singer import Busy, Performance, Singers, Stopped

ADDRESS = "127.0.0.1"
"""Only this machine can connect."""

MAX_CONNECTIONS = 64
"""More are closed at once; each has a thread."""

TIMEOUT_SECONDS = 20.0
"""How long a connection may be silent while we wait for it."""

REQUEST_SECONDS = 30.0
"""How long a request may take to arrive, however steadily it trickles in."""

_LINGER_BYTES, _LINGER_SECONDS = 1 << 20, 1.0


class AddressError(Gpt2xError):
    """The page cannot be served at this port."""

    exit_code = ExitCode.FAILED


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What the server sings with.

    Attributes:
        engine: the model.
        name: of its run, for the page.
        options: that choose the model on a command line.
        settings: hold for what the page does not say.
        topic: shown at first, "" for none.
        seed: shown at first.
        index: songs to compare with; None does not compare.

    """

    engine: Engine
    name: str
    settings: SongSettings
    options: Sequence[str] = ()
    topic: str = ""
    seed: int | None = None
    index: SongIndex | None = None


class SongServer(ThreadingHTTPServer):
    """Serves the page until `stop`.

    Args:
        stage: what it sings with.
        port: where; 0 takes any that is free, which `url` then tells.

    Raises:
        AddressError: the port is taken or not allowed.

    """

    daemon_threads = (
        False  # `server_close` waits for them: none may be inside torch when the interpreter ends
    )
    request_queue_size = 32

    def __init__(self, stage: Stage, port: int) -> None:
        self.stage, self.page = stage, packaged_page()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise AddressError(
                f"cannot serve the page at {ADDRESS}:{port}: {describe_os_error(error)}; give another --port, or 0 for "
                "any that is free"
            ) from error
        self.singers = Singers(stage.engine)

    def server_bind(self) -> None:
        """Bind, without the name of this machine, which the standard library asks a name server for."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def stop(self) -> None:
        """End all songs and connections, and wait for their threads; call it once `serve_forever` has returned."""
        self.singers.stop()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)  # what still waits for a request gets none
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a connection, unless there are too many."""
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                return False
            self._connections.add(request)
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one sentence what a request met; the server goes on."""
        if wants_traceback():
            super().handle_error(request, client_address)
            return
        complain("gpt2x: a request to the page met a defect; start with --traceback to see where")


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: SongServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gpt2x", ""
    timeout = TIMEOUT_SECONDS
    refused = False

    def setup(self) -> None:
        """As ever, but for a request that has to be here in time."""
        super().setup()
        self.rfile = io.BufferedReader(
            TimedReader(self.connection, within=REQUEST_SECONDS, silent=self.timeout)
        )

    # Routes -------------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        """The page, or what it offers."""
        self._answer({"/": self._send_page, "/choices": self._send_choices})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A song."""
        self._answer({"/songs": self._send_song})

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        try:
            path = self._path()
            check_origin(self.headers, is_page=path == "/" and self.command != "POST")
            if path not in routes:
                known = path in ("/", "/choices", "/songs")
                status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
                raise Refusal(status, "there is nothing here for this request; open the page at /")
            routes[path]()
        except Refusal as refusal:
            self.send_error(refusal.status, refusal.sentence)
        except UsageError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))
        except Busy as error:
            self.send_error(HTTPStatus.TOO_MANY_REQUESTS, str(error))
        except Stopped as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except (ConnectionError, TimeoutError):
            pass  # the listener went away

    def _path(self) -> str:
        try:
            return urlsplit(self.path).path
        except ValueError:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the address cannot be read; open the page at /") from None

    # Replies ------------------------------------------------------------------------------------------------------

    def _send_page(self) -> None:
        page = self.server.page
        headers = {"Content-Security-Policy": page.policy, "X-Frame-Options": "DENY"}
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.content, headers)

    def _send_choices(self) -> None:
        stage = self.server.stage
        value = {**choices(stage.settings, stage.topic, stage.seed), "run": stage.name}
        self._send(HTTPStatus.OK, "application/json", _json(value))

    def _send_song(self) -> None:
        settings, seed = read_wish(self._read_body(), self.server.stage.settings)
        song = self.server.singers.sing(settings, seed)
        try:
            self._begin(
                HTTPStatus.OK,
                "application/x-ndjson",
                {"Transfer-Encoding": "chunked"} if self._chunks else {},
            )
            for event in self._events(song):
                self._send_chunk(_json(event) + b"\n")
            if self._chunks:
                self.wfile.write(b"0\r\n\r\n")
        finally:
            song.leave()

    def _events(self, song: Performance) -> Iterator[dict[str, Any]]:
        """A song from its start to its report."""
        stage, topic = self.server.stage, song.settings.request.topic
        title = title_of(topic)
        yield {"event": "start", "title": title, "seed": song.seed, "run": stage.name}
        pieces = []
        try:
            for piece in song:
                pieces.append(piece)
                yield {"event": "text", "text": piece}
        except Gpt2xError as error:
            yield {"event": "error", "error": str(error)}
            return
        stream = song.stream
        assert stream is not None
        words = words_of_song("".join(pieces), topic)
        found = report(words, packaged_rhymes(), topic)
        copied = None if stage.index is None else str(copied_spans(words, stage.index))
        yield {
            "event": "end",
            "tokens": stream.num_tokens,
            "tokens_per_second": round(stream.num_tokens / max(stream.seconds, 1e-9), 1),
            "report": found.to_dict(),
            "summary": str(found),
            "copied": copied,
            "command": song.settings.command(song.seed, *stage.options),
        }
        say(f"sang {title}, seed {song.seed}, {stream.num_tokens} tokens")

    def _read_body(self) -> bytes:
        length = body_length(self.headers)
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT, "the request did not come to its end; send it again"
            ) from None
        if len(body) < length:
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"the request ended after {len(body)} of {length} bytes; send it again",
            )
        return body

    # How they are sent --------------------------------------------------------------------------------------------

    @property
    def _chunks(self) -> bool:
        """Whether the listener knows chunks (RFC 9112, §7.1); for an older one the end of the connection is the end."""
        return self.request_version == "HTTP/1.1"

    def _begin(self, status: HTTPStatus, media_type: str, more: dict[str, str]) -> None:
        """Send the status and the headers. Every connection serves one request, so that none has to be waited for."""
        self.send_response(status)
        always = {
            "Content-Type": media_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Connection": "close",
        }
        for name, value in {**always, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(
        self, status: HTTPStatus, media_type: str, content: bytes, more: dict[str, str] | None = None
    ) -> None:
        self._begin(status, media_type, {"Content-Length": str(len(content)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self._chunks else data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse the request in one sentence, also where the standard library does.

        An unknown method (501 there) and an unknown version (505) are the client's doing, so 4xx here.
        """
        status = HTTPStatus({501: 405, 505: 400}.get(code, code))
        sentence = shortened(message or f"{status.description or status.phrase}; send another request")
        self.request_version = "HTTP/1.1"  # the standard library sends no status to what it cannot read
        self.refused = self.close_connection = True
        allow = {"Allow": "GET, HEAD, POST"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._send(status, "application/json", _json({"error": sentence}), allow)

    def finish(self) -> None:
        """Close; after a refusal what was still sent is read first, or the client would see a reset, not the reply."""
        if self.refused:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                rest = TimedReader(self.connection, within=_LINGER_SECONDS, silent=_LINGER_SECONDS)
                left = _LINGER_BYTES
                while left > 0 and (read := len(rest.read(MAX_BODY_BYTES) or b"")):
                    left -= read
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().finish()

    def handle(self) -> None:
        """Serve the connection; one that breaks is no error."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: what they hold is somebody else's, and songs are told by `say`."""


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
