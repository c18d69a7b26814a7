"""Options that mean the same in every command have the same name, help and default everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpt2x.console import set_quiet


def silence(quiet: bool) -> bool:
    """What ``--quiet`` does."""
    if quiet:
        set_quiet(True)
    return quiet


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Random seed.")]
Device = Annotated[
    str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or cuda:N.", metavar="DEVICE")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No talk and no progress on stderr.", callback=silence),
]
WeightsFrom = Annotated[
    str,
    typer.Option(
        "--weights-from",
        metavar="best|last",
        help="Of a run: its best weights by validation loss, or the last that were saved.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the result.", metavar="PATH")]


def examples(*lines: str) -> str:
    """The last paragraph of a command's help: examples that can be copied."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
