"""Several drafts of a planned line, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gpt2x.data.lines import last_word
from gpt2x.generate import Engine, SamplingConfig
from gpt2x.generate.drafts import PLAN_WARMTH, Draft, Drafter, for_plans
from gpt2x.generate.engine import Session, new_generator
from gpt2x.generate.form import SongForm
from gpt2x.generate.rhyme import Rhymes
from gpt2x.generate.song_words import SongWords, WordGuard
from gpt2x.generate.songwriting import SongWriter
from gpt2x.generate.stops import Stops
from gpt2x.model import GPT, GPTConfig

RHYMES = Rhymes("AE T\tcat hat bat\nAE D\tmad sad bad\nAW\tcow now")
WORDS = SongWords(common=["cat", "hat", "bat", "mad", "sad"], others=["bad"])


class Rows:
    """What a model of plain Python has read of several texts."""

    max_length = 4096

    def __init__(self, texts: list[list[int]] | None = None) -> None:
        self.texts = texts or [[]]

    @property
    def length(self) -> int:
        return len(self.texts[0])

    @length.setter
    def length(self, length: int) -> None:
        self.texts = [text[:length] for text in self.texts]

    def fork(self, count: int, room: int) -> Rows:
        return Rows([self.texts[0][:] for _ in range(count)])

    def keep_rows(self, rows: torch.Tensor) -> None:
        self.texts = [self.texts[row] for row in rows.tolist()]


class Planner(torch.nn.Module):
    """Lines of one word after its plan: any of the letters at each place, whether they make a word or not."""

    def __init__(self, favours: str = "", keeps: float = 2.0) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=257, block_size=4096, n_layer=1, n_head=1, n_embd=1)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.favours, self.keeps = favours.encode(), keeps

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> Rows:
        return Rows()

    def forward(self, idx: torch.Tensor, *, cache: Rows, last_only: bool) -> tuple[torch.Tensor, None]:
        cache.texts = [text + more for text, more in zip(cache.texts, idx.tolist(), strict=True)]
        return torch.stack([self._logits(text) for text in cache.texts])[:, None], None

    def _logits(self, text: list[int]) -> torch.Tensor:
        line = bytes(i for i in text if i < 256).rpartition(b"\n")[2]
        plan, mark, words = line.partition(b"|")
        logits = torch.full((257,), -1e9)
        if not line:
            logits[list(b" \n")] = torch.tensor([4.0, 0.0])
        elif not mark and len(plan) == 4:
            logits[ord("|")] = 0.0
        elif len(words) == 3:
            logits[ord("\n")] = 0.0
        else:
            logits[list((b"chbms", b"a", b"td")[len(words) if mark else len(plan) - 1])] = 0.0
            if mark:
                logits[plan[len(words) + 1]] += self.keeps  # it tries to keep its plan
        logits[list(self.favours)] += 2.0
        return logits


Write = Callable[..., SongWriter]


def writer_of(tokenizer: Any, model: Any, text: str = "", **options: Any) -> SongWriter:
    session = Engine(model, tokenizer).session([256], max_new_tokens=600)
    form = SongForm(tokenizer, RHYMES, min_lines=1, planned=True)
    session.append(*tokenizer.encode_ordinary(text))
    form.write(*tokenizer.encode_ordinary(text))
    defaults: dict[str, Any] = {"candidates": 12, "best_of": 4, "words": WORDS, "sampling": SamplingConfig()}
    return SongWriter(
        session,
        form,
        generator=new_generator(1),
        stops=Stops(token_ids=frozenset([256])),
        **{**defaults, **options},
    )


def written(writer: SongWriter, size: int) -> str:
    tokens = list(writer.tokens(size))
    assert writer.session.ids[-len(tokens) :] == tokens, "what was not kept must leave nothing behind"
    return bytes(tokens).decode()


def test_every_line_ends_as_planned_and_only_words_are_written(tokenizer: Any) -> None:
    lines = written(writer_of(tokenizer, Planner(keeps=9.0), only_words=True), 240).split("\n")[:-1]
    lines = [line for line in lines if line]
    assert len(lines) > 15
    for line in lines:
        plan, _, words = line.partition("|")
        assert plan == f" {words}"
        assert WORDS.knows(words), line


def test_a_line_that_should_rhyme_does_with_a_common_word(tokenizer: Any) -> None:
    for seed in range(5):
        writer = writer_of(tokenizer, Planner(), " cat|cat\n mad|mad\n", best_of=3)
        writer.generator.manual_seed(seed)
        writer.form._ends[:] = ["cat", "mad", "cow"]
        line = bytes(writer._best_line(60)).decode()
        assert last_word(line) == "sad", "bad is no common word, and mad has come"


def test_the_likeliest_of_the_drafts_is_kept(tokenizer: Any) -> None:
    """Drawn from a flat distribution, judged by the model's own."""

    def share(best_of: int) -> float:
        flat, model = SamplingConfig(temperature=50.0), Planner("c", keeps=1e6)
        writer = writer_of(tokenizer, model, best_of=best_of, sampling=flat, words=None)
        lines = []
        for _ in range(60):
            lines.append(bytes(writer._best_line(60)).decode())
            writer.session.take_back(len(lines[-1]))
        return sum(line.startswith(" c") for line in lines) / sum("|" in line for line in lines)

    assert share(2) < 0.55
    assert share(12) > 0.65


def test_the_same_seed_writes_the_same_song_and_another_another(tokenizer: Any) -> None:
    songs = []
    for seed in (1, 1, 2):
        writer = writer_of(tokenizer, Planner())
        writer.generator.manual_seed(seed)
        songs.append(written(writer, 100))
    assert songs[0] == songs[1] != songs[2]


def test_no_more_tokens_come_than_there_is_room_for(tokenizer: Any) -> None:
    for size in range(1, 24):
        assert len(written(writer_of(tokenizer, Planner()), size)) == size


def test_penalties_see_what_a_draft_has(tokenizer: Any) -> None:
    sampling = SamplingConfig(no_repeat_ngram=2)
    text = written(writer_of(tokenizer, Planner(), sampling=sampling, words=None), 12)
    drafted = text.split("\n")[0]
    assert drafted[1:].count("ca") < 2


def drafter(session: Session, tokenizer: Any, guard: WordGuard | None = None) -> Drafter:
    form = SongForm(tokenizer, RHYMES, planned=True)
    options = {"sampling": SamplingConfig(), "generator": new_generator(3), "stop_ids": [256]}
    return Drafter(session, form, guard=guard, **options)  # type: ignore[arg-type]


def test_the_end_of_a_line_is_drawn_warmer_than_its_words(tokenizer: Any) -> None:
    sampling = SamplingConfig(temperature=0.5, top_p=0.9)
    assert for_plans(sampling) == SamplingConfig(temperature=0.5 * PLAN_WARMTH, top_p=0.9)
    drawing = drafter(Engine(Planner(), tokenizer).session([256], max_new_tokens=40), tokenizer)  # type: ignore[arg-type]
    assert drawing._sampling_of(Draft(text=" cat")) == for_plans(SamplingConfig())
    assert drawing._sampling_of(Draft(text=" cat|")) == SamplingConfig()


def test_a_drafts_likelihood_is_the_models_own(tokenizer: Any, tiny_model: GPT) -> None:
    session = Engine(tiny_model, tokenizer).session([256, *b"ab"], max_new_tokens=40)
    drafts = [Draft(), Draft([[*b" a|"]]), Draft()]
    drafter(session, tokenizer).write(drafts, 6)
    assert drafts[1].text.startswith(" a|")
    for draft in drafts:
        ids = [256, *b"ab", *draft.tokens]
        with torch.inference_mode():
            of_model = tiny_model(torch.tensor([ids]))[0][0].log_softmax(-1)
        expected = sum(float(of_model[place, ids[place + 1]]) for place in range(2, len(ids) - 1))
        assert draft.log_probability == pytest.approx(expected, abs=1e-3)
    assert session.ids == [256, *b"ab"], "drafts leave the text as it is"


def test_drafts_go_on_where_the_context_slides(tokenizer: Any, tiny_model: GPT) -> None:
    session = Engine(tiny_model, tokenizer).session([256, *b"a song that is long"], max_new_tokens=40)
    assert session.logits().shape == (257,)
    drafts = [Draft(), Draft()]
    drafter(session, tokenizer).write(drafts, 10)  # 20 + 10 tokens, and a context of 24
    assert all(len(draft.tokens) == 10 or draft.ends for draft in drafts)


def test_plans_are_different_ones_and_the_likeliest_is_first(tokenizer: Any) -> None:
    session = Engine(Planner("h"), tokenizer).session([256], max_new_tokens=40)  # type: ignore[arg-type]
    choices = [[*f" {word}|".encode()] for word in ("cat", "hat", "bat")]
    plans = drafter(session, tokenizer).plans(choices, 30, 60)
    assert sorted(plans) == sorted(choices)
    assert plans[0] == [*b" hat|"]


def test_a_word_that_would_be_none_is_drawn_again(tokenizer: Any) -> None:
    session = Engine(Planner(), tokenizer).session([256], max_new_tokens=40)  # type: ignore[arg-type]
    drafts = [Draft() for _ in range(40)]
    free, guarded = drafter(session, tokenizer), drafter(session, tokenizer, WordGuard(WORDS))
    free.write(drafts, 12)
    assert not all(WORDS.knows(draft.plan) for draft in drafts), "the test could not tell"
    drafts = [Draft() for _ in range(40)]
    guarded.write(drafts, 12)
    assert all(WORDS.knows(draft.plan) for draft in drafts if draft.plan)
