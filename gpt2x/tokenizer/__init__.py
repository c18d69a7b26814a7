"""Byte-level BPE: encoding, decoding and training, token for token what tiktoken does.

>>> from gpt2x import tokenizer
>>> mine = tokenizer.train(["low lower lowest low low"], 259, special_tokens=())
>>> mine.decode_tokens_bytes(mine.encode("slow"))
[b's', b'low']

The C++ core (`gpt2x._bpe`) does the work; `reference` is the same algorithm for reading. Names follow tiktoken,
so that switching is one import. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpt2x.tokenizer.decoding import UnknownTokenError
from gpt2x.tokenizer.special import DisallowedSpecialError
from gpt2x.tokenizer.tokenizer import Tokenizer, get

if TYPE_CHECKING:
    from gpt2x.tokenizer.corpus import Corpus
    from gpt2x.tokenizer.session import Session
    from gpt2x.tokenizer.stream import StreamDecoder
    from gpt2x.tokenizer.training import Merge, train, train_files

__all__ = [
    "Corpus",
    "DisallowedSpecialError",
    "Merge",
    "Session",
    "StreamDecoder",
    "Tokenizer",
    "UnknownTokenError",
    "get",
    "train",
    "train_files",
]

_ON_DEMAND = {
    "Corpus": "corpus",
    "Session": "session",
    "StreamDecoder": "stream",
    "Merge": "training",
    "train": "training",
    "train_files": "training",
}


def __getattr__(name: str) -> Any:
    """Import training, sessions and streaming when they are first asked for; most programs only encode."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)
