"""Songs: a topic becomes a title, and a title is the prompt that a model trained on songs answers with a song.

In training a song is the document "`song_prompt`, words", after the end-of-text token of the song before; a prompt is
the beginning of such a document, cut into the same tokens. Tags are asked of a model that has learned them: those that
the caller leaves open it writes itself, before the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Generator

from gpt2x.data.lines import END_OF_PLAN, EndWordFilter, last_word, words_of
from gpt2x.data.lyrics import TAGS, Tags, song_prompt
from gpt2x.errors import UsageError
from gpt2x.generate.engine import Engine, Session, TextStream, new_generator
from gpt2x.generate.form import SongForm
from gpt2x.generate.rhyme import packaged_rhymes
from gpt2x.generate.sampling import SamplingConfig, choose, finite_scores
from gpt2x.generate.song_request import SONG_SAMPLING, SongRequest, title_of
from gpt2x.generate.song_words import is_of_songs, packaged_words
from gpt2x.generate.songwriting import SongWriter
from gpt2x.generate.stops import Stops, at_end_of_text

__all__ = ["SONG_SAMPLING", "SongRequest", "prompt_for", "prompt_ids", "sing", "title_of"]

_TAG_SAMPLING = SamplingConfig(temperature=0.8, top_p=0.9)
_VALUE_TOKENS = 8  # the longest value of a tag that the model may write itself
_HEAD_TOKENS = 40


def prompt_for(topic: str) -> str:
    r"""The beginning of a song about a topic, up to where the words start.

    >>> prompt_for("ex-girlfriend")
    'Ex-Girlfriend\n\n'
    """
    return song_prompt(title_of(topic))


def prompt_ids(tokenizer: Any, topic: str) -> list[int]:
    """The tokens of the prompt, as they stand at the beginning of a document in training.

    A byte-level BPE cuts blanks by what follows them: at the end of a text two line ends are one token, before a
    word they are two. The model has only ever seen the latter, so the prompt is cut as if the words had begun.
    """
    return [*at_end_of_text(tokenizer).token_ids, *_cut_before_words(tokenizer, prompt_for(topic))]


def _cut_before_words(tokenizer: Any, text: str, words: str = "A") -> list[int]:
    """The tokens of a text that goes on with such words; `words` must be one token."""
    ids: list[int] = tokenizer.encode_ordinary(text + words)
    if ids and tokenizer.decode_bytes(ids[:-1]) == text.encode("utf-8", "replace"):
        return ids[:-1]
    return list(tokenizer.encode_ordinary(text))  # a tokenizer that joins line ends and letters


def knows_tags(engine: Engine) -> bool:
    """Whether the model was trained on songs with tags: after a title and a line break it expects "topic"."""
    tokenizer = engine.tokenizer
    with_tags = _cut_before_words(tokenizer, "Rain\ntopic: ")
    without = _cut_before_words(tokenizer, "Rain\n\n")
    common = next(i for i, (a, b) in enumerate(zip(with_tags, without, strict=False)) if a != b)
    ids = [*at_end_of_text(tokenizer).token_ids, *with_tags[:common]]
    if not ids:
        return False
    logits = engine.session(ids, max_new_tokens=1).logits()
    return bool(logits[with_tags[common]] > logits[without[common]])


def plans_lines(engine: Engine) -> bool:
    """Whether the model learned songs with end words (`gpt2x.data.lines`): it expects their mark after a word."""
    tokenizer = engine.tokenizer
    head = _cut_before_words(tokenizer, song_prompt("Rain"), " a")
    ids = [*at_end_of_text(tokenizer).token_ids, *head, *tokenizer.encode_ordinary(" night")]
    next_token = int(engine.session(ids, max_new_tokens=1).logits()[: engine.num_ids].argmax())
    return tokenizer.decode_single_token_bytes(next_token).startswith(END_OF_PLAN.encode())


def sing(
    engine: Engine,
    topic: str | SongRequest,
    *,
    max_tokens: int = 900,
    sampling: SamplingConfig = SONG_SAMPLING,
    seed: int = 0,
    stop_strings: Iterable[str] = (),
) -> TextStream:
    """Write a song: the title, an empty line, then words until the song ends or `max_tokens` are written.

    The title and the tags stay in sight of the model however long the song becomes.

    Raises:
        UsageError: an empty topic, or a model without a tokenizer.

    """
    if engine.tokenizer is None:
        raise UsageError("this model has no tokenizer beside it and cannot write text")
    song = topic if isinstance(topic, SongRequest) else SongRequest(topic=topic)
    stops = at_end_of_text(engine.tokenizer, stop_strings)
    writing = _Writing(engine, song, sampling, new_generator(seed), stops)
    return TextStream(
        writing.tokens(max_tokens),
        engine.tokenizer,
        stops.strings,
        prompt_for(song.topic),
        plans=writing.plans,
    )


class _Writing:
    """One song: its head, then its words."""

    def __init__(
        self, engine: Engine, song: SongRequest, sampling: SamplingConfig, generator: Generator, stops: Stops
    ) -> None:
        self.engine, self.song, self.tokenizer = engine, song, engine.tokenizer
        self.sampling, self.generator, self.stops = sampling, generator, stops
        self.plans = EndWordFilter() if plans_lines(engine) else None

    def tokens(self, max_tokens: int) -> Iterator[int]:
        """The words."""
        song, session = self.song, self._begin(max_tokens)
        form = SongForm(
            self.tokenizer,
            packaged_rhymes(),
            min_lines=song.min_lines,
            max_lines=song.max_lines,
            returning_chorus=song.returning_chorus,
            hook=last_word(song.topic) if song.hook else "",
            planned=self.plans is not None,
        )
        words = None
        if is_of_songs(self.tokenizer, packaged_words()):
            words = packaged_words().with_words(words_of(song.topic))
        writer = SongWriter(
            session,
            form,
            sampling=self.sampling,
            generator=self.generator,
            stops=self.stops,
            candidates=song.candidates,
            best_of=song.best_of,
            words=words,
            only_words=song.only_words,
        )
        yield from writer.tokens(max_tokens)

    def _begin(self, max_tokens: int) -> Session:
        """The title and, for a model that has learned tags, those of the request; others the model writes itself."""
        song = self.song
        if not knows_tags(self.engine):
            return self._begin_with_title(max_tokens)
        topic = Tags(topics=(song.topic.strip().lower(),)).lines()
        head = "\n".join([title_of(song.topic), *topic]) + "\n"
        ids = [*self.stops.token_ids, *_cut_before_words(self.tokenizer, head)]
        session = self.engine.session(ids, max_new_tokens=max_tokens + _HEAD_TOKENS)
        for tag, value in (("mood", song.mood), ("form", song.form)):
            session.append(*self.tokenizer.encode_ordinary(f"{tag}: {value}" if value else f"{tag}:"))
            if not value:
                self._draw_value(session)
            if tag != TAGS[-1]:
                session.append(*_cut_before_words(self.tokenizer, "\n"))
        session.append(*self._empty_line(session))
        session.keep_all()
        return session

    def _begin_with_title(self, max_tokens: int) -> Session:
        if self.plans is None:
            ids = prompt_ids(self.tokenizer, self.song.topic)
        else:
            ids = [*self.stops.token_ids, *self.tokenizer.encode_ordinary(title_of(self.song.topic))]
        session = self.engine.session(ids, max_new_tokens=max_tokens)
        if self.plans is not None:
            session.append(*self._empty_line(session))
        session.keep_all()
        return session

    def _empty_line(self, session: Session) -> list[int]:
        """The end of the head. How it is cut depends on what follows: a plan begins with a blank, a label does not."""
        before_label = _cut_before_words(self.tokenizer, "\n\n")
        if self.plans is None:
            return before_label
        before_plan = _cut_before_words(self.tokenizer, "\n\n", " a")
        logits = session.logits()
        return max((before_label, before_plan), key=lambda ids: float(logits[ids[0]]))

    def _draw_value(self, session: Session) -> None:
        """Let the model write the rest of a tag's line."""
        with session.evaluating():
            for _ in range(_VALUE_TOKENS):
                scores = finite_scores(session.logits(), session.num_ids)
                token = choose(scores, _TAG_SAMPLING, self.generator)
                if token in self.stops.token_ids or b"\n" in self.tokenizer.decode_single_token_bytes(token):
                    return
                session.append(token)
