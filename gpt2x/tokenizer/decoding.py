"""`Decoder`: ids to bytes and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer.arguments import ArgumentTypeError, as_list, check_text, check_threads
from gpt2x.tokenizer.token_set import TokenSet, as_id

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids = Sequence[int] | npt.NDArray[np.integer[Any]]


class UnknownTokenError(InputDataError, KeyError):
    """An id or a token that the vocabulary does not have; a KeyError, as in tiktoken."""

    def __str__(self) -> str:
        return str(self.args[0])


class TokenTypeError(UnknownTokenError, TypeError):
    """What should be an id is not a number, and so none that the vocabulary has; a TypeError, as in tiktoken."""


class Decoder(TokenSet):
    """The half of a tokenizer that turns ids into bytes, which needs no pattern."""

    def decode_bytes(self, tokens: Ids) -> bytes:
        """Join the bytes of the tokens; special and added tokens give their text.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).
            ArgumentTypeError: no list of whole numbers (a TypeError); so in every method that takes ids.

        """
        if isinstance(tokens, str | bytes):
            raise ArgumentTypeError("tokens", tokens, "a list of ids")
        try:
            return self._core.decode_bytes(tokens)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self.decode_tokens_bytes(tokens)  # names the first id that is wrong
            raise ArgumentTypeError("tokens", tokens, "a list of ids, or an array of one axis") from error

    def decode(self, tokens: Ids, errors: str = "replace") -> str:
        """Decode to text; bytes that are not valid UTF-8 become U+FFFD, or what `errors` says (as in `bytes.decode`).

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).
        """
        data = self.decode_bytes(tokens)
        check_text(errors, "errors")
        try:
            return data.decode("utf-8", errors)
        except UnicodeDecodeError:
            raise
        except (LookupError, ValueError):  # ValueError for a NUL in it
            raise UsageError(f"errors is {quoted(errors)}; give 'strict', 'replace' or 'ignore'") from None

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one token, special tokens included.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        try:
            number = as_id(token)
            return self._core.token_bytes(number)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            finding = (
                f"unknown token id {quoted(token)}: the vocabulary {quoted(self.name)} has the ids 0 to "
                f"{self.max_token_value}"
            )
            if isinstance(error, ArgumentTypeError):
                raise TokenTypeError(f"{finding}, which are whole numbers") from None
            raise UnknownTokenError(finding) from None

    def decode_tokens_bytes(self, tokens: Ids) -> list[bytes]:
        """The bytes of each token.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        return [self.decode_single_token_bytes(token) for token in _as_ints(tokens)]

    def decode_with_offsets(self, tokens: Ids) -> tuple[str, list[int]]:
        """Decode to text, with the index of the character at which each token starts.

        A token that starts inside a character has the index of that character.

        Raises:
            UnicodeDecodeError: the tokens are not valid UTF-8 together, as in tiktoken.

        >>> gpt2.decode_with_offsets([31373, 995])  # doctest: +SKIP
        ('hello world', [0, 5])
        """
        parts = self.decode_tokens_bytes(tokens)
        offsets = []
        length = 0
        for part in parts:
            inside = 0x80 <= part[0] < 0xC0
            offsets.append(max(0, length - inside))
            length += sum(not 0x80 <= byte < 0xC0 for byte in part)
        return b"".join(parts).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Sequence[Ids], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Decode many lists of ids; `num_threads` is there for tiktoken's sake, decoding needs no threads."""
        check_threads(num_threads)
        return [self.decode(ids, errors) for ids in as_list(batch, "batch", "lists of ids")]

    def decode_bytes_batch(self, batch: Sequence[Ids], *, num_threads: int = 8) -> list[bytes]:
        """Decode many lists of ids to bytes."""
        check_threads(num_threads)
        return [self.decode_bytes(ids) for ids in as_list(batch, "batch", "lists of ids")]


def _as_ints(ids: Any) -> list[Any]:
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    if isinstance(listed, str | bytes):
        raise ArgumentTypeError("tokens", ids, "a list of ids")
    return as_list(listed, "tokens", "a list of ids")
