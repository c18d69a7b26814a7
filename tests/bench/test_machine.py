"""What is recorded of a machine, and that its peak is what it sustains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpt2x.bench import machine
from gpt2x.bench.machine import Machine
from gpt2x.model.peak import sustained_call

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512_bf16

processor\t: 1
cpu family\t: 99
"""


def read(tmp_path: Path, text: str) -> machine._Cpu:
    (tmp_path / "cpuinfo").write_text(text)
    return machine._cpu(tmp_path / "cpuinfo")


def test_the_family_and_model_numbers_of_the_first_processor_are_read(tmp_path: Path) -> None:
    cpu = read(tmp_path, CPUINFO)
    assert (cpu.name, cpu.family, cpu.model) == ("AMD EPYC", 26, 2)
    assert "avx512_bf16" in cpu.flags


@pytest.mark.parametrize("text", ["", "Features: asimd bf16\n", "model: unknown\ncpu family: ?\n"])
def test_where_the_system_does_not_say_there_are_no_numbers(text: str, tmp_path: Path) -> None:
    cpu = read(tmp_path, text)
    assert (cpu.family, cpu.model) == (None, None)
    assert read(tmp_path, "Features: asimd bf16\n").flags == {"asimd", "bf16"}


def test_the_numbers_stand_beside_the_name_where_they_are_known() -> None:
    known = Machine(cpu="AMD EPYC", cpu_family=26, cpu_model=2, cores=2)
    assert known.describe("cpu") == "AMD EPYC (family 26, model 2), 2 cores"
    assert dataclasses.replace(known, cpu_family=None).describe("cpu") == "AMD EPYC, 2 cores"


def test_a_result_without_the_numbers_is_read_as_before() -> None:
    known = Machine(cpu="AMD EPYC", cpu_family=26, cpu_model=2)
    assert Machine.from_dict(known.as_dict()) == known
    older = {key: value for key, value in known.as_dict().items() if key not in ("cpu_family", "cpu_model")}
    assert Machine.from_dict(older) == dataclasses.replace(known, cpu_family=None, cpu_model=None)


class Timed:
    """A call that takes the next of these times, in seconds, then the last one for ever."""

    def __init__(self, *times_s: float) -> None:
        self.times_s, self.now, self.calls = times_s, 0.0, 0

    def __call__(self) -> None:
        self.now += self.times_s[min(self.calls, len(self.times_s) - 1)]
        self.calls += 1


def sustained(call: Timed, seconds: float, tries: int = 2) -> float:
    return sustained_call(call, seconds, tries=tries, clock=lambda: call.now)


def test_a_steady_call_takes_as_long_as_it_takes_and_the_first_one_is_warm_up() -> None:
    call = Timed(100.0, 0.5)
    assert sustained(call, 2.0) == 0.5
    assert call.calls == 1 + 2 * 2


def test_one_lucky_call_makes_no_peak() -> None:
    assert sustained(Timed(1.0, 1.0, 0.01, 1.0), 20.0) > 0.85


def test_a_window_that_others_disturbed_is_not_the_peak() -> None:
    disturbed = Timed(1.0, *[9.0] * 3, 1.0)
    assert sustained(disturbed, 40.0) == 1.0


def test_a_window_has_at_least_two_calls_however_long_they_take() -> None:
    call = Timed(1.0, 3.0, 1.0)
    assert sustained(call, 0.0, tries=1) == 2.0


def test_what_is_only_launched_is_waited_for() -> None:
    call, waits = Timed(1.0), []
    sustained_call(call, 2.0, tries=1, wait=lambda: waits.append(call.calls), clock=lambda: call.now)
    assert waits == [1, 2, 3]
