"""A finished run as the model that ships: python benchmarks/lyric_writer/pack.py RUN FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from gpt2x.model.packed import pack_folder

if __name__ == "__main__":
    pack_folder(Path(sys.argv[1]), Path(sys.argv[2]))
