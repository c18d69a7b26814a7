"""A whole run: texts, vocabulary, measurements, start-up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from gpt2x.bench.bpe.encode.floor import measure_floor, read_named
from gpt2x.bench.bpe.encode.inputs import Input, gather
from gpt2x.bench.bpe.encode.measure import Bench, Effort, new_results
from gpt2x.bench.bpe.encode.peers import Peer, Vocabulary
from gpt2x.bench.bpe.encode.results import BpeResults
from gpt2x.bench.bpe.encode.start_up import measure_start_up
from gpt2x.bench.interleave import Listener
from gpt2x.bench.text import choose_tokenizer
from gpt2x.errors import UsageError

VOCABULARY_BYTES = 500_000
"""How much text a vocabulary is learned from where GPT-2's is not at hand."""


def bench_bpe(
    peers: Sequence[Peer],
    *,
    data: Sequence[Path] = (),
    inputs: str = "all",
    effort: Effort,
    floor: Path | None = None,
    command: Sequence[str] = (),
    listener: Listener | None = None,
    show: Callable[[BpeResults], None] = lambda results: None,
) -> BpeResults:
    """Measure all peers on all texts.

    Args:
        peers: who takes part; those that are not installed are listed as such.
        data: texts of your own, and `inputs` which of all to measure; see `inputs.gather`.
        inputs: names, separated by commas, or ``all``.
        effort: how long.
        floor: a file of documents that are also encoded one at a time, each with a new tokenizer; see `floor`.
        command: the command line, for the record.
        listener: hears what is measured.
        show: called with the results at the end, and after an interrupt with what is finished by then.

    Raises:
        UsageError: an unknown input.
        InputDataError: a file is missing, empty or of another kind.

    """
    listener = listener or Listener()
    start = time.monotonic()
    listener.stage("reading the texts")
    documents = [] if floor is None else read_named(floor)
    texts = gather(
        data, names=inputs, natural_bytes=effort.natural_bytes, generated_bytes=effort.generated_bytes
    )
    if not texts:
        raise UsageError(f"--inputs {inputs} leaves no text to measure on this machine; name another")
    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-bpe-") as name:
        vocabulary, called = _vocabulary(texts, Path(name) / "vocabulary")
        results = new_results(peers, texts, vocabulary=called, command=list(command), effort=effort)
        bench = Bench(peers, texts, vocabulary, Path(name), results, effort, listener, start)
        results.complete = False
        try:
            listener.stage("a whole process")
            measure_start_up(
                results,
                texts[0],
                vocabulary,
                Path(name),
                rounds=effort.start_up_rounds,
                timeout_s=effort.timeout_s,
            )
            bench.run()
            if floor is not None:
                measure_floor(bench, floor, documents)
            results.complete = True
        finally:
            results.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            results.duration_s = time.monotonic() - start
            if results.cells:
                show(results)
    return results


def _vocabulary(texts: Sequence[Input], folder: Path) -> tuple[Vocabulary, str]:
    """GPT-2's where it is at hand, else one that is learned from the start of the texts; and what to call it."""
    documents = [text.text[: VOCABULARY_BYTES // len(texts)] for text in texts]
    tokenizer, called = choose_tokenizer(documents, 2**31)
    return Vocabulary.write(tokenizer, folder), called.replace("learned from it", "learned from the texts")
