"""The page's server: songs stream, listeners do not wait for one another, and nothing that is sent brings it down."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any

import pytest

from gpt2x.errors import Gpt2xError
from gpt2x.generate.engine import Engine
from gpt2x.generate.overlap_index import SongIndex
from gpt2x.generate.song_settings import SongSettings, words_of_song
from gpt2x.web.checks import MAX_BODY_BYTES
from gpt2x.web.server import SongServer, Stage
from gpt2x.web.singer import MAX_SONGS
from tests.web.conftest import JSON, Start, ask, listen

SONG = json.dumps({"topic": "rain"}).encode()


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["event"] == "text")


def open_song(server: SongServer, **wish: Any) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("POST", "/songs", json.dumps({"topic": "rain", **wish}).encode(), JSON)
    return connection, connection.getresponse()


def test_the_page_is_one_file_that_may_load_nothing_else(server: SongServer) -> None:
    status, headers, content = ask(server, "GET", "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    page = content.decode()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert ask(server, "HEAD", "/")[2] == b""


def test_the_page_is_told_what_can_be_asked_for(start: Start) -> None:
    status, _, content = ask(start(topic="rain", seed=5), "GET", "/choices")
    choices = json.loads(content)
    assert status == 200
    assert (choices["topic"], choices["seed"], choices["run"]) == ("rain", 5, "tiny")
    assert "verse-chorus" in choices["forms"]
    assert "sad" in choices["moods"]


def test_a_song_is_the_one_that_the_command_line_writes_and_brings_its_report(
    server: SongServer, engine: Engine, settings: SongSettings
) -> None:
    events = listen(server, topic="rain", seed=3)
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    assert (events[0]["title"], events[0]["seed"]) == ("Rain", 3)
    assert len(events) > 4, "the words come in pieces"
    expected = "".join(settings.asking(topic="rain").sing(engine, 3))
    assert text_of(events) == expected
    report = events[-1]["report"]
    assert report["words"] > 0
    assert events[-1]["command"] == "gpt2x sing rain --drafts 2 --max-tokens 60 --seed 3"
    assert events[-1]["copied"] is None


def test_what_is_copied_is_told_where_songs_are_compared(
    start: Start, engine: Engine, settings: SongSettings
) -> None:
    words = words_of_song("".join(settings.asking(topic="rain").sing(engine, 3)), "rain")
    events = listen(start(index=SongIndex.of([("Old", words)])), topic="rain", seed=3)
    assert 'of "Old"' in events[-1]["copied"]


def test_an_unasked_seed_is_a_new_one_each_time(server: SongServer) -> None:
    assert len({listen(server, topic="rain", seed=None)[0]["seed"] for _ in range(3)}) > 1


def test_a_song_comes_as_it_is_written_and_two_listeners_hear_theirs_at_once(start: Start) -> None:
    server = start(max_tokens=10**6, max_lines=10**6)
    listeners = [open_song(server, seed=seed) for seed in (1, 2)]
    for _ in range(5):
        for _, reply in listeners:  # neither song will end in our time
            assert json.loads(reply.readline())["event"] in ("start", "text")
    for connection, _ in listeners:
        connection.close()


def test_two_at_once_hear_what_each_would_hear_alone(server: SongServer) -> None:
    alone = [text_of(listen(server, topic="rain", seed=seed)) for seed in (1, 2)]
    heard: dict[int, str] = {}

    def hear(seed: int) -> None:
        heard[seed] = text_of(listen(server, topic="rain", seed=seed))

    threads = [threading.Thread(target=hear, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [heard[1], heard[2]] == alone


def test_one_song_too_many_is_refused_and_a_listener_who_leaves_makes_room(start: Start) -> None:
    server = start(max_tokens=10**6, max_lines=10**6)
    listeners = [open_song(server) for _ in range(MAX_SONGS)]
    status, _, content = ask(server, "POST", "/songs", SONG, JSON)
    assert status == 429
    assert "wait" in json.loads(content)["error"]
    for connection, reply in listeners:
        reply.close()
        connection.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection, reply = open_song(server)
        status = reply.status
        connection.close()
        reply.close()
        if status == 200:
            return
    pytest.fail("those who left still keep their places")


def test_an_older_client_gets_the_song_without_chunks(server: SongServer) -> None:
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(SONG)
    content = send(server, head + SONG)
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert [json.loads(line)["event"] for line in body.splitlines()][-1] == "end"


# Refusals ---------------------------------------------------------------------------------------------------------


def send(server: SongServer, data: bytes, *, end: bool = False) -> bytes:
    """Raw bytes, and all that comes back."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it was refused before all was sent
        content = b""
        try:
            while part := connection.recv(1 << 16):
                content += part
        except ConnectionError:
            pass
        return content


def lives(server: SongServer) -> bool:
    return ask(server, "GET", "/")[0] == 200 and listen(server, topic="rain")[-1]["event"] == "end"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Host": "evil.example"}),
        (403, {"Host": "evil.example:8420"}),
        (403, {"Host": "localhost.evil.example"}),
        (403, {"Host": "127.0.0.1.evil.example"}),
        (403, {"Host": "127.0.0.1@evil.example"}),
        (403, {"Host": ""}),
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": "http://127.0.0.1:1"}),
        (403, {"Host": "localhost:8420", "Origin": "https://localhost:8420"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (403, {"Sec-Fetch-Site": "same-site"}),
        (403, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
        (200, {"Host": "localhost:8420", "Origin": "http://localhost:8420", "Sec-Fetch-Site": "same-origin"}),
        (200, {"Host": "LOCALHOST"}),
    ],
)
def test_only_our_own_page_on_this_machine_is_sung_to(
    server: SongServer, status: int, headers: dict[str, str]
) -> None:
    got, _, content = ask(server, "POST", "/songs", SONG, {**JSON, **headers})
    assert got == status, content
    if status != 200:
        assert set(json.loads(content)) == {"error"}
    assert ask(server, "GET", "/choices", None, headers)[0] == status


def test_another_page_may_link_to_ours(server: SongServer) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(server, "GET", "/", None, headers)[0] == 200
    assert ask(server, "GET", "/", None, {**headers, "Sec-Fetch-Mode": "no-cors"})[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"rain"', b"\xff\xfe", b"[" * 10_000, b'{"topic": NaN}', b"1" * 9_000,
        b"{}", b'{"topic": ""}', b'{"topic": "  "}', b'{"topic": 1}', b'{"topic": ["rain"]}', b'{"topic": null}',
        json.dumps({"topic": "x" * 201}).encode(), b'{"topic": "rain", "run": "/etc"}',
        b'{"topic": "rain", "mood": "sad\\nform: free"}'.replace(b"\\n", b"\\u001b"),
        b'{"topic": "rain", "mood": 3}', b'{"topic": "rain", "form": "sonnet"}',
        b'{"topic": "rain", "temperature": -1}', b'{"topic": "rain", "temperature": 1e999}',
        b'{"topic": "rain", "temperature": "1"}', b'{"topic": "rain", "temperature": true}',
        b'{"topic": "rain", "lines": 0}', b'{"topic": "rain", "lines": 1e9}', b'{"topic": "rain", "lines": 8.5}',
        b'{"topic": "rain", "lines": true}', b'{"topic": "rain", "seed": -1}', b'{"topic": "rain", "seed": 1.5}',
        b'{"topic": "rain", "seed": 99999999999999999999}',
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused_in_one_sentence(server: SongServer, body: bytes) -> None:
    status, headers, content = ask(server, "POST", "/songs", body, JSON)
    assert status == 400, content
    sentence = json.loads(content)["error"]
    assert sentence
    assert "\n" not in sentence
    assert len(sentence) <= 1000
    assert headers["Content-Type"] == "application/json"


HEAD = b"POST /songs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"RAIN\r\n\r\n"),
        (400, b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n"),
        (400, b"GET / HTTP/x\r\nHost: localhost\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        (400, b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, b"OPTIONS /songs HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, b"GET /songs HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (411, HEAD + b"\r\n"),
        (411, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (400, HEAD + b"Content-Length: -1\r\n\r\n"),
        (400, HEAD + b"Content-Length: +5\r\n\r\nhello"),
        (400, HEAD + b"Content-Length: \xd9\xa1\r\n\r\n"),
        (400, HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        (413, HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1)),
        (413, HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
        (415, HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 2\r\n\r\n{}"),
        (414, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_request_that_is_none_is_refused_and_the_server_lives(
    server: SongServer, status: int, data: bytes
) -> None:
    content = send(server, data, end=True)
    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), content
    assert b"\n" not in body
    assert json.loads(body)["error"]
    assert lives(server)


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"GET", b"\x16\x03\x01\x02\x00\x01" * 50, HEAD[:30], b"\x00" * 100]
)
def test_a_connection_that_ends_in_the_middle_leaves_no_trace(
    server: SongServer, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    send(server, data, end=True)
    assert lives(server)
    assert "Traceback" not in capfd.readouterr().err


def test_a_body_that_breaks_off_is_refused(server: SongServer) -> None:
    content = send(server, HEAD + b"Content-Length: 50\r\n\r\n{", end=True)
    assert content.startswith(b"HTTP/1.1 400 ")
    assert b"after 1 of 50 bytes" in content


def test_a_body_that_never_comes_is_refused(server: SongServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt2x.web.server._Handler.timeout", 0.2)
    assert send(server, HEAD + b"Content-Length: 50\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


def test_a_refused_client_that_goes_on_byte_by_byte_does_not_keep_its_place(
    server: SongServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.web.server._LINGER_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(400):  # 20 seconds
                connection.sendall(b"x")
                time.sleep(0.05)


def test_a_topic_cannot_steer_a_terminal_nor_end_a_header(
    server: SongServer, capfd: pytest.CaptureFixture[str]
) -> None:
    events = listen(server, topic="rain\x1b[2J\r\nX-Evil: 1", seed=1)
    assert events[0]["title"] == "Rain\ufffd[2J\ufffd X-Evil: 1"
    assert "\x1b" not in events[-1]["command"]
    assert "\x1b" not in capfd.readouterr().err


# Its life ---------------------------------------------------------------------------------------------------------


def test_a_taken_port_is_one_sentence(server: SongServer, engine: Engine, settings: SongSettings) -> None:
    with pytest.raises(Gpt2xError, match=rf"127\.0\.0\.1:{server.server_port}.*--port") as error:
        SongServer(Stage(engine=engine, name="tiny", settings=settings), server.server_port)
    assert "\n" not in str(error.value)


def test_it_listens_on_this_machine_alone(server: SongServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_stopping_ends_songs_with_a_sentence_and_does_not_wait_for_idle_connections(
    engine: Engine, settings: SongSettings
) -> None:
    endless = SongSettings(request=settings.asking(max_lines=10**6).request, max_tokens=10**6)
    server = SongServer(Stage(engine=engine, name="tiny", settings=endless), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    connection, reply = open_song(server)
    reply.readline()
    idle = socket.create_connection(("127.0.0.1", server.server_port))
    start = time.monotonic()
    server.shutdown()
    thread.join()
    server.stop()
    assert time.monotonic() - start < 15, "it waited for the idle connection until its time-out"
    events = [json.loads(line) for line in reply.read().splitlines()]
    assert events[-1] == {"event": "error", "error": "the singer was stopped; start it again"}
    idle.close()
    connection.close()
