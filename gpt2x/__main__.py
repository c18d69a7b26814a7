"""`python -m gpt2x` and the script ``gpt2x``: what scripts call again and again answers at once.

That is `gpt2x` alone, `gpt2x bpe …` and `gpt2x classify predict …`; all else goes by typer.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line."""
    _leave_current_folder()
    from gpt2x import interrupts

    interrupts.leave()
    if sys.argv[1:2] == ["bpe"]:
        from gpt2x import boundary
        from gpt2x.cli import bpe

        boundary.run(lambda: bpe.run(sys.argv[2:]))
        return
    if sys.argv[1:3] == ["classify", "predict"]:
        from gpt2x import boundary
        from gpt2x.cli import classify_predict

        boundary.run(lambda: classify_predict.run(sys.argv[3:]))
        return
    if (
        len(sys.argv) == 1 and "_GPT2X_COMPLETE" not in os.environ
    ):  # a shell that completes gives no words either
        from gpt2x import boundary
        from gpt2x.cli import welcome

        boundary.run(welcome.show)
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
