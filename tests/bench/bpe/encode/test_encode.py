"""`gpt2x bench bpe`: every tokenizer's figures stand in the table, and what goes wrong with one stands there too."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpt2x.bench.bpe.encode import inputs, measure, report
from gpt2x.bench.bpe.encode.floor import BLOCK, read_named
from gpt2x.bench.bpe.encode.measure import Effort
from gpt2x.bench.bpe.encode.peers import OURS, PEERS, Peer, Vocabulary, find_function, select
from gpt2x.bench.bpe.encode.results import MEASURES, TIMED_OUT, BpeResults, Cell
from gpt2x.bench.bpe.encode.run import bench_bpe
from gpt2x.bench.bpe.encode.worker import TokenizerWorker
from gpt2x.bench.interleave import Listener
from gpt2x.bench.records import FAILED, MEASURED, SKIPPED, save
from gpt2x.cli.app import app
from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import train
from tests.bench.bpe.encode.fake_peers import ABSENT, FAKES

ROOT = Path(__file__).parents[4]
TEXT = "It's raining again, isn't it? Zwölf Boxkämpfer. 雨が降る。 \t\n" * 20
TINY = Effort(
    natural_bytes=3000,
    generated_bytes=500,
    rounds=2,
    share_s=1.0,
    cold_rounds=1,
    start_up_rounds=1,
    timeout_s=20.0,
)
STANDARD = PEERS[:2]  # tiktoken and ours are always here


@pytest.fixture(autouse=True)
def _no_gpt2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary of the text's own, on every machine; and workers find the fakes."""
    monkeypatch.setattr(
        "gpt2x.bench.bpe.encode.run.choose_tokenizer", lambda documents, size: (tiny_tokenizer(), "own")
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def tiny_tokenizer() -> Any:
    return train([TEXT, "abcdefgh" * 9], 300, allow_fewer=True)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    return Vocabulary.write(tiny_tokenizer(), tmp_path / "vocabulary")


def run(text: Path, *peers: Peer, effort: Effort = TINY) -> BpeResults:
    return bench_bpe([*STANDARD, *peers], data=[text], inputs=text.stem, effort=effort)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "book.txt"


def cells(results: BpeResults, peer: str) -> dict[str, Any]:
    return {cell.measure: cell for cell in results.cells if cell.peer == peer}


# ----------------------------------------------------------------------------------------------------------------
# Whole runs


def test_both_tokenizers_that_are_always_here_are_measured_in_every_way_and_agree(book: Path) -> None:
    results = run(book)
    assert results.complete
    assert results.inputs[0].num_bytes == TINY.natural_bytes
    assert results.inputs[0].num_tokens > 0
    for name in ("tiktoken", "gpt2x"):
        found = cells(results, name)
        assert set(found) == {measure.name for measure in MEASURES}
        for cell in found.values():
            assert cell.status in (MEASURED, SKIPPED), cell
            assert cell.status == SKIPPED or (cell.fault == "" and min(cell.samples_s) > 0), cell
    ours = cells(results, OURS)
    assert len(ours["list"].samples_s) == 2
    assert len(ours["cold list"].samples_s) == 1
    ratio = results.ratio(ours["list"])
    assert ratio == pytest.approx(cells(results, "tiktoken")["list"].seconds / ours["list"].seconds)
    assert [program.reason for program in results.start_up] == ["", ""]
    assert len({program.output for program in results.start_up}) == 1, "both programs count the same tokens"


def test_an_inexact_tokenizer_stands_in_the_table_with_the_place_where_it_differs(book: Path) -> None:
    results = run(book, FAKES["inexact"])
    found = cells(results, "inexact")
    num_tokens = results.inputs[0].num_tokens
    assert found["list"].fault.startswith("differs at token 2: ")
    assert found["cold list"].fault == found["list"].fault
    assert found["array"].fault == (
        f"differs at token {num_tokens - 1:,}: there are {num_tokens - 1:,} instead of {num_tokens:,}"
    )
    assert found["decode list"].fault.startswith(f"differs at byte 0: {ord('?')} instead of")
    assert found["batch list"].status == SKIPPED
    assert "NO, list: differs at token 2: " in report.as_text(results)
    assert not results.as_dict()["cells"][-1]["exact"] or results.cells[-1].peer != "inexact"


def test_tokenizers_that_raise_hang_or_crash_are_shown_so_and_break_nothing(book: Path) -> None:
    effort = Effort(**{**TINY.__dict__, "timeout_s": 2.0})
    bad = [FAKES[name] for name in ("raising", "hanging", "crashing", "late", "only_online")]
    results = run(book, *bad, ABSENT, FAKES["right"], effort=effort)

    assert results.complete
    assert cells(results, "raising")["list"].status == FAILED
    assert cells(results, "raising")["list"].reason == "ValueError: cannot encode 'I'"
    assert cells(results, "raising")["batch list"].status == MEASURED, "its process was replaced"
    assert cells(results, "hanging")["list"].status == TIMED_OUT
    assert cells(results, "hanging")["cold list"].status == TIMED_OUT, "nobody waits for it a second time"
    assert "SIGSEGV" in cells(results, "crashing")["list"].reason
    assert cells(results, "late")["list"].reason == "RuntimeError: only once"
    assert cells(results, "late")["list"].fault == "", "its first result was right"
    states = {peer.name: peer for peer in results.peers}
    assert states["only_online"].reason == "ConnectionError: cannot be given a vocabulary offline"
    assert states["absent"].status == SKIPPED
    assert not cells(results, "only_online")
    assert all(cell.status in (MEASURED, SKIPPED) for cell in cells(results, "right").values())

    shown = report.as_text(results)
    assert "> 2 s" in shown
    assert "only_online: ConnectionError: cannot be given a vocabulary offline" in shown
    assert "crashing, list: crashed with SIGSEGV" in shown
    assert "not installed" in shown


def test_without_tiktokens_ids_nobody_is_called_exact(book: Path) -> None:
    hanging_oracle = Peer(name="tiktoken", distribution="numpy", build=FAKES["hanging"].build)
    effort = Effort(**{**TINY.__dict__, "timeout_s": 2.0})
    results = bench_bpe([hanging_oracle, STANDARD[1]], data=[book], inputs="book", effort=effort)
    ours = cells(results, OURS)["list"]
    assert ours.is_measured
    assert ours.fault is None
    assert results.ratio(ours) is None
    assert "not known" in report.as_text(results)


def test_a_core_that_others_used_is_told() -> None:
    results = measure.new_results([], [], vocabulary="own", command=[], effort=TINY)
    cell = Cell(input="book", measure="list", peer="tiktoken", samples_s=[1.0, 3.0], cpu_s=[1.0, 2.0])
    several = Cell(input="book", measure="batch list, all cores", peer="x", samples_s=[9.0], cpu_s=[0.0])
    results.cells += [cell, several]
    assert results.busy_share() == pytest.approx(0.25)
    assert "other programs took 25% of the core" in report.heading(results)
    cell.cpu_s = [1.0, 3.2]
    assert results.busy_share() == 0
    assert "other programs" not in report.heading(results)


def test_what_is_finished_is_shown_after_an_interrupt(book: Path) -> None:
    class Impatient(Listener):
        def stage(self, text: str) -> None:
            if "array" in text:
                raise KeyboardInterrupt

    shown: list[BpeResults] = []
    with pytest.raises(KeyboardInterrupt):
        bench_bpe(STANDARD, data=[book], inputs="book", effort=TINY, listener=Impatient(), show=shown.append)
    assert not shown[0].complete
    assert cells(shown[0], OURS)["list"].is_measured
    assert "Interrupted" in report.as_text(shown[0])


def test_the_command_writes_every_sample_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt2x.bench.bpe.encode.measure.QUICK", TINY)
    done = CliRunner().invoke(
        app,
        ["bench", "bpe", "--quick", "--peers", "gpt2x", "--inputs", "blanks", "--json", "-o", str(tmp_path)],
    )
    assert done.exit_code == 0, done.output
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved == json.loads(done.stdout)
    assert (saved["format"], saved["complete"]) == ("gpt2x-bench-bpe", True)
    assert saved["machine"]["cores"] >= 1
    assert {peer["name"]: bool(peer["version"]) for peer in saved["peers"]} == {
        "tiktoken": True,
        "gpt2x": True,
    }
    assert [text["name"] for text in saved["inputs"]] == ["blanks"]
    assert {cell["measure"] for cell in saved["cells"]} == {"list", "array", "cold list", "cold array"}
    assert all(cell["exact"] for cell in saved["cells"])
    page = (tmp_path / "README.md").read_text()
    assert "| gpt2x |" in page
    assert "blanks: 500 bytes" in page


def test_files_are_measured_alone(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt2x.bench.bpe.encode.measure.QUICK", TINY)
    done = CliRunner().invoke(app, ["bench", "bpe", str(book), "--quick", "--peers", "gpt2x"])
    assert done.exit_code == 0, done.output
    assert "book: 3 kB" in done.stdout
    assert "lyrics" not in done.stdout


# ----------------------------------------------------------------------------------------------------------------
# Beside the best, and the slowest document


def test_ours_stands_beside_the_fastest_other_whose_tokens_are_right() -> None:
    results = measure.new_results([], [], vocabulary="own", command=[], effort=TINY)
    assert results.beside_best("book", "list") is None
    ours = Cell(input="book", measure="list", peer=OURS, samples_s=[2.0])
    wrong = Cell(
        input="book",
        measure="list",
        peer="wrong",
        samples_s=[0.1],
        fault="differs at token 2: 5 instead of 8",
    )
    results.cells += [ours, wrong, Cell(input="book", measure="array", peer="quick", samples_s=[0.1])]
    assert results.beside_best("book", "list") is None, "who is wrong is no rival"
    results.cells += [
        Cell(input="book", measure="list", peer="slow", samples_s=[9.0]),
        Cell(input="book", measure="list", peer="good", samples_s=[3.0]),
    ]
    assert results.beside_best("book", "list") == (1.5, "good")
    ours.fault = "differs at token 0: 1 instead of 2"
    assert results.beside_best("book", "list") is None, "and neither is ours if it is wrong"


def write_named(path: Path, documents: dict[str, str]) -> Path:
    lines = [json.dumps({"name": name, "text": text}) + "\n" for name, text in documents.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_documents_one_at_a_time_name_the_slowest_of_each_tokenizer(book: Path, tmp_path: Path) -> None:
    documents = {"one": TEXT * 5, "two": "la " * 2000, "short": "la"}
    documents |= {f"more-{i}": TEXT * 5 for i in range(BLOCK)}
    file = write_named(tmp_path / "named.jsonl", documents)
    peers = [*STANDARD, FAKES["raising"], ABSENT]
    results = bench_bpe(peers, data=[book], inputs="book", effort=TINY, floor=file)
    floor = results.floor
    assert floor is not None
    assert floor.documents == [name for name in documents if name != "short"]
    rows = {row.name: row for row in floor.rows}
    assert set(rows) == {"tiktoken", OURS, "raising"}, "who is not installed has no row"
    for name in ("tiktoken", OURS):
        assert len(rows[name].seconds) == len(documents) - 1
        assert rows[name].num_tokens == rows["tiktoken"].num_tokens > 0
        rates = floor.rates(rows[name])
        assert rates == sorted(rates)
        assert {rate[1] for rate in rates} == set(floor.documents)
    assert rows["raising"].reason == "ValueError: cannot encode 'I'"
    shown = report.as_text(results)
    assert "18 documents of named.jsonl one at a time" in shown
    assert "raising: ValueError" in shown
    assert results.as_dict()["floor"]["rows"][0]["name"] == "tiktoken"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{}\n", "line 1 is no JSON object with a field"),
        ('{"text": "' + "a" * 4000 + '"}\n[]\n', "line 2 is no JSON object with a field"),
        ('{"text": "short"}\n', "has no document of 4,000 bytes"),
        (f'{{"text": "{"a" * 4000}"}}\n' * 2001, "has 2,001 documents; give 2,000 at most"),
    ],
)
def test_a_file_without_long_documents_is_refused_in_a_sentence(
    tmp_path: Path, lines: str, message: str
) -> None:
    (tmp_path / "named.jsonl").write_text(lines)
    with pytest.raises(InputDataError, match=message):
        read_named(tmp_path / "named.jsonl")


def test_the_slowest_document_is_for_encoding(book: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "bpe", "--train", str(book), "--floor", str(book)])
    assert done.exit_code == 2
    assert "is for encoding; leave it out with --train" in done.stderr


# ----------------------------------------------------------------------------------------------------------------
# Peers


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_call_of_a_peer_gives_the_tokens_of_the_vocabulary(peer: Peer, vocabulary: Vocabulary) -> None:
    if peer.version is None:
        pytest.skip(f"{peer.distribution} is not installed")
    ids = vocabulary.tokenizer.encode_ordinary(TEXT)
    calls = peer.build(vocabulary, 1)
    assert list(calls.encode(TEXT)) == ids
    if calls.encode_array is not None:
        assert calls.encode_array(TEXT).tolist() == ids
        assert calls.encode_array("low").tolist() == vocabulary.tokenizer.encode_ordinary("low"), (
            "a shorter text"
        )
    texts = [TEXT, "", "low"]
    if calls.batch is not None:
        assert list(map(list, calls.batch(texts))) == list(map(vocabulary.tokenizer.encode_ordinary, texts))
    if calls.batch_array is not None:
        flat = chain.from_iterable(map(vocabulary.tokenizer.encode_ordinary, texts))
        assert calls.batch_array(texts).tolist() == list(flat)
    if calls.decode is not None:
        assert calls.decode(ids) == TEXT.encode()
    if calls.decode_array is not None:
        assert calls.decode_array(np.array(ids, dtype=np.uint32)) == TEXT.encode()


def test_peers_are_chosen_by_name_and_the_two_that_are_compared_always_take_part() -> None:
    assert select("all") == list(PEERS)
    assert [peer.name for peer in select("tokie, tokenizers")] == ["tiktoken", "gpt2x", "tokenizers", "tokie"]
    with pytest.raises(UsageError, match="--peers 'tikotken' is unknown; known: all, tiktoken, gpt2x"):
        select("tikotken")


def test_a_worker_finds_a_peer_by_its_address() -> None:
    for peer in PEERS:
        assert find_function(peer.address) is peer.build


def test_a_worker_keeps_the_right_ids_of_batches_apart(vocabulary: Vocabulary, tmp_path: Path) -> None:
    """No token spans two documents, so a batch's ids are not those of the whole text."""
    text = ("ab" * 40_000)[: inputs.BATCH_DOCUMENT_BYTES + 9]
    (tmp_path / "text").write_text(text)
    worker = TokenizerWorker()
    address = FAKES["right"].address
    worker.handle({"do": "build", "peer": address, "vocabulary": str(vocabulary.folder), "cores": cores()})
    worker.handle({"do": "load", "text": str(tmp_path / "text"), "right": str(tmp_path / "right")})
    assert worker.handle({"do": "call", "call": "batch", "compare": True})["fault"] is None
    kept = worker.handle({"do": "call", "call": "batch", "compare": True, "keep": True})
    assert kept["fault"] == ""
    assert worker.handle({"do": "call", "call": "encode", "compare": True})["fault"] is None
    assert worker.handle({"do": "call", "call": "encode", "compare": True, "keep": True})["fault"] == ""


def cores() -> list[int]:
    """All of them: the worker runs in the process of the tests here."""
    return measure.cores_for("all")


def test_nothing_here_loads_torch() -> None:
    program = (
        "import sys, gpt2x.bench.bpe.encode.run, gpt2x.bench.bpe.encode.report, gpt2x.bench.bpe.encode.worker\n"
        "gpt2x.bench.bpe.encode.measure.without_torch()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)


# ----------------------------------------------------------------------------------------------------------------
# Texts


def test_the_built_in_texts_are_the_same_every_time_and_as_long_as_asked_for() -> None:
    first, again = (inputs.gather(natural_bytes=20_000, generated_bytes=3_000) for _ in range(2))
    assert first == again
    assert [text.name for text in first] == [source.name for source in inputs.BUILT_IN]
    for text in first:
        size = 20_000 if text.kind == inputs.NATURAL else 3_000
        assert size - 3 <= text.num_bytes <= size, text.name
    texts = {text.name: text.text for text in first}
    assert set(texts["letter"]) == {"a"}
    assert set(texts["blanks"]) == {" ", "\n"}
    assert inputs.is_cjk(texts["cjk"])
    assert not inputs.is_cjk(texts["multilingual"])


def test_a_text_of_your_own_takes_the_place_of_the_built_in_one_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "multilingual"
    folder.mkdir()
    lines = [{"text": "Grüße"}, {"text": "日本語の文章です。" * 9000}]
    with lzma.open(folder / "mixed.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    found = inputs.gather([folder], names="cjk,multilingual", natural_bytes=150_000, generated_bytes=1)
    assert [text.name for text in found] == ["multilingual", "cjk"]
    assert found[0].text.startswith("Grüße\n\n日本語")
    assert set(found[1].text) <= set("日本語の文章です。\n"), "the documents in these languages alone"


def test_songs_of_a_csv_file_are_read_as_documents(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("artist,song,link,text\nA,B,c,la la\nA,C,d,na na\n")
    assert list(inputs.documents(tmp_path / "own.csv")) == list(inputs.documents(tmp_path))
    assert (
        "la la" in inputs.gather([tmp_path], names=tmp_path.name, natural_bytes=99, generated_bytes=1)[0].text
    )


def test_a_very_short_text_is_repeated_so_that_a_clock_can_tell(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("la la")
    found = inputs.gather([tmp_path / "short.txt"], names="short", natural_bytes=10**7, generated_bytes=1)
    assert found[0].num_bytes == inputs.SHORTEST_BYTES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", " \n", "is empty; give a text"),
        ("bad.jsonl", '{"title": "no text"}\n', 'line 1 is no JSON object with a field "text"'),
        ("bad.jsonl", "not json\n", "line 1 is no JSON object"),
    ],
)
def test_a_file_that_holds_no_text_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputDataError) as error:
        inputs.gather([tmp_path / name], natural_bytes=1000, generated_bytes=1, names=Path(name).stem)
    assert message in str(error.value)


def test_a_folder_without_texts_and_an_unknown_input_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"has no \.txt, \.csv or \.jsonl file"):
        list(inputs.documents(tmp_path))
    with pytest.raises(UsageError, match="--inputs 'lyric' is unknown; known: all, lyrics"):
        inputs.gather(names="lyric", natural_bytes=1, generated_bytes=1)


def test_two_texts_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "book.txt", tmp_path / "book.jsonl"]
    with pytest.raises(UsageError, match="are both called 'book' in the table; rename one"):
        inputs.gather(paths, natural_bytes=1, generated_bytes=1)


def test_a_lone_surrogate_in_a_json_text_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text('{"text": "low \\ud800 lowest"}\n')
    found = inputs.gather([tmp_path / "odd.jsonl"], names="odd", natural_bytes=12, generated_bytes=1)
    assert found[0].text == "low ? lowest"


def test_documents_are_cut_between_characters_and_lose_nothing() -> None:
    text = "a雨é😀" * 100
    for size in (4, 5, 7, 64):
        parts = inputs.split_documents(text, size)
        assert "".join(parts) == text
        assert max(len(part.encode()) for part in parts) <= size


def test_results_without_a_figure_are_saved_too(book: Path, tmp_path: Path) -> None:
    results = measure.new_results(
        [ABSENT], inputs.gather([book], names="book", natural_bytes=9, generated_bytes=9),
        vocabulary="own", command=[], effort=TINY,
    )  # fmt: skip
    save(results, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["peers"][0]["reason"] == "not installed"
