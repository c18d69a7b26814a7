from __future__ import annotations

import io
from typing import Any

import pytest

from gpt2x.web.reading import TimedReader


class Trickle:
    """A connection that sends one byte each ten seconds, on a clock of its own."""

    def __init__(self, silence: float = 10.0) -> None:
        self.now, self.silence, self.timeout, self.sent = 0.0, silence, 0.0, 0

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def recv_into(self, buffer: Any) -> int:
        waited = min(self.silence, self.timeout)
        self.now += waited
        if waited < self.silence:
            raise TimeoutError
        buffer[:1] = b"x"
        self.sent += 1
        return 1


def reader(client: Trickle) -> io.BufferedReader:
    return io.BufferedReader(TimedReader(client, within=30.0, silent=20.0, clock=lambda: client.now))  # type: ignore[arg-type]


def test_a_request_that_trickles_in_has_no_more_time_than_any_other() -> None:
    client = Trickle()
    with pytest.raises(TimeoutError):
        reader(client).read(100)
    assert client.now == 30.0
    assert client.sent == 3
    assert client.timeout == 20.0, "a refusal can still be written"


def test_a_silent_client_is_not_waited_for_until_the_end() -> None:
    client = Trickle(silence=1e9)
    with pytest.raises(TimeoutError):
        reader(client).read(1)
    assert client.now == 20.0


def test_what_comes_in_time_is_read() -> None:
    assert reader(Trickle()).read(2) == b"xx"
