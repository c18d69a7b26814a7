"""One thread or all of them for the next token: whichever has been faster lately on this machine.

A token of a small model is some dozens of products that take microseconds each, and after each of them all threads wait
for the last one. On an idle machine two threads are faster than one. Beside programs that keep the cores busy, a
suspended thread keeps the others waiting for a whole time slice, milliseconds long, at product after product: two
threads have been seen seven to thirty times slower there than one. That cannot be known in advance, so it is measured.
What is computed is the same either way: the operators of a token give the same bits for any number of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_THIS_THREAD = threading.local()  # `.seen`: its number of threads has been looked at, and is what it shall be

TRIAL_CALLS = 4
"""How many calls show how fast the other number of threads is."""

MUCH_SLOWER = 2.0
"""A trial ends early when it has taken so many times what its calls should take."""

MEMORY = 8
"""How many of the latest calls a running mean is about."""

FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds between two trials; the wait doubles each time that a trial changed nothing."""


class ThreadChoice:
    """Runs calls of about equal length on one thread or on all of torch's, and keeps to the faster.

    It begins with a few calls on one thread and a few on all. It tries the other number again from time to time, and at
    once when calls have become slower than the other number's were. After each call torch's own number of threads is
    what it was.

    torch's number of threads is that of the calling thread, and what a thread has at its first call of torch. One that
    makes that call while a token of another is computed on one thread keeps 1 for good. Here that is found when such a
    thread first calls `run`: it gets as many threads as there were when this was made. A thread that shall have fewer
    asks torch for them after its first `run`; threads that never call `run` stay as torch has left them.

    Args:
        clock: seconds that go forward.

    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._num_threads = torch.get_num_threads()
        _THIS_THREAD.seen = True
        self._pace, self._other = _Pace(), _Pace()  # of what runs now, and of the other number of threads
        self.single = True
        """Whether the next call runs on one thread."""
        self._trial_left, self._trial_budget = TRIAL_CALLS, float("inf")  # calls, seconds
        self._wait, self._next_trial = FIRST_WAIT, 0.0

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns. Where torch has one thread only, nothing is measured."""
        threads = self._threads_here()
        if threads == 1:
            return call()
        single, start = self.single, self._clock()
        if single:
            torch.set_num_threads(1)
        try:
            result = call()
        finally:
            if single:
                torch.set_num_threads(threads)
        end = self._clock()
        self._learn(end - start, end)
        return result

    def _threads_here(self) -> int:
        """How many threads torch has in this thread, once it is not those of another thread's token."""
        threads = torch.get_num_threads()
        if not hasattr(_THIS_THREAD, "seen"):
            _THIS_THREAD.seen = True
            if threads < self._num_threads:
                threads = self._num_threads
                torch.set_num_threads(threads)
        return threads

    def _learn(self, seconds: float, now: float) -> None:
        self._pace.add(seconds)
        if self._trial_left:
            self._trial_left -= 1
            self._trial_budget -= seconds
            if not self._trial_left or self._trial_budget <= 0:
                self._end_trial(now)
        elif now >= self._next_trial or self._pace.mean > self._other.mean:
            self._begin_trial()

    def _begin_trial(self) -> None:
        """Change to the other number of threads for a few calls."""
        self._change()
        self._pace = _Pace()  # what it was some time ago does not count
        self._trial_left, self._trial_budget = TRIAL_CALLS, MUCH_SLOWER * TRIAL_CALLS * self._other.mean

    def _end_trial(self, now: float) -> None:
        """Stay with what was tried if it was the faster, else go back and wait for longer."""
        self._trial_left = 0
        if not self._other.calls:  # one thread's first calls: now those of all
            self._begin_trial()
            return
        stays = self._pace.mean <= self._other.mean
        if not stays:
            self._change()
        self._wait = FIRST_WAIT if stays else min(2 * self._wait, LONGEST_WAIT)
        self._next_trial = now + self._wait

    def _change(self) -> None:
        self.single = not self.single
        self._pace, self._other = self._other, self._pace


class _Pace:
    """How long a call takes: the mean of the first `MEMORY` calls, then a running one in which older calls fade."""

    def __init__(self) -> None:
        self.mean = 0.0  # seconds
        self.calls = 0

    def add(self, seconds: float) -> None:
        self.calls += 1
        self.mean += (seconds - self.mean) / min(self.calls, MEMORY)
