"""Writing a song line by line: the model proposes, the form of a song decides which line stays.

A line that should rhyme is drawn again until it does, at most `candidates` times; the first draft stays where none did.
That is drawing from the model's own distribution of lines *given* that they rhyme (rejection sampling), so nothing else
about the lines changes. Lines that are free stream token by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gpt2x.generate.engine import Session
from gpt2x.generate.form import SongForm
from gpt2x.generate.sampling import SamplingConfig, adjust, choose, finite_scores
from gpt2x.generate.stops import Stops

LINE_TOKENS = 60
"""A draft this long without a line break is no line of a song; it is taken as it is."""


class SongWriter:
    """One song on its way.

    Args:
        session: begins with the prompt.
        form: has read nothing yet.
        sampling: how a token is chosen.
        generator: whose numbers decide.
        stops: the tokens that end the song; they are not written.
        candidates: drafts of a line that should rhyme; 1 takes what comes.

    """

    def __init__(
        self,
        session: Session,
        form: SongForm,
        *,
        sampling: SamplingConfig,
        generator: torch.Generator,
        stops: Stops,
        candidates: int = 1,
    ) -> None:
        self.session, self.form = session, form
        self.sampling, self.generator, self.stops = sampling, generator, stops
        self.candidates = candidates
        self.has_ended = False
        """The model ended the song, or its form did."""

    def tokens(self, max_new_tokens: int) -> Iterator[int]:
        """The song, token by token or, where lines are weighed, line by line; at most so many tokens."""
        left = max_new_tokens
        with self.session.evaluating():
            while left > 0 and not self.has_ended:
                for token in self._next_line(left):
                    left -= 1
                    yield token
                self.has_ended = self.has_ended or self.form.is_over

    def _next_line(self, limit: int) -> Iterator[int]:
        chorus = self.form.must_come()[:limit]
        if chorus:
            self.session.append(*chorus)
            self.form.repeat(chorus)
            yield from chorus
            return
        partners = self.form.partners() if self.candidates > 1 else []
        if partners:
            line = self._rhyming_line(partners, limit)
            self.form.write(*line)
            yield from line
            return
        for token in self._draft(limit):
            self.form.write(token)
            yield token

    def _draft(self, limit: int) -> Iterator[int]:
        """Draw tokens and append them, up to a line break or to the end of the song."""
        for _ in range(min(limit, LINE_TOKENS)):
            scores = self.form.allow(finite_scores(self.session.logits(), self.session.num_ids))
            token = choose(adjust(scores, self.sampling, self.session.history), self.sampling, self.generator)
            if token in self.stops.token_ids:
                self.has_ended = True
                return
            self.session.append(token)
            yield token
            if self.form.breaks_line(token):
                return

    def _rhyming_line(self, partners: Sequence[str], limit: int) -> list[int]:
        """Drafts until one rhymes; the first one where none does, or one that ends the song or the stanza."""
        first: list[int] | None = None
        for _ in range(self.candidates):
            line = list(self._draft(limit))
            text = self.form.text_of(line)
            if self.has_ended or not text.strip() or self.form.answers(text, partners):
                return line
            first = first or line
            self.session.take_back(len(line))
        assert first is not None
        self.session.append(*first)
        return first
