"""The generation loop: prefill once, decode many, yield tokens as they come.

The prompt goes through the model in one pass that fills the KV cache; from then on each token costs one row. When
the context is full it slides: the last half of it is kept and read again as a new prompt, so that a text can be
longer than the model's context. `naive_tokens` is the same without a cache, for reading and for the tests.
The shape of the loop follows nanochat's Engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gpt2x.errors import UsageError
from gpt2x.generate.sampling import SamplingConfig, sample
from gpt2x.generate.stops import Stops, StopStrings, at_end_of_text
from gpt2x.model.gpt import GPT

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer


class Engine:
    """A model and its tokenizer, ready to write.

    Ids that the model's vocabulary or the tokenizer do not have are never written, whatever their logits say.

    Args:
        model: where it lies and in which dtype is up to the caller.
        tokenizer: for `stream`; `generate` works on ids and needs none.

    """

    def __init__(self, model: GPT, tokenizer: Tokenizer | Any = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.num_ids = model.config.vocab_size
        if tokenizer is not None:
            self.num_ids = min(self.num_ids, tokenizer.n_vocab)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        sampling: SamplingConfig | None = None,
        seed: int = 0,
        stops: Stops | None = None,
    ) -> Iterator[int]:
        """Continue a text given as ids, token by token.

        Args:
            prompt_ids: at least one id; of a prompt longer than the context the end is used, see `keep_in_context`.
            max_new_tokens: how many at most.
            sampling: by default the model's own distribution.
            seed: the same seed gives the same tokens.
            stops: tokens that end the text and are not yielded themselves; its strings are for `stream`.

        Raises:
            UsageError: an empty prompt, or an id that the vocabulary does not have.

        """
        self._check(prompt_ids, max_new_tokens)
        return self._tokens(
            list(prompt_ids), max_new_tokens, sampling or SamplingConfig(), seed, stops or Stops()
        )

    def _tokens(
        self, context: list[int], max_new_tokens: int, sampling: SamplingConfig, seed: int, stops: Stops
    ) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed)
        model, block_size = self.model, self.model.config.block_size
        was_training = model.training
        model.eval()
        cache, new = None, context
        try:
            for _ in range(max_new_tokens):
                with torch.inference_mode():
                    if cache is None or cache.length + len(new) > block_size:
                        new = keep_in_context(context, block_size)
                        cache = model.new_cache(max_length=len(new) + max_new_tokens)
                    idx = torch.tensor([new], device=self.device)  # (1, T)
                    logits, _ = model(idx, cache=cache, last_only=True)
                    token = sample(
                        logits[0, -1], sampling, generator=generator, history=context, num_ids=self.num_ids
                    )
                if token in stops.token_ids:
                    return
                yield token
                context.append(token)
                new = [token]
        finally:
            model.train(was_training)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_new_tokens: int,
        sampling: SamplingConfig | None = None,
        seed: int = 0,
        stops: Stops | None = None,
        first: str = "",
    ) -> TextStream:
        """Continue a text, piece by piece; no piece ever ends inside a character.

        Args:
            prompt: a text, or ids where it matters how the prompt is cut into tokens.
            max_new_tokens: how many at most.
            sampling: by default the model's own distribution.
            seed: the same seed gives the same text.
            stops: by default the end-of-text token.
            first: comes before the text that is written, as the title of a song.

        Raises:
            UsageError: an empty prompt, or no tokenizer.

        """
        if self.tokenizer is None:
            raise UsageError("this model has no tokenizer beside it; give one, or generate ids from ids")
        ids = self.tokenizer.encode_ordinary(prompt) if isinstance(prompt, str) else list(prompt)
        stops = stops if stops is not None else at_end_of_text(self.tokenizer)
        tokens = self.generate(ids, max_new_tokens=max_new_tokens, sampling=sampling, seed=seed, stops=stops)
        return TextStream(tokens, self.tokenizer, stops.strings, first)

    def _check(self, prompt_ids: Sequence[int], max_new_tokens: int) -> None:
        if not prompt_ids:
            raise UsageError("the prompt is empty; give at least one token to start from")
        wrong = next((i for i in prompt_ids if not 0 <= i < self.model.config.vocab_size), None)
        if wrong is not None:
            raise UsageError(
                f"prompt id {wrong} is outside the model's vocabulary of {self.model.config.vocab_size} ids"
            )
        if max_new_tokens < 0:
            raise UsageError(f"max_new_tokens = {max_new_tokens} is negative; give how many tokens to write")


def lay_out_for_decoding(model: GPT) -> GPT:
    """Turn a model's matrices in memory, so that a product with a single row streams through them; returns the model.

    Values and shapes stay as they are, only strides change: (out, in) is stored as (in, out). On a CPU the time of a
    token is that of reading all weights once, and BLAS reads them faster this way: for GPT-2 in float32 on two Zen 4
    cores 18.0 instead of 20.5 ms for the blocks and 5.7 instead of 9.7 ms for the head (row times matrix instead of
    matrix times column). Turning takes about half a second for GPT-2. Not for training, whose optimizers want plain
    strides; on a GPU nothing is done.
    """
    if next(model.parameters()).device.type == "cpu":
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and name != "wpe.weight":
                parameter.data = parameter.data.t().contiguous().t()
    return model


def keep_in_context(context: list[int], block_size: int) -> list[int]:
    """The tokens that the model reads: all, or when they are too many the last half of a context.

    Half, and not all but one, because positions are learned: a context that slides token by token would have to be
    read again in full for every token.

    >>> keep_in_context([1, 2, 3, 4, 5], block_size=4)
    [4, 5]
    """
    return context[:] if len(context) <= block_size else context[-max(1, block_size // 2) :]


def naive_tokens(
    model: GPT, prompt_ids: Sequence[int], *, max_new_tokens: int, sampling: SamplingConfig, seed: int = 0
) -> list[int]:
    """What `Engine.generate` yields, computed without a cache: the whole context again for every token."""
    generator = torch.Generator().manual_seed(seed)
    text = list(prompt_ids)
    window = keep_in_context(text, model.config.block_size)
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            logits, _ = model(torch.tensor([window], device=model.wte.weight.device))  # (1, T, V)
        token = sample(
            logits[0, -1], sampling, generator=generator, history=text, num_ids=model.config.vocab_size
        )
        text.append(token)
        window = keep_in_context([*window, token], model.config.block_size)
    return text[len(prompt_ids) :]


class TextStream(Iterator[str]):
    """Pieces of a text as the model writes it, with the counts that a report wants.

    Attributes:
        num_tokens: tokens written so far, those of a stop string included.
        seconds: time spent on them, the prompt included, the reader's own time not.

    """

    def __init__(
        self, tokens: Iterator[int], tokenizer: Any, stop_strings: Sequence[str], first: str = ""
    ) -> None:
        self.num_tokens = 0
        self.seconds = 0.0
        self._pieces = self._write(tokens, tokenizer, StopStrings(stop_strings), first)

    def __next__(self) -> str:
        return next(self._pieces)

    def _write(self, tokens: Iterator[int], tokenizer: Any, watch: StopStrings, first: str) -> Iterator[str]:
        from gpt2x.tokenizer import StreamDecoder

        if first:
            yield first
        decoder = StreamDecoder(tokenizer)
        while (token := self._timed_next(tokens)) is not None:
            piece = watch.feed(decoder.feed(token))
            if piece:
                yield piece
            if watch.found:
                return
        rest = watch.feed(decoder.flush()) + watch.flush()
        if rest:
            yield rest

    def _timed_next(self, tokens: Iterator[int]) -> int | None:
        start = time.perf_counter()
        token = next(tokens, None)
        self.seconds += time.perf_counter() - start
        if token is not None:
            self.num_tokens += 1
        return token
