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


def test_a_label_without_an_empty_line_before_it_is_no_part_of_the_chorus(read: Any, tokenizer: Any) -> None:
    form = read("[Chorus]\noh light\nwe go\n[Verse 2]\nso bright\n\n[Chorus]\n")
    assert tokenizer.decode(form.must_come()) == "oh light\nwe go"


@pytest.mark.parametrize("label", ["[Verse]", "[Bridge]", "[Chorus of birds]x", "Chorus"])
def test_only_parts_that_return_come_back(read: Any, label: str) -> None:
    assert not read(f"{label}\na\n\n{label}\n").must_come()


def test_a_returning_chorus_can_be_switched_off(read: Any) -> None:
    assert not read(SONG, returning_chorus=False).must_come()


def test_a_song_does_not_end_before_its_time(read: Any, tokenizer: Any) -> None:
    scores = torch.zeros(257)
    assert read("a\nb\n", min_lines=3).allow(scores)[tokenizer.eot_token] == -torch.inf
    assert read("a\nb\nc", min_lines=3).allow(scores)[tokenizer.eot_token] == 0


def test_a_song_does_not_end_before_its_time_after_a_chorus_that_came_back(read: Any, tokenizer: Any) -> None:
    form = read(SONG, min_lines=40)
    form.repeat(form.must_come())
    for _ in range(2):
        allowed = torch.isfinite(form.allow(torch.zeros(257))).nonzero().flatten().tolist()
        assert allowed == [ord("\n")]
        form.write(ord("\n"))
    assert form.allow(torch.zeros(257))[tokenizer.eot_token] == -torch.inf


def test_a_song_that_is_long_enough_ends_with_its_stanza(read: Any) -> None:
    assert not read("a\nb\nc\n", min_lines=1, max_lines=3).is_over
    assert read("a\nb\nc\n\n", min_lines=1, max_lines=3).is_over
    assert not read("a\nb\n\nc\n", min_lines=1, max_lines=3).is_over


def test_a_song_ends_with_its_outro_if_it_is_not_too_short(read: Any) -> None:
    song = "[Verse]\na\n\n[Outro]\nb\nc\n"
    assert not read(song, min_lines=3).is_over, "the stanza may go on"
    assert read(song + "\n", min_lines=3).is_over
    assert not read(song + "\n", min_lines=4).is_over
    assert not read("[Outro]\n\n", min_lines=0).is_over, "nothing was sung"


@pytest.mark.parametrize(
    ("text", "partners"),
    [
        ("", []),
        ("all night\n", []),
        ("all night\nall day\n", []),
        ("all night\nthe light\n", []),
        ("all night\nthe light\nall day\n", ["day"]),
        ("all night\nall day\nso bright\n", ["day"]),
        ("all night\nall day\nI say\n", ["night"]),
        ("all night\nall day\nwe go\n", ["day"]),
        ("all night\nall zzz\nwe go\n", ["night"]),
        ("all night\nall day\nwe go\nI say\nall night\nall day\nwe go\n", ["day"]),
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
    assert form.answers("light", ["night"])
    assert not form.answers("Night", ["night"])
    assert not form.answers("go", ["night"])
    assert form.answers("go", []), "nothing to rhyme with"
    assert not form.answers("day", []), "but not the same word twice"
    assert read("all night\nthe light\n").answers("bright", []) is False, (
        "nor the same sound for the third time"
    )
    assert read("all night\nthe light\nwe go\nthe snow\n").answers("bright", []), "in another four it is new"


def test_what_answers_is_listed_without_the_words_that_end_a_line_already(read: Any) -> None:
    form = read("all Light\nall day\nno cow\nall zzz\nall night\nall day\n")
    assert form.answers_to(["night", "go"]) == ["bright", "snow"]
    assert all(form.answers(word, ["night", "go"]) for word in form.answers_to(["night", "go"]))
    assert form.answers_to(["zzz"]) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[Verse]\nall day\n\n[Chorus]\n", "rain"),
        ("[Verse]\nall day\n\n[Chorus]\nwe go\n", ""),
        ("[Verse]\nall rain\n\n[Chorus]\n", ""),
        ("[Verse]\n", ""),
        ("we go\nwe go\nwe go\nwe go\n\n", "rain"),
        ("we go\nwe go\n\n", ""),
    ],
)
def test_the_hook_opens_the_chorus_unless_it_was_sung(read: Any, text: str, wanted: str) -> None:
    assert read(text, hook="Rain").wanted_end() == wanted
    assert read(text).wanted_end() == ""


@pytest.mark.parametrize(
    ("text", "next_", "fits"),
    [
        ("", "[Verse]\n", True),
        ("[Verse]\nall day\n", "[Chorus]\n", False),
        ("[Verse]\nall day\n", "\n", False),
        ("[Verse]\nall day\nwe go\n", "\n", True),
        ("[Verse]\n", "\n", False),
        ("[Verse]\n", "[Chorus]\n", False),
        ("all day\nwe go\n\n", "[Chorus]\n", True),
        ("[Chorus]\nall day\nwe go\n\n", "[Chorus]\n", False),
        ("[Chorus]\nall day\nwe go\n\n", "[Chorus 2]\n", True),
        ("[Verse]\nall day\nwe go\n\n", "[Verse]\n", True),
        (SONG + "oh light\nwe go\n\n[Bridge]\na\nb\n\n", "[Chorus]\n", False),
        (SONG + "oh light\nwe go\n\n[Bridge]\n" + 28 * "a\n" + "\n", "[Chorus]\n", True),
        ("all day\n", "we go\n", True),
        ("all day\nwe go\n\n", "\n", False),
    ],
)
def test_labels_and_empty_lines_come_where_a_song_has_them(
    read: Any, text: str, next_: str, fits: bool
) -> None:
    assert read(text).fits(next_) == fits


def test_what_comes_in_place_of_one_chorus_too_many_is_the_outro(read: Any) -> None:
    assert read("[Chorus]\nall day\nwe go\n\n").instead_of("[Chorus]\n") == "[Outro]\n"
    assert read("[Verse]\nall day\n").instead_of("[Chorus]\n") == "[Chorus]\n"
    assert read("").instead_of("\n") == "\n"


def test_a_form_of_planned_lines_reads_the_lines_alone(read: Any) -> None:
    form = read(" night|all night\n day|all day\n go|we go\n", planned=True, hook="night")
    assert form.partners() == ["day"]
    assert form.lines == 3
    assert form.wanted_end() == ""


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

    def rhymes_of(self, word: str) -> list[str]:
        return [other for other in "abcxyz" if self.rhyme(word, other)]


def write(model: Any, tokenizer: Any, seed: int, candidates: int, *, size: int = 400, **options: Any) -> str:
    rhymes = ByLastLetter()
    session = Engine(model, tokenizer).session([256], max_new_tokens=size)
    form = SongForm(tokenizer, rhymes, min_lines=1, **options)
    options = {"sampling": SamplingConfig(), "generator": new_generator(seed)}
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


class Planner(Unigram):
    """A model of planned lines: a blank, a letter, the mark, and whatever letter comes; between them empty lines."""

    class Cache:
        length = 0

        def __init__(self) -> None:
            self.read: list[int] = []

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> Any:
        return Planner.Cache()

    def forward(self, idx: torch.Tensor, *, cache: Any, last_only: bool) -> tuple[torch.Tensor, None]:
        cache.read = [*cache.read[: cache.length], *idx[0].tolist()]  # what was taken back is read over
        cache.length = len(cache.read)
        line = bytes(i for i in cache.read if i < 256).rpartition(b"\n")[2]
        rest = {3: b"abcxyz", 4: b"\n"}.get(len(line), b"|")  # " a|" and " a|x"
        follows = {b"": b" \n", b" ": b"abcxyz"}.get(line, rest)
        logits = torch.full((1, 1, 257), -1e9)
        logits[0, 0, list(follows)] = torch.tensor([3.0, 0.0] if follows == b" \n" else 0.0)
        return logits, None


def test_a_planned_line_ends_as_planned_and_plans_rhyme(tokenizer: Any) -> None:
    rhymes, model = ByLastLetter(), Planner([])
    answered = 0
    for seed in range(2):
        for stanza in write(model, tokenizer, seed, 40, size=160, planned=True).split("\n\n"):
            lines = [line for line in stanza.split("\n") if line][:-1]  # the last one may be cut by the limit
            plans = [line.partition("|")[0].strip() for line in lines]
            assert plans == [line[-1] for line in lines]
            if len(plans) >= 4:  # six letters are too few for eight lines
                assert len(set(plans[:4])) == 4, "no word ends two lines"
                assert any(rhymes.rhyme(plans[3], other) for other in plans[:3])
                answered += 1
    assert answered > 1, "there was nothing to see"


def test_a_plan_that_does_not_rhyme_is_drawn_among_the_words_that_do(tokenizer: Any) -> None:
    rhymes = ByLastLetter()
    session = Engine(Planner([]), tokenizer).session([256], max_new_tokens=100)
    form = SongForm(tokenizer, rhymes, min_lines=1, planned=True)
    form.write(*tokenizer.encode_ordinary(" a|a\n c|c\n y|y\n"))
    writer = SongWriter(
        session,
        form,
        sampling=SamplingConfig(),
        generator=new_generator(1),
        stops=Stops(token_ids=frozenset([256])),
        candidates=8,
    )
    for ends in ([" b|", " x|", " z|"], [" b|"]):
        plans = [tokenizer.encode_ordinary(end) for end in ends]
        for _ in range(8):
            plan = writer._draw_among(plans, 10)
            assert tokenizer.decode(plan) in ends
            session.take_back(len(plan))
    assert writer._draw_among([tokenizer.encode_ordinary(" b|")], 2) == [*b" b"], (
        "no more than there is room for"
    )


def test_the_hook_is_sung_though_the_model_never_plans_it(tokenizer: Any) -> None:
    text = write(Planner([]), tokenizer, 1, 10, size=160, planned=True, hook="xz")
    before = text[: text.index(" xz|")]
    assert before.endswith("\n\n")
    assert before.count("|") >= 4


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
