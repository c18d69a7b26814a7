"""What a ladder leaves behind: one JSON file with every sample, from which table, chart and sentence can be redrawn.

The shape is documented in docs/reference/bench.md; it only grows, and `SCHEMA` counts the times that it did not.
Loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.bench.ladder.config import Setting
from gpt2x.bench.ladder.loss_check import LossCheck
from gpt2x.bench.machine import Machine
from gpt2x.bench.records import FORMAT, MEASURED, head
from gpt2x.bench.stats import MS_PER_SECOND, NOISY_SPREAD, Spread, spread, tokens_per_second, utilisation
from gpt2x.errors import InputDataError
from gpt2x.paths import read_text

SCHEMA = 1

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
    """False for a rung that makes the step slower here and is not needed for the result: the next one does not stand
    on it."""
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
        rounds = self.samples_ms if self.first_round_counts else self.samples_ms[1:]
        return spread([sample for samples in rounds for sample in samples])

    @property
    def is_noisy(self) -> bool:
        """True when the samples lie far apart, so that small differences mean nothing."""
        return self.is_measured and self.step.relative > NOISY_SPREAD

    @property
    def tokens_per_second(self) -> float:
        """Tokens learned from in one second, at the median step."""
        return tokens_per_second(self.tokens_per_step, self.step.median)

    def phase_ms(self, name: str) -> float:
        """The median of a phase of the step: forward, backward or optimizer."""
        samples = self.phases_ms.get(f"{name}_ms", [])
        if not self.first_round_counts:
            samples = samples[len(self.samples_ms[0]) :]
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

    def speedup(self, row: Row, over: Row | None) -> float:
        """How many times as many tokens a second, compared with another rung."""
        return row.tokens_per_second / over.tokens_per_second if over is not None else 1.0

    def speedup_before(self, row: Row) -> float:
        """Over the rung before."""
        return self.speedup(row, self.before(row))

    def speedup_start(self, row: Row) -> float:
        """Over the first rung."""
        return self.speedup(row, self.climbed[0] if self.climbed else None)

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
        return self.speedup(self.top, left_out)

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
    if values.get("schema") != SCHEMA:
        raise InputDataError(
            f"{file} has schema {values.get('schema')} and this gpt2x reads {SCHEMA}; upgrade gpt2x to read it"
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
    if not all(isinstance(word, str) for word in results.command):
        raise TypeError("command")
    return results


def _check_kinds(record: Row | Results) -> None:
    """Refuse a file whose text is no text and whose numbers are no numbers, before anybody lays them out."""
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
    return row


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
