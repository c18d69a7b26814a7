"""The best weights stand on top of a run, a run without progress ends, and a run can be made longer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import UsageError
from gpt2x.model import load_folder
from gpt2x.model.runs import weights_of
from gpt2x.train import loop
from gpt2x.train.best import Best
from gpt2x.train.config import TrainConfig
from gpt2x.train.loop import Result
from gpt2x.train.setup import Setup
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupted_at, metrics

Tiny = Callable[..., TrainConfig]


def trained(config: TrainConfig, **how: Any) -> Result:
    result = run(config, **how)
    assert result is not None
    return result


def about(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8"))["gpt2x"])


def wte(folder: Path) -> torch.Tensor:
    return load_folder(folder)[0].wte.weight


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Have the validations of a run come to these losses."""

    def script(losses: list[float]) -> None:
        def validate(setup: Setup) -> float:
            assert not math.isnan(setup.best.loss)
            return losses.pop(0)

        monkeypatch.setattr(loop, "validate", validate)

    return script


def test_the_best_weights_are_on_top_and_the_last_in_the_newest_checkpoint(
    tiny: Tiny, measured: Callable[[list[float]], None]
) -> None:
    measured([3.0, 2.0, 2.5])  # after steps 4, 8 and 12
    result = trained(tiny(save_every=4, keep=3))
    assert (result.best_step, result.best_validation_loss, result.validation_loss) == (8, 2.0, 2.5)
    steps = [result.run / "trainer" / f"step-{step:08d}" for step in (4, 8, 12)]
    assert torch.equal(wte(weights_of(result.run, "best")), wte(steps[1]))
    assert torch.equal(wte(weights_of(result.run, "last")), wte(steps[2]))
    assert not torch.equal(wte(steps[1]), wte(steps[2]))
    told = about(result.run)
    assert (told["step"], told["last_step"], told["validation_loss"], told["finished"]) == (8, 12, 2.0, True)


def test_the_last_weights_can_be_on_top_instead(tiny: Tiny, measured: Callable[[list[float]], None]) -> None:
    measured([3.0, 2.0, 2.5])
    result = trained(tiny(publish="last"))
    assert (result.best_step, result.best_validation_loss) == (None, 2.0), "those weights are not kept"
    assert torch.equal(wte(result.run), wte(weights_of(result.run, "last")))
    assert about(result.run)["step"] == 12


def test_commands_take_the_best_weights_or_on_demand_the_last(
    tiny: Tiny, measured: Callable[[list[float]], None], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from gpt2x.cli.app import app

    measured([3.0, 2.0, 2.5])
    result = trained(tiny())
    for which, flags in (("best", []), ("last", ["--weights-from", "last"])):
        out = tmp_path / f"{which}-hf"
        done = CliRunner().invoke(app, ["export", "hf", str(result.run), "--out", str(out), *flags])
        assert done.exit_code == 0, done.stderr
        assert torch.equal(wte(out), wte(weights_of(result.run, which)))
        words = ["sing", "rain", "--run", str(result.run), "--max-tokens", "4", "--seed", "1", *flags]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert not torch.equal(wte(tmp_path / "best-hf"), wte(tmp_path / "last-hf"))


def test_a_folder_without_checkpoints_has_but_one_kind_of_weights(tmp_path: Path) -> None:
    assert weights_of(tmp_path, "last") == weights_of(tmp_path, "best") == tmp_path
    with pytest.raises(UsageError, match="weights-from 'worst' is unknown; give best or last"):
        weights_of(tmp_path, "worst")


def test_a_resumed_run_remembers_its_best(tiny: Tiny, measured: Callable[[list[float]], None]) -> None:
    measured([2.0, 2.5, 2.4])
    with interrupted_at(6):
        run(tiny())
    result = trained(tiny())
    assert (result.best_step, result.best_validation_loss) == (4, 2.0)
    assert about(result.run)["step"] == 4


def test_a_run_stops_when_its_patience_is_at_an_end_and_goes_on_with_more(
    tiny: Tiny, measured: Callable[[list[float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    measured([3.0, 2.0, 2.5, 2.6, 2.7, 1.9])
    result = trained(tiny(steps=24, patience=2))
    assert (result.steps, result.best_step) == (16, 8)
    assert about(result.run)["finished"]
    assert "2 validations were no better than the best" in capsys.readouterr().err
    again = trained(tiny(steps=24, patience=2))
    assert again.steps == 16
    assert (
        "is finished: 16 steps are done, and 2 validations were no better than the best; --patience 0, or a "
        "patience above 2, goes on, --overwrite starts anew"
    ) in capsys.readouterr().err
    more = trained(tiny(steps=24, patience=4))
    assert (more.steps, more.best_step) == (24, 24)


def test_a_run_whose_patience_ended_at_its_last_step_is_made_longer_as_it_says(
    tiny: Tiny, measured: Callable[[list[float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    measured([2.0, 2.5, 2.6, 2.7])
    trained(tiny(patience=2))
    trained(tiny(patience=2))
    assert "12 steps are done, and 2 validations" in (said := capsys.readouterr().err)
    assert "; --resume --steps N makes it longer with --patience 0, --overwrite" in said
    assert trained(tiny(steps=16, patience=0), resume=True).steps == 16


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    best = Best()
    assert not best.update(math.nan, 1)
    assert best.update(2.0, 2)
    assert not best.update(math.nan, 3)
    assert Best.from_state(json.loads(json.dumps(best.state_dict()))) == best
    assert Best.from_state(None) == Best()


def test_the_logged_loss_after_a_resume_is_that_of_the_uninterrupted_run(tiny: Tiny) -> None:
    """The line of step 8 tells of steps 5 to 8, also where the run stopped after step 6."""
    whole, broken = tiny("whole", log_every=4), tiny("broken", log_every=4)
    run(whole)
    with interrupted_at(6):
        run(broken)
    run(broken)
    assert metrics(whole.out) == metrics(broken.out)


def test_a_longer_run_with_a_stable_rate_is_the_run_that_was_long_from_the_start(tiny: Tiny) -> None:
    """With wsd the rate does not depend on the number of steps before the decay begins."""
    long = tiny("long", steps=20, schedule="wsd")
    trained(long)
    short = tiny("short", steps=20, schedule="wsd", save_every=8, eval_every=4)
    with interrupted_at(8):
        run(tiny("short", steps=12, schedule="wsd", save_every=8))
    trained(short, resume=True)
    assert_equal_weights(long.out, short.out)


def test_a_finished_run_is_made_longer_only_when_told_to_resume(
    tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tiny(steps=12))
    with pytest.raises(UsageError, match="steps = 12, not 20"):
        run(tiny(steps=20))
    result = trained(tiny(steps=20, lr=5e-3), resume=True)
    assert result.steps == 20
    assert "20 steps instead of 12" in capsys.readouterr().err
    assert [line["step"] for line in metrics(str(result.run))] == list(range(1, 21))
    with pytest.raises(UsageError, match=r"20 steps are done in .* give at least --steps 20"):
        run(tiny(steps=15), resume=True)
