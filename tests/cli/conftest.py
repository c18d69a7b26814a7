"""What the tests of every command share: a place of their own, and one way to run the command."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gpt2x import tokenizer as tokenizer_room
from gpt2x.cli.app import app
from gpt2x.model import GPT, GPTConfig


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without network and without anyone's vocabulary."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    monkeypatch.delenv("GPT2X_VOCAB", raising=False)
    monkeypatch.delenv("GPT2X_TRACEBACK", raising=False)
    return work


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Run the command that the test's module names as ``COMMAND``, in this process: ``run("--json", path)``.

    An error that is no exit of the command's own is a mistake in gpt2x and fails the test.
    """

    def call(*arguments: object, input: bytes | str | None = None) -> Outcome:
        result = CliRunner().invoke(app, [request.module.COMMAND, *map(str, arguments)], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call


HEADLINE_WORDS = {
    "SPORT": "goal match team coach league",
    "WEATHER": "rain wind storm cloud frost",
    "ARTS": "paint opera novel",
}


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """120 made-up headlines of three categories, in HuffPost's format."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(120):
        category = str(rng.choice(list(HEADLINE_WORDS)))
        words = " ".join(rng.choice(HEADLINE_WORDS[category].split(), 4))
        lines.append(
            json.dumps({"headline": f"Today {words}", "short_description": "", "category": category})
        )
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


WORDS = "I walk alone in the rain and you are gone"


@functools.cache
def parrot() -> tuple[GPT, tokenizer_room.Tokenizer]:
    """A model that knows one song, Rain, by heart, and its tokenizer; trained once for all tests."""
    torch.manual_seed(0)
    tokenizer = tokenizer_room.train([WORDS], 280)
    model = GPT(GPTConfig(vocab_size=280, block_size=64, n_layer=1, n_head=2, n_embd=64))
    document = [tokenizer.eot_token, *tokenizer.encode_ordinary(f"Rain\n\n{WORDS}"), tokenizer.eot_token]
    ids = torch.tensor([document])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        _, loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, tokenizer
