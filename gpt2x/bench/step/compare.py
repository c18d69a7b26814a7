"""`gpt2x bench step`: our training step beside those that people know, in turn on one machine.

Every contender is a worker process of its own, so that the allocator's setting, the memory and the compiler of one
leave the others alone. They start from the same weights, see the same tokens, and take turns: one round is a few steps
of each, and what is compared are times of the same round. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import Teller, interleave, start_all, whole_rounds
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.launch import Launch, Runner
from gpt2x.bench.ladder.peer import Peer
from gpt2x.bench.process import WorkerFailed
from gpt2x.bench.stats import MS_PER_SECOND
from gpt2x.errors import UsageError, quoted
from gpt2x.model.config import fused

DTYPES = ("bfloat16", "float32")
OURS = "gpt2x"

# What nanoGPT, Hugging Face's trainer and everyone else does: the model as one writes it down, torch's fused AdamW.
PLAIN = StepConfig(
    tie_weights=True, init="gpt2", attention="flash", grad_clip=1.0, decay_groups=True, optimizer="fused"
)


@dataclass(frozen=True, kw_only=True)
class PeerStep:
    """Somebody's training step."""

    name: str
    title: str
    make: Callable[[Setting, str], StepConfig]
    """The step for a setting and a dtype."""
    loss_is_ours: bool = True
    """It starts from our weights and computes the same loss; the naive start has an initialisation of its own."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How many times as fast as a peer our step has to be."""

    goal: float
    stretch: float


def _plain(setting: Setting, dtype: str, **changes: Any) -> StepConfig:
    autocast = "bfloat16" if dtype == "bfloat16" else None
    values = {"device": setting.device, "autocast": autocast, "padded_vocab_size": setting.padded_vocab_size}
    return dataclasses.replace(PLAIN, **{**values, **changes})


def _ours(setting: Setting, dtype: str) -> StepConfig:
    bf16_param = dtype == "bfloat16" and setting.device == "cpu"
    changes = {"autocast": None} if bf16_param else {}
    ours = {"optimizer": "gpt2x", "bf16_weights": bf16_param, "keep_memory": True}
    return _plain(setting, dtype, **fused(), **ours, **changes)


PEER_STEPS: tuple[PeerStep, ...] = (
    PeerStep(name=OURS, title="gpt2x", make=_ours),
    PeerStep(
        name="naive",
        title="the naive start, float32",
        make=lambda setting, dtype: StepConfig(device=setting.device),
        loss_is_ours=False,
    ),
    PeerStep(name="nanogpt", title="plain model, eager", make=_plain),
    PeerStep(
        name="nanogpt-kept",
        title="plain model, eager, freed memory kept",
        make=lambda setting, dtype: _plain(setting, dtype, keep_memory=True),
    ),
    PeerStep(
        name="compile",
        title="plain model, torch.compile",
        make=lambda setting, dtype: _plain(setting, dtype, compile=True),
    ),
    PeerStep(
        name="hf",
        title="transformers' GPT-2, eager",
        make=lambda setting, dtype: _plain(setting, dtype, network="transformers"),
    ),
)
"""All that can take part; ours comes first."""

CPU_GOALS: Mapping[tuple[str, str], Goal] = {
    ("bfloat16", "naive"): Goal(goal=3.0, stretch=4.0),
    ("bfloat16", "compile"): Goal(goal=1.6, stretch=2.2),
    ("bfloat16", "nanogpt-kept"): Goal(goal=1.3, stretch=1.6),
    ("float32", "nanogpt"): Goal(goal=1.4, stretch=1.7),
}
"""By dtype and peer; set for `CPU_GOALS_OF` on a CPU with AVX512-BF16."""
CPU_GOALS_OF = ("gpt2", 4, 64)
"""Model, B and T: GPT-2 124M."""


def _peer_step(name: str) -> PeerStep:
    return next(step for step in PEER_STEPS if step.name == name)


LIGHTNING = PeerStep(
    name="lightning",
    title="Lightning Fabric, eager",
    make=lambda setting, dtype: _plain(setting, dtype, network="lightning"),
)

LADDER_PEERS: Mapping[str, tuple[PeerStep, str, str]] = {
    "nanogpt": (
        _peer_step("compile"),
        "nanoGPT",
        "nanoGPT's train.py: flash attention, torch.compile, torch's fused AdamW",
    ),
    "hf": (
        _peer_step("hf"),
        "transformers",
        "transformers' GPT2LMHeadModel as its Trainer steps it: eager, clipped, torch's fused AdamW",
    ),
    "lightning": (
        LIGHTNING,
        "Lightning",
        "the plain model under Lightning's precision plugin, torch's fused AdamW",
    ),
}
"""The peers of ``gpt2x bench --peer``: whose step each one is, a short name, and what that is."""


def ladder_peers(names: Sequence[str]) -> list[Peer]:
    """The peers of these names, for a ladder: with the tokens of a step and the dtype of its top.

    Raises:
        UsageError: an unknown name.

    >>> [peer.key for peer in ladder_peers(["hf", "nanogpt"])]
    ['hf', 'nanogpt']
    """
    peers = []
    for name in dict.fromkeys(names):
        if name not in LADDER_PEERS:
            raise UsageError(f"--peer {quoted(name)} is unknown; choose among {', '.join(LADDER_PEERS)}")
        step, title, change = LADDER_PEERS[name]
        make = functools.partial(_beside, step)
        peers.append(Peer(key=name, title=title, change=change, make=make))
    return peers


def _beside(step: PeerStep, setting: Setting, top: StepConfig) -> StepConfig:
    """A peer's step with as many tokens as the ladder's top, in its dtype, on its device."""
    config = step.make(setting, "bfloat16" if top.is_bfloat16 else "float32")
    # A peer runs on one device: the micro-batches of all ranks follow one another.
    return dataclasses.replace(
        config, device=top.device, micro_batches=top.micro_batches * top.world_size, split=top.split
    )


@dataclass(kw_only=True)
class Entry:
    """What one step came to."""

    name: str
    title: str
    step_ms: list[float] = field(default_factory=list)
    """Every timed step, in milliseconds."""
    rounds_ms: list[float] = field(default_factory=list)
    """The median step of each round."""
    cpu_s: float = 0.0
    """Processor time of all timed steps, the system's share (page faults) among it."""
    losses: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0
    first_step_s: float = 0.0
    """The first step alone, with what is compiled in it."""
    failed: str = ""
    """Why it could not be measured."""

    @property
    def median_ms(self) -> float:
        """The median over all timed steps."""
        return statistics.median(self.step_ms)

    @property
    def cpu_ms(self) -> float:
        """Processor time of a step, over all threads: what is left of it on a machine that others use as well."""
        return self.cpu_s * MS_PER_SECOND / len(self.step_ms)

    @property
    def fastest_ms(self) -> float:
        """The fastest step: what the machine can do when nobody else uses it."""
        return min(self.step_ms)


@dataclass(kw_only=True)
class Comparison:
    """All steps of one run."""

    setting: Setting
    dtype: str
    entries: list[Entry]
    complete: bool = True
    """False when it was interrupted."""

    @property
    def ours(self) -> Entry:
        """Our own entry."""
        return self.entries[0]

    def ratio(self, entry: Entry) -> float | None:
        """How many times as long a peer's step takes: the median over the rounds, each held against ours of it."""
        if not (entry.rounds_ms and self.ours.rounds_ms):
            return None
        pairs = zip(entry.rounds_ms, self.ours.rounds_ms, strict=False)  # the last round may be cut short
        return statistics.median(theirs / our for theirs, our in pairs)

    def ratio_of_fastest(self, entry: Entry) -> float | None:
        """The same of the fastest steps."""
        if not (entry.rounds_ms and self.ours.rounds_ms):
            return None
        return entry.fastest_ms / self.ours.fastest_ms

    def ratio_of_cpu(self, entry: Entry) -> float | None:
        """The same of processor time."""
        if not (entry.cpu_s and self.ours.cpu_s):
            return None
        return entry.cpu_ms / self.ours.cpu_ms

    def goal(self, entry: Entry) -> Goal | None:
        """The goal against this peer, where there is one for this setting."""
        setting = self.setting
        is_meant = setting.device == "cpu" and (setting.model, setting.batch, setting.seq) == CPU_GOALS_OF
        return CPU_GOALS.get((self.dtype, entry.name)) if is_meant else None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; the shape is in docs/reference/bench-step.md."""
        rows = []
        for entry in self.entries:
            goal = self.goal(entry)
            rows.append(
                {
                    **dataclasses.asdict(entry),
                    "median_ms": entry.median_ms if entry.step_ms else None,
                    "fastest_ms": entry.fastest_ms if entry.step_ms else None,
                    "ratio": self.ratio(entry),
                    "ratio_of_fastest": self.ratio_of_fastest(entry),
                    "ratio_of_cpu": self.ratio_of_cpu(entry),
                    "goal": dataclasses.asdict(goal) if goal else None,
                }
            )
        return {
            "complete": self.complete,
            "setting": self.setting.as_dict(),
            "dtype": self.dtype,
            "entries": rows,
        }


def select(names: Sequence[str]) -> list[PeerStep]:
    """Ours and the peers of these names, in the table's order; all of them for no names.

    Raises:
        UsageError: an unknown name.

    >>> [step.name for step in select(["compile"])]
    ['gpt2x', 'compile']
    """
    known = [step.name for step in PEER_STEPS]
    for name in names:
        if name not in known:
            raise UsageError(f"--peer {quoted(name)} is unknown; choose among {', '.join(known[1:])}")
    return [step for step in PEER_STEPS if not names or step.name in (OURS, *names)]


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that no step knows.

    Raises:
        UsageError: it is none of `DTYPES`.

    """
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {quoted(dtype)} is unknown; choose {' or '.join(DTYPES)}")


class StepContender(Contender):
    """A training step in a worker process of its own; its figures go into an `Entry`."""

    def __init__(self, step: PeerStep, launch: Callable[[], Runner], steps: int) -> None:
        super().__init__(step.name, step.title)
        self.launch, self.steps = launch, steps
        self.entry = Entry(name=step.name, title=step.title)
        self.runner: Runner | None = None

    def start(self) -> None:
        """Start the worker; it builds the model and makes its first steps."""
        self.runner = self.launch()
        self.entry.first_step_s = float(self.runner.prepare()["first_step_s"])

    def measure(self) -> dict[str, Any]:
        """A few timed steps, after one that is not timed."""
        assert self.runner is not None, "start first"
        return self.runner.measure(self.steps, warm_steps=1)

    def keep(self, measured: dict[str, Any]) -> float:
        """Add the steps of a round."""
        entry = self.entry
        entry.step_ms += measured["samples_ms"]
        entry.rounds_ms.append(statistics.median(measured["samples_ms"]))
        entry.cpu_s += measured["own_cpu_s"]
        entry.losses = measured["losses"]
        entry.peak_memory_bytes = max(entry.peak_memory_bytes, int(measured["peak_memory_bytes"]))
        return sum(measured["samples_ms"]) / MS_PER_SECOND

    def drop(self, reason: WorkerFailed) -> None:
        """Say why in the entry."""
        super().drop(reason)
        self.entry.failed = self.reason

    def close(self) -> None:
        """End the worker."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None


def compare(
    chosen: Sequence[PeerStep],
    setting: Setting,
    launch: Launch,
    *,
    dtype: str = "bfloat16",
    rounds: int = 5,
    steps: int = 2,
    stage: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Build every step, then measure them in turn; Ctrl-C ends it early and keeps what is measured.

    Args:
        chosen: ours first, as `select` gives them.
        setting: model, batch and seed that all share.
        launch: starts the worker of a step.
        dtype: of the matrix products.
        rounds: how often each has its turn.
        steps: timed steps in a turn.
        stage: told what happens now.

    Raises:
        UsageError: an unknown dtype.
        KeyboardInterrupt: before the first round was complete.

    """
    check_dtype(dtype)
    contenders = [
        StepContender(step, functools.partial(launch, step.make(setting, dtype)), steps) for step in chosen
    ]
    listener = Teller(stage)
    with whole_rounds(contenders, listener) as kept:
        start_all(contenders, listener)
        interleave(contenders, Effort(rounds=rounds), listener=listener)
    entries = [contender.entry for contender in contenders]
    return Comparison(setting=setting, dtype=dtype, entries=entries, complete=kept.is_complete)


# ----------------------------------------------------------------------------------------------------------------
# What people see

HEAD = ("step", "median ms", "fastest ms", "cpu ms", "×", "× fastest", "× cpu", "goal", "memory", "loss")
RIGHT = (False, *(True for _ in HEAD[1:]))


def table_rows(comparison: Comparison) -> list[list[str]]:
    """One row a step, under `HEAD`."""
    return [_row(comparison, entry) for entry in comparison.entries]


def _row(comparison: Comparison, entry: Entry) -> list[str]:
    if not entry.step_ms:
        return [entry.title, *("–" for _ in HEAD[2:]), entry.failed]
    goal = comparison.goal(entry)
    ratios = (comparison.ratio(entry), comparison.ratio_of_fastest(entry), comparison.ratio_of_cpu(entry))
    is_ours = entry is comparison.ours
    return [
        entry.title,
        f"{entry.median_ms:.0f}",
        f"{entry.fastest_ms:.0f}",
        f"{entry.cpu_ms:.0f}",
        *("" if is_ours or ratio is None else f"{ratio:.2f}" for ratio in ratios),
        f"{goal.goal:g} ({goal.stretch:g})" if goal else "",
        f"{entry.peak_memory_bytes / 1e9:.2f} GB",
        f"{entry.losses[-1]:.3f}",
    ]


def failures(comparison: Comparison) -> list[str]:
    """Which steps have the figures of some rounds only, and why."""
    return [
        f"{entry.title} failed after {len(entry.rounds_ms)} round{'s' * (len(entry.rounds_ms) != 1)}: {entry.failed}"
        for entry in comparison.entries
        if entry.failed and entry.step_ms
    ]


def loss_difference(comparison: Comparison) -> float | None:
    """The largest distance of a peer's loss from ours after the same number of steps, in nats; None without peers.

    Only of peers that start from our weights.
    """
    comparable = {c.name for c in PEER_STEPS if c.loss_is_ours}
    ours = comparison.ours
    if not ours.losses:
        return None
    distances = [
        abs(entry.losses[place] - ours.losses[place])
        for entry in comparison.entries[1:]
        if entry.losses and entry.name in comparable
        for place in [min(len(entry.losses), len(ours.losses)) - 1]
    ]
    return max(distances, default=None)
