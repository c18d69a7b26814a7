"""A finished run as the model that ships: python benchmarks/lyric_writer/pack.py RUN FOLDER.

Its config.json then names the part of the songs that it was not trained on, for `gpt2x eval --songs`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gpt2x.data.files import content_digest
from gpt2x.data.lyrics import packaged_songs
from gpt2x.errors import InputDataError
from gpt2x.model.packed import pack_folder
from gpt2x.model.runs import data_of_run, held_out_of


def held_out(run: Path) -> dict[str, Any]:
    """What the run kept for validation; of the packaged songs by name, wherever the run read them.

    Raises:
        InputDataError: the run does not say what it was trained on.

    """
    known = held_out_of(run)
    if known is None:
        raise InputDataError(f"{run} does not say what it was trained on; give a run of gpt2x train")
    digest = data_of_run(run).get("digest", "")
    if digest.rpartition(":")[2] == content_digest(packaged_songs()):
        known |= {"data": "songs"}
    return known | ({"digest": digest} if digest else {})


if __name__ == "__main__":
    pack_folder(Path(sys.argv[1]), Path(sys.argv[2]), {"held_out": held_out(Path(sys.argv[1]))})
