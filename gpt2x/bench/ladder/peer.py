"""What somebody would use in place of the ladder's top: measured beside it (``--peer``). Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.rungs import Rung


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What somebody would use in place of the ladder's top."""

    key: str
    title: str
    change: str
    """What it is, in a few words."""
    make: Callable[[Setting, StepConfig], StepConfig]
    """Its step, for a setting and the ladder's top, of which it takes the tokens of a step and the dtype."""
    loss_bound: float = 0.05


def as_rung(peer: Peer, top: StepConfig, config: StepConfig) -> Rung:
    """A peer as a rung, for the check of its loss: the bound holds where the top follows the same recipe."""
    recipe = ("tie_weights", "init", "grad_clip", "decay_groups")
    is_same = all(getattr(top, name) == getattr(config, name) for name in recipe)
    return Rung(
        key=peer.key,
        title=peer.title,
        change=peer.change,
        why="What others use.",
        loss_bound=peer.loss_bound if is_same else None,
        alters="" if is_same else "a recipe that the ladder's top does not follow",
        expect="" if is_same else "is_finite",
    )
