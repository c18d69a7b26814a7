"""A run that starts from given weights: what is kept, what is new, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from gpt2x.model import load_folder
from gpt2x.tokenizer import Tokenizer
from gpt2x.train import initial
from gpt2x.train.config import TrainConfig
from gpt2x.train.initial import find_initial
from gpt2x.train.loop import Result
from gpt2x.train.recipe import LYRICS
from gpt2x.train.setup import Setup, prepare
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupted_at
from tests.train.test_step import ONE

Tiny = Callable[..., TrainConfig]
SHAPE: dict[str, Any] = {"n_layer": None, "n_head": None, "n_embd": None, "block_size": None}


@pytest.fixture
def first(tiny: Tiny) -> Result:
    result = run(tiny("first", steps=8))
    assert result is not None
    return result


def prepared(config: TrainConfig) -> Setup:
    setup = prepare(config, LYRICS, ONE)
    assert setup.lock is not None
    setup.lock.release()
    return setup


def test_a_run_starts_from_the_best_weights_of_another_with_its_tokenizer(tiny: Tiny, first: Result) -> None:
    setup = prepared(tiny("second", init_from=str(first.run), **SHAPE))
    given, tokenizer = load_folder(first.run)
    assert setup.tokenizer == tokenizer
    for (name, p), q in zip(given.named_parameters(), setup.model.parameters(), strict=True):
        assert torch.equal(p[:290], q[:290]), name  # the rows after the vocabulary mean nothing


def test_tokens_that_both_vocabularies_have_keep_their_rows(tiny: Tiny, first: Result) -> None:
    setup = prepared(tiny("second", init_from=str(first.run), tokenizer="train", vocab=310, **SHAPE))
    given, old = load_folder(first.run)
    assert old is not None
    new, rows = setup.tokenizer, setup.model.wte.weight
    assert new.n_vocab > old.n_vocab
    kept = [token for token in new.mergeable_ranks if token in old.mergeable_ranks]
    made = [token for token in new.mergeable_ranks if token not in old.mergeable_ranks]
    assert len(kept) > 256
    assert made
    for token in kept:
        assert torch.equal(rows[new.mergeable_ranks[token]], given.wte.weight[old.mergeable_ranks[token]]), (
            token
        )
    for token in made:
        mean = given.wte.weight[old.encode_bytes(token)].mean(0)
        torch.testing.assert_close(rows[new.mergeable_ranks[token]], mean)
    assert torch.equal(rows[new.eot_token], given.wte.weight[old.eot_token])
    assert torch.equal(setup.model.h[0].mlp.c_fc.weight, given.h[0].mlp.c_fc.weight)


@pytest.mark.parametrize("context", [8, 32])
def test_a_context_is_cut_or_made_longer(tiny: Tiny, first: Result, context: int) -> None:
    setup = prepared(tiny("second", init_from=str(first.run), **(SHAPE | {"block_size": context})))
    given = load_folder(first.run)[0].wpe.weight
    own, T = setup.model.wpe.weight, min(context, 16)
    assert own.shape == (context, 16)
    assert torch.equal(own[:T], given[:T])
    assert own[T:].numel() == 0 or 0.01 < float(own[T:].detach().std()) < 0.04, (
        "new positions start at random"
    )


def test_another_width_is_refused_by_name(tiny: Tiny, first: Result) -> None:
    with pytest.raises(UsageError, match="n_embd = 32 does not fit the weights of init_from, which have 16"):
        run(tiny("second", init_from=str(first.run), **(SHAPE | {"n_embd": 32})))
    assert not Path(tiny("second").out or "").exists()


def test_a_fine_tuned_run_is_resumed_exactly_even_when_its_source_is_gone(tiny: Tiny, first: Result) -> None:
    changes = {"init_from": str(first.run), **SHAPE}
    run(tiny("whole", **changes))
    with interrupted_at(5):
        run(tiny("broken", **changes))
    shutil.rmtree(first.run)
    run(tiny("broken", **changes))
    assert_equal_weights(tiny("whole").out, tiny("broken").out)


def test_weights_without_a_tokenizer_need_one(tiny: Tiny, first: Result) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.tiktoken"):
        (first.run / name).unlink()
    with pytest.raises(InputDataError, match="or give --tokenizer train, gpt2 or a file"):
        run(tiny("second", init_from=str(first.run), **SHAPE))


def test_a_model_of_the_hub_is_downloaded_once_by_its_name(
    first: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[str] = []

    def download(name: str, *, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert "*.safetensors" in allow_patterns
        if name == "nobody/nothing":
            raise OSError("401 Client Error\nmore")
        return str(first.run)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert find_initial("openai-community/gpt2") == first.run
    with pytest.raises(
        MissingComponentError, match=r"'nobody/nothing' is no folder .*: 401 Client Error; give a"
    ):
        find_initial("nobody/nothing")
    for name in ("./no/such", "/no/such", "nothing"):
        with pytest.raises(InputDataError, match="there is no run"):
            find_initial(name)
    assert asked == ["openai-community/gpt2", "nobody/nothing"]
    assert initial.find_run(str(first.run)) == first.run


def test_weights_of_transformers_are_taken_as_they_are(tiny: Tiny, first: Result, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "theirs"
    transformers.GPT2LMHeadModel.from_pretrained(first.run).save_pretrained(folder)
    Tokenizer.load(first.run).save(folder)
    setup = prepared(tiny("second", init_from=str(folder), **SHAPE))
    assert torch.equal(setup.model.wte.weight[:290], load_folder(first.run)[0].wte.weight[:290])
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["transformers_version"]
