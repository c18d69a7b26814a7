"""How typer is told of a command that reads its words itself (`arguments.Parser`), since that starts sooner.

`gpt2x.__main__` hands such a command its words before typer is loaded. typer still needs to know it: for help and
completion of what stands above it, and for ``gpt2x --traceback bpe …``, which begins with an option of its own.
"""

from __future__ import annotations

from typing import Any

import typer.core


class OwnParser(typer.core.TyperCommand):
    """A command that hands its words, and what is to be completed, to a module with a parser of its own."""

    def __init__(self, name: str, module: Any, summary: str | None = None) -> None:
        """Take the module that has `run` and `complete`, and the command's line in a list of commands."""
        super().__init__(name, short_help=summary, add_help_option=False)
        self.module = module

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave the words as they are, also one that is to be completed: ``--name=beginning`` arrives whole."""
        ctx.args = args
        ctx._opt_prefixes = set()
        return args

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        self.module.run(ctx.args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What the line may go on with."""
        return self.module.complete(ctx.args, incomplete)
