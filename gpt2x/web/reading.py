"""Reading a request from a client that may be slow on purpose."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any


class TimedReader(io.RawIOBase):
    """Reads from a connection until a moment that does not move: a byte now and then buys no more time.

    A timeout of a socket begins anew with every byte; sixty-four clients that send one each ten seconds would hold all
    connections for good ("slow loris").

    Args:
        connection: from which it reads.
        within: seconds from now on after which nothing is read any more.
        silent: seconds that the connection may be silent.
        clock: the time in seconds.

    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        within: float,
        silent: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._silent, self._clock = connection, silent, clock
        self._end = clock() + within

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there.

        Raises:
            TimeoutError: it took too long.

        """
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(min(left, self._silent))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._silent)  # as it was, for writing
