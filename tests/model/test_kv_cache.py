from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.model import GPT, GPTConfig, KVCache

CONFIG = GPTConfig(vocab_size=11, block_size=16, n_layer=2, n_head=2, n_embd=16)


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.integers(1, 8), min_size=1, max_size=6).filter(lambda parts: sum(parts) <= 16),
    attention=st.sampled_from(["naive", "flash"]),
    batch_size=st.integers(1, 3),
)
def test_reading_a_text_in_any_parts_gives_the_logits_of_reading_it_at_once(
    parts: list[int], attention: str, batch_size: int
) -> None:
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, attention=attention)).eval()
    idx = torch.randint(0, 11, (batch_size, sum(parts)))
    cache = model.new_cache(batch_size)
    with torch.inference_mode():
        pieces = [model(part, cache=cache)[0] for part in idx.split(parts, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(idx)[0], rtol=1e-5, atol=1e-5)
    assert cache.length == sum(parts)


def test_keys_and_values_in_one_tensor_are_stored_as_they_are_one_by_one() -> None:
    one, both = KVCache(CONFIG, batch_size=2), KVCache(CONFIG, batch_size=2)
    for length in (3, 1, 5):
        kv = torch.randn(2, 2, CONFIG.n_head, length, CONFIG.head_size)
        for layer in range(CONFIG.n_layer):
            kept = both.update_both(layer, kv * (layer + 1))
            for mine, theirs in zip(kept, one.update(layer, *(kv * (layer + 1))), strict=True):
                assert torch.equal(mine, theirs)
            assert torch.equal(torch.stack(kept)[:, :, :, -length:], kv * (layer + 1))
        one.advance(length)
        both.advance(length)
    with pytest.raises(ValueError, match="9 of 16 tokens; 8 more do not fit"):
        both.update_both(0, torch.zeros(2, 2, CONFIG.n_head, 8, CONFIG.head_size))


def test_a_cache_that_was_cleared_is_as_good_as_new() -> None:
    model = GPT(CONFIG).eval()
    idx = torch.randint(0, 11, (1, 10))
    cache = model.new_cache()
    first = model(idx, cache=cache)[0]
    cache.clear()
    assert torch.equal(model(idx, cache=cache)[0], first)


def test_a_cache_has_the_models_dtype_and_refuses_more_than_fits() -> None:
    model = GPT(CONFIG).eval().bfloat16()
    cache = model.new_cache(max_length=4)
    model(torch.zeros(1, 4, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="4 of 4 tokens"):
        model(torch.zeros(1, 1, dtype=torch.int64), cache=cache)


def test_a_cache_is_never_longer_than_the_context() -> None:
    assert GPT(CONFIG).new_cache(max_length=10**9).max_length == 16


def test_texts_that_were_forked_go_on_apart_and_leave_the_first_as_it_was(tiny: GPTConfig) -> None:
    torch.manual_seed(0)
    model = GPT(tiny).eval()
    text = torch.randint(0, tiny.vocab_size, (1, 9))
    with torch.inference_mode():
        cache = model.new_cache()
        model(text[:, :5], cache=cache)
        fork = cache.fork(3, room=4)
        assert (fork.length, fork.max_length) == (5, 9)
        others = torch.randint(0, tiny.vocab_size, (3, 2))
        model(others[:, :1], cache=fork)
        fork.keep_rows(torch.tensor([2, 0]))
        forked = model(others[[2, 0], 1:], cache=fork)[0]
        for row, place in enumerate((2, 0)):
            alone = model(torch.cat([text[:, :5], others[place : place + 1]], 1))[0][0, -1]
            torch.testing.assert_close(forked[row, -1], alone)
        torch.testing.assert_close(model(text[:, 5:], cache=cache)[0], model(text)[0][:, 5:])
    assert cache.fork(1, room=10**6).max_length == cache.max_length
