"""A benchmark's worker process: it gets requests as lines of JSON on stdin and replies on stdout.

A process of its own keeps settings, memory, threads and crashes away from all others. A benchmark adds a subclass of
`Worker` with a method for each request:

    {"do": "probe", "device": "auto"}              -> {"event": "machine", …}    what every worker can be asked
    {"do": "prepare", …}                           -> {"event": "ready", …}      a method of the subclass
    {"event": "failed", "kind": …, "message": …}   instead, when something went wrong; the process then ends

It ends when stdin does. Whatever libraries print goes to stderr. Loads no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, ClassVar

from gpt2x.bench import machine
from gpt2x.errors import wants_traceback


class Worker:
    """What the process holds between two requests."""

    handles: ClassVar[tuple[str, ...]] = ()
    """The requests of a subclass: names of its methods."""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks for and return the reply."""
        name = request.pop("do")
        if name != "probe" and name not in self.handles:
            raise KeyError(name)
        reply: dict[str, Any] = getattr(self, name)(**request)
        return reply

    def probe(self, device: str) -> dict[str, Any]:
        """Look at the machine and measure its peak."""
        return {"event": "machine", "machine": machine.probe(device).as_dict()}


def failure(error: BaseException) -> dict[str, Any]:
    """The reply to an error: its kind (memory, missing, error) and one line."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    name = type(error).__name__
    if isinstance(error, MemoryError) or "OutOfMemory" in name or "allocate memory" in text:
        return {"event": "failed", "kind": "memory", "message": "out of memory"}
    known = name in ("UsageError", "MissingComponentError", "InputDataError")
    kind = "missing" if name == "MissingComponentError" else "error"
    return {"event": "failed", "kind": kind, "message": line[:300] if known else f"{name}: {line[:300]}"}


def serve(requests: IO[str], replies: IO[str], worker: Worker) -> None:
    """Handle requests until they end or one fails."""
    for reply in _replies(worker, requests):
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if reply["event"] == "failed":
            return


def _replies(worker: Worker, requests: IO[str]) -> Iterator[dict[str, Any]]:
    for line in requests:
        try:
            yield worker.handle(json.loads(line))
        except Exception as error:
            if wants_traceback():
                import traceback

                traceback.print_exc()
            yield failure(error)


def serve_process(worker: Worker) -> None:
    """Keep stdout for replies alone, serve, and end the process."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        serve(sys.stdin, replies, worker)
    # No destructors: nothing here outlives the process, and a process group's would wait for the other ranks.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    serve_process(Worker())
