"""Where the GPT-2 vocabulary is looked for, in which order, and that a wrong one is never taken."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from gpt2x.tokenizer import Tokenizer, get, registry, tokenizer
from gpt2x.tokenizer.patterns import CL100K
from gpt2x.tokenizer.published import ENCODINGS, R50K, Published, RankFile
from tests.conftest import Serve

HELLO = [31373, 995]


@pytest.fixture
def genuine(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("vocab/r50k_base.tiktoken")


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any vocabulary: empty caches, no packages."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr("importlib.metadata.distributions", lambda: iter(()))
    return tmp_path


@pytest.fixture
def fake(tmp_path: Path, songs: Tokenizer) -> Path:
    """A vocabulary that is fine, but is not GPT-2's."""
    songs.save(tmp_path / "fake")
    return tmp_path / "fake" / "vocab.tiktoken"


def put(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


class TestPlaces:
    def test_a_path_that_is_given(self, genuine: Path) -> None:
        assert get("gpt2", genuine).encode("hello world") == HELLO

    def test_the_environment_names_a_file_or_a_folder_in_any_format(
        self,
        genuine: Path,
        shared_data: Callable[[str], Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        Tokenizer.load(genuine).save(tmp_path / "saved")
        for place in (
            genuine,
            shared_data("vocab/vocab.bpe"),
            genuine.parent,
            tmp_path / "saved" / "tokenizer.json",
        ):
            monkeypatch.setenv("GPT2X_VOCAB", str(place))
            assert get("gpt2").encode("hello world") == HELLO
            assert get("gpt2").eot_token == 50256
            assert registry.describe()["source"] == "GPT2X_VOCAB"
        assert Tokenizer.load("gpt2") == get("gpt2")

    def test_the_cache(self, genuine: Path) -> None:
        put(genuine, registry.cached_path())
        assert registry.find().source == "cache"
        assert get().encode("hello world") == HELLO

    def test_tiktokens_cache_under_its_names(
        self, bare_machine: Path, shared_data: Callable[[str], Path]
    ) -> None:
        folder = bare_machine / "tiktoken"
        put(shared_data("vocab/r50k_base.tiktoken"), folder / R50K.tiktoken_name)
        assert registry.find().source == "tiktoken's cache"
        (folder / R50K.tiktoken_name).unlink()
        for name, file in zip(registry._TIKTOKEN_PAIR, ("vocab.bpe", "encoder.json"), strict=True):
            put(shared_data(f"vocab/{file}"), folder / name)
        assert registry.find().path == folder / registry._TIKTOKEN_PAIR[0]
        assert get().encode("hello world") == HELLO

    def test_hugging_faces_cache(self, bare_machine: Path, genuine: Path) -> None:
        snapshot = bare_machine / "hf" / "hub" / "models--openai-community--gpt2" / "snapshots" / "607a30d"
        Tokenizer.load(genuine).save(snapshot)
        assert registry.find().source == "Hugging Face's cache"
        assert get().encode("hello world") == HELLO

    def test_a_package_that_carries_it(
        self, bare_machine: Path, genuine: Path, fake: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import importlib.metadata

        for name, source in (("a_fake", fake), ("whisper_like", genuine)):
            site = bare_machine / "site"
            put(source, site / name / "assets" / "gpt2.tiktoken")
            info = site / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
            )
            (info / "RECORD").write_text(
                f"{name}/assets/gpt2.tiktoken,,\n{name}/gone/vocab.bpe,,\n", encoding="utf-8"
            )
        infos = sorted(site.glob("*.dist-info"))
        monkeypatch.setattr(
            "importlib.metadata.distributions",
            lambda: (importlib.metadata.PathDistribution(info) for info in infos),
        )
        found = registry.find()
        assert found.source == "package whisper_like", "the package with another vocabulary is passed over"
        assert registry.describe()["path"] == str(site / "whisper_like" / "assets" / "gpt2.tiktoken")


class TestPrecedence:
    def test_a_given_path_before_the_environment_before_the_cache_before_the_rest(
        self, bare_machine: Path, genuine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(genuine, bare_machine / "tiktoken" / R50K.tiktoken_name)
        assert registry.find().source == "tiktoken's cache"
        put(genuine, registry.cached_path())
        assert registry.find().source == "cache"
        monkeypatch.setenv("GPT2X_VOCAB", str(genuine))
        assert registry.find().source == "GPT2X_VOCAB"
        assert registry.find(genuine).source == "given path"


class TestRefusal:
    def test_another_vocabulary_under_a_given_path(self, fake: Path) -> None:
        with pytest.raises(
            InputDataError, match=r"holds another vocabulary than GPT-2's \(1000 ranks, sha256 [0-9a-f]{12}"
        ):
            get("gpt2", fake)

    def test_another_vocabulary_in_the_environment_is_an_error_although_the_cache_has_it(
        self, genuine: Path, fake: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(genuine, registry.cached_path())
        monkeypatch.setenv("GPT2X_VOCAB", str(fake))
        with pytest.raises(InputDataError, match="GPT2X_VOCAB is set, but .*holds another vocabulary"):
            get()
        assert registry.describe()["source"] == "missing"
        monkeypatch.setenv("GPT2X_VOCAB", "nowhere")
        with pytest.raises(
            InputDataError, match="GPT2X_VOCAB is set, but there is no tokenizer at .*nowhere"
        ):
            get()

    def test_a_changed_rank_in_the_cache_is_passed_over(self, genuine: Path, bare_machine: Path) -> None:
        lines = genuine.read_bytes().splitlines(keepends=True)
        first, second = (lines[i].split()[0] for i in (50000, 50001))
        lines[50000], lines[50001] = second + b" 50000\n", first + b" 50001\n"
        registry.cached_path().parent.mkdir(parents=True)
        registry.cached_path().write_bytes(b"".join(lines))
        with pytest.raises(MissingComponentError, match="cache: .*holds another vocabulary"):
            get()
        put(genuine, bare_machine / "tiktoken" / R50K.tiktoken_name)
        assert registry.find().source == "tiktoken's cache"

    def test_damaged_files_are_passed_over_with_their_reason(self, genuine: Path, bare_machine: Path) -> None:
        put(genuine, registry.cached_path())
        registry.cached_path().write_bytes(genuine.read_bytes()[:-7])
        with pytest.raises(MissingComponentError, match="line 50256"):
            get()

    def test_nowhere_lists_the_remedies_in_one_sentence(self) -> None:
        with pytest.raises(MissingComponentError) as caught:
            get()
        sentence = str(caught.value)
        assert "\n" not in sentence
        for part in (
            "not on this machine",
            "GPT2X_VOCAB",
            "openai-whisper",
            "forbidden by GPT2X_OFFLINE",
            "download",
        ):
            assert part in sentence
        assert caught.value.exit_code == 4

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UsageError, match="unknown tokenizer 'gpt5'; known names: gpt2"):
            get("gpt5")


class TestDescribe:
    def test_never_downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GPT2X_OFFLINE")
        monkeypatch.setattr(registry, "_download", lambda search: pytest.fail("describe() tried a download"))
        described = registry.describe()
        assert (described["name"], described["source"], described["path"]) == ("gpt2", "missing", None)
        assert "GPT2X_VOCAB" in described["reason"]


class TestDownload:
    def test_is_kept_in_the_cache(self, genuine: Path, serve: Serve, capfd: pytest.CaptureFixture) -> None:
        asked = serve(genuine.read_bytes())
        assert registry.find().source == "download"
        assert "fetching the GPT-2 vocabulary" in capfd.readouterr().err
        assert asked == [R50K.address]
        assert registry.find().source == "cache"
        assert get().encode("hello world") == HELLO

    def test_of_another_file_is_refused(self, fake: Path, serve: Serve) -> None:
        serve(fake.read_bytes())
        with pytest.raises(MissingComponentError, match="download: .* has changed: its sha256 is"):
            get()
        assert not registry.cached_path().exists()

    @pytest.mark.parametrize(
        "ranks",
        sorted({encoding.ranks for encoding in ENCODINGS.values()}, key=lambda r: r.name),
        ids=lambda r: r.name,
    )
    def test_comes_from_the_address_under_which_tiktoken_caches_it(self, ranks: RankFile) -> None:
        assert hashlib.sha1(ranks.address.encode()).hexdigest() == ranks.tiktoken_name

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (TimeoutError("timed out"), "download: timed out"),
            (URLError(OSError("no route")), "download: no route"),
            (ConnectionResetError(), "download: ConnectionResetError"),
        ],
        ids=["silence", "no network", "no reason"],
    )
    def test_that_fails_says_why(self, serve: Serve, error: Exception, reason: str) -> None:
        serve(error)
        with pytest.raises(MissingComponentError, match=reason):
            get()

    def test_into_a_cache_that_cannot_be_written_says_why(
        self, genuine: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(genuine.read_bytes())
        monkeypatch.setenv("GPT2X_CACHE", "/dev/null/cache")
        with pytest.raises((MissingComponentError, UsageError), match="/dev/null is no folder"):
            get()

    def test_is_skipped_when_offline_is_asked_for(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = serve(b"")
        monkeypatch.setenv("GPT2X_OFFLINE", "1")
        with pytest.raises(MissingComponentError, match="forbidden by GPT2X_OFFLINE"):
            get()
        assert asked == []


class TestOtherEncodings:
    """The same search for another published encoding: here a small one, published by the test."""

    @pytest.fixture(autouse=True)
    def small(self, songs: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
        ranks = RankFile("small_base", songs.vocabulary.fingerprint, "0" * 40)
        published = Published("small", ranks, "cl100k", {"<|endoftext|>": 1000, "<|fim|>": 1001})
        monkeypatch.setitem(ENCODINGS, "small", published)
        yield songs.vocabulary.rank_file
        tokenizer._build.cache_clear()
        registry.genuine.cache_clear()

    def test_has_its_own_pattern_and_special_tokens(self, small: bytes, tmp_path: Path) -> None:
        path = tmp_path / "ranks"
        path.write_bytes(small)
        loaded = Tokenizer.from_pretrained("small", path)
        assert (loaded.name, loaded.pat_str) == ("small", CL100K)
        assert loaded.encode("<|fim|>", allowed_special="all") == [1001]
        assert loaded == Tokenizer.load(path).from_pretrained("small", path)

    @pytest.mark.parametrize(
        ("place", "source"),
        [
            ("vocab/small_base.tiktoken", "GPT2X_VOCAB"),
            ("gpt2x_cache/vocab/small_base.tiktoken", "cache"),
            ("tiktoken/" + "0" * 40, "tiktoken's cache"),
        ],
    )
    def test_is_found_in_the_same_places(
        self, small: bytes, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, place: str, source: str
    ) -> None:
        with pytest.raises(
            MissingComponentError, match=r"the small_base vocabulary .*put small_base\.tiktoken into"
        ):
            Tokenizer.from_pretrained("small")
        (bare_machine / "vocab").mkdir(exist_ok=True)  # it need not hold this one, but it must be there
        monkeypatch.setenv("GPT2X_VOCAB", str(bare_machine / "vocab"))
        (bare_machine / place).parent.mkdir(parents=True, exist_ok=True)
        (bare_machine / place).write_bytes(small)
        assert registry.find(name="small").source == source
        assert Tokenizer.from_pretrained("small").n_vocab == 1002

    def test_is_refused_when_a_rank_was_changed(self, small: bytes, bare_machine: Path) -> None:
        lines = small.splitlines(keepends=True)
        lines[500], lines[501] = (
            lines[501].split()[0] + b" 500\n",
            lines[500].split()[0] + b" 501\n",
        )
        (bare_machine / "ranks").write_bytes(b"".join(lines))
        with pytest.raises(InputDataError, match=r"holds another vocabulary than small_base's \(1000 ranks"):
            Tokenizer.from_pretrained("small", bare_machine / "ranks")

    def test_is_recognised_by_its_ranks_when_only_a_path_is_given(self, small: bytes, tmp_path: Path) -> None:
        path = tmp_path / "anything.tiktoken"
        path.write_bytes(small)
        assert Tokenizer.load(path).name == "small"
        path.write_bytes(small.replace(b"\n", b"\r\n"))
        assert Tokenizer.load(path).name == "small"

    @pytest.mark.parametrize("encoding", list(ENCODINGS.values()), ids=lambda encoding: encoding.name)
    def test_the_published_ones_are_what_tiktoken_says(self, encoding: Published) -> None:
        import tiktoken_ext.openai_public as theirs

        calls = []

        def load(address: str, expected_hash: str | None = None, **_: object) -> dict[bytes, int]:
            calls.append((hashlib.sha1(address.encode()).hexdigest(), expected_hash))
            return {}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(theirs, "load_tiktoken_bpe", load)
            patch.setattr(theirs, "data_gym_to_mergeable_bpe_ranks", lambda **_: {})
            parts = getattr(theirs, encoding.name)()
        assert encoding.pat_str == parts["pat_str"]
        assert encoding.special_tokens == parts["special_tokens"]
        if encoding.name != "gpt2":  # whose ranks tiktoken reads from vocab.bpe and encoder.json
            assert calls == [(encoding.ranks.tiktoken_name, encoding.ranks.sha256)]
