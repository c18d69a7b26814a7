"""What a ladder leaves behind: one JSON file with every sample, from which table, chart and sentence can be redrawn.

The shape is documented in docs/reference/bench.md; it only grows, and `SCHEMA` counts the times that what is
new changes what figures mean: in 2 each list of samples has the number of its round, and ratios are those of rounds.
Files of 1 are read; their rounds are numbered by the order of the lists. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.bench.bootstrap import FASTER, ONE, Ratio
from gpt2x.bench.ladder import ratios
from gpt2x.bench.ladder.config import Setting
from gpt2x.bench.ladder.loss_check import MATCHES, LossCheck
from gpt2x.bench.machine import Machine
from gpt2x.bench.records import FORMAT, MEASURED, head
from gpt2x.bench.stats import MS_PER_SECOND, Spread, spread, tokens_per_second
from gpt2x.errors import InputDataError
from gpt2x.model.peak import utilisation
from gpt2x.paths import read_text

SCHEMA = 2
READABLE = (1, 2)

UPDATE_BYTES = 28
"""AdamW on a float32 parameter: it and its two moments read and written, its gradient read."""


@dataclass(kw_only=True)
class Row:
    """One rung in a result: what it is, how it went, and all samples."""

    number: int
    key: str
    title: str
    change: str
    reported: str = ""
    status: str = MEASURED
    reason: str = ""
    """Why there are no figures, for a rung that was skipped or failed."""
    config: dict[str, Any] = field(default_factory=dict)
    samples_ms: list[list[float]] = field(default_factory=list)
    """The time of each step, round by round."""
    rounds: list[int] = field(default_factory=list)
    """The number of the round of each of these lists: what has the same number was measured within the same turn over
    all, or over a pair. 1 is what was measured before those, one rung after the other."""
    repeats: int = 0
    """Turns that were made again because other programs disturbed them; those are not among the samples."""
    first_round_counts: bool = True
    """False once a round over all rungs in turn is done: the figures are then those of such rounds alone."""
    phases_ms: dict[str, list[float]] = field(default_factory=dict)
    """forward_ms, backward_ms and optimizer_ms of each step."""
    tokens_per_step: int = 0
    token_flops: float = 0.0
    parameters: int = 0
    build_s: float = 0.0
    """From the start of the process's work to a model that is ready to step."""
    compile_s: float = 0.0
    """How much longer the first step took than those that followed: compilation, and making the optimizer's state."""
    peak_memory_bytes: int = 0
    energy_j: list[float] = field(default_factory=list)
    """Joules that a step took, round by round; empty where the driver does not say."""
    pays: bool = True
    """False for a rung that was passed over: slower in round 1 and in its confirmation, and there for speed alone, so
    that the next one does not stand on it. What all rounds say of it is the verdict of its ratio."""
    decided_ms: dict[str, list[float]] = field(default_factory=dict)
    """Where round 1 was slower than the rung below: the steps ``with`` the rung and ``without`` it, measured again in
    turn, which decided whether it pays. Those without count for as many tokens as those with."""
    note: str = ""
    """What else was done to measure it, such as a smaller micro-batch because memory is short."""
    others: list[float] = field(default_factory=list)
    """The share of the machine's cores that other programs kept busy, round by round."""
    between: list[float] = field(default_factory=list)
    """The share of a round's time that lay between the steps, in no figure: the harness's own, round by round."""
    losses: list[float] = field(default_factory=list)
    loss: LossCheck | None = None

    @property
    def is_measured(self) -> bool:
        """True when there are figures."""
        return self.status == MEASURED

    @property
    def counts(self) -> bool:
        """True when there are figures, and the loss is as it should be."""
        return self.is_measured and self.loss is not None and self.loss.counts

    @property
    def carries(self) -> bool:
        """True when the ladder goes on from here: the rung counts, and it pays."""
        return self.counts and self.pays

    @property
    def step(self) -> Spread:
        """Median and quartiles of a step, in milliseconds, over all rounds that count."""
        return spread([sample for _, samples in self._counted(self.samples_ms) for sample in samples])

    def round_ms(self, phase: str = "") -> dict[int, float]:
        """The median step, or its phase `forward`, `backward` or `optimizer`, of each round that counts."""
        rounds: dict[int, list[float]] = {}
        for number, samples in self._counted(self._phase(phase) if phase else self.samples_ms):
            rounds.setdefault(number, []).extend(samples)
        return {number: statistics.median(samples) for number, samples in rounds.items()}

    def _counted(self, lists: list[list[float]]) -> list[tuple[int, list[float]]]:
        """The rounds that count, with their numbers."""
        numbers = self.rounds or range(1, len(lists) + 1)
        numbered = zip(numbers, lists, strict=False)
        return [(number, samples) for number, samples in numbered if self.first_round_counts or number > 1]

    def _phase(self, name: str) -> list[list[float]]:
        """A phase's samples, round by round; empty where the file has none of it."""
        samples = iter(self.phases_ms.get(f"{name}_ms", []))
        lists = [list(itertools.islice(samples, len(steps))) for steps in self.samples_ms]
        return lists if all(lists) else []

    @property
    def tokens_per_second(self) -> float:
        """Tokens learned from in one second, at the median step."""
        return tokens_per_second(self.tokens_per_step, self.step.median)

    def phase_ms(self, name: str) -> float:
        """The median of a phase of the step: forward, backward or optimizer."""
        samples = [sample for _, samples in self._counted(self._phase(name)) for sample in samples]
        return spread(samples).median if samples else 0.0


@dataclass(kw_only=True)
class Results:
    """All rows of a ladder, with what is needed to judge them or to measure them again."""

    setting: Setting
    machine: Machine
    rows: list[Row] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    """The top of the ladder without one rung each, named after that rung (``--leave-one-out``)."""
    peers: list[Row] = field(default_factory=list)
    """What users would pick instead, measured in the same rounds (``--peer``)."""
    command: list[str] = field(default_factory=list)
    created: str = ""
    """When it ended, ISO 8601 in UTC."""
    duration_s: float = 0.0
    text: str = ""
    """What was learned: the text and the vocabulary."""
    interleaved: bool = False
    """Whether the figures come from rounds over all rungs in turn (A B C A B C), so that drift touches all alike."""
    complete: bool = True
    """False when it was interrupted."""

    @property
    def measured(self) -> list[Row]:
        """Rungs with figures."""
        return [row for row in self.rows if row.is_measured]

    @property
    def climbed(self) -> list[Row]:
        """Rungs with figures, a sound loss and a gain: those that the ladder is made of."""
        return [row for row in self.rows if row.carries]

    @property
    def top(self) -> Row | None:
        """The last rung that the ladder is made of."""
        return self.climbed[-1] if self.climbed else None

    @property
    def common_steps(self) -> int:
        """How many steps all measured rungs have made: where their losses can be compared."""
        return min((len(row.losses) for row in self.measured), default=0)

    def loss(self, row: Row) -> float:
        """A rung's loss after as many steps as all have made."""
        return row.losses[self.common_steps - 1]

    def before(self, row: Row) -> Row | None:
        """The rung that this one was built on."""
        below = None
        for other in self.rows:
            if other is row:
                break
            if other.carries:
                below = other
        return below

    def ratio(self, row: Row, over: Row | None) -> Ratio:
        """How many times as many tokens a second, compared with another rung: the median of the rounds of both."""
        return ONE if over is None or over is row else ratios.ratio(row, over)

    def before_ratio(self, row: Row) -> Ratio:
        """Over the rung before."""
        return self.ratio(row, self.before(row))

    def start_ratio(self, row: Row) -> Ratio:
        """Over the first rung."""
        return self.ratio(row, self.climbed[0] if self.climbed else None)

    def same_work(self, row: Row) -> Ratio:
        """Over the first rung, if that had as many tokens an update as this one."""
        start = self.climbed[0] if self.climbed else row
        return ONE if start is row else ratios.for_the_same_work(row, start)

    @property
    def has_more_work(self) -> bool:
        """True when a rung has more tokens an update than the start, so that the two ratios to it differ."""
        return any(row.tokens_per_step != self.measured[0].tokens_per_step for row in self.measured)

    def speedup_before(self, row: Row) -> float:
        """How many times as many tokens a second as the rung before."""
        return self.before_ratio(row).median

    def speedup_start(self, row: Row) -> float:
        """How many times as many as the first rung."""
        return self.start_ratio(row).median

    def is_noisy(self, row: Row) -> bool:
        """True when the ratio to the rung before has a wide interval, whichever of the two it comes from."""
        return row.is_measured and self.before_ratio(row).is_noisy

    @property
    def largest_step(self) -> Row | None:
        """The rung for speed that brought most, among those that are faster beyond doubt."""
        clear = [
            row for row in self.climbed[1:] if is_for_speed(row) and self.before_ratio(row).verdict == FASTER
        ]
        return max(clear, key=self.speedup_before, default=None)

    @property
    def best(self) -> list[Row]:
        """The fastest rung that the ladder is made of, and after it those that cannot be told apart from it."""
        fastest = max(self.climbed, key=self.speedup_start, default=None)
        if fastest is None:
            return []
        others = [row for row in self.climbed if row is not fastest]
        return [fastest, *(row for row in others if self.ratio(fastest, row).verdict != FASTER)]

    def peak_flops(self, row: Row) -> float:
        """The measured peak of the device this rung ran on; 0 where it was not measured (a CPU beside a GPU)."""
        if row.config.get("device") != self.setting.device:
            return 0.0
        peak = self.machine.peak_flops.get(self.peak_dtype, 0.0)
        return peak * (row.config.get("world_size", 1) if self.setting.device == "cuda" else 1)

    @property
    def peak_dtype(self) -> str:
        """The dtype of the matrix product that is the roof of all rungs: the one that the top computes in.

        Where there is no top, where its dtype was not measured, or on a GPU, whose float32 products may be TF32, it is
        the fastest of those that were measured; empty where none was.
        """
        peaks = self.machine.peak_flops
        fastest = max(peaks, key=peaks.__getitem__, default="")
        if self.top is None or self.setting.device == "cuda":
            return fastest
        config = self.top.config
        is_bfloat16 = (
            config.get("autocast") == "bfloat16" or config.get("bf16_weights") or config.get("shadow_weights")
        )
        dtype = "bfloat16" if is_bfloat16 else "float32"
        return dtype if dtype in peaks else fastest

    def mfu(self, row: Row) -> float | None:
        """The share of this machine's measured peak."""
        return utilisation(row.tokens_per_second, row.token_flops, self.peak_flops(row))

    def floor_ms(self, row: Row) -> float | None:
        """What no step of this size can undercut here: its arithmetic at the measured peak, and one AdamW update.

        The update reads and writes `UPDATE_BYTES` for each parameter at the measured bandwidth of the memory.
        """
        peak, bandwidth = self.peak_flops(row), self.machine.bandwidth
        if peak <= 0 or bandwidth <= 0:
            return None
        arithmetic_s = row.tokens_per_step * row.token_flops / peak
        return (arithmetic_s + UPDATE_BYTES * row.parameters / bandwidth) * MS_PER_SECOND

    def share_of_floor(self, row: Row) -> float | None:
        """How near a step comes to its floor: 1 would be perfect."""
        floor_ms = self.floor_ms(row)
        return floor_ms / row.step.median if floor_ms is not None else None

    def worth(self, left_out: Row) -> float | None:
        """What a rung is worth at the top: tokens per second with it, as a multiple of those without it."""
        if self.top is None or not left_out.is_measured:
            return None
        return self.ratio(self.top, left_out).median

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON shape: what was measured, and beside it what follows from that."""
        return {
            **head(self, FORMAT, SCHEMA),
            "interleaved": self.interleaved,
            "text": self.text,
            "setting": self.setting.as_dict(),
            "machine": self.machine.as_dict(),
            **{
                name: [{**dataclasses.asdict(row), "figures": self._figures(row)} for row in rows]
                for name, rows in (("rungs", self.rows), ("left_out", self.left_out), ("peers", self.peers))
            },
        }

    def _figures(self, row: Row) -> dict[str, Any] | None:
        if not row.is_measured:
            return None
        step, mfu = row.step, self.mfu(row)
        return {
            "step_ms": {"median": step.median, "q1": step.q1, "q3": step.q3, "count": step.count},
            "tokens_per_second": row.tokens_per_second,
            "speedup_before": self.speedup_before(row),
            "speedup_start": self.speedup_start(row),
            "before": dataclasses.asdict(self.before_ratio(row)) if self.before(row) else None,
            "start": dataclasses.asdict(self.start_ratio(row)),
            "same_work": dataclasses.asdict(self.same_work(row)),
            "mfu": mfu,
            "floor_ms": self.floor_ms(row),
            "share_of_floor": self.share_of_floor(row),
            "forward_ms": row.phase_ms("forward"),
            "backward_ms": row.phase_ms("backward"),
            "optimizer_ms": row.phase_ms("optimizer"),
        }


def load(path: str | os.PathLike[str]) -> Results:
    """Read a result file, or the one in a result folder.

    Raises:
        InputDataError: it is missing, no result of the ladder, or of a newer gpt2x.

    """
    path = Path(path)
    file = path / "results.json" if path.is_dir() else path
    try:
        values = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{file} is not a JSON file: {error}") from error
    return parse(values, file)


def parse(values: Any, file: Path) -> Results:
    """The inverse of `to_json`; `file` is where the values come from, for messages.

    Raises:
        InputDataError: they are no result of the ladder, of a newer gpt2x, or nothing that figures follow from.

    """
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputDataError(f"{file} is no result of `gpt2x bench`; give the results.json that it wrote")
    if values.get("schema") not in READABLE:
        raise InputDataError(
            f"{file} has schema {values.get('schema')} and this gpt2x reads up to {SCHEMA}; upgrade gpt2x to read it"
        )
    try:
        results = _from_dict(values)
        results.as_dict()  # derives every figure, so that nobody stumbles over a damaged one later
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        raise InputDataError(
            f"{file} is damaged: {type(error).__name__} at {error}; measure again"
        ) from error
    return results


def _from_dict(values: dict[str, Any]) -> Results:
    results = Results(
        setting=Setting.from_dict(values["setting"]),
        machine=Machine.from_dict(values["machine"]),
        rows=[_row_from_dict(row) for row in values["rungs"]],
        left_out=[_row_from_dict(row) for row in values.get("left_out", [])],
        peers=[_row_from_dict(row) for row in values.get("peers", [])],
        **{
            name: values[name]
            for name in ("command", "created", "duration_s", "text", "interleaved", "complete")
        },
    )
    _check_kinds(results)
    if values["schema"] == 1:
        _number_rounds(results)
    if not all(isinstance(word, str) for word in results.command):
        raise TypeError("command")
    return results


def _number_rounds(results: Results) -> None:
    """Give the lists of a file that has no numbers of rounds theirs.

    Rounds in turn come last, and every row has as many of them; before them the top has a list for each row that was
    measured beside the ladder. In a run that was interrupted the last round may be one of some rows only.
    """
    rows = [row for row in [*results.rows, *results.left_out, *results.peers] if row.is_measured]
    in_turn = min((len(row.samples_ms) for row in rows), default=1) - 1
    from_the_front = not results.complete and not results.left_out and not results.peers
    for row in rows:
        before = 1 if from_the_front else len(row.samples_ms) - in_turn
        row.rounds = [1] * before + list(range(2, len(row.samples_ms) - before + 2))


def is_for_speed(row: Row) -> bool:
    """True for a rung that leaves the result as it was, so that speed is all it brings."""
    return row.loss is not None and row.loss.verdict == MATCHES


def _check_kinds(record: Row | Results) -> None:
    """Refuse a file whose fields have other types than a record's, before anybody lays them out."""
    kinds: dict[str, Any] = {"str": str, "int": int, "float": int | float, "bool": bool}
    for f in dataclasses.fields(record):
        kind = kinds.get(str(f.type))
        if kind is not None and not isinstance(getattr(record, f.name), kind):
            raise TypeError(f.name)


OLD_KEYS = {"seed": "reported"}
"""Keys of a row that files written before have under another name."""

OLD_FIELDS = {"shadow_weights": "bf16_weights"}
"""Fields of a step that files written before have under another name."""


def _row_from_dict(values: dict[str, Any]) -> Row:
    names = {f.name for f in dataclasses.fields(Row)}
    values = {OLD_KEYS.get(name, name): value for name, value in values.items()}
    fields = {name: value for name, value in values.items() if name in names}
    fields["losses"] = [_number(loss) for loss in values["losses"]]
    fields["config"] = {OLD_FIELDS.get(name, name): value for name, value in values["config"].items()}
    if values["loss"]:
        fields["loss"] = LossCheck(**{**values["loss"], "loss": _number(values["loss"]["loss"])})
    row = Row(**fields)
    _check_kinds(row)
    if row.rounds and (len(row.rounds) != len(row.samples_ms) or not all(type(n) is int for n in row.rounds)):
        raise TypeError("rounds")
    return row


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
