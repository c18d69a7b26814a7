"""A server with a tiny random model, on a port of its own."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from gpt2x import tokenizer as tokenizer_room
from gpt2x.generate.engine import Engine
from gpt2x.generate.lyrics import SongRequest
from gpt2x.generate.song_request import MAX_LINES
from gpt2x.generate.song_settings import SongSettings
from gpt2x.model import GPT, GPTConfig
from gpt2x.web.server import SongServer, Stage

TEXT = "I walk alone in the rain, la la love, the rain is falling on the town; où es-tu, mon amour? 愛\n\n"


@pytest.fixture(scope="session")
def engine() -> Engine:
    torch.manual_seed(0)
    tokenizer = tokenizer_room.train([TEXT * 3], 300)
    return Engine(
        GPT(GPTConfig(vocab_size=300, block_size=64, n_layer=1, n_head=2, n_embd=16)).eval(), tokenizer
    )


@pytest.fixture
def settings() -> SongSettings:
    return SongSettings(request=SongRequest(topic="x", candidates=2), max_tokens=60)


Start = Callable[..., SongServer]


@pytest.fixture
def start(engine: Engine, settings: SongSettings) -> Iterator[Start]:
    """Start a server; ``max_tokens`` and any part of its `Stage` can be given."""
    running = []

    def begin(max_tokens: int = 60, max_lines: int = MAX_LINES, **parts: Any) -> SongServer:
        wanted = dataclasses.replace(settings.asking(max_lines=max_lines), max_tokens=max_tokens)
        server = SongServer(Stage(**{"engine": engine, "name": "tiny", "settings": wanted, **parts}), 0)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield begin
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.stop()


@pytest.fixture
def server(start: Start) -> SongServer:
    return start()


Reply = tuple[int, dict[str, str], bytes]


def ask(
    server: SongServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request and its whole reply."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


JSON = {"Content-Type": "application/json"}


def listen(server: SongServer, **wish: Any) -> list[dict[str, Any]]:
    """The events of a song."""
    status, _, content = ask(server, "POST", "/songs", json.dumps(wish).encode(), JSON)
    assert status == 200, content
    return [json.loads(line) for line in content.splitlines()]
