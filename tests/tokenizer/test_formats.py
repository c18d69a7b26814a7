"""Vocabulary files: ours open in the other libraries, theirs open here, and damaged ones are refused by line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from tiktoken.load import load_tiktoken_bpe

from gpt2x import _bpe
from gpt2x.errors import Gpt2xError, InputDataError, OutputError
from gpt2x.tokenizer import Tokenizer, saving, train
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, to_characters
from gpt2x.tokenizer.patterns import GPT2, GPT2_ORIGINAL
from gpt2x.tokenizer.vocabulary import GPT2_FINGERPRINT

from .conftest import GOLDEN
from .strategies import any_text

END = "<|endoftext|>"
TEXTS = [
    "I love you, don't you know it's over?\n\n[Chorus]  oh, oh",
    "한국어 안녕 👩‍👩‍👧 naïve café\u3000\u2003 x\t\r\n 123 ½",
    f"one{END}two {END}\n{END}",
]


@pytest.fixture(scope="module")
def saved(songs: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "songs"
    songs.save(folder)
    return folder


@pytest.fixture(scope="module")
def hugging_face(saved: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(saved / "tokenizer.json"))


class TestSaving:
    def test_writes_three_files_that_load_to_the_same_tokenizer(self, songs: Tokenizer, saved: Path) -> None:
        assert sorted(path.name for path in saved.iterdir()) == [
            saving.TOKENIZER_JSON,
            saving.CONFIG,
            saving.RANK_FILE,
        ]
        for source in (saved, saved / "tokenizer.json", saved / "vocab.tiktoken", str(saved)):
            assert Tokenizer.load(source) == songs

    def test_records_the_unicode_version_and_what_the_rank_file_leaves_out(
        self, songs: Tokenizer, saved: Path
    ) -> None:
        block = json.loads((saved / saving.CONFIG).read_text(encoding="utf-8"))["gpt2x"]
        assert block["unicode_version"] == _bpe.unicode_version
        assert block["pattern"] == GPT2
        assert block["special_tokens"] == {END: 1000}
        assert block["generator"].startswith("gpt2x ")

    def test_saving_again_gives_the_same_bytes(self, saved: Path, tmp_path: Path) -> None:
        Tokenizer.load(saved).save(tmp_path / "again")
        for path in saved.iterdir():
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()

    def test_leaves_other_files_of_a_folder_alone(self, songs: Tokenizer, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"weights")
        songs.save(tmp_path)
        assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
        assert Tokenizer.load(tmp_path) == songs

    def test_leaves_nothing_behind_where_it_cannot_write(
        self, songs: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("taken", encoding="utf-8")
        with pytest.raises(OutputError, match="is a file"):
            songs.save(tmp_path / "file")

        def no_space(*_: object) -> None:
            raise OSError(28, "No space left on device")

        (tmp_path / "there").mkdir()
        monkeypatch.setattr("os.fsync", no_space)
        for folder in ("new", "there"):
            with pytest.raises(OutputError, match="No space left on device"):
                songs.save(tmp_path / folder)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there"]

    def test_a_token_that_no_merge_makes_cannot_be_a_tokenizer_json(self, tmp_path: Path) -> None:
        ranks = {token: rank for rank, token in enumerate([*SINGLE_BYTES, b"xyz"])}
        odd = Tokenizer("odd", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        with pytest.raises(InputDataError, match=r"token 256 \(b'xyz'\) of 'odd' cannot be made by merging"):
            odd.save(tmp_path / "odd")
        assert not (tmp_path / "odd").exists()
        saving.write_rank_file(odd.vocabulary, tmp_path / "odd.tiktoken")
        assert Tokenizer.load(tmp_path / "odd.tiktoken", pattern="gpt2").encode("xyz") == [256]


class TestOtherLibraries:
    def test_tiktoken_reads_the_rank_file(self, songs: Tokenizer, saved: Path) -> None:
        assert load_tiktoken_bpe(str(saved / "vocab.tiktoken")) == songs.mergeable_ranks

    @settings(max_examples=200, deadline=None)
    @given(text=any_text())
    def test_tokenizers_encodes_the_same_ids(
        self, songs: Tokenizer, hugging_face: tokenizers.Tokenizer, text: str
    ) -> None:
        ids = hugging_face.encode(text).ids
        assert ids == songs.encode(text, allowed_special="all")
        assert hugging_face.decode(ids, skip_special_tokens=False) == text

    def test_transformers_encodes_the_same_ids(self, songs: Tokenizer, saved: Path) -> None:
        transformers = pytest.importorskip("transformers")
        for loaded in (
            transformers.PreTrainedTokenizerFast(tokenizer_file=str(saved / "tokenizer.json")),
            transformers.AutoTokenizer.from_pretrained(str(saved)),
        ):
            for text in TEXTS:
                assert loaded.encode(text) == songs.encode(text, allowed_special="all")
                assert loaded.decode(songs.encode(text, allowed_special="all")) == text
            assert len(loaded) == songs.n_vocab
        assert loaded.eos_token_id == songs.eot_token

    def test_what_transformers_saves_again_still_loads(
        self, songs: Tokenizer, saved: Path, tmp_path: Path
    ) -> None:
        transformers = pytest.importorskip("transformers")
        transformers.AutoTokenizer.from_pretrained(str(saved)).save_pretrained(str(tmp_path))
        again = Tokenizer.load(tmp_path)
        for text in TEXTS:
            assert again.encode(text, allowed_special="all") == songs.encode(text, allowed_special="all")

    def test_a_tokenizer_trained_by_tokenizers_loads(self, tmp_path: Path) -> None:
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=[END],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        theirs.train_from_iterator(TEXTS * 5, trainer)
        theirs.save(str(tmp_path / "tokenizer.json"))
        ours = Tokenizer.load(tmp_path)
        assert ours.special_tokens == {END: 0}
        for text in TEXTS:
            assert ours.encode(text, allowed_special="all") == theirs.encode(text).ids

    def test_a_pattern_in_a_split_is_read(self, saved: Path, tmp_path: Path, songs: Tokenizer) -> None:
        data = json.loads((saved / "tokenizer.json").read_text(encoding="utf-8"))
        split = {
            "type": "Split",
            "pattern": {"Regex": GPT2_ORIGINAL},
            "behavior": "Isolated",
            "invert": False,
        }
        data["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [split, data["pre_tokenizer"] | {"use_regex": False}],
        }
        (tmp_path / "other.json").write_text(json.dumps(data), encoding="utf-8")
        loaded = Tokenizer.load(tmp_path / "other.json")
        assert loaded.pat_str == songs.pat_str
        assert loaded.encode(TEXTS[0]) == songs.encode(TEXTS[0])

    def test_gpt2_goes_through_all_formats(
        self, gpt2_tokenizer: Tokenizer, shared_data: Callable[[str], Path], tmp_path: Path
    ) -> None:
        gpt2_tokenizer.save(tmp_path / "gpt2")
        assert gpt2_tokenizer.vocabulary.fingerprint == GPT2_FINGERPRINT
        for source in (
            tmp_path / "gpt2",
            tmp_path / "gpt2" / "vocab.tiktoken",
            shared_data("vocab/vocab.bpe"),
            shared_data("vocab/encoder.json"),
            shared_data("vocab/r50k_base.tiktoken"),
        ):
            assert Tokenizer.load(source) == gpt2_tokenizer
        merges = json.loads((tmp_path / "gpt2" / "tokenizer.json").read_text(encoding="utf-8"))["model"][
            "merges"
        ]
        assert merges == shared_data("vocab/vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]


class TestGpt2Pair:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Path:
        small = train(["low lower lowest"], 262)
        merges = [f"{to_characters(left)} {to_characters(right)}" for left, right in small.vocabulary.merges]
        (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        ids = {
            to_characters(token): rank for token, rank in small.mergeable_ranks.items()
        } | small.special_tokens
        (tmp_path / "encoder.json").write_text(json.dumps(ids), encoding="utf-8")
        small.save(tmp_path / "same")
        config = {"tokenizer_class": "GPT2Tokenizer"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return tmp_path

    def test_loads_from_either_file_the_folder_or_under_hugging_faces_names(self, pair: Path) -> None:
        expected = Tokenizer.load(pair / "same").encode("lowest lower")
        sources = [pair, pair / "vocab.bpe", pair / "encoder.json"]
        assert [Tokenizer.load(source).encode("lowest lower") for source in sources] == [expected] * 3
        (pair / "vocab.bpe").rename(pair / "merges.txt")
        (pair / "encoder.json").rename(pair / "vocab.json")
        assert Tokenizer.load(pair).encode("lowest lower") == expected
        assert Tokenizer.load(pair).eot_token == 261

    def test_is_refused_where_a_merge_is_damaged(self, pair: Path) -> None:
        for line in ("l", "l o w", "q zz", "漢 l", "l o"):
            with (pair / "vocab.bpe").open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            with pytest.raises(InputDataError, match=r"vocab\.bpe, line 7: .* is no merge of known tokens"):
                Tokenizer.load(pair)
            text = (pair / "vocab.bpe").read_text(encoding="utf-8")
            (pair / "vocab.bpe").write_text(text.removesuffix(line + "\n"), encoding="utf-8")

    def test_is_refused_where_the_two_disagree(self, pair: Path) -> None:
        for text in ('{"l": 1}', '{"l": "x"}'):
            (pair / "encoder.json").write_text(text, encoding="utf-8")
            with pytest.raises(InputDataError, match="do not belong together"):
                Tokenizer.load(pair)
        for text, message in (("[]", "holds a JSON list"), ("{", "is no JSON")):
            (pair / "encoder.json").write_text(text, encoding="utf-8")
            with pytest.raises(InputDataError, match=message):
                Tokenizer.load(pair)
        (pair / "encoder.json").unlink()
        with pytest.raises(InputDataError, match=r"encoder\.json"):
            Tokenizer.load(pair / "vocab.bpe")


LINES = [
    f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate([*SINGLE_BYTES, b"lo", b"low"])
]


class TestRankFile:
    def load(self, tmp_path: Path, text: str | bytes) -> Tokenizer:
        path = tmp_path / "my.tiktoken"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Tokenizer.load(path, pattern="gpt2")

    def test_empty_lines_and_windows_line_ends_are_fine(self, tmp_path: Path) -> None:
        loaded = self.load(tmp_path, "\r\n".join(LINES) + "\r\n\r\n")
        assert loaded.encode("low") == [257]
        assert (loaded.name, loaded.special_tokens, loaded.pat_str) == ("my", {}, GPT2)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("bG93", "line 259: 'bG93' is not a base64 token and a rank"),
            ("bG93 x", "line 259: 'bG93 x' is not a base64 token"),
            ("bG9 300", "line 259: 'bG9 300' is not a base64 token"),
            ("b*93 300", "line 259"),
            ("bG93 1 2", "line 259"),
            ("\ufffd 3", "line 259"),
            ("bG93 300", "line 259: .*repeated"),
            ("bG93Mg== 257", "line 259: .*repeated"),
            ("bG93Mg== -3", "line 259: .*out of range"),
            ("bG93Mg== 99999999999", "line 259: .*out of range"),
        ],
    )
    def test_a_damaged_line_is_named(self, tmp_path: Path, line: str, message: str) -> None:
        with pytest.raises(InputDataError, match=rf"my\.tiktoken, {message}"):
            self.load(tmp_path, "\n".join([*LINES, line]))

    def test_a_missing_byte_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputDataError, match="byte 0x22 has no token"):
            self.load(tmp_path, "\n".join(LINES[:1] + LINES[2:]))

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b"GGUF\x03\x00", b"{}"])
    def test_what_is_no_rank_file_is_refused(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(InputDataError, match=r"my\.tiktoken"):
            self.load(tmp_path, content)

    def test_one_that_was_cut_is_not_taken_for_the_whole(self, saved: Path, tmp_path: Path) -> None:
        for path in saved.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        lines = (tmp_path / "vocab.tiktoken").read_bytes().splitlines(keepends=True)
        (tmp_path / "vocab.tiktoken").write_bytes(b"".join(lines[:-10]))
        with pytest.raises(
            InputDataError, match="is not the vocabulary that tokenizer_config.json beside it describes"
        ):
            Tokenizer.load(tmp_path / "vocab.tiktoken")

    def test_gpt2s_is_recognised_by_its_checksum(
        self, shared_data: Callable[[str], Path], tmp_path: Path
    ) -> None:
        copy = tmp_path / "some-name.tiktoken"
        copy.write_bytes(shared_data("vocab/r50k_base.tiktoken").read_bytes())
        loaded = Tokenizer.load(copy)
        assert (loaded.name, loaded.eot_token) == ("gpt2", 50256)


class TestTokenizerJson:
    def changed(self, saved: Path, tmp_path: Path, change: Callable[[dict], object]) -> Path:
        data = json.loads((saved / "tokenizer.json").read_text(encoding="utf-8"))
        change(data)
        (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        return tmp_path

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.pop("model"), "holds no BPE model"),
            (lambda d: d["model"].update(type="Unigram"), "model type is 'Unigram'"),
            (lambda d: d["model"].update(dropout=0.1), "sets dropout = 0.1"),
            (lambda d: d["model"].update(byte_fallback=True), "sets byte_fallback = True"),
            (lambda d: d["model"].update(end_of_word_suffix="</w>"), "sets end_of_word_suffix"),
            (lambda d: d.update(normalizer={"type": "NFC"}), "has a normalizer"),
            (lambda d: d.update(pre_tokenizer=None), "None is no pre-tokenizer"),
            (lambda d: d.update(pre_tokenizer={"type": "Whitespace"}), "to end in a ByteLevel"),
            (lambda d: d["pre_tokenizer"].update(add_prefix_space=True), "puts a space before each text"),
            (lambda d: d["pre_tokenizer"].update(use_regex=False), "does not split text at all"),
            (lambda d: d["added_tokens"][0].update(lstrip=True), "'<|endoftext|>' with lstrip"),
            (lambda d: d["added_tokens"].append("x"), "damaged list of added tokens"),
            (lambda d: d["added_tokens"][0].pop("id"), "damaged list of added tokens"),
            (lambda d: d["model"]["vocab"].pop("Ā"), "byte 0x00 has no token"),
            (lambda d: d["model"]["vocab"].pop("l"), "is not made of known tokens"),
            (lambda d: d["model"]["vocab"].update(zzzz=5000), "'zzzz' (id 5000), which no merge makes"),
            (lambda d: d["model"]["vocab"].update({"漢": 5000}), "which does not spell bytes"),
            (lambda d: d["model"]["vocab"].update({"!": 3}), "the same id"),
            (lambda d: d["model"]["vocab"].update({"!": "x"}), "damaged BPE model"),
            (lambda d: d["model"].update(vocab=[]), "damaged BPE model"),
            (lambda d: d["model"]["merges"].append("zz zz"), "merge 745 (zz zz) is not made of known tokens"),
            (lambda d: d["model"]["merges"].append("l o w"), "merge 745"),
            (lambda d: d["model"]["merges"].append(7), "damaged BPE model"),
            (lambda d: d["model"]["merges"].reverse(), "do not follow the order of its merges"),
        ],
    )
    def test_what_would_encode_differently_is_refused_by_name(
        self, saved: Path, tmp_path: Path, change: Callable[[dict], object], message: str
    ) -> None:
        folder = self.changed(saved, tmp_path, change)
        with pytest.raises(InputDataError) as caught:
            Tokenizer.load(folder)
        assert message in str(caught.value)
        assert "tokenizer.json" in str(caught.value)

    @pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"model": 3}', "\udcff", "[" * 100_000])
    def test_what_is_no_json_object_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "tokenizer.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputDataError, match=r"tokenizer\.json"):
            Tokenizer.load(tmp_path)

    def test_merges_may_be_written_as_pairs(self, songs: Tokenizer, saved: Path, tmp_path: Path) -> None:
        folder = self.changed(
            saved, tmp_path, lambda d: d["model"].update(merges=[m.split(" ") for m in d["model"]["merges"]])
        )
        assert Tokenizer.load(folder).encode(TEXTS[0]) == songs.encode(TEXTS[0])

    def test_another_unicode_version_is_mentioned(self, saved: Path, tmp_path: Path) -> None:
        for path in saved.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        config = json.loads((tmp_path / saving.CONFIG).read_text(encoding="utf-8"))
        config["gpt2x"]["unicode_version"] = "17.0.0"
        (tmp_path / saving.CONFIG).write_text(json.dumps(config), encoding="utf-8")
        with pytest.warns(RuntimeWarning, match=r"says Unicode 17\.0\.0"):
            Tokenizer.load(tmp_path)


class TestPlaces:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputDataError, match="there is no tokenizer at .*nowhere: give a rank file"):
            Tokenizer.load(tmp_path / "nowhere")
        with pytest.raises(InputDataError, match="holds no tokenizer"):
            Tokenizer.load(tmp_path)

    def test_one_rank_file_in_a_folder_is_enough_but_two_are_not(self, tmp_path: Path) -> None:
        (tmp_path / "a.tiktoken").write_bytes((GOLDEN / "songs.tiktoken").read_bytes())
        assert Tokenizer.load(tmp_path, pattern="gpt2").n_vocab == 1000
        (tmp_path / "b.tiktoken").write_bytes((GOLDEN / "songs.tiktoken").read_bytes())
        with pytest.raises(InputDataError, match="holds 2 rank files"):
            Tokenizer.load(tmp_path)

    def test_every_error_has_an_exit_code(self, tmp_path: Path) -> None:
        with pytest.raises(Gpt2xError) as caught:
            Tokenizer.load(tmp_path)
        assert caught.value.exit_code == 3
