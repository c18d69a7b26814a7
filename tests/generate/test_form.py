from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gpt2x.generate import Engine, SamplingConfig
from gpt2x.generate.engine import new_generator
from gpt2x.generate.form import SongForm
from gpt2x.generate.rhyme import Rhymes
from gpt2x.generate.songwriting import SongWriter
from gpt2x.generate.stops import Stops
from gpt2x.model import GPT, GPTConfig

RHYMES = Rhymes("AY T\tnight light bright\nEY\tday say\nOW\tgo snow")
SONG = "[Verse]\nall night\nall day\n\n[Chorus]\noh light\nwe go\n\n[Verse 2]\nso bright\nI say\n\n[Chorus]\n"


@pytest.fixture
def read(tokenizer: Any) -> Callable[..., SongForm]:
    def make(text: str, **options: Any) -> SongForm:
        form = SongForm(tokenizer, RHYMES, **options)
        form.write(*tokenizer.encode_ordinary(text))
        return form

    return make


def test_a_chorus_that_is_announced_again_comes_back_word_for_word(read: Any, tokenizer: Any) -> None:
    form = read(SONG)
    chorus = form.must_come()
    assert tokenizer.decode(chorus) == "oh light\nwe go"
    form.repeat(chorus)
    allowed = torch.isfinite(form.allow(torch.zeros(257))).nonzero().flatten().tolist()
    assert allowed == [ord("\n"), tokenizer.eot_token], "only an empty line or the end may follow"
    form.write(ord("\n"))
    assert torch.isfinite(form.allow(torch.zeros(257))).sum() == 2, "a line end is not yet an empty line"
    form.write(ord("\n"))
    assert torch.isfinite(form.allow(torch.zeros(257))).all()
    assert form.lines == 8
    assert not form.must_come()


@pytest.mark.parametrize("label", ["[Verse]", "[Bridge]", "[Chorus of birds]x", "Chorus"])
def test_only_parts_that_return_come_back(read: Any, label: str) -> None:
    assert not read(f"{label}\na\n\n{label}\n").must_come()


def test_a_returning_chorus_can_be_switched_off(read: Any) -> None:
    assert not read(SONG, returning_chorus=False).must_come()


def test_a_song_does_not_end_before_its_time(read: Any, tokenizer: Any) -> None:
    scores = torch.zeros(257)
    assert read("a\nb\n", min_lines=3).allow(scores)[tokenizer.eot_token] == -torch.inf
    assert read("a\nb\nc", min_lines=3).allow(scores)[tokenizer.eot_token] == 0


def test_a_song_that_is_long_enough_ends_with_its_stanza(read: Any) -> None:
    assert not read("a\nb\nc\n", min_lines=1, max_lines=3).is_over
    assert read("a\nb\nc\n\n", min_lines=1, max_lines=3).is_over
    assert not read("a\nb\n\nc\n", min_lines=1, max_lines=3).is_over


@pytest.mark.parametrize(
    ("text", "partners"),
    [
        ("", []),
        ("all night\n", []),
        ("all night\nall day\n", ["night"]),
        ("all night\nthe light\n", []),
        ("all night\nthe light\nall day\n", ["day"]),
        ("all night\nall day\nso bright\n", ["day"]),
        ("all night\nall day\nwe go\n", ["night", "day", "go"]),
        ("all night\nall day\nso bright\nI say\n", []),
        ("all night\nall day\n\n", []),
        ("all night\nall zzz\nall", []),
    ],
)
def test_the_next_line_answers_what_is_still_open_in_its_four(
    read: Any, text: str, partners: list[str]
) -> None:
    assert read(text).partners() == partners


def test_the_same_word_again_is_no_answer(read: Any) -> None:
    form = read("all night\nall day\n")
    assert form.answers("a light", ["night"])
    assert not form.answers("a night", ["night"])
    assert not form.answers("I go", ["night"])


class Unigram(torch.nn.Module):
    """A model that draws letters and line breaks whatever came before."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=257, block_size=4096, n_layer=1, n_head=1, n_embd=1)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.ids = ids

    class Cache:
        length = 0

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> Unigram.Cache:
        return Unigram.Cache()

    def forward(self, idx: torch.Tensor, *, cache: Any, last_only: bool) -> tuple[torch.Tensor, None]:
        cache.length += idx.shape[1]
        logits = torch.full((1, 1, 257), -1e9)
        logits[0, 0, self.ids] = 0.0
        return logits, None


class ByLastLetter(Rhymes):
    """Words rhyme whose last letters are neighbours: a and b, c and x, y and z."""

    def __init__(self) -> None:
        super().__init__("")

    def sounds(self, word: str) -> tuple[str, ...]:
        return (str("abcxyz".index(word[-1]) // 2),) if word else ()


def write(model: Any, tokenizer: Any, seed: int, candidates: int) -> str:
    size, rhymes = 400, ByLastLetter()
    session = Engine(model, tokenizer).session([256], max_new_tokens=size)
    options = {"sampling": SamplingConfig(), "generator": new_generator(seed)}
    form = SongForm(tokenizer, rhymes, min_lines=1)
    writer = SongWriter(
        session, form, stops=Stops(token_ids=frozenset([256])), candidates=candidates, **options
    )
    written = list(writer.tokens(size))
    assert session.ids[1:] == written, "what was taken back must leave nothing behind"
    assert len(written) <= size
    return str(tokenizer.decode(written))


def test_lines_that_should_rhyme_do_where_a_draft_rhymes(tokenizer: Any) -> None:
    rhymes = ByLastLetter()
    model = Unigram([*b"abcxyz\n"])

    def answered(candidates: int) -> float:
        good = total = 0
        for seed in range(6):
            for stanza in write(model, tokenizer, seed, candidates).split("\n\n"):
                ends = [line for line in stanza.split("\n") if line]
                for number in range(3, len(ends), 4):
                    four = ends[number - 3 : number + 1]
                    if rhymes.rhyme(four[0], four[1]) and rhymes.rhyme(four[1], four[2]):
                        continue  # nothing is open, the fourth line is free
                    total += 1
                    good += any(rhymes.rhyme(four[3], other) for other in four[:3])
        return good / total

    plain, weighed = answered(1), answered(40)
    assert plain < 0.85, "the test could not tell"
    assert weighed > 0.95


def test_one_draft_a_line_is_what_the_engine_draws(tokenizer: Any, tiny_model: GPT) -> None:
    """Without rhymes, without a chorus and without an early end nothing but the model decides."""
    drawn = Engine(tiny_model, tokenizer).generate([256], max_new_tokens=60, seed=4, stops=Stops())
    session = Engine(tiny_model, tokenizer).session([256], max_new_tokens=60)
    form = SongForm(tokenizer, Rhymes(""), min_lines=0, max_lines=10**6, returning_chorus=False)
    options = {"sampling": SamplingConfig(), "generator": new_generator(4)}
    assert list(SongWriter(session, form, stops=Stops(), **options).tokens(60)) == list(drawn)


def test_the_same_seed_writes_the_same_song(tokenizer: Any) -> None:
    model = Unigram([*b"abcxyz\n"])
    songs = [write(model, tokenizer, seed, 8) for seed in (1, 1, 2)]
    assert songs[0] == songs[1] != songs[2]
