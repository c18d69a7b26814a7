"""Ranks that are still in their file: which token has which id, read only when somebody looks.

The core reads such a file by itself, fifty thousand tokens in a few milliseconds; a Python dict of them takes ten times
as long, and most programs never open it. Here the file stays as it is until then. Only a file whose checksum is
known is treated so (`formats` and `registry` see to that), so that nothing damaged is found out late.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping


class FileRanks(Mapping[bytes, int]):
    """The ranks in a file's contents; behaves like the dict that `parse` makes of them.

    >>> ranks = FileRanks(b"a b ab", lambda contents: {token: i for i, token in enumerate(contents.split())})
    >>> ranks[b"ab"], len(ranks)
    (2, 3)
    """

    def __init__(
        self, contents: bytes, parse: Callable[[bytes], dict[bytes, int]], loader: str = "from_rank_file"
    ) -> None:
        """Keep all three; nothing is parsed yet.

        Args:
            contents: the file's bytes.
            parse: makes a dict of them.
            loader: which constructor of `BytePairEncoder` reads them: "from_rank_file" or "from_merges".

        """
        self.contents = contents
        self.loader = loader
        self._parse = parse

    @functools.cached_property
    def parsed(self) -> dict[bytes, int]:
        """The ranks as a dict."""
        return self._parse(self.contents)

    def __getitem__(self, token: bytes) -> int:
        return self.parsed[token]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parsed)

    def __len__(self) -> int:
        return len(self.parsed)
