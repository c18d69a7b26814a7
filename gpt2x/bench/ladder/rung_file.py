"""Rungs of one's own, from a TOML file: ``gpt2x bench --rungs-file my.toml``. Loads no torch.

    [[rung]]
    key = "small-clip"
    title = "a lower clip"
    change = "the global norm of the gradient is at most 0.5"
    why = "To see what it costs."
    after = "clip"
    alters = "gradients shrink more"
    changes = { grad_clip = 0.5 }

A rung changes fields of `gpt2x.bench.ladder.config.StepConfig`. `after` names the rung that it comes after (without one
it comes last); `loss_bound` is how far its loss may be from that of the rung below, in nats.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2x.bench.ladder.config import CHOICES, Setting, StepConfig
from gpt2x.bench.ladder.rungs import RUNGS, Applies, Rung
from gpt2x.bench.machine import Machine
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXTS = ("key", "title", "change", "why", "after", "alters")
REQUIRED = ("key", "title", "change", "why", "changes")
FOOT = StepConfig()
NEEDS = {
    "device": "gpu",
    "autocast": "bf16",
    "compile": "compile",
    "world_size": "ddp",
    "keep_memory": "memory",
    "shared_memory": "shared-memory",
    "fused_loss": "fused-loss",
    "fused_layers": "fused-layers",
    "cuda_graphs": "cuda-graphs",
}
"""Fields that ask something of the machine, and the rung that knows what."""
KNOWN = (*TEXTS, "loss_bound", "changes")
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "nothing",
}


def with_rungs_of(path: Path, rungs: Sequence[Rung]) -> list[Rung]:
    """The ladder with the rungs of a file in it, each at its place.

    Raises:
        InputDataError: the file is missing or not TOML.
        UsageError: a rung that says too little, too much, or something that no step understands.

    """
    try:
        tables = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputDataError(f"{path} is not TOML: {error}") from error
    found = tables.pop("rung", None)
    if tables:
        raise UsageError(f"{path}: {quoted(next(iter(tables)))} is unknown; write [[rung]] tables")
    if not isinstance(found, list) or not found or not all(isinstance(table, dict) for table in found):
        raise UsageError(f"{path} has no [[rung]] table; see the example in docs/reference/bench.md")
    ladder = list(rungs)
    for number, table in enumerate(found, 1):
        where = f"{path}: rung {quoted(table.get('key', number))}"
        rung = _rung(table, where)
        keys = [known.key for known in ladder]
        if rung.key in keys:
            raise UsageError(f"{where} has the name of another rung; choose a key of its own")
        after = table.get("after", keys[-1])
        if after not in keys:
            raise UsageError(f"{where}: after = {quoted(after)} is no rung; {_nearest(after, keys)}")
        ladder.insert(keys.index(after) + 1, rung)
    return ladder


def _rung(table: Mapping[str, Any], where: str) -> Rung:
    for name in table:
        if name not in KNOWN:
            raise UsageError(f"{where}: {quoted(name)} is unknown; {_nearest(name, KNOWN)}")
    for name in REQUIRED:
        if name not in table:
            raise UsageError(f"{where} has no {name}; give {', '.join(REQUIRED)}")
    for name in TEXTS:
        if not isinstance(table.get(name, ""), str) or not table.get(name, "-"):
            raise UsageError(f"{where}: {name} = {quoted(table[name])} is not a text")
    if not table["key"].replace("-", "").isalnum() or table["key"][0].isdecimal() or table["key"] == "all":
        raise UsageError(
            f"{where}: a key is a word of letters, digits and '-', with which --rungs can name it"
        )
    bound = table.get("loss_bound")
    if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float) or not bound > 0):
        raise UsageError(f"{where}: loss_bound = {quoted(bound)} is not a number above 0, in nats")
    alters = table.get("alters", "")
    return Rung(
        key=table["key"],
        title=table["title"],
        change=table["change"],
        why=table["why"],
        changes=(changes := _changes(table["changes"], where)),
        applies=_applies(changes),
        loss_bound=None if alters and bound is None else 0.02 if bound is None else float(bound),
        alters=alters,
        expect="still_learns" if alters else "",
    )


def _changes(changes: Any, where: str) -> dict[str, Any]:
    """Fields of a step with values of their kind."""
    if not isinstance(changes, dict) or not changes:
        raise UsageError(
            f"{where}: changes = {quoted(changes)} is not a table of fields, as in {{ grad_clip = 0.5 }}"
        )
    kinds = typing.get_type_hints(StepConfig)
    fields = [field.name for field in dataclasses.fields(StepConfig)]
    for name, value in changes.items():
        if name not in fields:
            raise UsageError(f"{where}: a step has no {quoted(name)}; {_nearest(name, fields)}")
        allowed = typing.get_args(kinds[name]) or (kinds[name],)
        is_whole = float in allowed and type(value) is int  # TOML's 1 is as good as 1.0
        if type(value) not in allowed and not is_whole:
            words = " or ".join(WORDS[kind] for kind in allowed if kind is not types.NoneType)
            raise UsageError(f"{where}: {name} = {quoted(value)} is not {words}")
        choices = CHOICES.get(name)
        if choices is not None and value not in choices:
            raise UsageError(f"{where}: {name} = {quoted(value)} is unknown; choose {' or '.join(choices)}")
        if type(value) in (int, float) and not value > 0:  # nan is not
            raise UsageError(f"{where}: {name} = {quoted(value)} is not above 0")
    return dict(changes)


def _applies(changes: Mapping[str, Any]) -> Applies:
    """What the ladder's own rungs ask of the machine for the same fields."""
    needed = [
        NEEDS[name] for name, value in changes.items() if name in NEEDS and value != getattr(FOOT, name)
    ]
    rungs = [rung for rung in RUNGS if rung.key in needed]

    def applies(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
        return next(filter(None, (rung.applies(machine, setting, below) for rung in rungs)), None)

    return applies


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
