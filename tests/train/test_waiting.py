"""How threads wait: shortly spinning, then asleep, unless the environment has a policy."""

from __future__ import annotations

import os

import pytest

from gpt2x.train.waiting import SPINS, let_waiting_threads_sleep


def test_threads_spin_shortly_and_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    let_waiting_threads_sleep()
    assert os.environ == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "PASSIVE"}], ids=str)
def test_a_policy_of_ones_own_stays_alone(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    let_waiting_threads_sleep()
    assert os.environ == given


def test_a_count_of_ones_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"GOMP_SPINCOUNT": "1"})
    let_waiting_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "1"
