"""What a run keeps of its data: where they are, their digest, and an index of songs, so that copies can be told.

The index is made once for each content and kept in the cache; a run gets a copy of its own, which goes where it goes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from gpt2x.errors import InputDataError
from gpt2x.generate.overlap_index import SongIndex
from gpt2x.generate.training_songs import cached_index
from gpt2x.model.runs import SONG_INDEX
from gpt2x.paths import atomic_write
from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """The data of a run.

    Attributes:
        name: as the settings have it.
        file: where that is now.
        digest: of the content, as the recipe computes it.
        recipe: how it is read.

    """

    name: str
    file: Path
    digest: str
    recipe: Recipe

    def write(self, folder: RunFolder) -> None:
        """Write it down in a run folder; an index that is there and of the same data stays.

        Raises:
            OutputError: it cannot be written.

        """
        about = {"name": self.name, "file": str(self.file.resolve()), "digest": self.digest}
        folder.record_data(about | {"recipe": self.recipe.name})
        index = folder.trainer / SONG_INDEX
        if not self.recipe.songs:
            index.unlink(missing_ok=True)
        elif not _is_of(index, self.content_digest):
            made = cached_index(self.file, self.content_digest)
            with made.open("rb") as source, atomic_write(index) as target:
                shutil.copyfileobj(source, target, 1 << 20)

    @property
    def content_digest(self) -> str:
        """The digest of the content alone, by which the same songs are known under any recipe."""
        return self.digest.rpartition(":")[2]


def _is_of(index: Path, digest: str) -> bool:
    try:
        return SongIndex.open(index).digest == digest
    except InputDataError:
        return False
