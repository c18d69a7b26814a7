"""Two results side by side, and the gate that fails on a slower one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpt2x.bench import records
from gpt2x.bench.ladder.loss_check import DIFFERS
from gpt2x.bench.ladder.report import compare
from gpt2x.bench.ladder.results import Results
from gpt2x.cli.app import app
from gpt2x.errors import Gpt2xError, UsageError

from . import made


def two(slower_ms: float = 60.0) -> tuple[Results, Results]:
    """B has everything of A but the last rung, and bf16 at another speed."""
    a = made.results(made.row("start", 100.0), made.row("bf16", 50.0), made.row("flash", 25.0))
    b = made.results(made.row("start", 100.0), made.row("bf16", slower_ms), made.row("compile", 10.0))
    return a, b


def test_rungs_that_both_have_are_compared() -> None:
    start, bf16 = compare.compare(*two())
    assert (start.key, start.a, start.b, start.ratio) == ("start", 160.0, 160.0, 1.0)
    assert bf16.ratio == pytest.approx(50 / 60)
    assert (bf16.a_memory_bytes, bf16.a_loss, bf16.b_loss) == (500_000_000, 3.9, 3.9)


@pytest.mark.parametrize(
    ("ms", "within_noise"), [(50.0, True), (50.5, True), (51.5, False), (60.0, False), (40.0, False)]
)
def test_a_ratio_whose_middle_halves_overlap_is_within_noise(ms: float, within_noise: bool) -> None:
    """The middle half of 50 ms is 49.6 to 50.4, that of 50.5 ms is 50.1 to 50.9, that of 51.5 ms 51.1 to 51.9."""
    compared = compare.compare(*two(ms))
    assert compared[1].within_noise is within_noise
    assert ("within noise" in compare.table(compared[1:], 120)) is within_noise
    without, noise = compare.notes(compared)
    assert without.startswith("too few rounds for an interval: all rungs")
    assert noise.startswith(f"within noise ({1 + within_noise} of 2 rungs)")


def test_where_there_are_rounds_the_ratio_has_an_interval_also_beside_an_older_file() -> None:
    """Older files have their rounds as lists; both medians are resampled, each from its own run."""

    def run(*ms: float) -> Results:
        rounds = {"samples_ms": [[value] for value in ms], "rounds": list(range(1, len(ms) + 1))}
        return made.results(made.row("start", 1.0, **rounds))

    slow, fast = run(100, 101, 102, 99, 100, 101), run(80, 82, 81, 79, 80)
    (entry,) = compare.compare(slow, fast)
    assert entry.ratio == pytest.approx(100.5 / 80, rel=1e-3)
    assert entry.low is not None
    assert entry.high is not None
    assert 1.2 < entry.low < entry.ratio < entry.high < 1.3
    assert (entry.verdict, entry.within_noise, entry.rounds) == ("faster", False, 5)
    (same,) = compare.compare(slow, run(101, 100, 99, 102, 100))
    assert (same.verdict, same.within_noise) == ("cannot tell", True)
    assert "≈ 1" in compare.table([same])
    assert "resampled" in compare.notes([same])[0]


def test_a_rung_that_one_side_could_not_run_has_no_ratio() -> None:
    a = made.results(made.row("start", 1.0), made.row("bf16", 1.0), made.without_figures("tf32", "no GPU"))
    b = made.results(
        made.row("start", 1.0),
        made.without_figures("bf16", "no bfloat16 here"),
        made.without_figures("tf32", "no GPU"),
    )
    _, bf16, tf32 = compare.compare(a, b)
    assert (bf16.b, bf16.ratio, bf16.within_noise, bf16.reason) == (None, None, None, "B: no bfloat16 here")
    assert tf32.reason == "no GPU", "said once where both have it"
    assert compare.table([tf32], 120).splitlines()[-1].split() == ["TF32", "–", "no", "GPU", "–", "–"]


def test_losses_of_different_texts_are_not_compared() -> None:
    a, b = two()
    b.text = "another text"
    assert compare.compare(a, b)[0].a_loss is None
    assert any("cannot be compared" in line for line in compare.differences(a, b))


def test_the_losses_are_those_after_as_many_steps_as_all_have_made() -> None:
    a, b = two()
    b.rows[2].losses = [4.1, 4.0]
    assert [entry.a_loss for entry in compare.compare(a, b)] == [4.0, 4.0]


def test_what_else_differs_is_said() -> None:
    a, b = two()
    assert compare.differences(a, a) == []
    b.setting = dataclasses.replace(b.setting, batch=16)
    b.machine = dataclasses.replace(b.machine, cpu="another CPU", versions={"gpt2x": "0", "torch": "9"})
    b.rows[0].others = [0.5]
    settings, machines, versions, busy, a_lacks, b_lacks = compare.differences(a, b)
    assert "tiny 16 × 8" in settings
    assert "another CPU" in machines
    assert versions == "the versions differ: torch 2 and 9"
    assert busy == "in B other programs kept 50% of the cores busy"
    assert (a_lacks, b_lacks) == ("A has no torch.compile", "B has no flash attention")


def test_machines_stand_side_by_side() -> None:
    a, b = two()
    b.machine = dataclasses.replace(
        b.machine, cpu="another CPU", peak_flops={"float32": 1e9, "bfloat16": 2e12}
    )
    facts = {fact.name: (fact.a, fact.b) for fact in compare.facts(a, b)}
    assert facts["machine"] == ("a CPU, 2 cores", "another CPU, 2 cores")
    assert facts["bfloat16"] == ("", "2.0 TFLOP/s")
    assert facts["the top"] == ("flash attention", "torch.compile")
    assert facts["its tokens/s"] == ("640", "1,600")
    machine = next(line for line in compare.facts_table(a, b).splitlines() if line.startswith("machine"))
    assert machine.split()[1] == "≠"
    assert max(map(len, compare.facts_table(a, b, 60).splitlines())) <= 60


def test_results_without_a_top_can_be_compared_too() -> None:
    nothing = made.results(made.without_figures("bf16", "no reason"))
    assert "no reason" in compare.table(compare.compare(nothing, nothing))
    assert compare.facts(nothing, nothing)


# ----------------------------------------------------------------------------------------------------------------
# The gate


def test_the_gate_names_the_rungs_that_are_slower() -> None:
    with pytest.raises(Gpt2xError, match=r"below 0\.95 × A: bf16 autocast 0\.83 ×$"):
        compare.fail_below(*two(), 0.95)
    compare.fail_below(*two(), 0.8)
    compare.fail_below(*two(40.0), 1.0)


def test_the_gate_says_when_the_difference_may_be_noise() -> None:
    with pytest.raises(Gpt2xError, match=r"bf16 autocast 0\.99 × \(within noise\)"):
        compare.fail_below(*two(50.5), 0.999)


def test_the_gate_does_not_pass_a_rung_that_can_no_longer_run() -> None:
    a, b = two(50.0)
    b.rows[1] = made.without_figures("bf16", "it crashed", records.FAILED)
    with pytest.raises(Gpt2xError, match="bf16 autocast not measured in B"):
        compare.fail_below(a, b, 0.95)


def test_the_gate_does_not_pass_what_it_cannot_judge() -> None:
    with pytest.raises(Gpt2xError, match="nothing to judge"):
        compare.fail_below(made.results(made.row("start", 1.0)), made.results(), 0.95)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_can_never_work_is_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match="--fail-below"):
        compare.check_threshold(ratio)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, result in zip(("a", "b"), two(), strict=True):
        records.save(result, tmp_path / name / "results.json")
    return [str(tmp_path / "a"), str(tmp_path / "b" / "results.json")]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", "compare", *arguments])


def test_the_exit_code_tells_whether_b_is_slower(files: list[str]) -> None:
    assert run(*files).exit_code == 0
    assert run(*files, "--fail-below", "0.8").exit_code == 0
    failed = run(*files, "--fail-below", "0.95")
    assert failed.exit_code == 1
    assert "bf16 autocast 0.83 ×" in failed.stderr
    assert "B ÷ A" in failed.stdout, "the tables are shown all the same"
    assert run(*files, "--fail-below", "nan").exit_code == 2


def test_json_is_whole_also_when_the_gate_fails(files: list[str]) -> None:
    failed = run(*files, "--fail-below", "0.95", "--json")
    assert failed.exit_code == 1
    compared = json.loads(failed.stdout)
    assert set(compared) == {"a", "b", "differences", "facts", "rungs"}
    assert compared["rungs"][1]["within_noise"] is False
    assert compared["rungs"][1]["ratio"] == pytest.approx(50 / 60)


def test_the_gate_does_not_pass_rungs_that_an_interrupted_run_did_not_reach() -> None:
    a, b = two(50.0)
    compare.fail_below(a, b, 0.95)  # B has other rungs by choice
    b.complete = False
    assert "B was interrupted" in compare.differences(a, b)
    with pytest.raises(Gpt2xError, match="flash attention not reached in B"):
        compare.fail_below(a, b, 0.95)


def test_the_gate_does_not_pass_a_rung_that_gets_its_loss_wrong() -> None:
    a, b = two(50.0)
    b.rows[1].loss = made.check(DIFFERS, "off by 5 nats")
    assert "loss is off" in compare.table(compare.compare(a, b), 120)
    with pytest.raises(Gpt2xError, match=r"below 0\.95 × A: bf16 autocast: loss is off in B$"):
        compare.fail_below(a, b, 0.95)
    a.rows[1].loss = b.rows[1].loss
    compare.fail_below(a, b, 0.95)


def test_rungs_that_stand_on_other_steps_are_named() -> None:
    a, b = two(50.0)
    b.rows[1].config = {**b.rows[1].config, "world_size": 2, "device": "cuda"}
    assert "not the same step in A and B (world_size): bf16 autocast" in compare.differences(a, b)


def test_processors_of_one_name_and_two_kinds_are_two_machines_and_the_reason_for_a_cpu_is_no_setting() -> (
    None
):
    a, b = two()
    b.rows = a.rows
    b.setting = dataclasses.replace(b.setting, device_reason="--device cpu was asked for")
    b.machine = dataclasses.replace(b.machine, cpu_family=25, cpu_model=17)
    assert compare.differences(a, b) == [], "an older file does not say which kind it was"
    a.machine = dataclasses.replace(a.machine, cpu_family=26, cpu_model=2)
    assert "family 25" in compare.differences(a, b)[0]
