"""The command that a run was started by, as far as what to type next depends on it. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The switches that decide where a run begins.

    Attributes:
        overwrite: it starts anew; given again, it would remove what it has saved by then.
        stage: which of several it trains now; None where there is one.

    """

    overwrite: bool = False
    stage: int | None = None

    @property
    def again(self) -> str:
        """What to give to go on with a run that was interrupted.

        >>> Command(overwrite=True).again
        'the same command without --overwrite'
        """
        return "the same command without --overwrite" if self.overwrite else "the same command"

    def of_this_run(self, switch: str) -> str:
        """A switch, and what it needs beside it to leave the other stages alone.

        >>> Command(stage=2).of_this_run("--overwrite")
        '--overwrite --stage 2'
        """
        return switch if self.stage is None else f"{switch} --stage {self.stage}"


PLAIN = Command()
"""One run, which goes on where it is found."""
