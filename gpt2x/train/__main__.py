"""``python -m gpt2x.train`` and ``torchrun -m gpt2x.train``: the command line `gpt2x train`."""

from gpt2x.boundary import run_typer
from gpt2x.cli.train import app

if __name__ == "__main__":
    run_typer(app, "python -m gpt2x.train")
