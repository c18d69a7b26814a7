"""A vocabulary whose pattern nothing tells: it is said to be guessed, and can be given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import Tokenizer, saving, train
from gpt2x.tokenizer.alphabet import to_characters
from gpt2x.tokenizer.patterns import CL100K, GPT2, O200K
from gpt2x.tokenizer.published import ENCODINGS, Published, RankFile, with_beginning
from gpt2x.tokenizer.tokenizer import OwnPatternError

TEXT = "IT'S 12345678"
GUESSED = r"does not say how text is split for it; gpt2's pattern is guessed: give its pattern with pattern="


@pytest.fixture(scope="module")
def mine() -> Tokenizer:
    return train(["low lower it's 1234 5678 IT'S"], 290, pattern="cl100k", allow_fewer=True)


@pytest.fixture
def ranks(mine: Tokenizer, tmp_path: Path) -> Path:
    """The ranks alone."""
    saving.write_rank_file(mine.vocabulary, tmp_path / "mine.tiktoken")
    return tmp_path / "mine.tiktoken"


class TestRankFile:
    def test_alone_gets_gpt2s_pattern_with_a_warning(self, ranks: Path, mine: Tokenizer) -> None:
        with pytest.warns(RuntimeWarning, match=GUESSED):
            loaded = Tokenizer.load(ranks)
        assert loaded.pat_str == GPT2
        assert loaded.encode(TEXT) != mine.encode(TEXT)

    @pytest.mark.parametrize("pattern", ["cl100k", "cl100k_base", CL100K])
    def test_takes_the_pattern_that_is_given(self, ranks: Path, mine: Tokenizer, pattern: str) -> None:
        loaded = Tokenizer.load(ranks, pattern=pattern)
        assert loaded.pat_str == CL100K
        assert loaded.encode(TEXT) == mine.encode(TEXT)

    def test_takes_a_regular_expression(self, ranks: Path) -> None:
        with pytest.warns(RuntimeWarning, match="the core does not know the pattern"):
            assert Tokenizer.load(ranks, pattern=r"\w+|\W+").split("ab 12") == ["ab", " ", "12"]

    @pytest.mark.parametrize("pattern", ["cl100", "", "gpt3"])
    def test_refuses_a_name_that_is_none(self, ranks: Path, pattern: str) -> None:
        with pytest.raises(UsageError, match=r"give gpt2, cl100k, .*, or a regular expression"):
            Tokenizer.load(ranks, pattern=pattern)
        with pytest.raises(UsageError, match="a group that is not closed at character 0"):
            Tokenizer.load(ranks, pattern="(")
        with pytest.raises(TypeError, match="pattern is an int"):
            Tokenizer.load(ranks, pattern=5)  # type: ignore[arg-type]

    def test_is_told_by_a_tokenizer_json_beside_it(self, ranks: Path, mine: Tokenizer) -> None:
        mine.save(ranks.parent / "saved")
        shutil.copy(ranks.parent / "saved" / "tokenizer.json", ranks.parent)
        loaded = Tokenizer.load(ranks)
        assert (loaded.pat_str, loaded.special_tokens) == (CL100K, mine.special_tokens)
        other = train(["something else"], 262)
        other.save(ranks.parent / "other")
        shutil.copy(ranks.parent / "other" / "tokenizer.json", ranks.parent)
        with pytest.warns(RuntimeWarning, match=GUESSED):
            Tokenizer.load(ranks)
        (ranks.parent / "tokenizer.json").write_text("{", encoding="utf-8")
        with pytest.warns(RuntimeWarning, match=GUESSED):
            Tokenizer.load(ranks)

    def test_is_told_by_the_config_beside_it_under_any_name(self, ranks: Path, mine: Tokenizer) -> None:
        mine.save(ranks.parent / "saved")
        shutil.copy(ranks, ranks.parent / "saved" / "renamed.tiktoken")
        assert Tokenizer.load(ranks.parent / "saved" / "renamed.tiktoken").pat_str == CL100K


def test_what_gpt2x_saves_is_loaded_without_a_word(mine: Tokenizer, tmp_path: Path) -> None:
    for pattern in ("gpt2", "cl100k", "o200k"):
        folder = tmp_path / pattern
        train(["low lower"], 262, pattern=pattern).save(folder)
        for source in (folder, *(folder / name for name in ("tokenizer.json", "vocab.tiktoken"))):
            Tokenizer.load(source)  # a warning would be an error here


def test_a_pattern_is_refused_where_the_vocabulary_has_another_one(mine: Tokenizer, tmp_path: Path) -> None:
    mine.save(tmp_path)
    assert Tokenizer.load(tmp_path, pattern="cl100k") == Tokenizer.load(tmp_path)
    with pytest.raises(OwnPatternError, match="has a pattern of its own, 'cl100k'; leave pattern 'gpt2' out"):
        Tokenizer.load(tmp_path, pattern="gpt2")


class TestPair:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Path:
        small = train(["low lower lowest"], 262)
        merges = [f"{to_characters(left)} {to_characters(right)}" for left, right in small.vocabulary.merges]
        (tmp_path / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
        ids = {
            to_characters(token): rank for token, rank in small.mergeable_ranks.items()
        } | small.special_tokens
        (tmp_path / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
        return tmp_path

    def config(self, pair: Path, **settings: Any) -> None:
        (pair / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")

    def test_alone_is_guessed_too(self, pair: Path) -> None:
        with pytest.warns(RuntimeWarning, match=GUESSED):
            Tokenizer.load(pair)
        assert Tokenizer.load(pair, pattern="o200k").pat_str == O200K

    def test_is_told_by_its_class(self, pair: Path) -> None:
        self.config(pair, tokenizer_class="GPT2TokenizerFast", add_prefix_space=False)
        assert Tokenizer.load(pair).pat_str == GPT2
        self.config(pair, tokenizer_class="Qwen2Tokenizer")
        with pytest.warns(RuntimeWarning, match=GUESSED):
            Tokenizer.load(pair)

    @pytest.mark.parametrize("setting", ["add_prefix_space", "add_bos_token", "add_eos_token"])
    def test_is_refused_where_its_class_adds_something(self, pair: Path, setting: str) -> None:
        self.config(pair, tokenizer_class="GPT2Tokenizer", **{setting: True})
        with pytest.raises(InputDataError, match=f"sets {setting} = True"):
            Tokenizer.load(pair)


class TestPublished:
    """A small encoding that the test publishes, and files that are nearly it."""

    @pytest.fixture(autouse=True)
    def small(self, songs: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        import hashlib

        lines = songs.vocabulary.rank_file.splitlines(keepends=True)
        beginning = hashlib.sha256(b"".join(lines[:512])).hexdigest()[:16]
        ranks = RankFile("small_base", songs.vocabulary.fingerprint, "0" * 40, len(lines), (beginning,))
        monkeypatch.setitem(ENCODINGS, "small", Published("small", ranks, "cl100k", {"<|x|>": 1000}))
        return lines

    @pytest.mark.parametrize("size", [512, 513, 999])
    def test_one_that_is_cut_is_refused_as_such(self, small: list[bytes], tmp_path: Path, size: int) -> None:
        path = tmp_path / "vocabulary.tiktoken"
        path.write_bytes(b"".join(small[:size]))
        with pytest.raises(InputDataError) as caught:
            Tokenizer.load(path)
        sentence = str(caught.value)
        assert (
            f"begins as small_base does (the first 512 ranks are the same), but has {size} ranks" in sentence
        )
        assert "of its 1,000 and another checksum: it is cut off or changed" in sentence
        assert Tokenizer.load(path, pattern="gpt2").n_vocab == size

    def test_one_that_is_changed_is_refused(self, small: list[bytes], tmp_path: Path) -> None:
        small[700], small[701] = small[701].split()[0] + b" 700\n", small[700].split()[0] + b" 701\n"
        (tmp_path / "x.tiktoken").write_bytes(b"".join(small))
        with pytest.raises(InputDataError, match="it is cut off or changed"):
            Tokenizer.load(tmp_path / "x.tiktoken")

    def test_one_that_goes_on_is_guessed_to_be_split_alike(self, small: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "x.tiktoken").write_bytes(b"".join(small) + b"eHF6anF4 1000\n")
        with pytest.warns(
            RuntimeWarning, match="cl100k's pattern is guessed, since it begins as small_base does"
        ):
            assert Tokenizer.load(tmp_path / "x.tiktoken").pat_str == CL100K

    def test_one_that_has_only_the_name_is_refused(self, small: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "small_base.tiktoken").write_bytes(b"".join(small[:300]))
        with pytest.raises(
            InputDataError, match="has the name of small_base, but 300 ranks instead of 1,000"
        ):
            Tokenizer.load(tmp_path / "small_base.tiktoken")

    def test_gpt2s_own_file_that_is_cut(self, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
        lines = shared_data("vocab/r50k_base.tiktoken").read_bytes().splitlines(keepends=True)
        for size in (512, 1000, 50_000, 50_255):
            (tmp_path / "x.tiktoken").write_bytes(b"".join(lines[:size]))
            with pytest.raises(
                InputDataError, match=rf"begins as r50k_base does .* has {size:,} ranks of its 50,256"
            ):
                Tokenizer.load(tmp_path / "x.tiktoken")
        found = with_beginning(b"".join(lines))
        assert found is not None
        assert (found.encoding.name, found.num_same) == ("gpt2", 32768)
