"""The generation loop: prefill once, decode many, yield tokens as they come.

The prompt goes through the model in one pass that fills the KV cache; from then on each token costs one row. When
the context is full it slides: its beginning, as far as the caller wants it kept, and its last half are read again as a
new prompt, so that a text can be longer than the model's context. A `Session` is one text on its way: `Engine.generate`
draws its tokens one by one; who weighs whole lines takes some back. A float32 model is read by
`gpt2x.model.decoding.DecodingModel` where the native operators serve, any other by its own forward pass. `naive_tokens`
is the same without a cache, to read and to test against. The shape of the loop follows nanochat's Engine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gpt2x.data.lines import EndWordFilter
from gpt2x.errors import UsageError
from gpt2x.generate.branches import Branches
from gpt2x.generate.history import History
from gpt2x.generate.sampling import SamplingConfig, sample
from gpt2x.generate.stops import Stops, StopStrings, at_end_of_text
from gpt2x.model.decoding import DecodingModel, suits
from gpt2x.model.gpt import GPT
from gpt2x.model.kv_cache import KVCache

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer


class Engine:
    """A model and its tokenizer, ready to write.

    Ids that the model's vocabulary or the tokenizer do not have are never written, whatever their logits say.

    Args:
        model: a float32 model is read by the native operators where they serve its device, any other by its own
            forward pass.
        tokenizer: for `stream`; `generate` works on ids and needs none.
        weights: float32, bfloat16 or int8: how the matrices are held, see `DecodingModel`. By default as they are.
            bfloat16 and int8 are copies; the model itself is not kept.

    Raises:
        UsageError: `weights` is another word, or the model is neither on a CPU nor on a GPU.
        MissingComponentError: `weights` needs native operators that are not there for its device.

    """

    def __init__(self, model: GPT, tokenizer: Tokenizer | Any = None, *, weights: str | None = None) -> None:
        self.config = model.config
        self.tokenizer = tokenizer
        self.num_ids = model.config.vocab_size
        if tokenizer is not None:
            self.num_ids = min(self.num_ids, tokenizer.n_vocab)
        self._model: DecodingModel | _PlainModel
        if weights is not None:
            self._model = DecodingModel(model, weights)
        else:
            self._model = DecodingModel(model) if suits(model) else _PlainModel(model)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._model.device

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that each token reads; memory that gives them in no less time bounds the speed."""
        return self._model.bytes_per_token

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        sampling: SamplingConfig | None = None,
        seed: int = 0,
        stops: Stops | None = None,
        keep: int = 0,
    ) -> Iterator[int]:
        """Continue a text given as ids, token by token.

        Args:
            prompt_ids: at least one id; of a prompt longer than the context the end is used, see `keep_in_context`.
            max_new_tokens: how many at most.
            sampling: by default the model's own distribution.
            seed: the same seed gives the same tokens.
            stops: tokens that end the text and are not yielded themselves; its strings are for `stream`.
            keep: how many tokens of the beginning stay when the context slides, as llama.cpp's ``n_keep``.

        Raises:
            UsageError: an empty prompt, or an id that the vocabulary does not have.

        """
        session = self.session(prompt_ids, max_new_tokens=max_new_tokens, keep=keep)
        return self._tokens(
            session, max_new_tokens, sampling or SamplingConfig(), new_generator(seed), stops or Stops()
        )

    def session(self, prompt_ids: Sequence[int], *, max_new_tokens: int, keep: int = 0) -> Session:
        """A text that begins with these ids, to be continued by hand; arguments and errors as for `generate`."""
        self._check(prompt_ids, max_new_tokens)
        return Session(
            self._model, prompt_ids, max_new_tokens=max_new_tokens, keep=keep, num_ids=self.num_ids
        )

    def _tokens(
        self,
        session: Session,
        max_new_tokens: int,
        sampling: SamplingConfig,
        generator: torch.Generator,
        stops: Stops,
    ) -> Iterator[int]:
        with session.evaluating():
            for _ in range(max_new_tokens):
                token = sample(
                    session.logits(),
                    sampling,
                    generator=generator,
                    history=session.history,
                    num_ids=self.num_ids,
                )
                if token in stops.token_ids:
                    return
                yield token
                session.append(token)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int,
        sampling: SamplingConfig | None = None,
        seed: int = 0,
        stops: Stops | None = None,
        first: str = "",
        keep: int = 0,
    ) -> TextStream:
        """Continue a text, piece by piece; no piece ever ends inside a character.

        Args:
            prompt: a text, or ids where it matters how the prompt is cut into tokens.
            max_new_tokens: how many at most.
            sampling: by default the model's own distribution.
            seed: the same seed gives the same text.
            stops: by default the end-of-text token.
            first: comes before the text that is written, as the title of a song.
            keep: as for `generate`.

        Raises:
            UsageError: an empty prompt, or no tokenizer.

        """
        if self.tokenizer is None:
            raise UsageError("this model has no tokenizer beside it; give one, or generate ids from ids")
        ids = self.tokenizer.encode_ordinary(prompt) if isinstance(prompt, str) else list(prompt)
        stops = stops if stops is not None else at_end_of_text(self.tokenizer)
        tokens = self.generate(
            ids, max_new_tokens=max_new_tokens, sampling=sampling, seed=seed, stops=stops, keep=keep
        )
        return TextStream(tokens, self.tokenizer, stops.strings, first)

    def _check(self, prompt_ids: Sequence[int], max_new_tokens: int) -> None:
        if not prompt_ids:
            raise UsageError("the prompt is empty; give at least one token to start from")
        wrong = next((i for i in prompt_ids if not 0 <= i < self.config.vocab_size), None)
        if wrong is not None:
            raise UsageError(
                f"prompt id {wrong} is outside the model's vocabulary of {self.config.vocab_size} ids"
            )
        if max_new_tokens < 0:
            raise UsageError(f"max_new_tokens = {max_new_tokens} is negative; give how many tokens to write")


class Session:
    """One text on its way: what the model has read, and what comes next.

    Attributes:
        ids: the whole text so far, the prompt included.
        history: the same for penalties.
        num_ids: ids from here on cannot be written.

    """

    def __init__(
        self,
        model: DecodingModel | _PlainModel,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        keep: int,
        num_ids: int,
    ) -> None:
        self.ids, self.num_ids = list(prompt_ids), num_ids
        self.history = History(prompt_ids, num_ids)
        self._model, self._block_size = model, model.config.block_size
        self._keep = min(keep, len(self.ids))
        self._room = max_new_tokens
        self._cache: KVCache | None = None
        self._unread = self.ids[:]
        self._logits: torch.Tensor | None = None

    def logits(self, room: int = 0) -> torch.Tensor:
        """(V,): what the model says of the next token; what was appended since is read now.

        Args:
            room: for so many tokens more, the context slides now if it would have to later.

        """
        must_slide = self._cache is None or self._cache.length + len(self._unread) + room > self._block_size
        if self._unread or self._logits is None or must_slide:
            if self._cache is None or must_slide:
                self._unread = keep_in_context(self.ids, self._block_size - room, self._keep)
                self._cache = self._model.new_cache(max_length=len(self._unread) + self._room)
            self._logits = self._model(torch.tensor(self._unread), self._cache)
            self._unread = []
        return self._logits

    def append(self, *tokens: int) -> None:
        """Write tokens; the model reads them when it is next asked."""
        self.ids.extend(tokens)
        self.history.extend(tokens)
        self._unread.extend(tokens)

    def take_back(self, count: int) -> None:
        """Unwrite the last `count` tokens; at least one token must stay."""
        if not 0 <= count < len(self.ids):
            raise ValueError(f"{count} of {len(self.ids)} tokens cannot be taken back")
        if not count:
            return
        self.history.take_back(count)
        del self.ids[-count:]
        read = max(0, count - len(self._unread))
        del self._unread[max(0, len(self._unread) - count) :]
        if not self._unread and self._cache is not None:  # the last token is read again, for its logits
            length = self._cache.length - read - 1
            self._cache.length = max(0, length)
            self._unread = [self.ids[-1]]
            if length < self._keep:
                self._cache = None

    def branches(self, count: int, room: int) -> Branches:
        """Several continuations of the text, read together; see `Branches`.

        Args:
            count: how many.
            room: the most tokens that each will have; at most half of the context.

        """
        room = min(room, self._block_size // 2)
        logits = self.logits(room)
        assert self._cache is not None
        return Branches(self._model, self._cache.fork(count, room), logits.expand(count, -1))

    def keep_all(self) -> None:
        """From now on the text so far stays when the context slides."""
        self._keep = len(self.ids)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Switch dropout off while a text is written."""
        return self._model.evaluating()


class _PlainModel:
    """A model's own forward pass as the engine calls it: on any device, in any dtype."""

    def __init__(self, model: GPT) -> None:
        self.model, self.config = model, model.config
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """(T,) -> (V,): the logits after the last token."""
        logits, _ = self.model(ids[None].to(self.device), cache=cache, last_only=True)  # (1, 1, V)
        assert logits is not None
        return logits[0, -1]

    @torch.inference_mode()
    def read_rows(self, ids: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """(B,) -> (B, V): the logits after one more token of each of B texts."""
        logits, _ = self.model(ids[:, None].to(self.device), cache=cache, last_only=True)  # (B, 1, V)
        assert logits is not None
        return logits[:, -1]

    def new_cache(self, max_length: int | None = None) -> KVCache:
        """An empty KV cache for one text."""
        return self.model.new_cache(max_length=max_length)

    @property
    def bytes_per_token(self) -> int:
        """As `DecodingModel.bytes_per_token`."""
        head = self.model.lm_head.weight
        return self.model.num_parameters(embeddings=False) * head.itemsize + head.nbytes

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch dropout off while a text is written."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)


def keep_in_context(context: list[int], block_size: int, keep: int = 0) -> list[int]:
    """The tokens that the model reads: all, or when they are too many the first `keep` and the last half of the rest.

    Half, and not all but one, because keys in the cache hold their positions, learned or rotary: a context that slides
    token by token would have to be read again in full for every token. At most half of the context is kept from the
    beginning.

    >>> keep_in_context([1, 2, 3, 4, 5], block_size=4)
    [4, 5]
    >>> keep_in_context([1, 2, 3, 4, 5, 6, 7], block_size=6, keep=2)
    [1, 2, 6, 7]
    """
    if len(context) <= block_size:
        return context[:]
    keep = min(keep, block_size // 2)
    return context[:keep] + context[-max(1, (block_size - keep) // 2) :]


def new_generator(seed: int) -> torch.Generator:
    """A CPU generator; the same seed draws the same numbers everywhere.

    Raises:
        UsageError: the seed is negative or has more bits.

    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed = {seed} is outside 0 … 2^64 - 1; give a smaller one")
    return torch.Generator().manual_seed(seed)


def naive_tokens(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: SamplingConfig,
    seed: int = 0,
    keep: int = 0,
) -> list[int]:
    """What `Engine.generate` yields, computed without a cache: the whole context again for every token."""
    generator = new_generator(seed)
    prompt, written = list(prompt_ids), list[int]()
    block_size, num_ids = model.config.block_size, model.config.vocab_size
    window = keep_in_context(prompt, block_size, keep)
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            logits, _ = model(torch.tensor([window], device=model.wte.weight.device))  # (1, T, V)
        history = History(prompt, num_ids)
        history.extend(written)
        token = sample(logits[0, -1], sampling, generator=generator, history=history, num_ids=num_ids)
        written.append(token)
        window.append(token)
        if len(window) > block_size:
            window = keep_in_context(prompt + written, block_size, min(keep, len(prompt)))
    return written


class TextStream(Iterator[str]):
    """Pieces of a text as the model writes it, with the counts that a report wants.

    Args:
        tokens: what the model writes.
        tokenizer: whose tokens they are.
        stop_strings: the text ends before the first of these.
        first: comes before the text.
        plans: takes out what a model plans of a line before the line.

    Attributes:
        num_tokens: tokens written so far, those of a stop string included.
        seconds: time spent on them, the prompt included, the reader's own time not.

    """

    def __init__(
        self,
        tokens: Iterator[int],
        tokenizer: Any,
        stop_strings: Sequence[str],
        first: str = "",
        *,
        plans: EndWordFilter | None = None,
    ) -> None:
        self.num_tokens = 0
        self.seconds = 0.0
        self._plans = plans
        self._pieces = self._write(tokens, tokenizer, StopStrings(stop_strings), first)

    def __next__(self) -> str:
        return next(self._pieces)

    def _write(self, tokens: Iterator[int], tokenizer: Any, watch: StopStrings, first: str) -> Iterator[str]:
        from gpt2x.tokenizer import StreamDecoder

        if first:
            yield first
        decoder = StreamDecoder(tokenizer)
        while (token := self._timed_next(tokens)) is not None:
            piece = watch.feed(self._show(decoder.feed(token)))
            if piece:
                yield piece
            if watch.found:
                return
        rest = self._show(decoder.flush()) + (self._plans.flush() if self._plans else "")
        rest = watch.feed(rest) + watch.flush()
        if rest:
            yield rest

    def _show(self, text: str) -> str:
        return self._plans.feed(text) if self._plans else text

    def _timed_next(self, tokens: Iterator[int]) -> int | None:
        start = time.perf_counter()
        token = next(tokens, None)
        self.seconds += time.perf_counter() - start
        if token is not None:
            self.num_tokens += 1
        return token
