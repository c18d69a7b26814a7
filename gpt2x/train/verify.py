"""`--verify-resume`: whether interrupt + resume = uninterrupted holds for a run of the user's own, on this machine.

A few steps are trained straight, the same steps with interruptions on one rank, and once more while the number of
ranks changes; each leg is a process of its own, in a temporary folder. All three have to end with the same
token-order hash; the first two also with the same weights and moments, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.errors import Gpt2xError
from gpt2x.model.runs import WEIGHTS
from gpt2x.train.checkpoint import AVERAGE, OPTIMIZER, Checkpoint, RunFolder
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import choose_device
from gpt2x.train.estimate import whole_shape
from gpt2x.train.launch import launch
from gpt2x.train.plan import share_batch
from gpt2x.train.token_hash import in_hex

STEPS = 8
RANKS = (1, 2, 3, 1)
"""What the number of ranks changes to, one after the other."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a run: how many ranks, and after which step they stop; None: the run ends."""

    ranks: int
    stop_after: int | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run in legs came to."""

    what: str
    legs: tuple[Leg, ...]
    token_hash: str
    same_order: bool
    same_weights: bool
    """Weights, moments and averages, bit for bit with the run without interruption."""
    weights_apart: float
    """The largest absolute difference of a weight."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all of them came to."""

    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]
    """Numbers of ranks that are not possible, each with the reason."""
    demands_bits: bool
    """Weights have to agree bit for bit on one rank: on a CPU."""

    @property
    def holds(self) -> bool:
        """True when nothing was found that a resume changes."""
        alone = [trial for trial in self.trials if all(leg.ranks == 1 for leg in trial.legs)]
        bits = not self.demands_bits or all(trial.same_weights for trial in alone)
        return bits and all(trial.same_order for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"holds": self.holds, "steps": STEPS, **dataclasses.asdict(self)}


def verify_resume(config: TrainConfig, recipe: str, told: Callable[[str], None]) -> Verdict:
    """Train in a temporary folder: straight, interrupted, and with changing ranks; the run's own folder is not touched.

    Args:
        config: the settings of the run.
        recipe: the name of what it trains on.
        told: is told what begins.

    Raises:
        Gpt2xError: the settings cannot work here.
        SystemExit: a leg ended with an error, which it has said.

    """
    is_cpu = choose_device(config.device).type == "cpu"
    possible, left_out = _possible_ranks(config)
    plans = {
        "straight": _legs((1,)),
        "interrupted": _legs((1, 1, 1)),
        "changing ranks": _legs([ranks for ranks in RANKS if ranks in possible]),
    }
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="gpt2x-verify-") as folder:
        straight: Checkpoint | None = None
        for what, legs in plans.items():
            if what == "changing ranks" and len(possible) == 1:
                continue
            told(f"{what}: {in_words(legs)}")
            end = _run(config, recipe, legs, Path(folder) / what.replace(" ", "-"))
            straight = straight or end
            trials.append(_compare(what, legs, end, straight))
    return Verdict(tuple(trials), tuple(left_out), is_cpu)


def in_words(legs: Sequence[Leg]) -> str:
    """Each leg's ranks and the step it ended with: ``1 to step 2, 2 to step 8``."""
    return ", ".join(f"{leg.ranks} to step {leg.stop_after or STEPS}" for leg in legs)


def _possible_ranks(config: TrainConfig) -> tuple[set[int], list[str]]:
    block_size = whole_shape(config).block_size
    possible, left_out = {1}, []
    for ranks in sorted(set(RANKS) - {1}):
        try:
            choose_device(config.device, ranks - 1)
            share_batch(config, block_size, ranks)
        except Gpt2xError as error:
            left_out.append(f"{ranks} ranks: {error}")
        else:
            possible.add(ranks)
    return possible, left_out


def _legs(ranks: Sequence[int]) -> tuple[Leg, ...]:
    """The steps, shared out evenly."""
    stops = [STEPS * number // len(ranks) for number in range(1, len(ranks))]
    return tuple(Leg(count, stop) for count, stop in zip(ranks, [*stops, None], strict=True))


def _run(config: TrainConfig, recipe: str, legs: Sequence[Leg], out: Path) -> Checkpoint:
    """Train leg after leg; the last checkpoint."""
    short = dataclasses.replace(
        config, out=str(out), steps=STEPS, epochs=None, log_every=STEPS, eval_every=0, eval_batches=1, save_every=0,
        sample_every=0, patience=0, publish="last", log_to="", panel=False, keep=1,
    )  # fmt: skip
    for leg in legs:
        specification = out.with_suffix(".json")
        values = {"config": short.to_dict(), "recipe": recipe, "stop_after": leg.stop_after}
        specification.write_text(json.dumps(values), encoding="utf-8")
        launch("gpt2x.train.trial", [str(specification)], leg.ranks)
        checkpoint = RunFolder(out).newest_whole()
        expected = leg.stop_after or STEPS
        if checkpoint is None or checkpoint.step != expected:
            raise Gpt2xError(f"a leg that should end after step {expected} left no checkpoint of it")
    assert checkpoint is not None
    return checkpoint


def _compare(what: str, legs: tuple[Leg, ...], end: Checkpoint, straight: Checkpoint) -> Trial:
    digests = [
        {name: c.state["files"].get(name) for name in (WEIGHTS, OPTIMIZER, AVERAGE)} for c in (end, straight)
    ]
    hashes = [in_hex(c.state["data"]["token_hash"]) for c in (end, straight)]
    return Trial(
        what=what,
        legs=legs,
        token_hash=str(hashes[0]),
        same_order=hashes[0] == hashes[1],
        same_weights=digests[0] == digests[1],
        weights_apart=_weights_apart(end, straight),
    )


def _weights_apart(one: Checkpoint, other: Checkpoint) -> float:
    from safetensors.torch import load_file

    a, b = load_file(one.folder / WEIGHTS), load_file(other.folder / WEIGHTS)
    return max(float((tensor.float() - b[name].float()).abs().max()) for name, tensor in a.items())
