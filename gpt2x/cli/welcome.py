"""`gpt2x` alone: the four parts, and the next thing to type. It loads nothing, so it answers at once."""

from __future__ import annotations

from gpt2x._version import __version__
from gpt2x.console import emit

TEXT = f"""gpt2x {__version__}, the GPT-2 workbench: four parts

  gpt2x bench             what each optimisation of a training step buys here
  gpt2x bpe train FILE    learn a byte-level BPE vocabulary; encode with it
  gpt2x classify compare  six document classifiers side by side on your texts
  gpt2x train lyrics      train a lyric writer; gpt2x sing lets it write

Type this next; it needs no download and takes seconds:

  gpt2x sing "ex-girlfriend"

gpt2x env --check says what is missing for full speed, gpt2x --help lists all
commands, and gpt2x COMMAND --help explains one."""


def show() -> None:
    """Print it."""
    emit(TEXT)
