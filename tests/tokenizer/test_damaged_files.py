"""Vocabulary files with any damage: one bounded sentence, or a tokenizer that works; never another exception."""

from __future__ import annotations

import base64
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import Tokenizer, formats
from gpt2x.tokenizer.patterns import GPT2

from . import fuzz_files

HUGE = "1" + "0" * 30
# As JSON text, so that there can be more than Python would write: 1e400 and what is nested too deeply.
VALUES = ["null", "true", "[]", "{}", "5", "-1", '"x"', '""', "1e400", HUGE, "9" * 5000, "NaN", '"\\ud83d"']
VALUES += [
    "[" * 500 + "]" * 500,
    '{"a":' * 500 + "1" + "}" * 500,
    '["x"]',
    '{"type": 5}',
    '{"x": "y"}',
    '"\\u001b[2J"',
]
VALUES += [json.dumps("x" * 100_000), json.dumps(["x" * 1000] * 100)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vocabulary in all formats."""
    folder = tmp_path_factory.mktemp("good")
    fuzz_files.make_good(folder)
    return folder


PAIR = ("merges.txt", "vocab.json", "added_tokens.json", "special_tokens_map.json")
BESIDE = {
    "tokenizer.json": ("tokenizer.json",),
    "tokenizer_config.json": ("vocab.tiktoken", "tokenizer_config.json"),
    "vocab.tiktoken": ("vocab.tiktoken",),
    **dict.fromkeys(PAIR, PAIR),
}
"""What is read together with a file."""


def load(good: Path, tmp_path: Path, name: str, contents: bytes) -> None:
    """Load a folder in which one file has other contents: it works, or is refused in one sentence."""
    for other in BESIDE[name]:
        (tmp_path / other).write_bytes(contents if other == name else (good / other).read_bytes())
    source = tmp_path / ("merges.txt" if name in PAIR else BESIDE[name][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            loaded = Tokenizer.load(source)
        except InputDataError as error:
            sentence = str(error).replace(str(tmp_path), "")
            assert "\n" not in sentence, sentence
            assert len(sentence) < 700, sentence
            return
    text = "lowest abc<|endoftext|> <call>"
    ids = loaded.encode(text, allowed_special="all")
    assert loaded.decode(ids) == text or loaded.pat_str != GPT2, "another pattern may leave text out"
    assert loaded.vocabulary.fingerprint


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each value; of long lists and objects, to the first and last few."""
    yield prefix
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in [*keys[:12], *keys[-2:]] if len(keys) > 14 else keys:
        yield from paths(value[key], (*prefix, key))


def replaced(value: Any, path: tuple[Any, ...], text: str) -> str:
    """The JSON with another text at one place; the text "" takes the key out."""
    mark = "\x00here\x00"
    if not path:
        return text
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if text:
        inner[path[-1]] = mark
    else:
        del inner[path[-1]]
    return json.dumps(copy).replace(json.dumps(mark), text)


JSON_FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "added_tokens.json",
    "special_tokens_map.json",
]


@pytest.mark.parametrize("text", ["", *VALUES], ids=lambda text: text[:12] or "left out")
@pytest.mark.parametrize("name", JSON_FILES)
def test_any_value_in_any_place_of_a_json(good: Path, tmp_path: Path, name: str, text: str) -> None:
    value = json.loads((good / name).read_text(encoding="utf-8"))
    for path in paths(value):
        if (path or text) and path[:1] != ("pre_tokenizer",):  # those are in test_patterns.py
            load(good, tmp_path, name, replaced(value, path, text).encode())


@pytest.mark.parametrize("name", [*JSON_FILES, "merges.txt", "vocab.tiktoken"])
def test_files_that_are_cut_or_changed_anywhere(good: Path, tmp_path: Path, name: str) -> None:
    contents = (good / name).read_bytes()
    chance = random.Random(5)
    for _ in range(60):
        at = chance.randrange(len(contents))
        load(good, tmp_path, name, contents[:at])
        load(good, tmp_path, name, contents[at:])
        changed = bytearray(contents)
        changed[at] = chance.randrange(256)
        load(good, tmp_path, name, bytes(changed))
        load(good, tmp_path, name, contents[:at] + chance.randbytes(5) + contents[at:])


@pytest.mark.parametrize("name", ["merges.txt", "vocab.tiktoken"])
@pytest.mark.parametrize(
    "line",
    [
        *(b"a", b"a b c", b"\xff\xff 5", b"x" * 10**6, b"\x00 \x00"),
        *(b"YQ== " + digits for digits in (b"9" * 5000, HUGE.encode(), b"-1")),
    ],
    ids=lambda line: repr(line[:12]),
)
def test_any_line_in_a_list(good: Path, tmp_path: Path, name: str, line: bytes) -> None:
    lines = (good / name).read_bytes().split(b"\n")
    for at in (0, 1, len(lines) // 2, len(lines)):
        load(good, tmp_path, name, b"\n".join([*lines[:at], line, *lines[at:]]))


@pytest.mark.parametrize("kind", fuzz_files.KINDS)
def test_the_first_cases_of_the_fuzzer(tmp_path: Path, kind: str) -> None:
    good, changed = tmp_path / "good", tmp_path / "changed"
    good.mkdir()
    changed.mkdir()
    fuzz_files.make_good(good)
    assert any([fuzz_files.run_case(good, changed, kind, number) for number in range(20)])


Change = Callable[[dict[str, Any]], object]


class TestTokenizerJson:
    def refused(self, good: Path, tmp_path: Path, change: Change) -> str:
        data = json.loads((good / "tokenizer.json").read_text(encoding="utf-8"))
        change(data)
        (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(InputDataError) as caught:
            Tokenizer.load(tmp_path / "tokenizer.json")
        return str(caught.value).replace(str(tmp_path), "")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda d: d["added_tokens"][0].update(content="\ud83d"), "damaged list of added tokens"),
            (lambda d: d["added_tokens"][0].update(content=None), "damaged list of added tokens"),
            (lambda d: d["added_tokens"][0].update(id=True), "damaged list of added tokens"),
            (lambda d: d["added_tokens"][0].update(id="270"), "damaged list of added tokens"),
            (lambda d: d["added_tokens"][0].update(id=5000), "and libraries differ in which they take"),
            (lambda d: d["added_tokens"].append(d["added_tokens"][0]), "'<|endoftext|>' twice"),
            (lambda d: d["model"]["vocab"].update({"low": 10**30}), "no whole number between 0 and 16777215"),
            (lambda d: d["model"]["vocab"].update({"low": 257.0}), "no whole number between 0 and 16777215"),
            (lambda d: d["model"]["vocab"].update({"\ud83d": 999}), "which does not spell bytes"),
            (lambda d: d["model"].update(merges=d["model"]["merges"][:3]), "others: its merges are cut off"),
            (lambda d: d["model"].update(merges=[["l", "o", "w"]]), "merge 1 (l o w)"),
            (lambda d: d["model"].update(merges=[["l", 5]]), "damaged BPE model"),
            (lambda d: d["model"].update(merges={}), "damaged BPE model"),
        ],
    )
    def test_says_what_is_wrong(self, good: Path, tmp_path: Path, change: Change, sentence: str) -> None:
        found = self.refused(good, tmp_path, change)
        assert sentence in found
        assert len(found) < 500

    def test_a_key_that_is_there_twice_is_named(self, good: Path, tmp_path: Path) -> None:
        text = (good / "tokenizer.json").read_text(encoding="utf-8")
        text = text.replace('"merges"', '"merges": [], "merges"')
        (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputDataError, match="the key 'merges' is there twice"):
            Tokenizer.load(tmp_path)


class TestLineEnds:
    """What Windows puts at the ends of lines and before a text, and blank lines at the end."""

    @pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
    @pytest.mark.parametrize("after", [b"", b"\n", b"\r\n\r\n"], ids=["", "blank", "two"])
    def test_change_nothing(
        self, good: Path, tmp_path: Path, before: bytes, end: bytes, after: bytes
    ) -> None:
        expected = Tokenizer.load(good)
        for name in ("merges.txt", "vocab.tiktoken", "vocab.json"):
            for other in (*PAIR, "vocab.tiktoken", "tokenizer_config.json"):
                (tmp_path / other).write_bytes((good / other).read_bytes())
            lines = (good / name).read_bytes().split(b"\n")
            (tmp_path / name).write_bytes(before + end.join(lines) + after)
            loaded = Tokenizer.load(
                tmp_path / ("vocab.tiktoken" if name == "vocab.tiktoken" else "merges.txt")
            )
            assert loaded.encode("lowest <call>") == expected.encode("lowest <call>")
            assert loaded.special_tokens == expected.special_tokens


class TestCutPair:
    def test_tokens_that_no_merge_makes_are_not_special(self, good: Path, tmp_path: Path) -> None:
        (tmp_path / "vocab.json").write_bytes((good / "vocab.json").read_bytes())
        lines = (good / "merges.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / "merges.txt").write_text("".join(lines[:3]), encoding="utf-8")
        with pytest.raises(InputDataError) as caught:
            Tokenizer.load(tmp_path)
        missing = len(lines) - 3
        assert f"lists {missing} tokens that no merge in merges.txt makes, such as" in str(caught.value)

    @pytest.mark.parametrize("text", ["<|end|>", "<|im_start|>", "</s>", "<pad>"])
    def test_those_that_look_special_are(self, good: Path, tmp_path: Path, text: str) -> None:
        ids = json.loads((good / "vocab.json").read_text(encoding="utf-8"))
        (tmp_path / "vocab.json").write_text(json.dumps(ids | {text: 300}), encoding="utf-8")
        (tmp_path / "merges.txt").write_bytes((good / "merges.txt").read_bytes())
        assert formats.read(tmp_path).special_tokens[text] == 300

    def test_a_file_beside_may_name_them(self, good: Path, tmp_path: Path) -> None:
        ids = json.loads((good / "vocab.json").read_text(encoding="utf-8"))
        (tmp_path / "vocab.json").write_text(json.dumps(ids | {"[PAD]": 300, "[X]": 301}), encoding="utf-8")
        (tmp_path / "merges.txt").write_bytes((good / "merges.txt").read_bytes())
        with pytest.raises(InputDataError, match=r"lists 2 tokens that no merge .* such as '\[PAD\]'"):
            formats.read(tmp_path)
        names = {"pad_token": "[PAD]", "additional_special_tokens": ["<|endoftext|>"]}
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(names), encoding="utf-8")
        decoder = {"301": {"content": "[X]", "special": False}}
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps({"added_tokens_decoder": decoder}), encoding="utf-8"
        )
        found = formats.read(tmp_path)
        assert found.special_tokens["[PAD]"] == 300
        assert found.added_tokens == {"[X]": 301}


def test_rank_files_and_merges_name_a_token_in_at_most_80_characters(tmp_path: Path) -> None:
    long = base64.b64encode(b"x" * 10_000).decode()
    (tmp_path / "a.tiktoken").write_text(f"{long} 1\n{long} 2\n", encoding="utf-8")
    with pytest.raises(InputDataError) as caught:
        Tokenizer.load(tmp_path / "a.tiktoken")
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200
