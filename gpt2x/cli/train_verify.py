"""`gpt2x train … --verify-resume`: the table and the verdict."""

from __future__ import annotations

import os

from gpt2x.console import emit, emit_json, say
from gpt2x.errors import ExitCode
from gpt2x.tables import emit_table
from gpt2x.train.config import TrainConfig


def verify_and_show(recipe: str, config: TrainConfig, as_json: bool) -> None:
    """Prove that a resume changes nothing, or show what it changes.

    Raises:
        SystemExit: with 1, when it does.

    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from gpt2x.train.verify import STEPS, in_words, verify_resume

    verdict = verify_resume(config, recipe, say)
    if as_json:
        emit_json(verdict.to_dict())
    else:
        rows = [
            (
                trial.what,
                in_words(trial.legs),
                trial.token_hash + ("" if trial.same_order else " (differs)"),
                "equal" if trial.same_weights else f"up to {trial.weights_apart:.2g} apart",
            )
            for trial in verdict.trials
        ]
        emit_table(["run", "ranks", "token order", "weights"], rows, right=[False] * 4)
        for reason in verdict.left_out:
            emit(f"left out: {reason}")
        bits = "" if verdict.demands_bits else "; on a GPU the weights are compared and not judged"
        holds = "changes nothing" if verdict.holds else "CHANGES THE RUN"
        emit(f"verdict: an interruption {holds}, as {STEPS} steps show{bits}")
    if not verdict.holds:
        raise SystemExit(ExitCode.FAILED)
