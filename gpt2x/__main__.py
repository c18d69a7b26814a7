"""`python -m gpt2x`, and the entry point of the ``gpt2x`` script: the quick way in if it will do, else typer's."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from gpt2x.cli import quick

    if not quick.run(sys.argv[1:]):
        from gpt2x.cli.app import main as typer_main

        typer_main()


if __name__ == "__main__":
    main()
