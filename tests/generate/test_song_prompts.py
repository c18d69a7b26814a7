from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt2x import tokenizer as tokenizer_room
from gpt2x.data.lyrics import Tags, song_prompt
from gpt2x.errors import UsageError
from gpt2x.generate import Engine
from gpt2x.generate.lyrics import SongRequest, knows_tags, plans_lines, prompt_for, prompt_ids, sing, title_of
from gpt2x.model import GPTConfig

SONGS = [
    "Rain\n\nI walk alone in the rain\n\nand sing",
    "Ex-Girlfriend\n\n[Verse 1]\nYou left\n\nme here",
] * 3


@pytest.mark.parametrize(
    ("topic", "title"),
    [
        ("ex-girlfriend", "Ex-Girlfriend"),
        ("rain in the city", "Rain in the City"),
        ("the end of the road", "The End of the Road"),
        ("what we live for", "What We Live For"),
        ("don't stop", "Don't Stop"),
        ("NASA calls", "NASA Calls"),
        ("mother-in-law", "Mother-in-Law"),
        ("  two\n words\t", "Two Words"),
        ("élan vital", "Élan Vital"),
        ("愛", "愛"),
        ("99 problems", "99 Problems"),
        ("🌧️!", "🌧️!"),
        ("a", "A"),
    ],
)
def test_a_topic_is_written_as_a_title(topic: str, title: str) -> None:
    assert title_of(topic) == title
    assert prompt_for(topic) == title + "\n\n"


@given(topic=st.text(min_size=1).filter(lambda text: text.split()))
def test_a_title_is_one_line_and_writing_it_again_changes_nothing(topic: str) -> None:
    title = title_of(topic)
    assert len(title.splitlines()) <= 1 or "\n" not in title
    assert title_of(title) == title
    assert title.casefold() == " ".join(topic.split()).casefold() or not topic.isascii()


@pytest.mark.parametrize("topic", ["", "  ", "\n"])
def test_an_empty_topic_is_refused_in_words(topic: str) -> None:
    with pytest.raises(UsageError, match="topic is empty"):
        prompt_for(topic)


def test_the_prompt_is_cut_into_the_tokens_that_begin_a_document() -> None:
    """After a title come two line ends; at the end of a text they would be one token, which training never shows."""
    tokenizer = tokenizer_room.train([song + "\n\n" for song in SONGS], 300)
    document = tokenizer.encode_ordinary(SONGS[0])
    ids = prompt_ids(tokenizer, "rain")
    assert ids == [tokenizer.eot_token, *document[: len(ids) - 1]]
    assert tokenizer.decode(ids[1:]) == "Rain\n\n"
    assert tokenizer.encode_ordinary("Rain\n\n") != ids[1:], (
        "this vocabulary should have shown the difference"
    )


def test_with_the_gpt2_vocabulary_the_prompt_ends_with_two_line_ends(shared_data: Any) -> None:
    tokenizer = tokenizer_room.Tokenizer.load(shared_data("vocab/vocab.bpe").parent)
    ids = prompt_ids(tokenizer, "ex-girlfriend")
    assert ids[0] == 50256
    assert ids[-2:] == [198, 198], "not 628, the one token of two line ends at the end of a text"
    assert tokenizer.decode(ids[1:]) == "Ex-Girlfriend\n\n"


def test_a_song_is_its_title_and_what_the_model_writes(parrot: Any) -> None:
    stream = sing(parrot("You left"), SongRequest(topic="ex-girlfriend", min_lines=0))
    assert "".join(stream) == "Ex-Girlfriend\n\nYou left"
    assert stream.num_tokens == 8


def test_a_song_ends_at_its_longest_length(parrot: Any) -> None:
    assert "".join(sing(parrot("You left"), "rain", max_tokens=3)) == "Rain\n\nYou"


def test_a_topic_with_the_end_of_text_in_it_is_only_text(parrot: Any) -> None:
    stream = sing(parrot("la"), SongRequest(topic="<|endoftext|>", min_lines=0))
    assert "".join(stream).startswith("<|Endoftext|>\n\n")


def test_a_model_without_tokenizer_cannot_sing(tiny_model: Any) -> None:
    with pytest.raises(UsageError, match="no tokenizer"):
        sing(Engine(tiny_model), "rain")


class Tagged(torch.nn.Module):
    """A model that has learned songs with tags: it answers each beginning of `document` with what follows there."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=257, block_size=4096, n_layer=1, n_head=1, n_embd=1)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.document = document.encode("utf-8")
        self.read = b""

    class Cache:
        length = 0

        def __init__(self) -> None:
            self.read = b""

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> Tagged.Cache:
        return Tagged.Cache()

    def forward(self, idx: torch.Tensor, *, cache: Any, last_only: bool) -> tuple[torch.Tensor, None]:
        cache.read += bytes(i for i in idx[0].tolist() if i < 256)
        cache.length += idx.shape[1]
        self.read = cache.read
        tags = cache.read.partition(b"\n")[2]  # the title is the caller's
        rest = self.document[len(tags) :] if self.document.startswith(tags) else b""
        logits = torch.full((1, 1, 257), -50.0)
        logits[0, 0, rest[0] if rest else 256] = 50.0
        return logits, None


WITH_TAGS = "topic: rain\nmood: calm\nform: free\n\nIt falls"


def test_a_model_that_learned_tags_is_told_the_topic_and_writes_the_other_tags_itself(tokenizer: Any) -> None:
    model = Tagged(WITH_TAGS)
    engine = Engine(model, tokenizer)  # type: ignore[arg-type]
    assert knows_tags(engine)
    assert "".join(sing(engine, SongRequest(topic="rain", min_lines=0))) == "Rain\n\nIt falls"
    assert model.read.decode() == f"Rain\n{WITH_TAGS}"


def test_tags_of_the_request_go_before_those_of_the_model(tokenizer: Any) -> None:
    model = Tagged(WITH_TAGS.replace("calm", "funny").replace("free", "ballad"))
    engine = Engine(model, tokenizer)  # type: ignore[arg-type]
    "".join(sing(engine, SongRequest(topic="rain", mood="funny", form="ballad", min_lines=0)))
    head = song_prompt("Rain", Tags(("rain",), "funny", "ballad"))
    assert model.read.decode() == f"{head}It falls", "asked as it was learned"


def test_a_model_without_tags_is_asked_by_title_alone(parrot: Any) -> None:
    assert not knows_tags(parrot("\nIt falls"))


@pytest.mark.parametrize("tags", ["", "topic: rain\nmood: calm\nform: free\n"])
def test_a_model_that_plans_its_lines_shows_none_of_it(tokenizer: Any, tags: str) -> None:
    class Planned(Tagged):
        """After "Rain, night" it goes on with a plan's mark."""

        def forward(self, idx: torch.Tensor, *, cache: Any, last_only: bool) -> tuple[torch.Tensor, None]:
            logits, _ = super().forward(idx, cache=cache, last_only=last_only)
            if cache.read.endswith(b"\n night"):
                logits[0, 0, ord("|")] = 99.0
            return logits, None

    model = Planned(f"{tags}\n falls|It falls\n day|all day")
    engine = Engine(model, tokenizer)  # type: ignore[arg-type]
    assert plans_lines(engine)
    song = SongRequest(topic="rain", min_lines=0, best_of=1)
    assert "".join(sing(engine, song)) == "Rain\n\nIt falls\nall day"


def test_a_model_that_plans_nothing_is_not_taken_for_one_that_does(parrot: Any) -> None:
    assert not plans_lines(parrot("\nIt falls"))


@pytest.mark.parametrize(
    "options",
    [
        {"min_lines": 9, "max_lines": 8},
        {"max_lines": 0},
        {"candidates": 0},
        {"best_of": 0},
        {"form": "sonnet"},
    ],
)
def test_a_song_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SongRequest(topic="rain", **options)  # type: ignore[arg-type]
