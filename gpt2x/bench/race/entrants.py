"""The entrants: each is a record of what it changes of the baseline, and why that should save steps. Loads no torch.

The baseline is GPT-2 as it is, trained with AdamW. An entrant changes parts of the model, the optimizer, or the
order of the data; the shape, the tokens of a step and the learning rates that are tried are the same for all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpt2x.errors import UsageError, quoted
from gpt2x.model.config import MODERN


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One way to train."""

    key: str
    title: str
    change: str
    """What is done, in a few words."""
    why: str
    """Why fewer steps should do."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its `GPTConfig` that differ from GPT-2's."""
    value_embeddings: bool = False
    """The values of attention get a vector of the token itself, from a second table (`model.ValueGPT`)."""
    muon: bool = False
    """Muon moves the hidden matrices, AdamW the rest."""
    short_first: bool = False
    """Short windows at first, as many tokens a step."""


BASELINE = Entrant(
    key="baseline",
    title="GPT-2, AdamW",
    change="GPT-2 as it is",
    why="What the others are held against.",
)

ENTRANTS: tuple[Entrant, ...] = (
    BASELINE,
    Entrant(
        key="rotary",
        title="rotary positions",
        change="queries and keys turn with their position; no learned positions",
        why="Attention sees distances from the first step on, and need not learn them position by position.",
        parts={"positions": "rotary"},
    ),
    Entrant(
        key="qk-norm",
        title="QK-norm",
        change="queries and keys have a root mean square of 1",
        why="No score of attention can grow so large that its softmax learns no more.",
        parts={"qk_norm": True},
    ),
    Entrant(
        key="relu2",
        title="ReLU²",
        change="max(0, x)² in the place of GELU",
        why="A neuron that is off is off, and one that is on multiplies by itself.",
        parts={"activation": "relu2"},
    ),
    Entrant(
        key="values",
        title="value embeddings",
        change="a second embedding, added to the values of every block",
        why="What a token is reaches every block's attention unmixed.",
        value_embeddings=True,
    ),
    Entrant(
        key="untied",
        title="untied head",
        change="the output head is a matrix of its own",
        why="To read a token and to predict it are different tasks.",
        parts={"tie_weights": False},
    ),
    Entrant(
        key="short-first",
        title="short windows first",
        change="windows of a quarter, then half, then all of T; as many tokens a step",
        why="What is learned first needs little context, and attention over little context is cheap.",
        short_first=True,
    ),
    Entrant(
        key="muon",
        title="Muon",
        change="hidden matrices move by their momentum made orthogonal",
        why="Every direction of a matrix gets its share of the step, not just those with large gradients.",
        muon=True,
    ),
    Entrant(
        key="rotary-qk",
        title="rotary + QK-norm",
        change="both",
        why="The rotation leaves the norm as it is, so the two go together.",
        parts={"positions": "rotary", "qk_norm": True},
    ),
    Entrant(
        key="rotary-qk-relu2",
        title="rotary + QK + ReLU²",
        change="all three",
        why="Each changes another place of the block.",
        parts=MODERN,
    ),
    Entrant(
        key="modern",
        title="Muon + all three",
        change="rotary + QK-norm + ReLU², with Muon",
        why="Better parts and a better optimizer save different steps.",
        parts=MODERN,
        muon=True,
    ),
)

QUICK = ("baseline", "rotary", "muon", "modern")
"""Those of ``--quick``."""


def select(text: str) -> list[Entrant]:
    """The entrants that ``--entrants`` asks for, in the order of `ENTRANTS`; the baseline is always among them.

    Raises:
        UsageError: a name that none has; the nearest is suggested.

    >>> [entrant.key for entrant in select("muon, rotary")]
    ['baseline', 'rotary', 'muon']
    """
    if text.strip() == "all":
        return list(ENTRANTS)
    keys = [entrant.key for entrant in ENTRANTS]
    words = [word for part in text.split(",") if (word := part.strip().lower())]
    for word in words:
        if word not in keys:
            close = difflib.get_close_matches(word, keys, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(keys)}"
            raise UsageError(f"--entrants names {quoted(word)}, which is none; {hint}")
    if not set(words) - {BASELINE.key}:
        raise UsageError(
            f"--entrants {quoted(text)} leaves the baseline alone; name one to race with it: {', '.join(keys[1:])}"
        )
    return [entrant for entrant in ENTRANTS if entrant is BASELINE or entrant.key in words]


def named(key: str) -> Entrant:
    """The entrant with this key.

    Raises:
        KeyError: there is none.

    """
    return {entrant.key: entrant for entrant in ENTRANTS}[key]
