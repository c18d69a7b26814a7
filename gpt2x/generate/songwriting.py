"""Writing a song line by line: the model proposes, the form of a song decides which line stays.

A line that should rhyme is drawn again until it does, at most `candidates` times; the first draft stays where none did.
That is drawing from the model's own distribution of lines *given* that they rhyme (rejection sampling), so nothing else
about the lines changes. A model that learned to plan (`gpt2x.data.lines`) is asked for the last word first, again until
it rhymes, if need be among the words that do, and then for a line that ends with it. Lines that are free stream token
by token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import torch

from gpt2x.data.lines import END_OF_PLAN, last_word, words_of
from gpt2x.generate.drafts import Draft, Drafter
from gpt2x.generate.engine import Session
from gpt2x.generate.form import SongForm
from gpt2x.generate.line_choice import TASTE, Pair, best, cost_of, pairs_of
from gpt2x.generate.sampling import SamplingConfig, adjust, choose, finite_scores
from gpt2x.generate.song_words import SongWords, WordGuard
from gpt2x.generate.stops import Stops

PLANS_FOR_A_LINE = 3
"""Drafts of a plan for each draft of a line; a plan is two or three tokens."""

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
        candidates: drafts of a line that should rhyme, or end as planned; 1 takes what comes.
        best_of: so many drafts of a planned line are compared; 1 takes the first that is as planned.
        words: planned rhymes are chosen among the common ones of these; None takes any.
        only_words: the drafts have no word that `words` does not know, if it can be helped.

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
        best_of: int = 1,
        words: SongWords | None = None,
        only_words: bool = False,
    ) -> None:
        self.session, self.form = session, form
        self.sampling, self.generator, self.stops = sampling, generator, stops
        self.candidates, self.best_of, self.words = candidates, best_of, words
        self._drafter = Drafter(
            session,
            form,
            sampling=sampling,
            generator=generator,
            guard=WordGuard(words) if words is not None and only_words else None,
            stop_ids=sorted(stops.token_ids),
        )
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
        if self.form.planned:
            line = self._planned_line(limit)
        elif self.candidates > 1 and (partners := self.form.partners()):
            line = self._rhyming_line(partners, limit)
        else:
            for token in self._draft(limit):
                self.form.write(token)
                yield token
            return
        self.form.write(*line)
        yield from line

    def _draft(self, limit: int, ends: str = "\n") -> Iterator[int]:
        """Draw tokens and append them, up to one that holds one of these characters, or to the end of the song."""
        for _ in range(min(limit, LINE_TOKENS)):
            scores = self.form.allow(finite_scores(self.session.logits(), self.session.num_ids))
            token = choose(adjust(scores, self.sampling, self.session.history), self.sampling, self.generator)
            if token in self.stops.token_ids:
                self.has_ended = True
                return
            self.session.append(token)
            yield token
            if any(end in self.form.text_of([token]) for end in ends):
                return

    def _best_of(
        self, draft: Callable[[], list[int]], is_good: Callable[[list[int]], bool], drafts: int
    ) -> list[int]:
        """The first of so many drafts that is good, else the first of all; it is appended."""
        first: tuple[list[int], bool] | None = None
        for _ in range(drafts):
            self.has_ended = False
            tokens = draft()
            if is_good(tokens):
                return tokens
            first = first or (tokens, self.has_ended)
            self.session.take_back(len(tokens))
        assert first is not None
        tokens, self.has_ended = first
        self.session.append(*tokens)
        return tokens

    def _rhyming_line(self, partners: Sequence[str], limit: int) -> list[int]:
        """Drafts until one rhymes; the first one where none does, or one that ends the song or the stanza."""

        def is_good(line: list[int]) -> bool:
            text = self.form.text_of(line)
            return self.has_ended or not text.strip() or self.form.answers(last_word(text), partners)

        return self._best_of(lambda: list(self._draft(limit)), is_good, self.candidates)

    def _planned_line(self, limit: int) -> list[int]:
        """The word that a line ends with, and a line that ends so; or a label, an empty line or the end."""
        if self.best_of > 1:
            return self._best_line(limit)
        plan = self._plan(limit)
        word = last_word(self.form.text_of(plan).partition(END_OF_PLAN)[0])
        if self.has_ended or not self._is_plan(plan):
            return plan

        def keeps_plan(line: list[int]) -> bool:
            return last_word(self.form.text_of(line)).lower() == word.lower()

        limit -= len(plan)
        return plan + self._best_of(lambda: list(self._draft(limit)), keeps_plan, self.candidates)

    # The best of several drafts ------------------------------------------------------------------------------------

    def _best_line(self, limit: int) -> list[int]:
        """As `_planned_line`: several drafts at a time, again while none is as planned, and the best of all."""
        partners = self.form.partners() if self.candidates > 1 else []
        first: list[int] = []
        wanted = self.form.wanted_end()
        if not wanted:
            first = self._beginning(limit)
            if self.has_ended or not self._is_plan(first):
                return first
            self.session.take_back(len(first))
        choices = [self._plan_of(word) for word in ([wanted] if wanted else self._answers_to(partners))]
        drafts: list[Draft] = []
        scores: list[float] = []
        sung = {pair for line in self.form.sung for pair in pairs_of(line)}
        for number in range(-(-self.candidates // self.best_of)):
            more = self._new_drafts(choices, [] if number else first, partners, limit)
            self._drafter.write(more, min(limit, LINE_TOKENS))
            drafts += more
            scores += [self._score(draft, wanted, partners, sung) for draft in more]
            if max(scores) > -TASTE.broken_plan:
                break
        line = drafts[best(scores)].tokens
        self.session.append(*line)
        return line

    def _new_drafts(
        self, choices: list[list[int]], first: list[int], partners: Sequence[str], limit: int
    ) -> list[Draft]:
        """Drafts that have only their plans: the first if it is good, and the likeliest of the choices, or any."""
        plans = self._drafter.plans(choices, PLANS_FOR_A_LINE * self.best_of, limit) if choices else []
        if first and self._is_good_end(last_word(self.form.text_of(first)), partners):
            plans.insert(0, first)
        given = [Draft([plan]) for plan in plans[: self.best_of]]
        others = range(self.best_of - len(given))
        return given + [Draft([plans[row % len(plans)]] if choices else ()) for row in others]

    def _beginning(self, limit: int) -> list[int]:
        """A plan, or something else that fits: whether a line comes is for the model to say. It is appended."""

        def fits(tokens: list[int]) -> bool:
            return self.has_ended or self._is_plan(tokens) or self.form.fits(self.form.text_of(tokens))

        tokens = self._best_of(
            lambda: list(self._draft(limit, ends="\n" + END_OF_PLAN)), fits, PLANS_FOR_A_LINE
        )
        text = self.form.text_of(tokens)
        if fits(tokens) or self.form.instead_of(text) == text:
            return tokens
        self.session.take_back(len(tokens))
        tokens = self.form.tokens_of(self.form.instead_of(text))[:limit]
        self.session.append(*tokens)
        return tokens

    def _answers_to(self, partners: Sequence[str]) -> list[str]:
        """The words that answer, the common ones if there are any."""
        words = self.form.answers_to(partners)
        common = [word for word in words if self.words is not None and self.words.is_common(word)]
        return common or words

    def _is_good_end(self, word: str, partners: Sequence[str]) -> bool:
        return self.form.answers(word, partners) and (self.words is None or self.words.is_common(word))

    def _score(self, draft: Draft, wanted: str, partners: Sequence[str], sung: Collection[Pair]) -> float:
        """How good a draft is: its likelihood in nats a token, less what its faults cost."""
        line, plan = draft.line, draft.plan
        is_planned = draft.ends and bool(plan) and last_word(line).lower() == plan.lower()
        answers = bool(wanted) or self.form.answers(plan, partners)
        unknown = 0 if self.words is None else sum(not self.words.knows(word) for word in words_of(line))
        return (
            draft.likelihood
            - cost_of(line, self.form.sung, sung)
            - TASTE.unknown_word * unknown
            - TASTE.broken_plan * (not is_planned or not answers)
        )

    # One draft after the other ---------------------------------------------------------------------------------------

    def _is_plan(self, tokens: list[int]) -> bool:
        return END_OF_PLAN in self.form.text_of(tokens)

    def _plan(self, limit: int) -> list[int]:
        """Draw a plan, up to its mark: again until it rhymes, and in the end among the words that do.

        What is no plan at the first attempt, as a label or an empty line, is taken as it is: whether a line comes is
        for the model to say.
        """
        if wanted := self.form.wanted_end():
            return self._draw_among([self._plan_of(wanted)], limit)
        partners = self.form.partners() if self.candidates > 1 else []

        def draft() -> list[int]:
            return list(self._draft(limit, ends="\n" + END_OF_PLAN))

        def answers(tokens: list[int]) -> bool:
            return self._is_plan(tokens) and self.form.answers(last_word(self.form.text_of(tokens)), partners)

        tokens = draft()
        if not self._is_plan(tokens) or answers(tokens) or self.candidates == 1:
            return tokens
        self.session.take_back(len(tokens))
        tokens = self._best_of(draft, answers, PLANS_FOR_A_LINE * self.candidates)
        words = [] if answers(tokens) else self.form.answers_to(partners)
        if not words:
            return tokens
        self.session.take_back(len(tokens))
        self.has_ended = False
        return self._draw_among([self._plan_of(word) for word in words], limit)

    def _plan_of(self, word: str) -> list[int]:
        return self.form.tokens_of(f" {word}{END_OF_PLAN}")

    def _draw_among(self, plans: list[list[int]], limit: int) -> list[int]:
        """Draw and append one of these, token by token: each is one with which some of them go on."""
        written: list[int] = []
        while plans and len(written) < limit:
            place = len(written)
            allowed = torch.tensor(sorted({plan[place] for plan in plans}))
            scores = finite_scores(self.session.logits(), self.session.num_ids)
            scores = torch.full_like(scores, -math.inf).index_copy(0, allowed, scores[allowed])
            token = choose(adjust(scores, self.sampling, self.session.history), self.sampling, self.generator)
            self.session.append(token)
            written.append(token)
            plans = [plan for plan in plans if plan[place] == token and len(plan) > place + 1]
        return written
