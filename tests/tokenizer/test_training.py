"""Learning merges: equal to the reference and to Hugging Face, whatever the order, the threads and the chunks."""

from __future__ import annotations

import gzip
import lzma
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import Corpus, Merge, Tokenizer, patterns, reference, train, train_files, training
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters

from .conftest import GOLDEN
from .strategies import awkward_text

TEXT = (
    "She sells sea shells on the sea shore; the shells she sells are sea shells, I'm sure.\n" * 3
    + "How much wood would a woodchuck chuck, if a woodchuck could chuck wood?\naaaa aaaa 한국 한국\n"
)


def tokens_of(tokenizer: Tokenizer) -> list[bytes]:
    return sorted(tokenizer.mergeable_ranks, key=tokenizer.mergeable_ranks.__getitem__)


def corpus_of(*texts: str | bytes, **settings: Any) -> Corpus:
    corpus = Corpus(**settings)
    for text in texts:
        corpus.add_text(text)
    return corpus


def hugging_face_tokens(source: list[str] | Path, num_merges: int) -> list[bytes]:
    """The tokens that Hugging Face's trainer learns from whole texts, or from a file, in the order of its merges."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + num_merges, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    if isinstance(source, Path):
        model.train([str(source)], trainer)
    else:
        model.train_from_iterator(source, trainer)
    vocab = model.get_vocab()
    return [from_characters(token) for token in sorted(vocab, key=vocab.__getitem__)]


def by_rank(ranks: Mapping[bytes, int]) -> list[bytes]:
    return sorted(ranks, key=ranks.__getitem__)


def rustbpe_tokens(rustbpe: Any, texts: list[str], vocab_size: int) -> list[bytes]:
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts), vocab_size, pattern=patterns.GPT2_ORIGINAL)
    return by_rank(dict(trainer.get_mergeable_ranks()))


def bpeasy_tokens(bpeasy: Any, texts: list[str], vocab_size: int) -> list[bytes]:
    longest = 1 << 20
    return by_rank(bpeasy.train_bpe(iter(texts), patterns.GPT2_ORIGINAL, longest, vocab_size))


def ffbpe_tokens(ffbpe: Any, texts: list[str], vocab_size: int) -> list[bytes]:
    words = ffbpe.PreTokenizer([], pat_str=patterns.GPT2_ORIGINAL).word_counter()
    words.add_source(iter(texts))
    trainer = ffbpe.BpeTrainer([], initial_alphabet="raw", tie_break="smallest_pair_id")
    trainer.add_word_counter(words)
    trainer.train(vocab_size)
    return by_rank(trainer.validate_model().vocab)


PEERS = {"rustbpe": rustbpe_tokens, "bpeasy": bpeasy_tokens, "ffbpe": ffbpe_tokens}
"""Trainers that number bytes by their value, and break ties as we do."""


@pytest.fixture(scope="module")
def song_texts() -> list[str]:
    return [song_document(song) for song in read_songs()]


class TestMerges:
    @settings(max_examples=60, deadline=None)
    @given(
        texts=st.lists(st.text("aab 'sé\n", max_size=80) | awkward_text(), min_size=1, max_size=4),
        num=st.integers(1, 40),
    )
    def test_equal_the_references(self, texts: list[str], num: int) -> None:
        pieces = reference.count_pieces(texts)
        expected = reference.tokens_of(reference.learn_merges(pieces, num))
        if not any(texts):
            return
        learned = train(texts, 256 + num, special_tokens=(), allow_fewer=True)
        assert tokens_of(learned) == expected

    def test_come_with_the_references_counts(self) -> None:
        merges = training.learn(corpus_of(TEXT), 40)
        expected = reference.learn_merges(reference.count_pieces([TEXT]), 40)
        assert [merge.count for merge in merges] == [count for _, _, count in expected]
        assert [merge.id for merge in merges] == list(range(256, 296))

    def test_equal_hugging_faces_on_the_packaged_songs(self, song_texts: list[str]) -> None:
        assert tokens_of(train(song_texts, 1500, special_tokens=())) == hugging_face_tokens(
            song_texts, 1500 - 256
        )

    def test_equal_hugging_faces_in_a_large_vocabulary(self, shared_data: Callable[[str], Path]) -> None:
        text = shared_data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
        learned = train([text], 32_000, special_tokens=(), allow_fewer=True)
        assert tokens_of(learned) == hugging_face_tokens([text], 32_000 - 256)

    def test_equal_hugging_faces_from_a_file_line_by_line(
        self, tmp_path: Path, song_texts: list[str]
    ) -> None:
        # Trailing blanks and empty lines are pieces of other sizes when a line is a document.
        path = tmp_path / "lines.txt"
        path.write_text("  \n\n\n".join(song_texts) + "\r\n\r\nlast line without an end", encoding="utf-8")
        by_line = train_files([path], 700, special_tokens=(), split_lines=True)
        assert tokens_of(by_line) == hugging_face_tokens(path, 700 - 256)
        assert tokens_of(by_line) != tokens_of(train_files([path], 700, special_tokens=()))

    @pytest.mark.parametrize("num_merges", [256, 8000])
    def test_equal_hugging_faces_on_a_page_with_hangul(
        self, shared_data: Callable[[str], Path], num_merges: int
    ) -> None:
        text = shared_data("text/bts_wikipedia.txt").read_text(encoding="utf-8")
        assert tokens_of(train([text], 256 + num_merges, special_tokens=())) == hugging_face_tokens(
            [text], num_merges
        )

    def test_with_counts_of_more_than_32_bits(self) -> None:
        corpus = Corpus()
        corpus.counter.add_counts([(b"ab", 2**40), (b"cd", 2**40 + 1), (b"abcd", 2**33)])
        merges = training.learn(corpus, 3)
        assert [(merge.token, merge.count) for merge in merges] == [
            (b"cd", 2**40 + 1 + 2**33),
            (b"ab", 2**40 + 2**33),
            (b"abcd", 2**33),
        ]

    @pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
    def test_never_cross_the_pieces_of_the_pattern(self, pattern: str) -> None:
        text = "IT'S 12345 camelCase, don't!\n\n" * 5
        learned = train([text], 400, pattern=pattern, special_tokens=(), allow_fewer=True)
        pieces = {piece.encode() for piece in reference.split(text, pattern)}
        assert max(tokens_of(learned), key=len) in pieces
        assert all(any(token in piece for piece in pieces) for token in tokens_of(learned)[256:])
        assert learned.split(text) == reference.split(text, pattern)

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
        for split_lines in (False, True):
            one, two, seven = (
                corpus_of(text, num_threads=threads, split_lines=split_lines).items() for threads in (1, 2, 7)
            )
            assert one == two == seven

    def test_bytes_and_text_are_the_same(self) -> None:
        assert train([TEXT], 280) == train([TEXT.encode()], 280)


class TestFiles:
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
            Corpus().add_file(path, window_bytes=1000)
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

    @pytest.mark.parametrize("num_merges", [50, 2100])
    def test_every_merge_is_reported_in_order(self, song_texts: list[str], num_merges: int) -> None:
        seen: list[Merge] = []
        learned = train(song_texts, 256 + num_merges, special_tokens=(), on_merge=seen.append)
        assert [merge.token for merge in seen] == tokens_of(learned)[256:]
        assert [merge.id for merge in seen] == list(range(256, 256 + num_merges))
        assert all(first.count >= second.count for first, second in pairwise(seen))

    def test_merges_are_reported_while_they_are_learned(self, song_texts: list[str]) -> None:
        def stop(merge: Merge) -> None:
            if merge.id == 256 + 2500:
                raise StopIteration

        with pytest.raises(StopIteration):
            train(
                song_texts, 9000, on_merge=stop
            )  # more than there are: that would be another error at the end

    def test_progress_is_reported_while_many_merges_are_learned(self, song_texts: list[str]) -> None:
        done: list[int] = []
        training.learn(corpus_of(*song_texts), 3000, on_progress=done.append)
        assert done == sorted(done)
        assert len(done) >= 3000 // 256
        assert 0 < done[0] <= 256

    def test_several_sizes_come_from_one_run(self, song_texts: list[str]) -> None:
        plan = training.Plan.of([900, 400, 900])
        learned = plan.learn(corpus_of(*song_texts), ["small", "large"])
        assert learned == [train(song_texts, 400, name="small"), train(song_texts, 900, name="large")]
        assert [one.vocabulary.merges for one in learned] == [
            Tokenizer.from_vocabulary(
                one.vocabulary.described(one.name, one.pat_str, one.special_tokens)
            ).vocabulary.merges
            for one in learned
        ]


class TestContinuing:
    @pytest.mark.parametrize("byte_order", ["gpt2", "raw"])
    @pytest.mark.parametrize("first", [257, 300, 600])
    def test_gives_what_one_run_gives(
        self, song_texts: list[str], first: int, byte_order: training.ByteOrder, tmp_path: Path
    ) -> None:
        whole = train(song_texts, 600, byte_order=byte_order)
        train(song_texts, first, byte_order=byte_order).save(tmp_path / "first")
        base = Tokenizer.load(tmp_path / "first")
        assert train(song_texts, 600, continue_from=base) == whole

    def test_keeps_pattern_and_special_tokens(self) -> None:
        base = train([TEXT], 280, pattern="o200k", special_tokens=("<a>", "<b>"))
        learned = train([TEXT], 290, continue_from=base)
        assert learned.special_tokens == {"<a>": 288, "<b>": 289}
        assert learned == train([TEXT], 290, pattern="o200k", special_tokens=("<a>", "<b>"))

    def test_learns_from_another_text_on_top_of_the_old_merges(self) -> None:
        base = train(["ab ab ab"], 257, special_tokens=())
        learned = train(["abc abc abc bc"], 259, continue_from=base)
        assert tokens_of(learned)[256:] == [b"ab", b"abc", b" abc"]  # alone, "bc" would come first

    def test_refuses_what_contradicts_the_vocabulary(self) -> None:
        base = train([TEXT], 280)
        with pytest.raises(
            UsageError, match="pattern 'cl100k' contradicts the vocabulary 'trained', which has 'gpt2'"
        ):
            train([TEXT], 300, continue_from=base, pattern="cl100k")
        with pytest.raises(UsageError, match="byte order 'raw' contradicts"):
            train([TEXT], 300, continue_from=base, byte_order="raw")
        with pytest.raises(UsageError, match="too small: 256 bytes, 23 merges and 1 special token need 280"):
            train([TEXT], 279, continue_from=base)

    def test_refuses_a_vocabulary_that_is_no_list_of_merges(self) -> None:
        ranks = {bytes([byte]): 255 - byte for byte in range(256)}
        backwards = Tokenizer("odd", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={})
        with pytest.raises(InputDataError, match="'odd' cannot be continued: its ids are not the 256 bytes"):
            train([TEXT], 300, continue_from=backwards)
        with pytest.warns(RuntimeWarning, match="the core does not know the pattern"):
            other = Tokenizer(
                "words",
                pat_str=r"\S+|\s+?",
                mergeable_ranks={token: i for i, token in enumerate(SINGLE_BYTES)},
                special_tokens={},
            )
        with pytest.raises(UsageError, match="'words' splits by .* which the trainer does not know"):
            train([TEXT], 300, continue_from=other)


class TestRawByteOrder:
    def test_numbers_bytes_by_their_value(self) -> None:
        learned = train([TEXT], 280, byte_order="raw", special_tokens=())
        assert tokens_of(learned)[:256] == [bytes([byte]) for byte in range(256)]
        assert learned.decode(learned.encode(TEXT)) == TEXT

    def test_opens_elsewhere_with_the_same_ids(self, tmp_path: Path) -> None:
        learned = train([TEXT], 300, byte_order="raw")
        learned.save(tmp_path)
        assert tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(
            TEXT
        ).ids == learned.encode(TEXT)

    @pytest.mark.parametrize("peer", ["rustbpe", "bpeasy", "ffbpe"])
    def test_merges_equal_those_of(self, peer: str, song_texts: list[str]) -> None:
        module = pytest.importorskip(peer)
        expected = PEERS[peer](module, song_texts, 1000)
        assert tokens_of(train(song_texts, 1000, byte_order="raw", special_tokens=())) == expected


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

    def test_more_than_a_vocabulary_can_have(self) -> None:
        with pytest.raises(UsageError, match="a vocabulary of 16777217 is too large"):
            train([TEXT], (1 << 24) + 1)

    def test_names_that_nothing_has(self) -> None:
        with pytest.raises(UsageError, match="unknown pattern 'latin'; known: gpt2, cl100k, o200k"):
            train([TEXT], 300, pattern="latin")
        with pytest.raises(UsageError, match="byte order 'ebcdic' is neither 'gpt2' nor 'raw'"):
            train([TEXT], 300, byte_order="ebcdic")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"the special token '\\udcff' is not valid UTF-8 text"):
            train([TEXT], 300, special_tokens=("\udcff",))

    def test_an_error_while_merges_are_shown_comes_through(self) -> None:
        def stop(merge: Merge) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train([TEXT], 300, on_merge=stop)


def test_the_golden_vocabulary_is_what_the_packaged_songs_give(song_texts: list[str]) -> None:
    learned = train(song_texts, 1000, special_tokens=())
    golden = (GOLDEN / "songs.tiktoken").read_bytes()
    assert learned.vocabulary.rank_file == golden, "songs or trainer changed: run tests/golden/make_golden.py"
