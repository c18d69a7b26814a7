"""`gpt2x bench decode`: our ways of writing token by token beside the plain ones and transformers', in turn.

Every way is a worker process of its own with the same random weights and the same prompt. One round is the memory's
bandwidth, then one text of each; what is compared are figures of the same round. A token reads all weights once, so
beside each rate stands what it comes to in bytes a second, as a share of what the memory gives. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gpt2x.bench.machine import Machine
from gpt2x.bench.process import Missing, WorkerFailed, run_worker, worker_environment
from gpt2x.bench.stats import MS_PER_SECOND
from gpt2x.errors import MissingComponentError, UsageError, quoted
from gpt2x.model.config import GPTConfig


@dataclass(frozen=True, kw_only=True)
class Way:
    """Somebody's way of decoding; `gpt2x.bench.decode.worker.WAYS` has the code."""

    name: str
    title: str
    exact: bool = True
    """It computes in float32 what the plain model computes, so that its greedy text must be the same."""
    cpu_only: bool = False


WAYS: tuple[Way, ...] = (
    Way(name="float32", title="gpt2x float32", cpu_only=True),
    Way(name="bfloat16", title="gpt2x bfloat16", exact=False, cpu_only=True),
    Way(name="int8", title="gpt2x int8", exact=False, cpu_only=True),
    Way(name="plain", title="plain model, KV cache"),
    Way(name="naive", title="plain model, no cache"),
    Way(name="hf", title="transformers' generate"),
)
"""All that can take part: ours, then the peers."""

PEERS = ("plain", "naive", "hf")
REFERENCE = "plain"
"""Whose text the others' must be."""

BASELINES = ("hf", "plain")
"""Whose rate counts as 1: that of the first of these that is measured."""


@dataclass(frozen=True, kw_only=True)
class DecodeSetting:
    """What all ways share."""

    model: str
    shape: GPTConfig
    device: str = "auto"
    prompt: int = 64
    """Tokens of the prompt."""
    tokens: int = 32
    """Tokens that are written after it; the first of them comes with the reading of the prompt."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.prompt < 1:
            raise UsageError(f"--prompt {self.prompt} is no prompt; give at least 1 token")
        if self.tokens < 2:
            raise UsageError(
                f"--tokens {self.tokens} leaves nothing to time after the first; give at least 2"
            )
        if self.prompt + self.tokens > self.shape.block_size:
            raise UsageError(
                f"--prompt {self.prompt} and --tokens {self.tokens} are more than the context of {self.model}, "
                f"{self.shape.block_size}; choose fewer"
            )


@dataclass(kw_only=True)
class Entry:
    """What one way came to."""

    name: str
    title: str
    exact: bool
    prompt_ms: list[float] = field(default_factory=list)
    """Until the first token was there, round by round."""
    token_ms: list[list[float]] = field(default_factory=list)
    """Every later token, round by round."""
    cpu_s: list[float] = field(default_factory=list)
    """Processor time of the whole text, round by round."""
    ids: list[int] = field(default_factory=list)
    """The text of the last round."""
    weight_bytes: int = 0
    """Bytes of weights that a token reads."""
    peak_memory_bytes: int = 0
    failed: str = ""
    """Why it could not be measured."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a round."""
        return bool(self.token_ms)

    @property
    def rounds_ms(self) -> list[float]:
        """The median token of each round."""
        return [statistics.median(times) for times in self.token_ms]

    @property
    def median_ms(self) -> float:
        """The median token of all rounds."""
        return statistics.median(time for times in self.token_ms for time in times)

    @property
    def fastest_ms(self) -> float:
        """The fastest token."""
        return min(min(times) for times in self.token_ms)

    @property
    def bytes_per_second(self) -> float:
        """Bytes of weights that the median token reads in a second."""
        return self.weight_bytes * MS_PER_SECOND / self.median_ms


@dataclass(kw_only=True)
class Decoded:
    """All ways of one run."""

    setting: DecodeSetting
    machine: Machine
    seen: dict[str, Any]
    """What the first look at the device said."""
    bandwidths: list[float]
    """Bytes a second that the memory gave, round by round."""
    entries: list[Entry]

    @property
    def bandwidth(self) -> float:
        """The best of all rounds: what is possible."""
        return max(self.bandwidths)

    @property
    def baseline(self) -> Entry | None:
        """The way whose rate counts as 1; None when it is not among those measured."""
        measured = {entry.name: entry for entry in self.entries if entry.is_measured}
        return next((measured[name] for name in BASELINES if name in measured), None)

    def ratio(self, entry: Entry) -> float | None:
        """How many times the baseline's rate: the median over rounds, each of which holds both against one another."""
        if self.baseline is None or not entry.is_measured:
            return None
        pairs = zip(self.baseline.rounds_ms, entry.rounds_ms, strict=False)  # the last round may be cut short
        return statistics.median(theirs / its for theirs, its in pairs)

    def share(self, entry: Entry) -> float | None:
        """Bytes of weights a second as a share of the bandwidth."""
        return entry.bytes_per_second / self.bandwidth if entry.is_measured else None

    def first_difference(self, entry: Entry) -> int | None:
        """The first token at which a text is not the plain model's, counted from 0; None when it is."""
        reference = next((other for other in self.entries if other.name == REFERENCE), None)
        if reference is None:
            return None
        pairs = enumerate(zip(entry.ids, reference.ids, strict=False))
        return next((place for place, (own, theirs) in pairs if own != theirs), None)

    @property
    def has_reference(self) -> bool:
        """Whether there is a text of the plain model to compare with."""
        return any(entry.name == REFERENCE and entry.is_measured for entry in self.entries)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; the shape is in docs/reference/bench.md."""
        return {
            "setting": dataclasses.asdict(self.setting),
            "machine": self.machine.as_dict(),
            "device": {
                key: value for key, value in self.seen.items() if key not in ("event", "bytes_per_second")
            },
            "bandwidth": self.bandwidth,
            "bandwidths": self.bandwidths,
            "baseline": self.baseline.name if self.baseline is not None else None,
            "entries": [{**dataclasses.asdict(entry), **self._figures(entry)} for entry in self.entries],
        }

    def _figures(self, entry: Entry) -> dict[str, Any]:
        if not entry.is_measured:
            return dict.fromkeys(FIGURES)
        difference = self.first_difference(entry)
        figures = (
            entry.median_ms,
            entry.fastest_ms,
            MS_PER_SECOND / entry.median_ms,
            self.setting.prompt * MS_PER_SECOND / statistics.median(entry.prompt_ms),
            entry.bytes_per_second,
            self.share(entry),
            self.ratio(entry),
            difference is None if self.has_reference else None,
            difference,
        )
        return dict(zip(FIGURES, figures, strict=True))


FIGURES = (
    "median_ms",
    "fastest_ms",
    "tokens_per_second",
    "prompt_tokens_per_second",
    "bytes_per_second",
    "share_of_bandwidth",
    "ratio",
    "same_text",
    "first_difference",
)


class Worker(Protocol):
    """A worker process; the tests have one that computes nothing."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        ...

    def close(self) -> None:
        """End it."""
        ...


Launch = Callable[[str], Worker]
"""Starts a process; the name is that of its log."""


class DecodeProcess:
    """A worker process, `gpt2x.bench.decode.worker`, that has `timeout_s` for each reply."""

    def __init__(self, environment: dict[str, str], log: Path, timeout_s: float) -> None:
        self.process = run_worker("gpt2x.bench.decode.worker", environment, log)
        self.timeout_s = timeout_s

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            WorkerFailed: it failed, crashed or took too long.

        """
        import time

        self.process.send(request)
        return self.process.receive(time.monotonic() + self.timeout_s)

    def close(self) -> None:
        """End it."""
        self.process.kill()


@contextmanager
def processes(*, timeout_s: float, visible_gpu: str | None = None) -> Iterator[Launch]:
    """Where worker processes are made; their logs are gone afterwards."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-decode-") as name:
        environment = worker_environment(Path(name), visible_gpu)
        yield lambda log: DecodeProcess(environment, Path(name) / f"{log}.log", timeout_s)


def select(names: Sequence[str]) -> list[Way]:
    """Ours and the peers of these names, in the table's order; all of them for no names.

    Raises:
        UsageError: an unknown name.

    >>> [way.name for way in select(["hf"])]
    ['float32', 'bfloat16', 'int8', 'hf']
    """
    for name in names:
        if name not in PEERS:
            raise UsageError(f"--peer {quoted(name)} is unknown; choose among {', '.join(PEERS)}")
    return [way for way in WAYS if not names or way.name in names or way.name not in PEERS]


def compare(
    ways: Sequence[Way],
    setting: DecodeSetting,
    launch: Launch,
    machine: Machine,
    *,
    rounds: int = 5,
    stage: Callable[[str], None] = lambda text: None,
) -> Decoded:
    """Make all ways ready, then let them write in turn; Ctrl-C ends it early and keeps what is measured.

    Args:
        ways: as `select` gives them.
        setting: what all share; its device may be auto.
        launch: starts a worker process.
        machine: for the record.
        rounds: how often each has its turn.
        stage: told what happens now.

    Raises:
        MissingComponentError: the device is not here.
        WorkerFailed: torch does not work here.
        KeyboardInterrupt: before the first round was complete.

    """
    entries = [Entry(name=way.name, title=way.title, exact=way.exact) for way in ways]
    workers: dict[str, Worker] = {}
    try:
        workers[""] = scout = launch("scout")
        seen = _look(scout, setting.device)
        setting = dataclasses.replace(setting, device=seen["device"])
        found = Decoded(
            setting=setting,
            machine=machine,
            seen=seen,
            bandwidths=[seen["bytes_per_second"]],
            entries=entries,
        )
        for way, entry in zip(ways, entries, strict=True):
            stage(f"preparing {way.title}")
            _prepare(way, entry, setting, launch, workers)
        for number in range(rounds):
            stage(f"round {number + 1} of {rounds}")
            found.bandwidths.append(_look(scout, setting.device)["bytes_per_second"])
            for entry in entries:
                if not entry.failed:
                    _take_turn(entry, workers[entry.name], setting.tokens)
    except KeyboardInterrupt:
        if not all(entry.failed or entry.is_measured for entry in entries):
            raise
        stage("interrupted: the figures are those of the rounds before")
    finally:
        for worker in workers.values():
            worker.close()
    return found


def _look(scout: Worker, device: str) -> dict[str, Any]:
    try:
        return scout.ask({"do": "look", "device": device})
    except Missing as failed:
        raise MissingComponentError(str(failed)) from failed


def _prepare(
    way: Way, entry: Entry, setting: DecodeSetting, launch: Launch, workers: dict[str, Worker]
) -> None:
    if way.cpu_only and setting.device != "cpu":
        entry.failed = "for a CPU only"
        return
    workers[way.name] = worker = launch(way.name)
    request = {
        "do": "prepare",
        "way": way.name,
        "shape": dataclasses.asdict(setting.shape),
        "device": setting.device,
        "prompt": setting.prompt,
        "seed": setting.seed,
    }
    try:
        entry.weight_bytes = int(worker.ask(request)["weight_bytes"])
    except WorkerFailed as failed:
        entry.failed = str(failed)


def _take_turn(entry: Entry, worker: Worker, tokens: int) -> None:
    try:
        reply = worker.ask({"do": "measure", "tokens": tokens})
    except WorkerFailed as failed:
        entry.failed = str(failed)
        return
    entry.prompt_ms.append(reply["prompt_ms"])
    entry.token_ms.append(reply["token_ms"])
    entry.cpu_s.append(reply["cpu_s"])
    entry.ids = reply["ids"]
    entry.peak_memory_bytes = max(entry.peak_memory_bytes, int(reply["peak_memory_bytes"]))


# ----------------------------------------------------------------------------------------------------------------
# What people see

HEAD = ("decoding", "tokens/s", "×", "ms", "fastest", "GB/s", "of memory", "prompt/s", "RAM", "greedy text")
RIGHT = (False, *(True for _ in HEAD[1:-1]), False)


def table_rows(decoded: Decoded) -> list[list[str]]:
    """One row a way, under `HEAD`."""
    return [_row(decoded, entry) for entry in decoded.entries]


def _row(decoded: Decoded, entry: Entry) -> list[str]:
    if not entry.is_measured:
        return [entry.title, *("–" for _ in HEAD[2:]), entry.failed]
    ratio = decoded.ratio(entry)
    prompt_per_second = decoded.setting.prompt * MS_PER_SECOND / statistics.median(entry.prompt_ms)
    return [
        entry.title,
        f"{MS_PER_SECOND / entry.median_ms:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{entry.median_ms:.2f}",
        f"{entry.fastest_ms:.2f}",
        f"{entry.bytes_per_second / 1e9:.1f}",
        f"{(decoded.share(entry) or 0.0):.0%}",
        f"{prompt_per_second:.0f}",
        f"{entry.peak_memory_bytes / 1e9:.2f} GB",
        _verdict(decoded, entry),
    ]


def _verdict(decoded: Decoded, entry: Entry) -> str:
    """Whether a way wrote what the plain model wrote."""
    if not decoded.has_reference:
        return ""
    place = decoded.first_difference(entry)
    if place is None:
        return "same"
    return f"other from token {place}" + (", and must not" if entry.exact else "")


def sentences(decoded: Decoded) -> list[str]:
    """What was measured, and what the columns are held against."""
    setting, baseline = decoded.setting, decoded.baseline
    threads = decoded.seen["threads"]
    where = decoded.seen["name"] or f"{decoded.machine.cpu}, {threads} thread{'s' * (threads != 1)}"
    held = f"; × is times the rate of: {baseline.title}" if baseline is not None else ""
    return [
        f"{setting.model}, prompt {setting.prompt}, {setting.tokens} tokens written, greedy; {where}",
        f"memory gives {decoded.bandwidth / 1e9:.1f} GB/s; GB/s counts the weights that a token reads{held}",
    ]
