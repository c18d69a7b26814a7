"""What a vocabulary is made of and how it serves a text, against encoding the text as a whole."""

from __future__ import annotations

from collections import Counter

import pytest

from gpt2x.errors import UsageError
from gpt2x.tokenizer import Tokenizer, patterns, stats, train
from gpt2x.tokenizer.alphabet import SINGLE_BYTES

TEXT = "She sells sea shells on the sea shore, I'm sure. 한국 방탄 привет 1234\n" * 5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([TEXT], 300)


def describe(tokenizer: Tokenizer, text: str, limit: int = 10) -> dict[str, object]:
    corpus = stats.new_corpus(tokenizer)
    corpus.add_text(text)
    return stats.describe_text(tokenizer, corpus, limit=limit)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_totals_are_those_of_the_encoded_text(pattern: str) -> None:
    tokenizer = train([TEXT], 300, pattern=pattern)
    found = describe(tokenizer, TEXT)
    ids = Counter(tokenizer.encode(TEXT))
    merged = [token for token in tokenizer.mergeable_ranks if len(token) > 1]
    assert found["tokens"] == ids.total()
    assert found["bytes"] == len(TEXT.encode())
    assert found["bytes_per_token"] == round(len(TEXT.encode()) / ids.total(), 4)
    assert found["pieces"] == len(tokenizer.split(TEXT))
    assert found["unused"] == sum(not ids[tokenizer.mergeable_ranks[token]] for token in merged)
    assert found["unused_bytes"] == sum(not ids[token] for token in range(256))
    most_used = sorted(ids.items(), key=lambda item: (-item[1], item[0]))
    assert [(row["id"], row["count"]) for row in found["most_used"]] == most_used[:10]  # type: ignore[index,attr-defined]


def test_each_script_has_its_cost(tokenizer: Tokenizer) -> None:
    rows = {row["script"]: row for row in describe(tokenizer, TEXT)["scripts"]}  # type: ignore[attr-defined]
    assert set(rows) == {"Latin", "Hangul", "Cyrillic", stats.NO_SCRIPT}
    for script, word in (("Hangul", " 한국 방탄"), ("Cyrillic", " привет")):
        assert rows[script]["characters"] == 5 * len(word)
        assert rows[script]["bytes"] == 5 * len(word.encode())
        assert rows[script]["tokens"] == 5 * tokenizer.count(word)
    assert sum(row["bytes"] for row in rows.values()) == len(TEXT.encode())
    assert sum(row["tokens"] for row in rows.values()) == tokenizer.count(TEXT)


def test_the_vocabulary_by_itself(tokenizer: Tokenizer) -> None:
    found = stats.describe_vocabulary(tokenizer, limit=3)
    ranks = tokenizer.mergeable_ranks
    assert found["tokens"] == len(ranks) == 299
    assert found["lengths"]["1"] == 256
    assert sum(found["lengths"].values()) == sum(found["scripts"].values()) == 299
    assert [row["bytes"] for row in found["longest"]] == sorted(map(len, ranks), reverse=True)[:3]
    assert found["scripts"][stats.PART] >= 128


def test_an_empty_text_has_no_ratios(tokenizer: Tokenizer) -> None:
    found = describe(tokenizer, "")
    assert (found["tokens"], found["bytes_per_token"], found["scripts"]) == (0, None, [])


@pytest.mark.parametrize(
    ("token", "script"),
    [
        ("ſ", "Latin"),
        ("ж", "Cyrillic"),
        ("漢", "Han"),
        ("か", "Hiragana"),
        ("½", stats.NO_SCRIPT),
        ("𐎠", "other"),
    ],
)
def test_scripts_are_unicodes(token: str, script: str) -> None:
    assert stats.script_of(token.encode()) == script


def test_a_pattern_that_the_core_does_not_know_cannot_be_measured() -> None:
    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    with pytest.warns(RuntimeWarning, match="the core does not know the pattern"):
        tokenizer = Tokenizer("words", pat_str=r"\S+|\s+$|\s+", mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(UsageError, match=f"'words' splits by .* pattern of {', '.join(patterns.BY_NAME)}"):
        stats.new_corpus(tokenizer)
