"""`python -m gpt2x`, and the entry point of the ``gpt2x`` script: the quick way in if it will do, else typer's."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line."""
    _leave_current_folder()
    from gpt2x import interrupts

    interrupts.leave()
    from gpt2x import boundary
    from gpt2x.cli import quick

    command = quick.find(sys.argv[1:])
    if command is not None:
        boundary.run(command)
        return
    from gpt2x.cli.app import main as typer_main

    typer_main()


def _leave_current_folder() -> None:
    """Import nothing from the current folder that is there by accident: for an empty entry in ``PYTHONPATH``.

    A colon at its end is enough for one. Python has made the entry absolute by now.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = os.path.abspath("")
    if "" in entries and here not in [os.path.abspath(entry) for entry in entries if entry]:
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


if __name__ == "__main__":
    main()
