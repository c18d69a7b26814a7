"""One tokenizer in one process: ``python -m gpt2x.bench.bpe.encode.worker``, spoken to in lines of JSON.

A process of its own keeps a tokenizer's threads, caches, memory and crashes away from all others, and can be ended
when a call does not come back. It reads requests from stdin and replies on stdout:

    {"do": "build", "peer": "module:function", "vocabulary": "folder", "cores": [0]}  -> {"event": "built", …}
    {"do": "load", "text": "file", "right": "file"}                                    -> {"event": "loaded"}
    {"do": "call", "call": "encode", "compare": true}                                  -> {"event": "called", …}
    {"do": "first_calls", "texts": "file", "start": 0, "stop": 16}                     -> {"event": "called", …}
    {"event": "failed", …}                        instead, when something went wrong; the process then ends

How it listens and ends is `gpt2x.bench.worker`'s.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from gpt2x.bench.bpe.encode.inputs import BATCH_BYTES, split_documents, take
from gpt2x.bench.bpe.encode.peers import Calls, Vocabulary, find_function
from gpt2x.bench.worker import Worker, serve_process


class TokenizerWorker(Worker):
    """What the process holds between two requests."""

    handles = ("build", "load", "call", "first_calls")

    def __init__(self) -> None:
        self.make: Callable[[], Calls] | None = None
        self.calls: Calls | None = None
        self.text = ""
        self.right = ""
        self.inputs: dict[str, Any] = {}
        self.documents: list[str] = []

    def build(self, peer: str, vocabulary: str, cores: list[int]) -> dict[str, Any]:
        """Keep to these cores, then build the tokenizer; the reply says how long that took, and what it can do."""
        import numpy as np

        if hasattr(os, "sched_setaffinity"):
            # The environment asks for one thread, this makes sure: not all libraries look at the environment.
            os.sched_setaffinity(0, cores)
        del np  # loaded here, so that no tokenizer's first call pays for it

        def make() -> Calls:
            calls: Calls = find_function(peer)(Vocabulary(Path(vocabulary)), len(cores))
            return calls

        self.make = make
        start = time.perf_counter()
        self.calls = make()
        return {"event": "built", "build_s": time.perf_counter() - start, "calls": self.calls.names}

    def load(self, text: str, right: str) -> dict[str, Any]:
        """Read the text; the ids that are right are (or will be) in files whose names start with `right`."""
        self.text, self.right = Path(text).read_bytes().decode(), right
        self.inputs = {}
        return {"event": "loaded"}

    def call(self, call: str, compare: bool, keep: bool = False) -> dict[str, Any]:
        """Make one call and time it.

        Args:
            call: a field of `Calls`.
            compare: whether to compare the result with what is right; `fault` in the reply is "" if it is.
            keep: whether the ids are the right ones, to be stored.

        """
        import numpy as np

        function, argument = getattr(self.calls, call), self._argument(call)
        gc.collect()
        gc.disable()  # a collection in the middle of a call would be charged to it
        try:
            cpu_start, start = time.process_time(), time.perf_counter()
            result = function(argument)
            elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
        finally:
            gc.enable()
        reply: dict[str, Any] = {
            "event": "called",
            "s": elapsed_s,
            "cpu_s": cpu_s,
            "num_bytes": self._num_bytes(call),
        }
        if keep:
            ids = _flat(call, result)
            np.save(self._right_file(call), ids.astype(np.uint32))
            reply["num_tokens"] = len(ids)
        if compare:
            reply["fault"] = self._fault(call, result)
        return reply

    def first_calls(self, texts: str, start: int, stop: int) -> dict[str, Any]:
        """Encode some documents of a file, each into an array if there is a call for it, with a new tokenizer."""
        if not self.documents:
            self.documents = json.loads(Path(texts).read_text(encoding="utf-8"))
        assert self.make is not None
        seconds, num_tokens = [], 0
        for document in self.documents[start:stop]:
            calls = self.make()
            function = calls.encode_array or calls.encode
            assert function is not None
            begin = time.perf_counter()
            ids = function(document)
            seconds.append(time.perf_counter() - begin)
            num_tokens += len(ids)
        return {"event": "called", "seconds": seconds, "num_tokens": num_tokens}

    def _argument(self, call: str) -> Any:
        """What a call is given; made once for each text, before the clock runs."""
        if call not in self.inputs:
            if call.startswith("decode"):
                ids = self._right_ids("encode")
                if ids is None:
                    raise RuntimeError("there are no ids to decode")
                self.inputs[call] = ids if call == "decode_array" else ids.tolist()
            elif call.startswith("batch"):
                self.inputs[call] = split_documents(take([self.text], BATCH_BYTES))
            else:
                self.inputs[call] = self.text
        return self.inputs[call]

    def _num_bytes(self, call: str) -> int:
        """How much text the call is about."""
        size = len(self.text.encode())
        return min(size, BATCH_BYTES) if call.startswith("batch") else size

    def _right_file(self, call: str) -> Path:
        """A batch has ids of its own, since no token spans two documents."""
        return Path(f"{self.right}.{'batch' if call.startswith('batch') else 'encode'}.npy")

    def _right_ids(self, call: str) -> Any:
        import numpy as np

        file = self._right_file(call)
        return np.load(file) if file.exists() else None

    def _fault(self, call: str, result: Any) -> str | None:
        """Where a result differs from what is right; None when that is not known."""
        import numpy as np

        if call.startswith("decode"):
            right = np.frombuffer(self.text.encode(), np.uint8)
            return difference(np.frombuffer(result, np.uint8), right, "byte")
        ids = self._right_ids(call)
        return None if ids is None else difference(_flat(call, result), ids, "token")


def _flat(call: str, result: Any) -> Any:
    """Ids as one array, whatever a call gave."""
    import numpy as np

    return np.asarray(list(chain.from_iterable(result)) if call == "batch" else result, dtype=np.int64)


def difference(got: Any, right: Any, unit: str) -> str:
    """Where two arrays differ first, as part of a sentence; "" where they do not.

    >>> import numpy as np
    >>> difference(np.array([7, 8, 9]), np.array([7, 8, 9]), "token")
    ''
    >>> difference(np.array([7, 5]), np.array([7, 8, 9]), "token")
    'differs at token 1: 5 instead of 8'
    >>> difference(np.array([7]), np.array([7, 8, 9]), "token")
    'differs at token 1: there are 1 instead of 3'
    """
    import numpy as np

    common = min(len(got), len(right))
    wrong = np.flatnonzero(got[:common] != right[:common])
    if wrong.size:
        at = int(wrong[0])
        return f"differs at {unit} {at:,}: {got[at]} instead of {right[at]}"
    if len(got) != len(right):
        return f"differs at {unit} {common:,}: there are {len(got):,} instead of {len(right):,}"
    return ""


if __name__ == "__main__":
    serve_process(TokenizerWorker())
