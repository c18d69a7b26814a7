"""Results made by hand: every figure in them is known, whatever the ladder does."""

from __future__ import annotations

from typing import Any

from gpt2x.bench.ladder.config import Setting
from gpt2x.bench.ladder.loss_check import CHANGES, DIFFERS, MATCHES, LossCheck
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.ladder.rungs import RUNGS
from gpt2x.bench.machine import Machine
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.model.config import GPTConfig

TOKENS = 16
"""Tokens in a step, so that a step of 100 ms makes 160 tokens a second."""


def check(verdict: str = MATCHES, reason: str = "within 0.02 nats") -> LossCheck:
    return LossCheck(verdict=verdict, steps=3, loss=3.9, before=3.9, bound=0.02, reason=reason)


def row(key: str, ms: float, **fields: Any) -> Row:
    """A measured rung whose steps take `ms`, a hundredth more or less, in two rounds."""
    known = {rung.key: rung for rung in RUNGS}
    title = known[key].title if key in known else key
    values: dict[str, Any] = {
        "number": list(known).index(key) if key in known else 99,
        "key": key,
        "title": title,
        "change": f"what {key} changes",
        "config": {"device": "cpu", "world_size": 1},
        "samples_ms": [[0.99 * ms, ms, 1.01 * ms]] * 2,
        "phases_ms": {
            f"{name}_ms": [share * ms] * 6
            for name, share in (("forward", 0.3), ("backward", 0.6), ("optimizer", 0.1))
        },
        "tokens_per_step": TOKENS,
        "token_flops": 1e6,
        "parameters": 100,
        "peak_memory_bytes": 500_000_000,
        "losses": [4.1, 4.0, 3.9],
        "loss": check(),
    }
    return Row(**{**values, **fields})


def without_figures(key: str, reason: str, status: str = SKIPPED) -> Row:
    full = row(key, 1.0)
    return Row(
        number=full.number, key=key, title=full.title, change=full.change, status=status, reason=reason
    )


def results(*rows: Row, **fields: Any) -> Results:
    """A ladder of these rungs on a machine whose peak and bandwidth are known."""
    machine = Machine(
        cpu="a CPU",
        cores=2,
        memory_bytes=16_000_000_000,
        peak_flops={"float32": 1e9},
        bandwidth=1e6,
        versions={"gpt2x": "0", "torch": "2"},
    )
    shape = GPTConfig(vocab_size=61, block_size=16, n_layer=2, n_head=2, n_embd=16)
    values: dict[str, Any] = {
        "setting": Setting(model="tiny", shape=shape, batch=2, seq=8),
        "machine": machine,
        "rows": list(rows),
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["gpt2x", "bench"],
        "text": "a text",
        "interleaved": True,
    }
    return Results(**{**values, **fields})


def whole() -> Results:
    """A ladder on which everything happens that can happen; the top is clip, at five times the start."""
    return results(
        row("start", 100.0),
        without_figures("gpu", "no CUDA GPU here"),
        row("sharing", 100.0, loss=check(CHANGES, "another model")),
        row("bf16", 50.0),
        row("compile", 20.0),
        row("flash", 25.0, pays=False),
        row("vocab", 10.0, loss=check(DIFFERS, "off by 5 nats after 2 steps, allowed 0.02")),
        row("clip", 20.0, note="micro-batches of 1, because memory is short"),
        without_figures("adamw", "no such kernel", FAILED),
        left_out=[row("bf16", 30.0), without_figures("compile", "cannot be built", FAILED)],
        peers=[row("hf", 52.0, title="transformers"), without_figures("lightning", "it is not installed")],
    )
