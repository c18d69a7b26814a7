"""Data sets that come as an archive of one file a document, in one folder a class: made into JSON lines."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gpt2x.errors import InputDataError
from gpt2x.paths import atomic_write

MOST_BYTES = 10_000_000
"""A document that is longer is none."""


def write_rows(archive: Path, part: str, target: Path) -> None:
    """Write the documents of one part of 20 Newsgroups as JSON lines: category, text.

    Args:
        archive: the ``.tar.gz``.
        part: its folder, which holds a folder for each class.
        target: appears when it is whole.

    Raises:
        InputDataError: the archive is damaged, or has no such part.
        OutputError: `target` cannot be written.

    """
    rows = sorted(_documents(archive, part))
    if not rows:
        raise InputDataError(f"{archive} has no folder {part}")
    with atomic_write(target, text=True) as file:
        for label, _, text in rows:
            file.write(json.dumps({"category": label, "text": text}, ensure_ascii=False) + "\n")


def _documents(archive: Path, part: str) -> Iterator[tuple[str, str, str]]:
    """(class, name, text) of each document, in no order."""
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                parts = member.name.split("/")
                if not member.isfile() or len(parts) != 3 or parts[0] != part:
                    continue
                opened = packed.extractfile(member)
                if opened is None or member.size > MOST_BYTES:
                    raise InputDataError(f"{archive} holds {member.name}, which is no document")
                yield parts[1], parts[2], without_header(opened.read().decode("latin-1"))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputDataError(f"cannot unpack {archive}: {error}; is the file complete?") from error


def without_header(message: str) -> str:
    """What stands below the header of a message, whose sender, organisation and subject give its group away.

    >>> without_header("From: a\\nSubject: b\\n\\nText.\\n")
    'Text.'
    """
    return message.replace("\r\n", "\n").partition("\n\n")[2].strip()
