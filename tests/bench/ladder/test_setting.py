"""What the ladder learns from, how large it is by default, and the two side tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gpt2x.bench import text
from gpt2x.bench.ladder.config import MODELS, naive_step_bytes
from gpt2x.bench.ladder.sizing import like_playground, make_setting, parse_device
from gpt2x.bench.machine import Machine
from gpt2x.errors import InputDataError, MissingComponentError, UsageError


@pytest.fixture
def no_gpt2(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(path: object = None, *, download: bool = True) -> None:
        assert not download, "a benchmark downloads nothing"
        raise MissingComponentError("not here")

    monkeypatch.setattr("gpt2x.tokenizer.registry.find", find)


@pytest.mark.usefixtures("no_gpt2")
def test_without_gpt2s_vocabulary_one_is_learned_and_its_ids_fit_the_model(tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text("the rain in Spain stays mainly in the plain\n" * 50)
    ids, said = text.token_stream(file, 300)
    assert ids.max() < 300
    assert len(ids) > 100
    assert said.startswith("book.txt: ")
    assert "learned from it" in said


@pytest.mark.usefixtures("no_gpt2")
def test_the_packaged_songs_are_learned_from_by_default() -> None:
    ids, said = text.token_stream(None, 50257)
    assert len(ids) > 10_000
    assert ids.max() < text.OWN_VOCABULARY
    assert said.startswith("the packaged songs: ")


@pytest.mark.usefixtures("no_gpt2")
def test_the_token_stream_is_the_same_every_time() -> None:
    first, again = text.token_stream(None, 50257)[0], text.token_stream(None, 50257)[0]
    assert (first == again).all()


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(InputDataError, match="empty"):
        text.token_stream(tmp_path / "empty.txt", 50257)


def test_a_cpu_gets_a_small_model_with_gpt2s_vocabulary(laptop: Machine) -> None:
    setting = make_setting(laptop)
    assert (setting.model, setting.device, setting.shape.vocab_size) == ("small", "cpu", 50257)
    assert setting.micro_batches == 4
    assert setting.device_reason == "no CUDA GPU here"


def test_a_gpu_gets_the_setting_of_the_seed(workstation: Machine) -> None:
    setting = make_setting(workstation)
    assert (setting.model, setting.batch, setting.seq, setting.device) == ("gpt2", 8, 1024, "cuda")
    assert setting.batch * setting.seq * setting.micro_batches == 524_288
    assert setting.ranks == 2


def test_like_the_seed_is_its_setting_on_any_machine(laptop: Machine) -> None:
    model, batch, seq, total_batch = like_playground(None, None, None, None)
    roomy = replace(laptop, memory_bytes=64_000_000_000)
    setting = make_setting(roomy, model=model, batch=batch, seq=seq, total_batch=total_batch)
    assert (setting.model, setting.batch, setting.seq, setting.micro_batches) == ("gpt2", 8, 1024, 64)
    with pytest.raises(UsageError, match="--like-playground and --batch 4 exclude one another"):
        like_playground(None, 4, None, None)


def test_a_machine_with_less_memory_gets_a_smaller_batch(workstation: Machine) -> None:
    import dataclasses

    assert make_setting(dataclasses.replace(workstation, memory_bytes=16_000_000_000)).batch == 4


def test_a_gpu_step_that_only_the_naive_one_has_no_memory_for_is_tried_without_it(
    workstation: Machine,
) -> None:
    with pytest.raises(UsageError, match="needs about 158 GB and there are 32 GB"):
        make_setting(workstation, batch=64, seq=1024)
    assert make_setting(workstation, batch=64, seq=1024, naive=False).batch == 64
    with pytest.raises(UsageError, match="GB"):  # a CPU has no clean end of its memory
        make_setting(workstation, device="cpu", model="gpt2", batch=64, seq=1024, naive=False)


def test_the_memory_of_a_step_is_planned_as_it_was_measured() -> None:
    """The naive step of the small model, 4 × 128, had a peak of 1.0 GB on Linux."""
    assert naive_step_bytes(MODELS["small"], 4, 128) == pytest.approx(1.0e9, rel=0.1)


def test_the_cpu_can_be_asked_for_beside_a_gpu(workstation: Machine) -> None:
    setting = make_setting(workstation, device="cpu")
    assert (setting.device, setting.device_reason) == ("cpu", "--device cpu was asked for")


def test_a_gpu_that_is_not_here_is_missing(laptop: Machine) -> None:
    with pytest.raises(MissingComponentError, match="--device cuda needs an NVIDIA GPU"):
        make_setting(laptop, device="cuda")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "gtp2"}, "unknown model 'gtp2'; did you mean 'gpt2'"),
        ({"model": "gpt2", "seq": 2048}, "--seq 2048 is more than the 1024 positions"),
        ({"model": "gpt2-xl"}, "gpt2-xl with batch × seq = 4 × 64 needs about 28 GB and there are 16 GB"),
        ({"model": "micro", "batch": 4096}, "there are 16 GB; choose a smaller --model, --batch or --seq"),
        ({"batch": 3, "seq": 100, "total_batch": 1000}, "no multiple of batch × seq = 3 × 100 = 300"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    asked: dict[str, object], message: str, laptop: Machine
) -> None:
    with pytest.raises(UsageError) as error:
        make_setting(laptop, **asked)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["tpu", "cpu:1", "cuda:", "cuda:x", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is unknown"):
        parse_device(name)
