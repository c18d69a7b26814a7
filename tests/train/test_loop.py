"""Training: what is learned, and that an interrupted run ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import InputDataError, OutputError, UsageError
from gpt2x.model import load_folder, tensor_file
from gpt2x.model.runs import weights_of
from gpt2x.train.checkpoint import RunFolder, saved_settings
from gpt2x.train.config import TrainConfig
from gpt2x.train.loop import Result
from gpt2x.train.step import StepResult, TrainingStep
from tests.train.conftest import run

Tiny = Callable[..., TrainConfig]


def trained(config: TrainConfig, **how: Any) -> Result:
    result = run(config, **how)
    assert result is not None
    return result


def weights(folder: str | Path | None) -> dict[str, torch.Tensor]:
    """The last weights of a run."""
    assert folder is not None
    return dict(load_folder(weights_of(Path(folder), "last"))[0].named_parameters())


def assert_equal_weights(one: str | None, other: str | None) -> None:
    for (name, p), q in zip(weights(one).items(), weights(other).values(), strict=True):
        assert torch.equal(p, q), f"{name} differs by up to {(p - q).abs().max():.3g}"


def metrics(folder: str | None) -> list[dict[str, float]]:
    """What was logged, without what depends on the clock."""
    assert folder is not None
    text = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8")
    timed = ("step_ms", "tokens_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in text.splitlines()]


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C while that step is computed."""
    original, count = TrainingStep.__call__, 0

    def call(training: TrainingStep, *arguments: Any, **named: Any) -> StepResult:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(training, *arguments, **named)

    monkeypatch.setattr(TrainingStep, "__call__", call)


@contextlib.contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """What trains in here is interrupted by Ctrl-C in that step."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(step, patch)
        yield


def test_the_loss_falls_and_the_run_folder_is_a_hugging_face_folder(tiny: Tiny) -> None:
    result = trained(tiny(steps=60))
    losses = [line["loss"] for line in metrics(str(result.run))]
    assert losses[0] > 5
    assert result.loss < losses[0] - 1.5
    assert result.validation_loss < losses[0] - 1.5
    model, tokenizer = load_folder(result.run)
    assert tokenizer is not None
    assert model.config.vocab_size == tokenizer.n_vocab == 290
    about = json.loads((result.run / "config.json").read_text(encoding="utf-8"))["gpt2x"]
    assert (about["step"], about["last_step"], about["steps"]) == (result.best_step, 60, 60)
    assert about["finished"]
    assert result.tokens == 60 * 64
    assert result.tokens_per_second == pytest.approx(result.tokens / result.seconds)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "dropout": 0.2,
            "total_batch_tokens": 128,
            "optimizer": "gpt2x",
            "fused_ops": True,
            "dtype": "bfloat16",
            "reset_attention": True,
        },
    ],
    ids=["plain", "everything on"],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    tiny: Tiny, changes: dict[str, Any]
) -> None:
    whole, broken = tiny("whole", **changes), tiny("broken", **changes)
    trained(whole)
    with interrupted_at(5):
        run(broken)
    trained(broken)
    assert_equal_weights(whole.out, broken.out)
    assert metrics(whole.out) == metrics(broken.out)


def test_ctrl_c_saves_a_checkpoint_at_the_end_of_the_step(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny()
    interrupt_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert config.out is not None
    assert [path.name for path in (Path(config.out) / "trainer").glob("step-*")] == ["step-00000003"]
    assert "the same command goes on from there" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, (
        "the handler must not outlive the run"
    )


def test_another_micro_batch_gives_the_same_losses(tiny: Tiny) -> None:
    for name, size in (("one", 4), ("four", 1)):
        trained(tiny(name, batch_size=size))
    one, four = (metrics(tiny(name).out) for name in ("one", "four"))
    for a, b in zip(one, four, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["epoch"] == b["epoch"]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tiny: Tiny) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(tiny(name, seed=seed, steps=3))
    assert_equal_weights(tiny("a").out, tiny("b").out)
    with pytest.raises(AssertionError):
        assert_equal_weights(tiny("a").out, tiny("c").out)


def test_a_finished_run_is_not_trained_again(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    first = trained(tiny(steps=3))
    again = trained(tiny(steps=3))
    assert "is finished" in capsys.readouterr().err
    assert (again.loss, again.validation_loss) == (first.loss, first.validation_loss)


def test_a_run_with_other_settings_is_refused_unless_told_to_overwrite(tiny: Tiny) -> None:
    trained(tiny(steps=3))
    with pytest.raises(
        UsageError, match=r"holds a run with lr = 0.01, not 0.02; give another --out, or --overwrite"
    ):
        run(tiny(steps=3, lr=0.02))
    assert trained(tiny(steps=3, lr=0.02), overwrite=True).steps == 3


def test_a_run_with_other_data_is_refused(tiny: Tiny, songs: Path) -> None:
    trained(tiny(steps=3))
    songs.write_text(songs.read_text(encoding="utf-8") + "B,New,/n,la la la\n", encoding="utf-8")
    with pytest.raises(UsageError, match="another content of the data"):
        run(tiny(steps=3))


def test_a_folder_with_other_files_is_never_written_into(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_text("precious", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds files that are not of a gpt2x run"):
            run(tiny(), overwrite=overwrite)
    assert (tmp_path / "run" / "model.safetensors").read_text(encoding="utf-8") == "precious"


def test_to_resume_there_must_be_a_run(tiny: Tiny) -> None:
    with pytest.raises(UsageError, match="there is no run to resume"):
        run(tiny(), resume=True)


def test_old_checkpoints_are_removed(tiny: Tiny) -> None:
    config = tiny(save_every=2, keep=2)
    trained(config)
    assert config.out is not None
    kept = sorted(path.name for path in (Path(config.out) / "trainer").glob("step-*"))
    assert kept == ["step-00000010", "step-00000012"]
    assert not list(Path(config.out).rglob("*.partial"))
    assert not list(Path(config.out).rglob("*.bin")) + list(Path(config.out).rglob("*.pt")), (
        "nothing is pickled"
    )


@pytest.mark.parametrize("damage", ["cut", "changed", "no state"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_taken(
    tiny: Tiny, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(save_every=4)
    whole = trained(config)
    expected = {name: tensor.clone() for name, tensor in weights(config.out).items()}
    newest = whole.run / "trainer" / "step-00000012"
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:1000])
    elif damage == "changed":
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        (newest / "state.json").unlink()
    trained(config)
    error = capsys.readouterr().err
    assert "step-00000012 is damaged" in error
    assert "going on from step-00000008 instead" in error
    for name, tensor in weights(config.out).items():
        assert torch.equal(tensor, expected[name])


def test_with_no_whole_checkpoint_left_the_run_is_refused_in_one_sentence(tiny: Tiny) -> None:
    result = trained(tiny(steps=3))
    for file in result.run.glob("trainer/*/model.safetensors"):
        file.write_bytes(b"junk")
    with pytest.raises(InputDataError, match="is damaged: model.safetensors .* --overwrite starts anew"):
        run(tiny(steps=3))
    trained(tiny(steps=3), overwrite=True)


def test_an_output_that_cannot_be_written_is_found_before_training(tiny: Tiny, songs: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        run(tiny(out=str(songs / "run")))


def test_a_full_disk_leaves_the_checkpoint_before(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = tensor_file.write_tensors

    def full(tensors: dict[str, Any], file: Path) -> str:
        if "step-00000008" in str(file):
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(file))
        return original(tensors, file)

    monkeypatch.setattr(tensor_file, "write_tensors", full)
    with pytest.raises(OutputError, match="No space left on device"):
        run(tiny(save_every=4))
    assert [path.name for path in (tmp_path / "run" / "trainer").iterdir() if path.is_dir()] == [
        "step-00000004"
    ]


def test_the_tokenizer_of_a_run_can_be_another_runs(tiny: Tiny) -> None:
    first = trained(tiny("first", steps=3))
    second = trained(tiny("second", steps=3, tokenizer=str(first.run)))
    assert (first.run / "vocab.tiktoken").read_bytes() == (second.run / "vocab.tiktoken").read_bytes()


def test_a_sample_shows_what_the_model_writes(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tiny(steps=2, sample_every=2))
    assert "\n  | Home\n  | \n" in capsys.readouterr().err


def test_epochs_take_the_place_of_steps(tiny: Tiny) -> None:
    result = trained(tiny(epochs=2))
    last = metrics(str(result.run))[-1]
    assert last["step"] == result.steps
    assert 2 <= last["epoch"] < 2 + 1 / 8


def test_a_text_too_short_for_a_block_is_input_data(tiny: Tiny) -> None:
    with pytest.raises(InputDataError, match="too few for one block of 4096"):
        run(tiny(block_size=4096, total_batch_tokens=4096))


def test_bfloat16_and_the_fused_operators_learn_the_same(tiny: Tiny) -> None:
    losses = []
    for name, changes in {
        "plain": {},
        "bfloat16": {"dtype": "bfloat16"},
        "fused": {"fused_ops": True},
    }.items():
        losses.append(trained(tiny(name, steps=20, **changes)).loss)
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert losses[2] == pytest.approx(losses[0], abs=1e-3)


def test_nothing_of_others_in_a_run_folder_is_lost(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(tiny())
    step = next((folder / "trainer").glob("step-*"))
    mine = [folder / "README.md", folder / "trainer" / "notes.txt", step / "README.md", step / "deep" / "x"]
    (step / "deep").mkdir()
    for file in mine:
        file.write_text(f"mine: {file.name}", encoding="utf-8")
    run(tiny(steps=6), overwrite=True)
    assert all(file.read_text(encoding="utf-8") == f"mine: {file.name}" for file in mine)
    assert sorted(path.name for path in step.iterdir()) == ["README.md", "deep"]
    newest = next((folder / "trainer").glob("step-00000006"))
    (newest / "README.md").write_text("mine", encoding="utf-8")
    run(tiny(steps=6, keep=1), overwrite=True)  # writes the same checkpoint again, and shows its files on top
    assert (newest / "README.md").read_text(encoding="utf-8") == "mine"
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine: README.md"


@pytest.mark.parametrize("settings", ["{}", '{"data": "theirs", "lr": 1}', "[]", "not JSON"])
def test_a_folder_with_a_trainer_folder_of_others_is_no_run(
    tiny: Tiny, tmp_path: Path, settings: str
) -> None:
    (tmp_path / "run" / "trainer").mkdir(parents=True)
    (tmp_path / "run" / "trainer" / "config.json").write_text(settings, encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"not of a gpt2x run \(trainer\)"):
            run(tiny(), overwrite=overwrite)
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["trainer", "config.json"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_of_others_on_top_of_a_run_is_not_replaced(tiny: Tiny, tmp_path: Path, name: str) -> None:
    config = tiny()
    RunFolder(tmp_path / "run").start(config.to_dict())
    (tmp_path / "run" / name).write_text('{"model_type": "gpt2"}', encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=f"not of a gpt2x run \\({name}\\)"):
            run(config, overwrite=overwrite)
    assert (tmp_path / "run" / name).read_text(encoding="utf-8") == '{"model_type": "gpt2"}'


def test_a_run_of_an_earlier_version_is_still_a_run(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny(steps=3))
    settings = tmp_path / "run" / "trainer" / "config.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    assert values.pop("format") == "gpt2x-run"
    settings.write_text(json.dumps(values), encoding="utf-8")
    assert saved_settings(tmp_path / "run") == values
    run(tiny(steps=2), overwrite=True)
    assert saved_settings(tmp_path / "run")["steps"] == 2


def test_a_linked_run_folder_stays_a_link(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to("real")
    run(tiny(steps=2))
    run(tiny(steps=3), overwrite=True)
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "real" / "model.safetensors").is_file()


@pytest.mark.parametrize("variable", ["GPT2X_RUNS", "GPT2X_CACHE"])
def test_a_variable_that_names_a_file_is_refused_before_anything_is_read(
    tiny: Tiny, songs: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(songs))
    monkeypatch.setattr("gpt2x.train.setup.find_file", lambda _: pytest.fail("the data were looked for"))
    with pytest.raises((UsageError, OutputError), match=variable):
        run(tiny(out=str(songs / "run")) if variable == "GPT2X_RUNS" else tiny())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_folder_that_cannot_be_written_is_refused_with_the_variable_that_names_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_CACHE", "/proc/cache")
    sentence = (
        "cannot write /proc/cache: nothing can be made in /proc; set GPT2X_CACHE to a folder that can be"
    )
    with pytest.raises(OutputError, match=sentence):
        run(tiny())
    monkeypatch.setenv("GPT2X_RUNS", "/proc/runs")
    with pytest.raises(OutputError, match=r"cannot write /proc/runs/x: .*set GPT2X_RUNS to a folder"):
        run(tiny(out="/proc/runs/x"))


def test_data_that_can_be_read_only_once_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputDataError, match="is no regular file"):
            run(tiny(data=str(path)))
