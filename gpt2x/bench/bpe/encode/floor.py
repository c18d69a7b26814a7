"""How slow it gets: documents one at a time, each in the first call of a new tokenizer.

A rate over a text in many languages is that of the frequent ones. Here each document is a text of its own, nothing of
it was seen before, and what counts is the slowest. A document's time is its best of a few rounds, since one call of a
millisecond is often interrupted.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from gpt2x.bench.bpe.encode.inputs import named_documents
from gpt2x.bench.bpe.encode.measure import Bench, PeerProcess, cores_for
from gpt2x.bench.bpe.encode.results import ONE, Floor, FloorRow
from gpt2x.bench.process import WorkerFailed
from gpt2x.bench.records import MEASURED
from gpt2x.errors import InputDataError

SHORTEST_BYTES = 4000
"""Shorter documents say more of a call's overhead than of their script."""
MOST_DOCUMENTS = 2000
MOST_ROUNDS = 3
SHARE_S = 60.0
"""Each peer makes as many rounds, at most `MOST_ROUNDS`, as building it for every document allows in this time."""
BLOCK = 16
"""Documents that one peer encodes before the next has its turn."""


def read_named(path: Path) -> list[tuple[str, str]]:
    """Name and text of the documents of a file of JSON lines (`inputs.named_documents`).

    Args:
        path: may be packed. Documents shorter than `SHORTEST_BYTES` are passed over.

    Raises:
        InputDataError: the file is missing or of another kind, or has no long document, or too many.

    """
    texts = ((name, text.encode(errors="replace")) for name, text in named_documents(path))
    found = [(name, text.decode()) for name, text in texts if len(text) >= SHORTEST_BYTES]
    if not found:
        raise InputDataError(f"{path} has no document of {SHORTEST_BYTES:,} bytes; give longer ones")
    if len(found) > MOST_DOCUMENTS:
        raise InputDataError(f"{path} has {len(found):,} documents; give {MOST_DOCUMENTS:,} at most")
    return found


def measure_floor(bench: Bench, path: Path, documents: list[tuple[str, str]]) -> None:
    """Encode each document with each peer, in blocks in turn; the times go into the results as they come."""
    file = bench.folder / "documents.json"
    file.write_text(json.dumps([text for _, text in documents]), encoding="utf-8")
    floor = Floor(
        what=path.name,
        documents=[name for name, _ in documents],
        num_bytes=[len(text.encode()) for _, text in documents],
    )
    bench.results.floor = floor
    with ExitStack() as stack:
        turns = []
        for peer, state in zip(bench.peers, bench.results.peers, strict=True):
            if state.status == MEASURED:
                process = PeerProcess(peer, state, bench, cores_for(ONE))
                stack.callback(process.close)
                row = FloorRow(name=peer.name)
                floor.rows.append(row)
                turns.append((process, row))
        for start in range(0, len(documents), BLOCK):
            block = range(start, min(start + BLOCK, len(documents)))
            for process, row in turns:
                if not row.reason:
                    bench.listener.stage(f"documents one at a time: {row.name}, {start} of {len(documents)}")
                    _measure_block(process, row, file, block, of=len(documents))


def _measure_block(process: PeerProcess, row: FloorRow, file: Path, block: range, *, of: int) -> None:
    try:
        if process.process is None:
            process.build()
            row.rounds = max(1, min(MOST_ROUNDS, int(SHARE_S / (process.state.build_s[-1] * of))))
        rounds = [process.first_calls(file, block.start, block.stop) for _ in range(row.rounds)]
    except WorkerFailed as failed:
        row.reason, row.seconds, row.num_tokens = str(failed), [], 0
        return
    row.seconds += [min(samples) for samples in zip(*(reply["seconds"] for reply in rounds), strict=True)]
    row.num_tokens += rounds[0]["num_tokens"]
