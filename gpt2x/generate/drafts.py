"""Drafts of a planned line, several at a time: each plans its last word, and goes on until the line ends."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from gpt2x.data.lines import END_OF_PLAN
from gpt2x.generate.engine import Session
from gpt2x.generate.form import SongForm
from gpt2x.generate.history import History
from gpt2x.generate.sampling import SamplingConfig, adjust, choose, finite_scores
from gpt2x.generate.song_words import WordGuard

PLAN_WARMTH = 1.8
"""How much warmer a plan is drawn than its line: drawn as cold as the words, every line would end on "me"."""

DRAWS = 8
"""How often a token is drawn, at most, while each would end a word that is none; then the last one stays."""


@dataclass
class Draft:
    """A line on its way.

    Attributes:
        choices: the plans that it may still begin with, as tokens; none once it has one, or where any may come.
        tokens: what it has, the plan first.
        log_probability: of these, in nats, as the model says without temperature.
        text: the same tokens.
        history: what penalties look at; None where there are none.

    """

    choices: Sequence[Sequence[int]] = ()
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    text: str = ""
    history: History | None = None

    @property
    def line(self) -> str:
        """The line without its plan."""
        return self.text.partition(END_OF_PLAN)[2].strip("\n")

    @property
    def plan(self) -> str:
        """The word that it should end with; "" where it planned none."""
        plan, mark, _ = self.text.partition(END_OF_PLAN)
        return plan.strip() if mark else ""

    @property
    def ends(self) -> bool:
        """Whether it has its line break."""
        return "\n" in self.text

    @property
    def likelihood(self) -> float:
        """Nats a token."""
        return self.log_probability / max(1, len(self.tokens))

    def allowed(self) -> list[int]:
        """The tokens with which one of its plans goes on; none where it has one."""
        place = len(self.tokens)
        return sorted({choice[place] for choice in self.choices if len(choice) > place})

    def add(self, token: int, log_probability: float, text: str) -> None:
        """Take a token."""
        place = len(self.tokens)
        self.choices = [
            choice for choice in self.choices if choice[place] == token and len(choice) > place + 1
        ]
        self.tokens.append(token)
        self.log_probability += log_probability
        self.text += text
        if self.history is not None:
            self.history.append(token)


def for_plans(sampling: SamplingConfig) -> SamplingConfig:
    """How the plan of a line is drawn that is drawn so: `PLAN_WARMTH` times as warm."""
    return dataclasses.replace(sampling, temperature=sampling.temperature * PLAN_WARMTH)


class Drafter:
    """Writes drafts.

    Args:
        session: the song so far.
        form: reads the tokens' texts.
        sampling: how a token is chosen.
        generator: whose numbers decide.
        guard: which tokens would end a word that is none; None lets all come.
        stop_ids: the tokens that end a song; no draft has them.

    """

    def __init__(
        self,
        session: Session,
        form: SongForm,
        *,
        sampling: SamplingConfig,
        generator: Generator,
        guard: WordGuard | None,
        stop_ids: Sequence[int],
    ) -> None:
        self._session, self._form = session, form
        self._sampling, self._of_plans = sampling, for_plans(sampling)
        self._generator, self._guard = generator, guard
        self._stop_ids = torch.tensor(list(stop_ids), dtype=torch.int64)

    def plans(self, choices: Sequence[Sequence[int]], count: int, room: int) -> list[list[int]]:
        """Draw as many of these plans, and give the different ones, the likeliest first."""
        drafts = [Draft(choices) for _ in range(count)]
        self.write(drafts, min(room, max(map(len, choices))), ends=END_OF_PLAN)
        drawn = {tuple(draft.tokens): draft.log_probability for draft in drafts}
        return [list(plan) for plan in sorted(drawn, key=lambda plan: -drawn[plan])]

    def write(self, drafts: list[Draft], room: int, ends: str = "\n") -> None:
        """Go on with each until it has this character, or so many tokens."""
        if self._sampling.needs_history:
            for draft in drafts:
                draft.history = copy.deepcopy(self._session.history)
        branches = self._session.branches(len(drafts), room)
        active = list(range(len(drafts)))
        for _ in range(room):
            for row, place in enumerate(active):
                self._add_token(drafts[place], branches.logits[row])
            rows = [row for row, place in enumerate(active) if ends not in drafts[place].text]
            active = [active[row] for row in rows]
            if not active or branches.is_full:
                return
            branches.append([drafts[place].tokens[-1] for place in active], rows)

    def _add_token(self, draft: Draft, logits: Tensor) -> None:
        scores = finite_scores(logits, self._session.num_ids)
        of_model = scores.log_softmax(0)
        allowed = draft.allowed()
        if len(allowed) == 1:
            token = allowed[0]
        elif allowed:
            among = torch.tensor(allowed)
            only = torch.full_like(scores, -math.inf).index_copy(0, among, scores[among])
            token = choose(self._adjusted(only, draft), self._sampling_of(draft), self._generator)
        else:
            scores = scores.index_fill(0, self._stop_ids, -math.inf)
            token = self._draw(draft, self._adjusted(scores, draft))
        draft.add(token, float(of_model[token]), self._form.text_of([token]))

    def _sampling_of(self, draft: Draft) -> SamplingConfig:
        return self._sampling if END_OF_PLAN in draft.text else self._of_plans

    def _adjusted(self, scores: Tensor, draft: Draft) -> Tensor:
        return scores if draft.history is None else adjust(scores, self._sampling, draft.history)

    def _draw(self, draft: Draft, scores: Tensor) -> int:
        """Draw a token; again, without those that were drawn, while it would end a word that is none."""
        for _ in range(DRAWS):
            token = choose(scores, self._sampling_of(draft), self._generator)
            if self._guard is None or self._guard.allows(draft.text, self._form.text_of([token])):
                break
            scores = scores.index_fill(0, torch.tensor([token]), -math.inf)
        return token
