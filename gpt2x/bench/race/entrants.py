"""The entrants: each is a record of what it changes of the baseline, and why that should save steps. Loads no torch.

The baseline is GPT-2 as it is, trained with AdamW. An entrant changes the model (`Parts`), the optimizer, or
the order of the data; the shape, the tokens of a step and the learning rates that are tried are the same for all.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from gpt2x.bench.race.parts import Parts
from gpt2x.errors import UsageError, quoted


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One way to train."""

    key: str
    title: str
    change: str
    """What is done, in a few words."""
    why: str
    """Why fewer steps should do."""
    parts: Parts = field(default_factory=Parts)
    tie_weights: bool = True
    """The token embedding and the output head are one matrix."""
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
        parts=Parts(rotary=True),
    ),
    Entrant(
        key="qk-norm",
        title="QK-norm",
        change="queries and keys have a root mean square of 1",
        why="No score of attention can grow so large that its softmax learns no more.",
        parts=Parts(qk_norm=True),
    ),
    Entrant(
        key="relu2",
        title="ReLU²",
        change="max(0, x)² in the place of GELU",
        why="A neuron that is off is off, and one that is on multiplies by itself.",
        parts=Parts(relu_squared=True),
    ),
    Entrant(
        key="values",
        title="value embeddings",
        change="a second embedding, added to the values of every block",
        why="What a token is reaches every block's attention unmixed.",
        parts=Parts(value_embeddings=True),
    ),
    Entrant(
        key="untied",
        title="untied head",
        change="the output head is a matrix of its own",
        why="To read a token and to predict it are different tasks.",
        tie_weights=False,
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
        parts=Parts(rotary=True, qk_norm=True),
    ),
    Entrant(
        key="rotary-qk-relu2",
        title="rotary + QK + ReLU²",
        change="all three",
        why="Each changes another place of the block.",
        parts=Parts(rotary=True, qk_norm=True, relu_squared=True),
    ),
    Entrant(
        key="modern",
        title="Muon + all three",
        change="rotary + QK-norm + ReLU², with Muon",
        why="Better parts and a better optimizer save different steps.",
        parts=Parts(rotary=True, qk_norm=True, relu_squared=True),
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
