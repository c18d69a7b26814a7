"""Added tokens of a tokenizer.json: the ids of Hugging Face's tokenizers, or a refusal, never other ids."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import Tokenizer, tiktoken, train
from gpt2x.tokenizer.patterns import GPT2

TEXTS = [
    "a",
    "b",
    "ab",
    "bc",
    "<x>",
    "<",
    "x>",
    "  ",
    "   ",
    "low",
    "Ġlow",
    "é",
    "漢",
    "<|e|>",
    " ",
    "\n",
    "w<",
    "é漢",
]

Json = dict[str, Any]


def entry(text: str, token: int, **flags: bool) -> Json:
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    } | flags
    return {"id": token, "content": text, **flags}


def plain(text: str, token: int) -> Json:
    return entry(text, token, normalized=True, special=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A tokenizer.json without added tokens."""
    folder = tmp_path_factory.mktemp("base")
    train(["low lower abc ab bc a  b   c"], 275, special_tokens=(), allow_fewer=True).save(folder)
    data: Json = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokenizer.json"


def write(file: Path, base: Json, added: list[Json], **changes: Any) -> Path:
    file.write_text(json.dumps(base | {"added_tokens": added} | changes), encoding="utf-8")
    return file


@st.composite
def added_tokens(draw: st.DrawFn, base: Json) -> list[Json]:
    """Added tokens with any flags, numbered as `tokenizers` does, or in a few cases not."""
    vocab = base["model"]["vocab"]
    following = len(vocab)
    added = []
    for text in draw(st.lists(st.sampled_from(TEXTS), max_size=5, unique=True)):
        token = vocab.get(text)
        if token is None:
            token, following = following, following + 1
        special = draw(st.booleans())
        normalized = draw(st.sampled_from([not special, not special, not special, special]))
        added.append(entry(text, token, special=special, normalized=normalized))
    return draw(st.permutations(added)) if draw(st.integers(0, 5)) == 0 else added


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ids_are_those_of_tokenizers_or_the_file_is_refused(
    base: Json, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / "generated.json"
    write(file, base, data.draw(added_tokens(base)))
    theirs = tokenizers.Tokenizer.from_file(str(file))
    try:
        ours = Tokenizer.load(file)
    except InputDataError:
        return
    folder = file.with_name("generated")
    ours.save(folder)
    again = Tokenizer.load(folder)
    assert again == Tokenizer.load(folder / "vocab.tiktoken")
    theirs_again = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for _ in range(5):
        text = "".join(data.draw(st.lists(st.sampled_from([*TEXTS, "the", "q"]), max_size=8)))
        theirs.encode_special_tokens = False
        ids = theirs.encode(text).ids
        assert ours.encode(text, allowed_special="all") == ids
        assert again.encode(text, allowed_special="all") == theirs_again.encode(text).ids == ids
        assert ours.encode_batch([text, "a"], allowed_special="all")[0] == ids
        assert ours.encode_to_numpy(text, allowed_special="all").tolist() == ids
        assert ours.encode_with_offsets(text, "bytes", allowed_special="all")[0] == ids
        assert ours.count(text, allowed_special="all") == len(ids)
        assert ours.decode(ids) == text
        theirs.encode_special_tokens = True  # special tokens are plain text, added ones still are tokens
        assert (
            ours.encode_ordinary(text) == theirs.encode(text).ids == ours.encode(text, disallowed_special=())
        )


class TestUse:
    @pytest.fixture
    def mine(self, base: Json, file: Path) -> Tokenizer:
        n = len(base["model"]["vocab"])
        return Tokenizer.load(
            write(file, base, [entry("<|e|>", n), plain("<call>", n + 1), plain("    ", n + 2)])
        )

    @pytest.fixture
    def ids(self, base: Json) -> tuple[int, int, int]:
        n = len(base["model"]["vocab"])
        return n, n + 1, n + 2

    def test_they_are_tokens_everywhere_and_never_refused(
        self, mine: Tokenizer, ids: tuple[int, int, int]
    ) -> None:
        end, call, spaces = ids
        assert mine.special_tokens == {"<|e|>": end}
        assert mine.added_tokens == {"<call>": call, "    ": spaces}
        for encoded in (
            mine.encode("a<call>    b"),
            mine.encode_ordinary("a<call>    b"),
            mine.encode_bytes(b"a<call>    b"),
        ):
            assert encoded[1:3] == [call, spaces]
        with pytest.raises(UsageError, match="holds the special token '<|e|>' at character 6"):
            mine.encode("<call><|e|>")
        assert mine.encode("<call><|e|>", allowed_special="all") == [call, end]
        assert mine.encode_single_token("<call>") == call == mine.encode_piece(b"<call>")[0]
        assert mine.decode_single_token_bytes(call) == b"<call>"
        assert not mine.is_special_token(call)
        assert mine.encode_ordinary_batch_to_numpy(["<call>", ""])[0].tolist() == [call]
        assert mine.count_ordinary_batch(["<call><call>", "a"]) == [2, 1]

    def test_splitting_offsets_and_cutting_know_them(
        self, mine: Tokenizer, ids: tuple[int, int, int]
    ) -> None:
        assert mine.split("a <call>b") == ["a", " ", "<call>", "b"]
        assert mine.encode_with_offsets("é<call>b")[1] == [(0, 1), (0, 1), (1, 7), (7, 8)]
        assert mine.truncate("<call><call>a", 2) == "<call><call>"
        assert mine.chunk("<call>" * 5, 2) == ["<call><call>", "<call><call>", "<call>"]
        text = "low <call> lower     abc" * 50
        chunks = mine.chunk(text, 7)
        assert "".join(chunks) == text
        assert max(map(mine.count, chunks)) <= 7

    @pytest.mark.parametrize("threads", [1, 3])
    def test_files_have_the_ids_of_the_text(
        self, mine: Tokenizer, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import numpy as np

        from gpt2x.tokenizer import files

        monkeypatch.setattr(files, "WINDOW_BYTES", 100)
        monkeypatch.setattr(files, "_SHARE_BYTES", 20)
        text = "low<call> lower     abc é漢<|e|>    <cal" * 40
        (tmp_path / "text").write_text(text, encoding="utf-8")
        mine.encode_file(tmp_path / "text", tmp_path / "ids", num_threads=threads, allowed_special="all")
        assert np.fromfile(tmp_path / "ids", dtype="uint16").tolist() == mine.encode(
            text, allowed_special="all"
        )

    def test_they_survive_pickling_and_copying(self, mine: Tokenizer) -> None:
        for other in (pickle.loads(pickle.dumps(mine)), copy.deepcopy(mine)):
            assert other == mine
            assert hash(other) == hash(mine)
            assert other.encode("<call>") == mine.encode("<call>")
        without = Tokenizer(
            mine.name,
            pat_str=mine.pat_str,
            mergeable_ranks=mine.mergeable_ranks,
            special_tokens=mine.special_tokens,
        )
        assert without != mine

    def test_training_does_not_go_on_from_them(self, mine: Tokenizer) -> None:
        with pytest.raises(UsageError, match="has added tokens, which training does not keep"):
            train(["abc"], 400, continue_from=mine)

    def test_one_that_the_model_makes_keeps_its_id_and_the_model_its_token(
        self, base: Json, file: Path
    ) -> None:
        low = base["model"]["vocab"]["low"]
        ours = Tokenizer.load(write(file, base, [plain("low", low)]))
        assert (ours.added_tokens, ours.mergeable_ranks[b"low"]) == ({"low": low}, low)
        assert ours.encode("xlowx")[1] == low
        ours.save(file.with_name("again"))
        for name in ("tokenizer.json", "vocab.tiktoken"):
            assert Tokenizer.load(file.with_name("again") / name).encode("xlowx") == ours.encode("xlowx")

    def test_tokenizers_and_encodings_take_them_when_they_are_built(self) -> None:
        ranks = {bytes([byte]): byte for byte in range(256)}
        for kind in (Tokenizer, tiktoken.Encoding):
            mine = kind(
                "x", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={}, added_tokens={"<call>": 300}
            )
            assert mine.encode("<call>") == [300]
            assert mine.n_vocab == 301
        with pytest.raises(UsageError, match="'<e>' is special and added"):
            Tokenizer(
                "x",
                pat_str=GPT2,
                mergeable_ranks=ranks,
                special_tokens={"<e>": 256},
                added_tokens={"<e>": 257},
            )
        with pytest.raises(UsageError, match="added token '<e>' has id 256, which another token has"):
            Tokenizer(
                "x",
                pat_str=GPT2,
                mergeable_ranks=ranks,
                special_tokens={"<s>": 256},
                added_tokens={"<e>": 256},
            )

    def test_a_hundred_thousand_load_and_are_found(self, base: Json, file: Path) -> None:
        n = len(base["model"]["vocab"])
        ours = Tokenizer.load(write(file, base, [plain(f"<{i}>", n + i) for i in range(100_000)]))
        assert ours.encode("a<99999>b<0>")[1::2] == [n + 99_999, n]


BOS = {"SpecialToken": {"id": "<|e|>", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}


class TestSteps:
    """What a tokenizer.json does before and after the steps that we have."""

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"post_processor": {"type": "TemplateProcessing", "single": [BOS, TEXT]}}, "post_processor"),
            ({"post_processor": {"type": "TemplateProcessing", "single": []}}, "post_processor"),
            ({"post_processor": {"type": "TemplateProcessing", "single": [TEXT, TEXT]}}, "post_processor"),
            (
                {
                    "post_processor": {
                        "type": "Sequence",
                        "processors": [BYTE_LEVEL, {"type": "TemplateProcessing", "single": [TEXT, BOS]}],
                    }
                },
                "post_processor",
            ),
            (
                {"post_processor": {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2]}},
                "RobertaProcessing",
            ),
            ({"post_processor": 5}, "post_processor 5"),
            ({"truncation": {"max_length": 4, "strategy": "LongestFirst"}}, "truncation"),
            ({"padding": {"strategy": {"Fixed": 9}}}, "padding"),
            ({"decoder": {"type": "Metaspace"}}, "decoder"),
            ({"decoder": {"type": "Sequence", "decoders": [BYTE_LEVEL, {"type": "Strip"}]}}, "decoder"),
        ],
    )
    def test_those_that_change_ids_or_text_are_refused_by_name(
        self, base: Json, file: Path, changes: Json, sentence: str
    ) -> None:
        with pytest.raises(InputDataError, match=sentence):
            Tokenizer.load(write(file, base, [entry("<|e|>", len(base["model"]["vocab"]))], **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"post_processor": BYTE_LEVEL},
            {"post_processor": {"type": "TemplateProcessing", "single": [TEXT], "pair": [TEXT, TEXT]}},
            {"post_processor": {"type": "Sequence", "processors": [BYTE_LEVEL]}},
            {"decoder": None},
            {"decoder": {"type": "Sequence", "decoders": [BYTE_LEVEL, {"type": "Fuse"}]}},
        ],
    )
    def test_those_that_change_nothing_are_fine(self, base: Json, file: Path, changes: Json) -> None:
        assert Tokenizer.load(write(file, base, [], **changes)).encode("low") == [
            base["model"]["vocab"]["low"]
        ]

    def test_merges_that_ranks_cannot_stand_for_are_refused(self, base: Json, file: Path) -> None:
        """`tokenizers` cuts "abc" into a and bc here; by ranks it would be one token."""
        vocab = {token: rank for token, rank in base["model"]["vocab"].items() if len(token) == 1}
        merges = ["b c", "a b", "ab c"]
        model = base["model"] | {"vocab": vocab | {"bc": 256, "ab": 257, "abc": 258}, "merges": merges}
        write(file, base, [], model=model)
        assert len(tokenizers.Tokenizer.from_file(str(file)).encode("abc").ids) == 2
        with pytest.raises(
            InputDataError, match=r"merge 3 \('ab' 'c'\) makes a token that earlier merges make"
        ):
            Tokenizer.load(file)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_list_of_merges_gives_the_ids_of_tokenizers_or_is_refused(
    base: Json, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / "merges.json"
    vocab = {token: rank for token, rank in base["model"]["vocab"].items() if len(token) == 1}
    merges = []
    for _ in range(data.draw(st.integers(0, 8))):
        known = ["a", "b", "c", *(left + right for left, right in merges)]
        left, right = data.draw(st.sampled_from(known)), data.draw(st.sampled_from(known))
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append((left, right))
    model = base["model"] | {"vocab": vocab, "merges": [list(merge) for merge in merges]}
    write(file, base, [], model=model | {"ignore_merges": data.draw(st.booleans())})
    try:
        ours = Tokenizer.load(file)
    except InputDataError:
        return
    theirs = tokenizers.Tokenizer.from_file(str(file))
    for _ in range(10):
        text = data.draw(st.text("abc", max_size=12))
        assert ours.encode(text) == theirs.encode(text).ids
