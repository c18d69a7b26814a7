"""`gpt2x bench decode`: our ways of writing token by token beside the plain ones and transformers', in turn.

Every way is a worker process of its own with the same random weights and the same prompt. One round is the memory's
bandwidth, then one text of each; what is compared are figures of the same round. A token reads all weights once, so
beside each rate stands what it comes to in bytes a second, as a share of what the memory gives. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import Teller, interleave, start_all, whole_rounds
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
    Way(name="float32", title="gpt2x float32"),
    Way(name="bfloat16", title="gpt2x bfloat16", exact=False),
    Way(name="int8", title="gpt2x int8", exact=False),
    Way(name="plain", title="plain model, KV cache"),
    Way(name="naive", title="plain model, no cache"),
    Way(name="hf", title="transformers' generate"),
    Way(name="ct2", title="CTranslate2 float32", cpu_only=True),
    Way(name="ct2-int8", title="CTranslate2 int8", exact=False, cpu_only=True),
)
"""All that can take part: ours, then the peers."""

PEERS = ("plain", "naive", "hf", "ct2", "ct2-int8")
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
    complete: bool = True
    """False when it was interrupted."""

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
        """For ``--json``; the shape is in docs/reference/bench-decode.md."""
        return {
            "complete": self.complete,
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


class MemoryContender(Contender):
    """The memory itself: each round begins with the bytes a second that it gives."""

    def __init__(self, launch: Launch, device: str) -> None:
        super().__init__("scout", "the memory")
        self.device, self.worker = device, launch("scout")
        self.bandwidths: list[float] = []

    def look(self) -> dict[str, Any]:
        """What the device is, and the first measurement.

        Raises:
            MissingComponentError: the device is not here.
            WorkerFailed: torch does not work here.

        """
        try:
            seen = self.measure()
        except Missing as failed:
            raise MissingComponentError(str(failed)) from failed
        self.keep(seen)
        self.device = seen["device"]
        return seen

    def measure(self) -> dict[str, Any]:
        """Read and write large arrays."""
        return self.worker.ask({"do": "look", "device": self.device})

    def keep(self, measured: dict[str, Any]) -> float:
        """Add a bandwidth."""
        self.bandwidths.append(measured["bytes_per_second"])
        return 0.0

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


class WayContender(Contender):
    """A way of decoding in a worker process of its own; its figures go into an `Entry`."""

    def __init__(self, way: Way, setting: DecodeSetting, launch: Launch) -> None:
        super().__init__(way.name, way.title)
        self.way, self.setting, self.launch = way, setting, launch
        self.entry = Entry(name=way.name, title=way.title, exact=way.exact)
        self.worker: Worker | None = None

    def start(self) -> None:
        """Start the worker; it makes the model and the prompt."""
        if self.way.cpu_only and self.setting.device != "cpu":
            raise Missing("for a CPU only")
        self.worker = self.launch(self.name)
        request = {
            "do": "prepare",
            "way": self.name,
            "shape": dataclasses.asdict(self.setting.shape),
            "device": self.setting.device,
            "prompt": self.setting.prompt,
            "seed": self.setting.seed,
        }
        self.entry.weight_bytes = int(self.worker.ask(request)["weight_bytes"])

    def measure(self) -> dict[str, Any]:
        """Write one text."""
        assert self.worker is not None, "start first"
        return self.worker.ask({"do": "measure", "tokens": self.setting.tokens})

    def keep(self, measured: dict[str, Any]) -> float:
        """Add the times of a text."""
        entry = self.entry
        entry.prompt_ms.append(measured["prompt_ms"])
        entry.token_ms.append(measured["token_ms"])
        entry.cpu_s.append(measured["cpu_s"])
        entry.ids = measured["ids"]
        entry.peak_memory_bytes = max(entry.peak_memory_bytes, int(measured["peak_memory_bytes"]))
        return float(measured["prompt_ms"] + sum(measured["token_ms"])) / MS_PER_SECOND

    def drop(self, reason: WorkerFailed) -> None:
        """Say why in the entry."""
        super().drop(reason)
        self.entry.failed = self.reason

    def close(self) -> None:
        """End the worker."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None


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
    listener, memory = Teller(stage), MemoryContender(launch, setting.device)
    with closing(memory):
        seen = memory.look()
        setting = dataclasses.replace(setting, device=seen["device"])
        contenders = [WayContender(way, setting, launch) for way in ways]
        found = Decoded(
            setting=setting,
            machine=machine,
            seen=seen,
            bandwidths=memory.bandwidths,
            entries=[contender.entry for contender in contenders],
        )
        with whole_rounds(contenders, listener) as kept:
            start_all(contenders, listener)
            interleave([memory, *contenders], Effort(rounds=rounds), listener=listener)
        found.complete = kept.is_complete
    return found
