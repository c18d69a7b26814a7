"""Learning merges: equal to the twin and to Hugging Face, whatever the order, the threads and the chunks."""

from __future__ import annotations

import gzip
import lzma
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import Merge, Tokenizer, reference, train, train_files, training
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters

from .conftest import GOLDEN
from .strategies import awkward_text

TEXT = (
    "She sells sea shells on the sea shore; the shells she sells are sea shells, I'm sure.\n" * 3
    + "How much wood would a woodchuck chuck, if a woodchuck could chuck wood?\naaaa aaaa 한국 한국\n"
)


def tokens_of(tokenizer: Tokenizer) -> list[bytes]:
    return sorted(tokenizer.mergeable_ranks, key=tokenizer.mergeable_ranks.__getitem__)


def hugging_face_tokens(texts: list[str], num_merges: int) -> list[bytes]:
    """The tokens that Hugging Face's trainer learns from the same whole texts, in the order of its merges."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + num_merges, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    model.train_from_iterator(texts, trainer)
    vocab = model.get_vocab()
    return [from_characters(token) for token in sorted(vocab, key=vocab.__getitem__)]


@pytest.fixture(scope="module")
def song_texts() -> list[str]:
    return [song_document(song) for song in read_songs()]


class TestMerges:
    @settings(max_examples=60, deadline=None)
    @given(
        texts=st.lists(st.text("aab 'sé\n", max_size=80) | awkward_text(), min_size=1, max_size=4),
        num=st.integers(1, 40),
    )
    def test_equal_the_twins(self, texts: list[str], num: int) -> None:
        pieces = reference.count_pieces(texts)
        expected = reference.tokens_of(reference.learn_merges(pieces, num))
        if not any(texts):
            return
        learned = train(texts, 256 + num, special_tokens=(), allow_fewer=True)
        assert tokens_of(learned) == expected

    def test_come_with_the_twins_counts(self) -> None:
        counter = training.new_counter()
        counter.add(TEXT.encode())
        merges = training.learn(counter, 40)
        expected = reference.learn_merges(reference.count_pieces([TEXT]), 40)
        assert [merge.count for merge in merges] == [count for _, _, count in expected]
        assert [merge.id for merge in merges] == list(range(256, 296))

    def test_equal_hugging_faces_on_the_packaged_songs(self, song_texts: list[str]) -> None:
        assert tokens_of(train(song_texts, 1500, special_tokens=())) == hugging_face_tokens(
            song_texts, 1500 - 256
        )

    @pytest.mark.parametrize("num_merges", [256, 4000])
    def test_equal_hugging_faces_on_a_page_with_hangul(
        self, shared_data: Callable[[str], Path], num_merges: int
    ) -> None:
        text = shared_data("text/bts_wikipedia.txt").read_text(encoding="utf-8")
        assert tokens_of(train([text], 256 + num_merges, special_tokens=())) == hugging_face_tokens(
            [text], num_merges
        )

    def test_ties_go_to_the_smaller_pair_of_ids(self) -> None:
        # All pairs occur once. By GPT-2's ids the space (220) comes after the letters, by value (32) before them.
        assert tokens_of(train(["cd ab"], 259, special_tokens=()))[256:] == [b"ab", b"cd", b" ab"]

    def test_repeated_characters_are_counted_as_hugging_face_counts_them(self) -> None:
        texts = ["aaaa aaa aa aaaaa baaa aab " * 3]
        learned = tokens_of(train(texts, 300, special_tokens=(), allow_fewer=True))
        assert learned == hugging_face_tokens(texts, 300 - 256)

    def test_a_vocabulary_is_the_start_of_a_larger_one(self, song_texts: list[str]) -> None:
        small, large = (train(song_texts, size, special_tokens=()) for size in (400, 900))
        assert tokens_of(large)[:400] == tokens_of(small)

    def test_rare_pairs_can_be_left_alone(self) -> None:
        learned = train(["ab ab ab cd"], 300, special_tokens=(), min_frequency=2, allow_fewer=True)
        assert tokens_of(learned)[256:] == [b"ab", b" ab"]


class TestIndependence:
    @settings(max_examples=25, deadline=None)
    @given(data=st.data(), num_threads=st.integers(1, 4))
    def test_order_of_texts_and_threads_do_not_matter(self, data: st.DataObject, num_threads: int) -> None:
        texts = [*TEXT.splitlines(keepends=True), "la la la", "한국어", "it's"]
        shuffled = data.draw(st.permutations(texts))
        expected = train(texts, 300, num_threads=1)
        assert train(shuffled, 300, num_threads=num_threads) == expected

    def test_one_large_text_counts_the_same_on_any_number_of_threads(self, song_texts: list[str]) -> None:
        text = ("\n".join(song_texts) * 3).encode()
        counts = []
        for num_threads in (1, 2, 7):
            counter = training.new_counter()
            counter.add(text, num_threads)
            counts.append((counter.num_pieces, dict(counter.items())))
        assert counts[0] == counts[1] == counts[2]

    def test_counts_can_be_added(self) -> None:
        whole, one, two = training.new_counter(), training.new_counter(), training.new_counter()
        whole.add(TEXT.encode())
        whole.add(b"more text")
        one.add(TEXT.encode())
        two.add(b"more text")
        one.add_counts(two.items())
        assert dict(one.items()) == dict(whole.items())
        assert training.learn(one, 30) == training.learn(whole, 30)

    def test_bytes_and_text_are_the_same(self) -> None:
        assert train([TEXT], 280) == train([TEXT.encode()], 280)


class TestFiles:
    @pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 1000])
    @settings(max_examples=40, deadline=None)
    @given(text=awkward_text())
    def test_chunks_have_the_pieces_of_the_whole(
        self, tmp_path_factory: pytest.TempPathFactory, chunk_bytes: int, text: str
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "chunked.txt"
        path.write_bytes(text.encode())
        chunks = list(training.read_chunks(path, chunk_bytes))
        assert b"".join(chunks) == text.encode()
        assert [piece for chunk in chunks for piece in reference.split(chunk.decode())] == reference.split(
            text
        )

    def test_large_files_are_really_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "lines.txt"
        path.write_text("노래 하나.\n\n  and another one\u3000\n" * 2000, encoding="utf-8")
        chunks = list(training.read_chunks(path, 1000))
        assert len(chunks) > 50
        assert max(map(len, chunks)) < 1100

    def test_give_what_their_texts_give(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
        with lzma.open(tmp_path / "b.txt.xz", "wt", encoding="utf-8") as file:
            file.write("two\n" + TEXT)
        with gzip.open(tmp_path / "c.txt.gz", "wt", encoding="utf-8") as file:
            file.write("three\n" + TEXT)
        files = [tmp_path / name for name in ("c.txt.gz", "a.txt", "b.txt.xz")]
        assert train_files(files, 300) == train([TEXT, "two\n" + TEXT, "three\n" + TEXT], 300)

    def test_that_are_not_utf8_are_refused_with_their_offset(self, tmp_path: Path) -> None:
        path = tmp_path / "latin.txt"
        path.write_bytes(b"word " * 5000 + "café".encode("latin-1") + b" more" * 5000)
        with pytest.raises(InputDataError, match=r"latin\.txt is not UTF-8 text: byte 0xe9 at offset 25003"):
            list(training.read_chunks(path, 1000))
        path.write_bytes(b"cut \xf0\x9f\x98")
        with pytest.raises(InputDataError, match="offset 4"):
            train_files([path], 300)

    def test_that_are_damaged_are_refused(self, tmp_path: Path) -> None:
        packed = lzma.compress(TEXT.encode() * 100)
        (tmp_path / "cut.xz").write_bytes(packed[: len(packed) // 2])
        (tmp_path / "no.gz").write_bytes(b"not packed")
        for name in ("cut.xz", "no.gz"):
            with pytest.raises(InputDataError, match=f"cannot read .*{name}: .*is the file complete"):
                train_files([tmp_path / name], 300)
        with pytest.raises(InputDataError, match=r"cannot read .*missing\.txt"):
            train_files([tmp_path / "missing.txt"], 300)


class TestResult:
    def test_special_tokens_come_last(self) -> None:
        learned = train([TEXT], 280, special_tokens=("<|endoftext|>", "<|pad|>"))
        assert learned.n_vocab == 280
        assert learned.special_tokens == {"<|endoftext|>": 278, "<|pad|>": 279}
        assert learned.eot_token == 278

    def test_256_bytes_are_a_vocabulary(self) -> None:
        assert train([TEXT], 256, special_tokens=()).encode("!a") == [0, 64]
        assert tokens_of(train([TEXT], 256, special_tokens=())) == list(SINGLE_BYTES)

    def test_encodes_the_text_it_was_learned_from_with_its_merges(self) -> None:
        learned = train([TEXT], 300)
        assert learned.decode(learned.encode(TEXT)) == TEXT
        used = Counter(learned.encode(TEXT))
        assert sum(count for token, count in used.items() if token >= 256) > 20
        assert learned.count(TEXT) < len(TEXT.encode()) / 2

    @pytest.mark.parametrize("num_merges", [50, training.FEW_MERGES + 5])
    def test_every_merge_is_reported_in_order(self, song_texts: list[str], num_merges: int) -> None:
        seen: list[Merge] = []
        learned = train(song_texts, 256 + num_merges, special_tokens=(), on_merge=seen.append)
        assert [merge.token for merge in seen] == tokens_of(learned)[256:]
        assert [merge.id for merge in seen] == list(range(256, 256 + num_merges))
        assert all(first.count >= second.count for first, second in pairwise(seen))

    def test_progress_is_reported_while_many_merges_are_learned(self, song_texts: list[str]) -> None:
        counter = training.new_counter()
        counter.add("\n".join(song_texts).encode())
        done: list[int] = []
        training.learn(counter, 3000, on_progress=done.append)
        assert done == sorted(done)
        assert len(done) >= 3000 // 256
        assert 0 < done[0] <= 256


class TestBadInput:
    @pytest.mark.parametrize("size", [-1, 0, 255, 256])
    def test_no_room_for_bytes_and_special_tokens(self, size: int) -> None:
        with pytest.raises(
            UsageError, match=f"a vocabulary of {size} is too small: 256 bytes and 1 special token need 257"
        ):
            train([TEXT], size)

    def test_more_than_the_text_can_give_names_the_largest(self) -> None:
        with pytest.raises(
            InputDataError, match=r"gives only 3 merges: ask for a vocabulary of at most 260 \(--vocab 260"
        ):
            train(["abc abc"], 1000)
        assert train(["abc abc"], 260).n_vocab == train(["abc abc"], 1000, allow_fewer=True).n_vocab == 260

    @pytest.mark.parametrize("texts", [[], [""], ["", b""]])
    def test_no_text(self, texts: list[str]) -> None:
        with pytest.raises(InputDataError, match="no text to learn from"):
            train(texts, 300)

    @pytest.mark.parametrize("special_tokens", [("<a>", "<a>"), ("",)])
    def test_special_tokens_that_cannot_be_told_apart(self, special_tokens: tuple[str, ...]) -> None:
        with pytest.raises(UsageError, match="special tokens must be different"):
            train([TEXT], 300, special_tokens=special_tokens)

    def test_an_error_while_merges_are_shown_comes_through(self) -> None:
        def stop(merge: Merge) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train([TEXT], 300, on_merge=stop)


def test_the_golden_vocabulary_is_what_the_packaged_songs_give(song_texts: list[str]) -> None:
    learned = train(song_texts, 1000, special_tokens=())
    golden = (GOLDEN / "songs.tiktoken").read_bytes()
    assert learned.vocabulary.rank_file == golden, "songs or trainer changed: run tests/golden/make_golden.py"
