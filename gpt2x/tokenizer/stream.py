"""`StreamDecoder`: text as the tokens come, never half a character.

A token may end inside a character: an emoji is often three or four tokens. Its first bytes are held back until
the rest arrives; bytes that can no longer become a character turn into U+FFFD at once, as `decode` would do it.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2x.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes one token after the other; all pieces joined are what `Tokenizer.decode` gives for all tokens.

    >>> from gpt2x.tokenizer import train
    >>> bytes_only = train(["a"], 256, special_tokens=())
    >>> decoder = StreamDecoder(bytes_only)
    >>> [decoder.feed(token) for token in bytes_only.encode("a é")], decoder.flush()
    (['a', ' ', '', 'é'], '')
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with nothing held back."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """Take one id; return the characters that are now whole (possibly none).

        Raises:
            UnknownTokenError: an id that the vocabulary does not have; what was held back is kept.

        """
        return self._decoder.decode(self._tokenizer.decode_single_token_bytes(token))

    def flush(self) -> str:
        """End the text: what is still held back becomes U+FFFD. The decoder can then be used again."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
