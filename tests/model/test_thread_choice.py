"""gpt2x.model.thread_choice on a clock that the calls themselves move: no measurement here can be noisy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch

from gpt2x.model.thread_choice import LONGEST_WAIT, TRIAL_CALLS, ThreadChoice

MS = 0.001
T = TypeVar("T")


class Machine:
    """A clock, and calls that take as long as the number of threads says; it writes down that number."""

    def __init__(self, one_ms: float, all_ms: float) -> None:
        self.ms = {1: one_ms, 3: all_ms}
        self.now = 0.0
        self.ran: list[int] = []

    def clock(self) -> float:
        return self.now

    def call(self) -> int:
        threads = torch.get_num_threads()
        self.ran.append(threads)
        self.now += self.ms[threads] * MS
        return threads


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def run(machine: Machine, choice: ThreadChoice, until: float) -> list[int]:
    """The numbers of threads of the calls until that second."""
    first = len(machine.ran)
    while machine.now < until:
        choice.run(machine.call)
    return machine.ran[first:]


def share_of_time(machine: Machine, ran: list[int], threads: int) -> float:
    times = [machine.ms[number] for number in ran]
    return sum(ms for ms, number in zip(times, ran, strict=True) if number == threads) / sum(times)


def test_it_begins_with_one_thread_then_tries_all() -> None:
    machine = Machine(one_ms=2, all_ms=1)
    choice = ThreadChoice(machine.clock)
    for _ in range(2 * TRIAL_CALLS):
        choice.run(machine.call)
    assert machine.ran == [1] * TRIAL_CALLS + [3] * TRIAL_CALLS
    assert not choice.single


@pytest.mark.parametrize(("one_ms", "all_ms", "best"), [(2, 1, 3), (2, 40, 1), (2, 2000, 1)])
def test_the_faster_number_gets_nearly_all_the_time(one_ms: float, all_ms: float, best: int) -> None:
    machine = Machine(one_ms, all_ms)
    choice = ThreadChoice(machine.clock)
    run(machine, choice, 5.0)
    ran = run(machine, choice, 60.0)
    assert ran.count(best) / len(ran) > 0.99
    assert share_of_time(machine, ran, best) > (0.9 if all_ms < 1000 else 0.7)


def test_a_neighbour_that_comes_and_goes_is_noticed() -> None:
    machine = Machine(one_ms=2, all_ms=1)
    choice = ThreadChoice(machine.clock)
    run(machine, choice, 2.0)
    assert not choice.single
    machine.ms = {1: 3, 3: 30}  # it comes: at the next call that is slower, one thread is tried
    ran = run(machine, choice, machine.now + 0.2)
    assert ran.count(3) < 8
    assert choice.single
    machine.ms = {1: 2, 3: 1}  # it goes: found at the next trial
    run(machine, choice, machine.now + LONGEST_WAIT + 1)
    assert not choice.single


def test_trials_come_rarer_while_nothing_changes() -> None:
    machine = Machine(one_ms=2, all_ms=4)
    choice = ThreadChoice(machine.clock)
    early = run(machine, choice, 3.0).count(3)
    run(machine, choice, 30.0)
    late = run(machine, choice, 33.0).count(3)
    assert early >= 3 * TRIAL_CALLS > TRIAL_CALLS >= late


def test_both_slower_settles_on_the_less_slow() -> None:
    machine = Machine(one_ms=2, all_ms=1)
    choice = ThreadChoice(machine.clock)
    run(machine, choice, 1.0)
    machine.ms = {1: 8, 3: 5}
    ran = run(machine, choice, 20.0)
    assert share_of_time(machine, ran[20:], 3) > 0.9


def test_one_thread_is_left_alone() -> None:
    torch.set_num_threads(1)
    choice = ThreadChoice(lambda: pytest.fail("measured, where there is nothing to choose"))
    assert choice.run(torch.get_num_threads) == 1


def in_a_new_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_a_thread_that_starts_during_a_token_on_one_thread_has_all_of_them_for_its_own() -> None:
    choice = ThreadChoice()
    started = ThreadPoolExecutor(1)
    assert choice.run(lambda: started.submit(torch.get_num_threads).result()) == 1  # as torch has it
    choice.single = False
    assert started.submit(lambda: choice.run(torch.get_num_threads)).result() == 3
    assert in_a_new_thread(torch.get_num_threads) == torch.get_num_threads() == 3
    started.shutdown()


def test_a_thread_that_asks_for_one_thread_later_keeps_it() -> None:
    choice = ThreadChoice()
    choice.single = False

    def ask() -> list[int]:
        before = choice.run(torch.get_num_threads)
        torch.set_num_threads(1)
        return [before, choice.run(torch.get_num_threads)]

    assert ask() == [3, 1]
    torch.set_num_threads(3)
    assert in_a_new_thread(ask) == [3, 1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_threads_are_as_before_after_an_error(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    choice = ThreadChoice()
    assert choice.single
    with pytest.raises(error):
        choice.run(fail)
    assert torch.get_num_threads() == 3


def test_a_model_writes_the_same_tokens_whatever_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt2x.generate import Engine, SamplingConfig
    from gpt2x.model import GPT, GPTConfig
    from gpt2x.ops import backend

    if not backend.serves("cpu", torch.float32):
        pytest.skip("without the native operators nothing chooses")
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=192, vocab_size=500, block_size=64)).eval()

    def write(pick: Callable[[int], bool]) -> list[int]:
        engine, calls = Engine(model, weights="int8"), iter(range(1000))

        def learn(self: ThreadChoice, seconds: float, now: float) -> None:
            self.single = pick(next(calls))

        monkeypatch.setattr(ThreadChoice, "_learn", learn)
        return list(
            engine.generate([1, 2, 3], max_new_tokens=40, sampling=SamplingConfig(temperature=0.9), seed=4)
        )

    assert write(lambda n: True) == write(lambda n: False) == write(lambda n: n % 3 == 0)
