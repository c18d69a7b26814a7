"""Learning a vocabulary with the native module: what gpt2x/_bpe.pyi promises of PieceCounter and learn_merges."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gpt2x import _bpe
from gpt2x.tokenizer import reference

TEXT = (Path(__file__).parents[1] / "golden" / "make_golden.py").read_text(encoding="utf-8").encode() * 2

Pairs = list[tuple[int, int]]


def counter_of(text: bytes, num_threads: int = 1) -> _bpe.PieceCounter:
    counter = _bpe.PieceCounter("gpt2")
    counter.add(text, num_threads)
    return counter


def pairs_of(merges: list[tuple[int, int, int]]) -> Pairs:
    return [(left, right) for left, right, _ in merges]


def byte_of_gpt2_id() -> bytes:
    """The bytes in the order of GPT-2's ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return bytes([*printable, *(byte for byte in range(256) if byte not in printable)])


def learn_with_hugging_face(text: str, vocab_size: int) -> Pairs:
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=1, show_progress=False, initial_alphabet=alphabet
    )
    peer.train_from_iterator([text], trainer)
    model = json.loads(peer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


@pytest.mark.parametrize("vocab_size", [512, 8192, 32768])
def test_merges_of_a_play_equal_those_of_hugging_face_tokenizers(
    shared_data: Callable[[str], Path], vocab_size: int
) -> None:
    text = shared_data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
    expected = learn_with_hugging_face(text, vocab_size)
    for num_threads in (1, 3):
        counter = counter_of(text.encode(), num_threads)
        assert pairs_of(_bpe.learn_merges(counter, vocab_size - 256, 1, None)) == expected


@given(
    st.dictionaries(
        st.text("ab ", min_size=1, max_size=12).map(str.encode), st.integers(1, 2**40), max_size=12
    )
)
def test_merges_equal_those_of_the_readable_reference(counts: dict[bytes, int]) -> None:
    counter = _bpe.PieceCounter("gpt2")
    counter.add_counts(list(counts.items()))
    merges = _bpe.learn_merges(counter, 30, 1, None)
    assert merges == reference.learn_merges(counts, 30)


def test_items_come_in_an_order_that_only_the_counts_decide() -> None:
    items = counter_of(TEXT).items()
    assert items == sorted(items, key=lambda item: (-item[1], item[0]))
    backwards = _bpe.PieceCounter("gpt2")
    backwards.add_counts(items[::-1])
    assert backwards.items() == items


def test_a_counter_knows_how_many_bytes_it_has_seen() -> None:
    counter = counter_of(TEXT)
    assert counter.num_bytes == len(TEXT)
    counter.add_counts([(b"four", 2**40)])
    assert counter.num_bytes == len(TEXT) + 4 * 2**40


def test_texts_are_read_from_any_buffer(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    expected = counter_of(TEXT).items()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for text in (bytearray(TEXT), memoryview(b"x" + TEXT)[1:], mapped):
            counter = _bpe.PieceCounter("gpt2")
            counter.add(text, 2)
            assert counter.items() == expected


def test_what_holds_no_bytes_in_a_row_is_refused() -> None:
    counter = _bpe.PieceCounter("gpt2")
    with pytest.raises(TypeError, match="bytes-like"):
        counter.add("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        counter.add(memoryview(b"text")[::2])
    assert counter.num_pieces == 0


def test_a_text_in_slices_gives_the_counts_of_the_whole() -> None:
    counter = _bpe.PieceCounter("gpt2")
    text, start = memoryview(TEXT), 0
    while start < len(text):
        cut = TEXT.find(b"\n", start + 1000)  # after a letter or a mark, a line break always starts a piece
        while cut > 0 and TEXT[cut - 1 : cut].isspace():
            cut = TEXT.find(b"\n", cut + 1)
        end = cut if cut > 0 else len(text)
        counter.add(text[start:end])
        start = end
    assert counter.items() == counter_of(TEXT).items()


def test_in_raw_order_the_id_of_a_byte_is_its_value() -> None:
    items = counter_of(TEXT).items()
    raw = _bpe.PieceCounter("gpt2")
    raw.add_counts(items)
    # The same pieces in bytes for which GPT-2's ids are the raw values: the same merges must come out.
    renamed = _bpe.PieceCounter("gpt2")
    renamed.add_counts([(piece.translate(byte_of_gpt2_id()), count) for piece, count in items])
    merges = _bpe.learn_merges(raw, 300, 1, None, byte_order="raw")
    assert merges == _bpe.learn_merges(renamed, 300, 1, None)
    assert merges != _bpe.learn_merges(raw, 300, 1, None)
    with pytest.raises(ValueError, match="byte order 'ebcdic' is neither 'gpt2' nor 'raw'"):
        _bpe.learn_merges(raw, 1, 1, None, byte_order="ebcdic")


@pytest.mark.parametrize("num_given", [0, 1, 100, 300])
def test_learning_goes_on_from_given_merges_as_if_it_had_never_stopped(num_given: int) -> None:
    counter = counter_of(TEXT)
    merges = _bpe.learn_merges(counter, 300, 1, None)
    rest = _bpe.learn_merges(counter, 300 - num_given, 1, None, continue_from=pairs_of(merges[:num_given]))
    assert rest == merges[num_given:]


@pytest.mark.parametrize(
    ("given_merges", "message"),
    [
        ([(300, 1)], "merge 0 of those to continue from joins ids 300 and 1, but only those below 256"),
        ([(1, 2), (1, 2)], "merge 1 of those to continue from joins ids 1 and 2, which an earlier one"),
    ],
)
def test_merges_that_cannot_be_continued_from_are_a_value_error(given_merges: Pairs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _bpe.learn_merges(counter_of(TEXT), 10, 1, None, continue_from=given_merges)


def test_learning_may_consume_the_counter() -> None:
    counter = counter_of(TEXT)
    expected = _bpe.learn_merges(counter, 300, 1, None)
    assert counter.num_unique > 0
    assert _bpe.learn_merges(counter, 300, 1, None, consume=True) == expected
    assert (counter.num_unique, counter.num_pieces, counter.num_bytes) == (0, 0, 0)
    counter.add(b"again")
    assert counter.items() == [(b"again", 1)]


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_each_line_can_be_a_text_of_its_own(num_threads: int) -> None:
    text = (b"  \n\n a b \r\n\n" + TEXT) * 200 + b"no end  "  # large enough for several threads
    expected = _bpe.PieceCounter("gpt2")
    for line in text.split(b"\n")[:-1]:
        expected.add(line + b"\n")
    expected.add(b"no end  ")
    counter = _bpe.PieceCounter("gpt2")
    counter.add_lines(text, num_threads)
    assert counter.items() == expected.items()
    assert (counter.num_pieces, counter.num_bytes) == (expected.num_pieces, expected.num_bytes)
    assert counter.items() != counter_of(text).items()


@pytest.mark.parametrize("pattern", _bpe.patterns)
def test_a_text_may_be_cut_where_the_counter_says(pattern: str) -> None:
    text = TEXT[:5000] + "  \r\n\n한국 1234, IT'S\n/ a\u3000b".encode() * 50
    whole = _bpe.PieceCounter(pattern)
    whole.add(text)
    for start in range(0, len(text), 97):
        cut = whole.find_safe_cut(memoryview(text), start)
        assert start <= cut <= len(text)
        parts = _bpe.PieceCounter(pattern)
        parts.add(memoryview(text)[:cut])
        parts.add(memoryview(text)[cut:])
        assert parts.items() == whole.items()


def test_a_counter_knows_how_many_tokens_its_texts_have() -> None:
    counter = counter_of(TEXT)
    tokens = [bytes([byte]) for byte in range(256)]
    assert counter.count_tokens(tokens) == len(TEXT)
    tokens += [b"th", b"the", b" the", b"in", b"  "]
    encoder = _bpe.BytePairEncoder(tokens, list(range(len(tokens))), "gpt2")
    assert counter.count_tokens(tokens) == encoder.count(TEXT)
    with pytest.raises(ValueError, match="single byte"):
        counter.count_tokens(tokens[1:])


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_the_valid_part_of_a_text_is_what_python_would_decode(data: bytes) -> None:
    try:
        data.decode("utf-8")
        expected = len(data)
    except UnicodeDecodeError as error:
        expected = error.start
    assert _bpe.valid_utf8_prefix(memoryview(data)) == expected


@pytest.mark.parametrize(("report_every", "expected"), [(1, 600), (7, 86), (0, 600)])
def test_merges_are_reported_as_often_as_wanted(report_every: int, expected: int) -> None:
    seen: list[int] = []
    _bpe.learn_merges(
        counter_of(TEXT), 600, 1, lambda index, *_: seen.append(index) is None, report_every=report_every
    )
    assert seen == list(range(0, 600, max(report_every, 1)))
    assert len(seen) == expected
