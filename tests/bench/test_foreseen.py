"""What can be told of a machine at once: input that cannot work there is refused before anything is measured."""

from __future__ import annotations

import pytest

from gpt2x.bench import energy, machine
from gpt2x.bench.ladder.sizing import foresee
from gpt2x.errors import MissingComponentError, UsageError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_torch_has_cuda", lambda: True)
    monkeypatch.setattr(energy, "count_gpus", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_foreseen_where_the_driver_knows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.foreseen("auto").gpus
    assert machine.foreseen("cuda", "1").gpus
    assert not machine.foreseen("cpu").gpus
    with pytest.raises(
        MissingComponentError, match=r"cuda:2 is not here: the GPUs are 0 to 1; choose another"
    ):
        machine.foreseen("cuda", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not machine.foreseen("auto").gpus


@pytest.mark.usefixtures("two_gpus")
def test_a_driver_that_does_not_tell_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "count_gpus", lambda: None)
    assert machine.foreseen("cuda", "7").gpus


def test_a_torch_without_cuda_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_torch_has_cuda", lambda: False)
    with pytest.raises(MissingComponentError, match="torch finds no GPU"):
        machine.foreseen("cuda", "9" * 1000)


@pytest.mark.usefixtures("two_gpus")
def test_what_depends_on_the_memory_of_the_gpu_is_judged_later() -> None:
    assert (
        foresee("auto", None, total_batch=4096).device == "cuda"
    )  # right for a batch of 4, which a small GPU gets
    with pytest.raises(UsageError, match="no multiple of batch"):
        foresee("auto", None, batch=8, total_batch=4096)
    with pytest.raises(UsageError, match="1024 positions"):
        foresee("auto", None, seq=2048)
