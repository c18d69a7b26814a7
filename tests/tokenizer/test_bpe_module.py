"""The native module keeps the promises of its stub, gpt2x/_bpe.pyi."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gpt2x import _bpe
from gpt2x._version import __version__

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

TEXT = (Path(__file__).parents[1] / "golden" / "make_golden.py").read_text(encoding="utf-8") * 2


def byte_tokens() -> list[bytes]:
    """The 256 bytes in the order of their ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [bytes([byte]) for byte in [*printable, *(byte for byte in range(256) if byte not in printable)]]


def learn(num_merges: int) -> list[bytes]:
    """The tokens of a vocabulary learned from TEXT."""
    counter = _bpe.PieceCounter("gpt2")
    counter.add(TEXT.encode())
    tokens = byte_tokens()
    for left, right, _ in _bpe.learn_merges(counter, num_merges, 1, None):
        tokens.append(tokens[left] + tokens[right])
    return tokens


TOKENS = learn(500)
ENCODER = _bpe.BytePairEncoder(TOKENS, range(len(TOKENS)), "gpt2")
TIKTOKEN = tiktoken.Encoding(
    "test",
    pat_str=GPT2_PATTERN,
    mergeable_ranks={token: rank for rank, token in enumerate(TOKENS)},
    special_tokens={},
)


def test_the_stub_names_what_the_module_has() -> None:
    stub = ast.parse((Path(_bpe.__file__).parent / "_bpe.pyi").read_text(encoding="utf-8"))

    def names(body: list[ast.stmt]) -> set[str]:
        found = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        return found | {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}

    public = {name for name in dir(_bpe) if not name.startswith("_")}
    assert names(stub.body) == public
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            members = {name for name in dir(getattr(_bpe, node.name)) if not name.startswith("_")}
            assert {name for name in names(node.body) if not name.startswith("_")} == members, node.name


def test_the_c_header_has_the_packages_version() -> None:
    header = Path(__file__).parents[2] / "csrc" / "bpe" / "include" / "gpt2x_bpe.h"
    assert f'#define GPT2X_BPE_VERSION "{__version__}"' in header.read_text(encoding="utf-8").splitlines()


@given(st.text())
def test_text_encodes_as_in_tiktoken_and_comes_back(text: str) -> None:
    ids = ENCODER.encode_ordinary(text.encode())
    assert ids == TIKTOKEN.encode_ordinary(text)
    assert ENCODER.decode_bytes(ids).decode() == text


@given(
    st.one_of(
        st.binary(),
        st.builds(lambda text, tail: text.encode() + tail, st.text(" \n\t\u3000ath'"), st.binary()),
    )
)
def test_bytes_that_are_no_text_encode_as_in_tiktoken_and_come_back(data: bytes) -> None:
    ids = ENCODER.encode_ordinary(data)
    assert ids == TIKTOKEN._encode_bytes(data)
    assert ENCODER.decode_bytes(ids) == data
    assert ENCODER.count(data) == len(ids)
    assert b"".join(ENCODER.split(data)) == data


def test_every_character_splits_as_in_tiktoken() -> None:
    characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    text = "\n".join(f"a{character}1 {character}'s" for character in characters)
    assert ENCODER.encode_ordinary(text.encode()) == TIKTOKEN.encode_ordinary(text)


def test_arrays_are_the_callers_own() -> None:
    ids = ENCODER.encode_to_numpy(TEXT.encode())
    assert ids.dtype == np.uint32
    assert ids.flags.writeable
    assert ids.tolist() == ENCODER.encode_ordinary(TEXT.encode())
    ids[:] = 0
    assert ENCODER.encode_to_numpy(TEXT.encode()).any()
    assert ENCODER.encode_to_numpy(b"").shape == (0,)


@pytest.mark.parametrize("num_threads", [0, 1, 2, 5])
def test_a_batch_gives_each_texts_tokens(num_threads: int) -> None:
    texts = [line.encode() for line in TEXT.splitlines()]
    batch = ENCODER.encode_batch(texts, num_threads)
    assert [ids.tolist() for ids in batch] == [ENCODER.encode_ordinary(text) for text in texts]


@pytest.mark.parametrize("ends", [False, True], ids=["beginnings", "ends"])
def test_nested_tokens_load_in_time_linear_in_their_bytes(ends: bool) -> None:
    """All beginnings, or ends, of one string: 32 MB, a second at most, where each cut's two parts took a minute."""
    string = random.Random(5).randbytes(8_000)
    nested = [string[-length:] if ends else string[:length] for length in range(2, len(string) + 1)]
    tokens = list(dict.fromkeys([*byte_tokens(), b"no merges give this", *nested]))
    start = time.process_time()
    encoder = _bpe.BytePairEncoder(tokens, range(len(tokens)), "gpt2")
    assert time.process_time() - start < 15
    assert encoder.encode_single_token(string) == tokens.index(string)


@pytest.mark.parametrize("kind", [list, tuple, np.uint32, np.int64, np.uint16])
def test_decoding_takes_any_sequence_of_integers(kind: type) -> None:
    ids = ENCODER.encode_ordinary(b"la la la")
    given_ids = np.array(ids, dtype=kind) if issubclass(kind, np.generic) else kind(ids)
    assert ENCODER.decode_bytes(given_ids) == b"la la la"
    assert ENCODER.decode_bytes(np.array(ids, dtype=np.uint32).repeat(2)[::2]) == b"la la la"


@pytest.mark.parametrize("unknown", [len(TOKENS), -1, 2**32 - 1, 2**32, 2**32 + 5, -(2**70)])
def test_an_unknown_id_is_a_key_error_that_names_it(unknown: int) -> None:
    with pytest.raises(KeyError, match=f"no token has id {unknown}"):
        ENCODER.decode_bytes([0, unknown])
    with pytest.raises(KeyError, match=f"no token has id {unknown}"):
        ENCODER.token_bytes(unknown)


def test_ids_that_are_no_integers_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        ENCODER.decode_bytes([1.5])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        ENCODER.decode_bytes(np.array([1.0]))


def test_single_tokens_are_found_both_ways() -> None:
    assert ENCODER.n_vocab == len(TOKENS)
    for rank, token in enumerate(TOKENS):
        assert ENCODER.encode_single_token(token) == rank
        assert ENCODER.token_bytes(rank) == token
        assert ENCODER.encode_piece(token) == [rank]
    with pytest.raises(KeyError, match='no token has the bytes "no such'):
        ENCODER.encode_single_token(b"no such\xff")


@pytest.mark.parametrize(
    ("tokens", "ids", "pattern", "message"),
    [
        ([], [], "gpt2", r"no token for the single byte \"\\x00\""),
        (byte_tokens(), range(255), "gpt2", "256 tokens but 255 ids"),
        (byte_tokens(), range(256), "gpt9", "unknown splitting pattern 'gpt9'"),
        ([*byte_tokens(), b"ab"], [*range(256), 7], "gpt2", "id 7 is given to two tokens"),
        ([*byte_tokens(), b"a"], range(257), "gpt2", 'token "a" has two ids'),
        ([*byte_tokens(), b""], range(257), "gpt2", "token 256 is empty"),
        ([*byte_tokens(), b"ab"], [*range(256), -1], "gpt2", "id -1"),
        ([*byte_tokens(), b"ab"], [*range(256), 2**40], "gpt2", "id 1099511627776"),
    ],
)
def test_a_vocabulary_that_is_none_is_a_value_error(
    tokens: list[bytes], ids: list[int], pattern: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _bpe.BytePairEncoder(tokens, ids, pattern)


def test_counts_add_up_and_do_not_depend_on_threads() -> None:
    data = TEXT.encode() * 100
    whole, threaded, added = (_bpe.PieceCounter("gpt2") for _ in range(3))
    whole.add(data)
    threaded.add(data, num_threads=3)
    added.add_counts(whole.items())
    assert whole.items() == threaded.items() == added.items()
    assert whole.num_pieces == threaded.num_pieces == sum(count for _, count in whole.items())
    added.add_counts(whole.items())
    assert added.num_pieces == 2 * whole.num_pieces
    assert added.num_unique == whole.num_unique


def test_bad_counts_are_a_value_error_and_change_nothing() -> None:
    counter = _bpe.PieceCounter("gpt2")
    for items in ([(b"a", 1), (b"b", -1)], [(b"a", 1), (b"", 1)]):
        with pytest.raises(ValueError, match="piece"):
            counter.add_counts(items)
    with pytest.raises(ValueError, match="num_threads is -1"):
        counter.add(b"a", -1)
    assert counter.num_unique == 0


def test_a_counter_may_be_shared_by_threads() -> None:
    counter, alone = _bpe.PieceCounter("gpt2"), _bpe.PieceCounter("gpt2")
    threads = [threading.Thread(target=counter.add, args=(TEXT.encode(), 2)) for _ in range(4)]
    for thread in threads:
        thread.start()
        counter.items()
    for thread in threads:
        thread.join()
        alone.add(TEXT.encode())
    assert counter.items() == alone.items()


def test_merges_equal_those_of_hugging_face_tokenizers() -> None:
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    peer.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=800,
            min_frequency=1,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    vocabulary = peer.get_vocab(with_added_tokens=False)
    counter = _bpe.PieceCounter("gpt2")
    counter.add(TEXT.encode())
    merges = _bpe.learn_merges(counter, 800 - 256, 1, None)
    assert len(vocabulary) == 800
    tokens = learn(800 - 256)
    character_of = {token: chr(code) for token, code in zip(byte_tokens(), byte_characters(), strict=True)}
    ours = ["".join(character_of[bytes([byte])] for byte in token) for token in tokens]
    assert len(merges) == 800 - 256
    assert [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])] == ours


def byte_characters() -> list[int]:
    """The code points of GPT-2's byte-to-unicode characters, by id."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*printable, *range(256, 256 + 256 - len(printable))]


def test_a_callback_sees_every_merge_of_a_small_run_and_can_stop_it() -> None:
    counter = _bpe.PieceCounter("gpt2")
    counter.add(TEXT.encode())
    seen: list[tuple[int, ...]] = []
    merges = _bpe.learn_merges(counter, 100, 1, lambda *merge: seen.append(merge))  # type: ignore[arg-type]
    assert seen == [(index, *merge) for index, merge in enumerate(merges)]
    assert len(_bpe.learn_merges(counter, 100, 1, lambda index, *_: index < 9)) == 10


def test_an_exception_in_the_callback_comes_through() -> None:
    counter = _bpe.PieceCounter("gpt2")
    counter.add(TEXT.encode())

    def fail(*_: int) -> bool:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        _bpe.learn_merges(counter, 100, 1, fail)


def test_learning_stops_when_no_pair_is_frequent_enough() -> None:
    counter = _bpe.PieceCounter("gpt2")
    counter.add(b"ab ab cd")
    assert len(_bpe.learn_merges(counter, 100, 2, None)) == 1
    assert _bpe.learn_merges(_bpe.PieceCounter("gpt2"), 100, 1, None) == []


def test_ctrl_c_stops_learning() -> None:
    script = (
        "import random\n"
        "from gpt2x import _bpe\n"
        "counter = _bpe.PieceCounter('gpt2')\n"
        "counter.add(bytes(random.Random(0).choices(b'abcdefghijklmnop', k=4_000_000)))\n"
        "try:\n"
        "    print('learning', flush=True)\n"
        "    _bpe.learn_merges(counter, 3_000_000, 1, None)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "learning\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=20)[0] == "interrupted\n"
