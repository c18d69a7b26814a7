"""Decoding side by side: who takes part, that they take turns, what the figures are, and that texts agree."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from gpt2x.bench.decode import worker as decode_worker
from gpt2x.bench.decode.compare import (
    FIGURES,
    WAYS,
    Decoded,
    DecodeSetting,
    compare,
    processes,
    select,
)
from gpt2x.bench.decode.report import HEAD, sentences, table_rows
from gpt2x.bench.machine import Machine
from gpt2x.bench.process import Missing, WorkerFailed
from gpt2x.bench.worker import serve
from gpt2x.cli.app import app
from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.model.config import GPTConfig
from gpt2x.ops import backend

SHAPE = GPTConfig(vocab_size=61, block_size=32, n_layer=2, n_head=2, n_embd=16)
SETTING = DecodeSetting(model="tiny", shape=SHAPE, prompt=8, tokens=5)
TOKEN_MS = {"float32": 20.0, "bfloat16": 10.0, "int8": 5.0, "hf": 40.0}


class Bench:
    """Stands in for the worker processes; they compute nothing and take no time."""

    def __init__(self, **replies: Callable[[str], Any]) -> None:
        self.replies, self.orders, self.closed = replies, [], 0

    def launch(self, name: str) -> FakeWorker:
        return FakeWorker(self, name)


class FakeWorker:
    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        self.bench.orders.append((self.name, do))
        if do in self.bench.replies:
            changed = self.bench.replies[do](self.name)
            if changed is not None:
                return changed
        ms = TOKEN_MS.get(self.name, 50.0)
        return {
            "look": {"device": "cpu", "name": "", "threads": 2, "torch": "2", "bytes_per_second": 1e9},
            "prepare": {"weight_bytes": 4_000_000},
            "measure": {
                "prompt_ms": 2 * ms,
                "token_ms": [ms] * 4,
                "cpu_s": ms / 100,
                "ids": [1, 2, 3, 9 if self.name == "int8" else 4, 5],
                "peak_memory_bytes": 500_000_000,
            },
        }[do]

    def close(self) -> None:
        self.bench.closed += 1


def run(bench: Bench, *names: str, rounds: int = 3, setting: DecodeSetting = SETTING) -> Decoded:
    return compare(select(names), setting, bench.launch, Machine(cpu="Some CPU"), rounds=rounds)


def raises(error: BaseException) -> None:
    raise error


def test_all_take_part_unless_some_peers_are_named() -> None:
    assert select([]) == list(WAYS)
    assert [way.name for way in select(["naive"])] == ["float32", "bfloat16", "int8", "naive"]
    with pytest.raises(
        UsageError, match="--peer 'vllm' is unknown; choose among plain, naive, hf, ct2, ct2-int8"
    ):
        select(["vllm"])


def test_every_way_that_can_be_chosen_can_be_made() -> None:
    assert {way.name for way in WAYS} == set(decode_worker.WAYS)


def test_they_take_turns_and_the_memory_is_measured_in_each_round() -> None:
    bench = Bench()
    run(bench, "hf", rounds=2)
    names = ["float32", "bfloat16", "int8", "hf"]
    turn = [("scout", "look"), *((name, "measure") for name in names)]
    assert bench.orders == [("scout", "look"), *((name, "prepare") for name in names), *turn, *turn]
    assert bench.closed == 5


def test_rates_are_times_that_of_transformers_or_else_of_the_plain_model() -> None:
    found = run(Bench())
    assert found.baseline is not None
    assert found.baseline.name == "hf"
    assert [found.ratio(entry) for entry in found.entries] == [2.0, 4.0, 8.0, 0.8, 0.8, 1.0, 0.8, 0.8]
    missing = Bench(prepare=lambda name: raises(Missing("needs transformers")) if name == "hf" else None)
    found = run(missing)
    assert found.baseline is not None
    assert found.baseline.name == "plain"
    theirs = next(entry for entry in found.entries if entry.name == "hf")
    assert theirs.failed == "needs transformers"
    assert found.ratio(theirs) is None
    assert run(Bench(), "naive").baseline is None


def test_a_round_that_is_disturbed_for_both_leaves_the_ratio_alone() -> None:
    found = run(Bench())
    for entry in found.entries:
        entry.token_ms[0] = [7 * ms for ms in entry.token_ms[0]]
    assert found.ratio(found.entries[0]) == 2.0


def test_bytes_a_second_stand_beside_the_best_that_the_memory_gave() -> None:
    speeds = iter([1e9, 2e9, 1.5e9, 1e9])
    look = FakeWorker(Bench(), "scout").ask({"do": "look"})
    found = run(Bench(look=lambda name: {**look, "bytes_per_second": next(speeds)}))
    assert found.bandwidth == 2e9
    assert found.entries[0].bytes_per_second == pytest.approx(4e6 / 0.020)
    assert found.share(found.entries[0]) == pytest.approx(0.1)


def test_a_text_that_differs_is_told_and_where_it_must_not_so_too() -> None:
    found = run(Bench())
    verdicts = {entry.name: row[-1] for entry, row in zip(found.entries, table_rows(found), strict=True)}
    assert verdicts["float32"] == verdicts["hf"] == "same"
    assert verdicts["int8"] == "other from token 3"
    found.entries[0].ids[1] = 7
    assert table_rows(found)[0][-1] == "other from token 1, and must not"
    assert run(Bench(), "hf").as_dict()["entries"][0]["same_text"] is None, "nothing to compare with"


def test_a_way_that_fails_later_is_a_row_with_its_reason_and_keeps_its_rounds() -> None:
    turns = iter([False, True])
    found = run(
        Bench(
            measure=lambda name: (
                raises(WorkerFailed("took too long")) if name == "naive" and next(turns) else None
            )
        )
    )
    naive = next(entry for entry in found.entries if entry.name == "naive")
    assert (naive.failed, len(naive.token_ms)) == ("took too long", 1)
    rows = table_rows(found)
    assert all(len(row) == len(HEAD) for row in rows)


@pytest.mark.parametrize("reason", ["", "decoding needs the native operators on cuda"])
def test_on_a_gpu_ours_is_measured_where_its_kernels_are(reason: str) -> None:
    look = FakeWorker(Bench(), "scout").ask({"do": "look"})
    ours = ("float32", "bfloat16", "int8")
    bench = Bench(
        look=lambda name: {**look, "device": "cuda", "name": "Some GPU"},
        prepare=lambda name: raises(Missing(reason)) if reason and name in ours else None,
    )
    found = run(bench)
    assert [entry.failed for entry in found.entries] == [
        *[reason] * 3,
        *[""] * 3,
        *["for a CPU only"] * 2,
    ]
    assert "Some GPU" in sentences(found)[0]
    assert found.setting.device == "cuda"


def test_a_device_that_is_not_here_is_a_missing_component() -> None:
    with pytest.raises(MissingComponentError, match="needs an NVIDIA GPU"):
        run(Bench(look=lambda name: raises(Missing("cuda needs an NVIDIA GPU"))))


def test_an_interruption_keeps_whole_rounds_and_without_one_is_passed_on() -> None:
    def interrupted_after(measurements: int) -> Bench:
        count = iter(range(100))
        return Bench(
            measure=lambda name: raises(KeyboardInterrupt()) if next(count) == measurements else None
        )

    found = run(interrupted_after(10))  # eight in a round
    assert [len(entry.token_ms) for entry in found.entries] == [2, 2, 1, 1, 1, 1, 1, 1]
    assert found.ratio(found.entries[0]) == 2.0
    assert not found.complete
    bench = interrupted_after(3)
    with pytest.raises(KeyboardInterrupt):
        run(bench)
    assert bench.closed == 9


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"prompt": 0}, "--prompt 0"),
        ({"tokens": 1}, "--tokens 1"),
        ({"prompt": 28}, "--prompt 28 and --tokens 5 are more than the context of tiny, 32"),
    ],
)
def test_lengths_that_cannot_be_measured_are_refused(changes: dict[str, int], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        dataclasses.replace(SETTING, **changes)


# ----------------------------------------------------------------------------------------------------------------
# For real, but tiny


def handle(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker replies, here in this process."""
    replies = io.StringIO()
    lines = io.StringIO("".join(json.dumps(request) + "\n" for request in requests))
    serve(lines, replies, decode_worker.DecodeWorker())
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def write(way: str, seed: int = 1) -> dict[str, Any]:
    prepare = {"do": "prepare", "way": way, "shape": dataclasses.asdict(SHAPE), "device": "cpu"}
    ready, measured = handle({**prepare, "prompt": 8, "seed": seed}, {"do": "measure", "tokens": 20})
    assert ready["event"] == "ready", ready
    return {**ready, **measured}


def test_all_exact_ways_really_write_the_same_text() -> None:
    pytest.importorskip("transformers", reason="the peer hf needs transformers")
    native = backend.report()[0].implementation == "native"
    without = set() if importlib.util.find_spec("ctranslate2") else {"ct2"}
    for seed in (1, 2):
        texts = {
            way.name: write(way.name, seed)["ids"]
            for way in WAYS
            if way.exact and (native or way.name != "float32") and way.name not in without
        }
        assert len(set(texts["plain"])) > 3, "a text of one token would show nothing"
        assert set(map(tuple, texts.values())) == {tuple(texts["plain"])}


def test_a_worker_times_every_token_and_counts_the_weights() -> None:
    reply = write("plain")
    assert (len(reply["ids"]), len(reply["token_ms"])) == (20, 19)
    assert min(reply["token_ms"]) > 0
    assert reply["prompt_ms"] > 0
    # two blocks of 12 C² + 13 C numbers, the last LayerNorm, the head
    assert reply["weight_bytes"] == 4 * (2 * (12 * 16 * 16 + 13 * 16) + 2 * 16 + 61 * 16)


def test_ctranslate2_is_given_the_same_weights_and_says_how_many_bytes_it_reads() -> None:
    pytest.importorskip("ctranslate2", reason="the peer ct2 needs ctranslate2")
    in_float32, in_int8 = write("ct2")["weight_bytes"], write("ct2-int8")["weight_bytes"]
    assert write("plain")["weight_bytes"] <= in_float32 < write("plain")["weight_bytes"] + 4096
    assert in_int8 < 0.7 * in_float32  # of a model this small, half is biases, scales and names


def test_a_peer_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    (reply,) = handle(
        {
            "do": "prepare",
            "way": "ct2",
            "shape": dataclasses.asdict(SHAPE),
            "device": "cpu",
            "prompt": 2,
            "seed": 1,
        }
    )
    assert (reply["event"], reply["kind"]) == ("failed", "missing")
    assert "pip install ctranslate2" in reply["message"]


def test_a_worker_says_what_it_lacks() -> None:
    with backend.using("reference"):
        (reply,) = handle(
            {
                "do": "prepare",
                "way": "int8",
                "shape": dataclasses.asdict(SHAPE),
                "device": "cpu",
                "prompt": 2,
                "seed": 1,
            }
        )
    assert (reply["event"], reply["kind"]) == ("failed", "missing")
    assert "native operators" in reply["message"]


def test_the_command_measures_in_processes_of_their_own() -> None:
    with processes(timeout_s=120) as launch:
        found = compare(select(["plain"]), SETTING, launch, Machine(), rounds=1)
    plain = found.entries[-1]
    assert plain.is_measured, plain.failed
    assert len(plain.ids) == SETTING.tokens


def bench_decode(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", "decode", *arguments])


@pytest.fixture
def fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gpt2x.bench.decode.compare.DecodeProcess",
        lambda environment, log, timeout_s: FakeWorker(Bench(), log.stem),
    )


@pytest.mark.usefixtures("fake_processes")
def test_the_command_shows_a_table_and_json_has_its_documented_shape() -> None:
    shown = bench_decode("--peer", "hf", "--peer", "plain")
    assert shown.exit_code == 0, shown.stderr
    assert "× is times the rate of: transformers' generate" in shown.stdout
    assert "gpt2x int8" in shown.stdout
    assert "round 5 of 5" in shown.stderr
    told = json.loads(bench_decode("--rounds", "2", "--model", "micro", "--json", "-q").stdout)
    assert set(told) == {
        "complete", "setting", "machine", "device", "bandwidth", "bandwidths", "baseline", "entries",
    }  # fmt: skip
    assert told["setting"]["model"] == "micro"
    entry = told["entries"][0]
    assert set(FIGURES) <= set(entry)
    assert (entry["tokens_per_second"], entry["prompt_tokens_per_second"]) == (50.0, 1600.0)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--model", "gpt3"], "unknown model 'gpt3'"),
        (["--peer", "vllm"], "--peer 'vllm'"),
        (["--prompt", "1020"], "--prompt 1020"),
        (["--device", "tpu"], "--device 'tpu'"),
        (["--timeout", "soon"], "--timeout 'soon'"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_bad_options_are_one_sentence(arguments: list[str], part: str) -> None:
    refused = bench_decode(*arguments)
    assert refused.exit_code == 2
    assert part in refused.stderr


def test_help_names_the_peers_and_gives_examples() -> None:
    text = bench_decode("--help").stdout
    assert "plain, naive, hf" in text
    assert "gpt2x bench decode --peer hf" in text
