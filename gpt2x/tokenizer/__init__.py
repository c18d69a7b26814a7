"""Byte-level BPE: encoding, decoding and training, token for token what tiktoken does.

>>> from gpt2x import tokenizer
>>> mine = tokenizer.train(["low lower lowest low low"], 259, special_tokens=())
>>> mine.decode_tokens_bytes(mine.encode("slow"))
[b's', b'low']

The C++ core (`gpt2x._bpe`) does the work; `reference` is the same algorithm for reading. Names follow tiktoken,
so that switching is one import. Nothing here imports torch.
"""

from gpt2x.tokenizer.encoding import Tokenizer, UnknownTokenError
from gpt2x.tokenizer.registry import get
from gpt2x.tokenizer.special import DisallowedSpecialError
from gpt2x.tokenizer.stream import StreamDecoder
from gpt2x.tokenizer.training import Merge, train, train_files

__all__ = [
    "DisallowedSpecialError",
    "Merge",
    "StreamDecoder",
    "Tokenizer",
    "UnknownTokenError",
    "get",
    "train",
    "train_files",
]
