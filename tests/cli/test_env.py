"""`gpt2x env` says what is here and why."""

from __future__ import annotations

import json

import pytest

from gpt2x import __version__
from gpt2x.cli import env


def test_the_report_covers_versions_hardware_operators_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    env.env(json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["gpt2x"] == __version__
    assert report["cpu"]["cores"] >= 1
    assert report["tokenizer"]["unicode version"] == "16.0.0"
    assert report["tokenizer"]["splitting"].startswith(
        "native (gpt2, cl100k, o200k, llama3, qwen2, deepseek); "
    )
    assert "Python (regex 20" in report["tokenizer"]["splitting"]
    assert report["operators"], "no operator is reported"
    assert all(": " in line for line in report["operators"].values()), "an operator without a reason"
    assert report["places"]["packaged songs"].endswith("songs.csv")


def test_the_plain_report_has_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    env.env(json=False)
    printed = capsys.readouterr().out
    assert all(f"\n{title}\n" in f"\n{printed}" for title in env.collect())


def test_a_gpu_that_is_too_old_for_the_kernels_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from gpt2x.cli import env
    from gpt2x.ops import backend

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(backend._native_dtypes, "cuda", (torch.float32,))
    monkeypatch.setattr(backend, "_capabilities", {None: (7, 5)})
    assert set(env._operators_on_gpu()["operators on cuda"].values()) == {
        "reference: this GPU has compute capability 7.5, and the CUDA kernels need 8.0"
    }
