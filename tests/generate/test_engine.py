from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.generate import GREEDY, Engine, SamplingConfig, Stops
from gpt2x.generate.engine import _PlainModel, keep_in_context, naive_tokens
from gpt2x.model import GPT, GPTConfig, save_folder
from gpt2x.model.decoding import WEIGHTS, DecodingModel, suits
from gpt2x.ops import backend

MakeParrot = Callable[..., Engine]
SAMPLED = SamplingConfig(temperature=0.7, top_k=40, top_p=0.9, repetition_penalty=1.1)
native = pytest.mark.skipif(
    backend.report()[0].implementation != "native", reason="the native operators are not built"
)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("attention", ["naive", "flash"])
@pytest.mark.parametrize("prompt_length", [1, 5, 23, 24, 25, 60])
def test_with_the_cache_the_tokens_are_those_without_it(
    tiny_model: GPT, attention: str, prompt_length: int, sampling: SamplingConfig
) -> None:
    model = GPT(replace(tiny_model.config, attention=attention)).eval()
    model.load_state_dict(tiny_model.state_dict())
    prompt = [i * 7 % 257 for i in range(prompt_length)]
    for seed in (0, 1):  # 70 tokens: the context of 24 slides several times
        fast = list(Engine(model).generate(prompt, max_new_tokens=70, sampling=sampling, seed=seed))
        assert fast == naive_tokens(model, prompt, max_new_tokens=70, sampling=sampling, seed=seed)


@native
@pytest.mark.parametrize("padded", [None, 264])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_native_operators_write_what_the_models_own_forward_pass_writes(
    tiny_model: GPT, padded: int | None, sampling: SamplingConfig
) -> None:
    model = GPT(replace(tiny_model.config, padded_vocab_size=padded)).eval()
    with backend.using("reference"):
        plain = Engine(model)
    assert isinstance(plain._model, _PlainModel)
    expected = list(plain.generate([1, 2], max_new_tokens=70, sampling=sampling, seed=3))
    assert list(Engine(model).generate([1, 2], max_new_tokens=70, sampling=sampling, seed=3)) == expected


@native
@pytest.mark.parametrize("weights", WEIGHTS)
def test_text_is_written_with_weights_of_any_length_and_a_seed_decides_it(
    tiny_model: GPT, weights: str
) -> None:
    engine = Engine(tiny_model, weights=weights)
    first, again = (list(engine.generate([1, 2], max_new_tokens=70, seed=5)) for _ in range(2))
    assert first == again
    assert len(first) == 70, "the context of 24 slid over them"


@native
def test_with_weights_of_its_own_an_engine_lets_the_model_go(tiny_model: GPT) -> None:
    model = copy.deepcopy(tiny_model)
    matrix = weakref.ref(model.h[0].attn.c_attn.weight)
    engine = Engine(model, weights="int8")
    del model
    gc.collect()
    assert matrix() is None
    assert len(list(engine.generate([1], max_new_tokens=3))) == 3


def test_unknown_weights_are_refused_and_the_choices_named(tiny_model: GPT) -> None:
    with pytest.raises(UsageError, match="weights = 'int4' is unknown; choose float32, bfloat16 or int8"):
        Engine(tiny_model, weights="int4")


@pytest.mark.parametrize(("mode", "reader"), [("auto", DecodingModel), ("reference", GPT)])
def test_the_cache_is_filled_once_and_then_each_token_is_one_row(
    tiny_model: GPT, monkeypatch: pytest.MonkeyPatch, mode: str, reader: type
) -> None:
    if mode == "auto" and not suits(tiny_model):
        pytest.skip("the native operators are not built")
    rows: list[int] = []
    read = reader.__call__

    def count(self: Any, ids: torch.Tensor, *args: Any, **options: Any) -> Any:
        rows.append(ids.shape[-1])
        return read(self, ids, *args, **options)

    monkeypatch.setattr(reader, "__call__", count)
    with backend.using(mode):
        engine = Engine(tiny_model)
    list(engine.generate([1, 2, 3], max_new_tokens=24))
    # 22 rows fill the context of 24; then its last half, 12 tokens, is read again.
    assert rows == [3, *[1] * 21, 12, 1]


@given(length=st.integers(1, 100), block_size=st.integers(1, 30))
def test_the_context_keeps_all_or_the_last_half_of_itself(length: int, block_size: int) -> None:
    text = list(range(length))
    kept = keep_in_context(text, block_size)
    assert kept == text[-len(kept) :]
    assert len(kept) == (length if length <= block_size else max(1, block_size // 2))


def test_a_context_of_one_token_still_writes() -> None:
    model = GPT(GPTConfig(vocab_size=9, block_size=1, n_layer=1, n_head=1, n_embd=4)).eval()
    assert len(list(Engine(model).generate([1, 2], max_new_tokens=5))) == 5


def test_a_seed_decides_the_text_and_the_global_random_state_does_not(tiny_model: GPT) -> None:
    def write(seed: int) -> list[int]:
        return list(Engine(tiny_model).generate([1], max_new_tokens=30, seed=seed))

    first = write(3)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert write(3) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert write(4) != first


def test_ids_that_only_the_padding_or_only_the_model_has_are_never_written(tokenizer: Any) -> None:
    """Padded to 320 rows, 300 of them in the model's vocabulary, 257 known to the tokenizer."""
    config = GPTConfig(vocab_size=300, padded_vocab_size=320, block_size=16, n_layer=1, n_head=1, n_embd=8)
    model = GPT(replace(config, tie_weights=False)).eval()
    with torch.no_grad():
        model.lm_head.weight[257:] = 0
        model.ln_f.bias[:] = 1.0
        model.lm_head.weight[257:] = 1e4  # the logits of all unknown ids are huge
    written = list(
        Engine(model, tokenizer).generate([1], max_new_tokens=60, sampling=SamplingConfig(temperature=2.0))
    )
    assert max(written) < 257
    assert max(Engine(model).generate([1], max_new_tokens=9)) < 300


def test_a_stop_token_ends_the_text_and_is_not_part_of_it(parrot: MakeParrot) -> None:
    assert (
        bytes(parrot("song").generate([65], max_new_tokens=9, stops=Stops(token_ids=frozenset([256]))))
        == b"song"
    )
    assert bytes(parrot("song").generate([65], max_new_tokens=2)) == b"so"
    assert list(parrot("song").generate([65], max_new_tokens=0)) == []


def test_training_mode_comes_back_even_when_the_reader_stops_early(tiny_model: GPT) -> None:
    tiny_model.train()
    with backend.using("reference"):
        engine = Engine(tiny_model)
    tokens = engine.generate([1], max_new_tokens=9)
    next(tokens)
    assert not tiny_model.training
    tokens.close()  # type: ignore[attr-defined]
    assert tiny_model.training


def test_a_model_in_training_mode_writes_without_dropout(tiny_model: GPT) -> None:
    expected = list(Engine(tiny_model).generate([1], max_new_tokens=9, sampling=GREEDY))
    model = GPT(replace(tiny_model.config, dropout=0.5)).train()
    model.load_state_dict(tiny_model.state_dict())
    assert list(Engine(model).generate([1], max_new_tokens=9, sampling=GREEDY)) == expected
    assert model.training


def test_no_gradient_is_recorded_and_a_model_can_go_on_training(tiny_model: GPT) -> None:
    list(Engine(tiny_model).generate([1], max_new_tokens=3))
    _, loss = tiny_model(torch.ones(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64))
    loss.backward()


@pytest.mark.parametrize(
    ("prompt", "max_new_tokens", "part"),
    [([], 3, "empty"), ([1, 257], 3, "257"), ([-1], 3, "-1"), ([1], -1, "negative")],
)
def test_a_bad_prompt_is_refused_at_once_in_words(
    tiny_model: GPT, prompt: list[int], max_new_tokens: int, part: str
) -> None:
    with pytest.raises(UsageError, match=part):
        Engine(tiny_model).generate(prompt, max_new_tokens=max_new_tokens)


TEXT = "Здравствуй 🌧️, ex-amour: «où es-tu?» 愛してる 👩‍👩‍👧"


def test_streaming_never_gives_half_a_character(parrot: MakeParrot) -> None:
    pieces = list(parrot(TEXT).stream("a", max_new_tokens=500))
    assert "".join(pieces) == TEXT
    assert all(pieces), "empty pieces are kept from the reader"
    assert not any("\ufffd" in piece for piece in pieces)
    assert max(map(len, pieces)) == 1, "each character comes as soon as it is whole"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=40))
def test_bytes_that_are_no_text_stream_as_decode_would_show_them(parrot: MakeParrot, raw: bytes) -> None:
    assert "".join(parrot(raw).stream("a", max_new_tokens=99)) == raw.decode("utf-8", "replace")


def test_a_character_that_is_cut_by_the_length_is_marked_once(parrot: MakeParrot) -> None:
    assert "".join(parrot("ab愛").stream("a", max_new_tokens=4)) == "ab\ufffd"


def test_a_stop_string_across_tokens_ends_the_text_before_it(parrot: MakeParrot) -> None:
    stream = parrot("one愛\n[Verse] two").stream(
        "a", max_new_tokens=99, stops=Stops(strings=("[Verse]", "愛]"))
    )
    assert "".join(stream) == "one愛\n"
    assert stream.num_tokens == len("one愛\n[Verse]".encode())


def test_what_might_have_been_a_stop_string_is_given_at_the_end(parrot: MakeParrot) -> None:
    stops = Stops(token_ids=frozenset([256]), strings=("[Verse]",))
    assert "".join(parrot("one [Ver").stream("a", max_new_tokens=99, stops=stops)) == "one [Ver"


def test_a_stream_counts_its_tokens_and_begins_with_what_comes_first(parrot: MakeParrot) -> None:
    stream = parrot("愛!").stream("a", max_new_tokens=99, first="Title\n\n")
    assert list(islice(stream, 1)) == ["Title\n\n"]
    assert list(stream) == ["愛", "!"]
    assert stream.num_tokens == 4
    assert stream.seconds > 0


def test_a_model_without_tokenizer_cannot_stream(tiny_model: GPT) -> None:
    with pytest.raises(UsageError, match="no tokenizer"):
        Engine(tiny_model).stream("a", max_new_tokens=1)


def test_a_model_in_bfloat16_writes(tiny_model: GPT) -> None:
    assert len(list(Engine(tiny_model.bfloat16()).generate([1], max_new_tokens=30))) == 30


def test_greedy_text_is_that_of_transformers(tmp_path: Any, tiny_model: GPT) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    save_folder(tiny_model, None, tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    expected = theirs.generate(
        torch.tensor([[5, 6, 7]]), max_new_tokens=20, do_sample=False, pad_token_id=0, repetition_penalty=1.3
    )
    sampling = SamplingConfig(temperature=0.0, repetition_penalty=1.3)
    assert (
        list(Engine(tiny_model).generate([5, 6, 7], max_new_tokens=20, sampling=sampling))
        == expected[0, 3:].tolist()
    )


@pytest.mark.parametrize("keep", [0, 3, 20, 99])
def test_a_context_that_slides_keeps_the_beginning_and_equals_the_plain_loop(
    tiny_model: GPT, keep: int
) -> None:
    sampling = SamplingConfig(repetition_penalty=1.1, frequency_penalty=0.2, no_repeat_ngram=3)
    prompt = [5, 6, 7, 8]
    fast = Engine(tiny_model).generate(prompt, max_new_tokens=70, sampling=sampling, seed=2, keep=keep)
    slow = naive_tokens(tiny_model, prompt, max_new_tokens=70, sampling=sampling, seed=2, keep=keep)
    assert list(fast) == slow


@given(length=st.integers(1, 100), block_size=st.integers(1, 30), keep=st.integers(0, 40))
def test_what_is_kept_is_a_beginning_and_an_end(length: int, block_size: int, keep: int) -> None:
    text = list(range(length))
    kept = keep_in_context(text, block_size, keep)
    first = min(keep, block_size // 2) if length > block_size else 0
    assert len(kept) <= block_size
    assert kept[:first] == text[:first]
    assert kept[first:] == text[len(text) - len(kept) + first :]


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("taken", [1, 2, 7, 12, 30])
def test_what_is_taken_back_leaves_no_trace(tiny_model: GPT, mode: str, taken: int) -> None:
    """Also after the context slid, and where more is taken back than the window still holds."""
    with backend.using(mode):
        engine = Engine(tiny_model)
        first = list(engine.generate([1, 2, 3], max_new_tokens=40, seed=1, keep=2))
        session = engine.session([1, 2, 3], max_new_tokens=60, keep=2)
        for token in [*first[:18], *range(taken)]:
            session.logits()
            session.append(token)
        session.logits()
        session.take_back(taken)
        assert session.ids == [1, 2, 3, *first[:18]]
        logits = session.logits()
        assert session.history.counts.sum() == 18
        short = engine.session(session.ids[:3], max_new_tokens=60, keep=2)
        short.append(*first[:18])
        if 3 + 18 + taken <= 24:  # the context did not slide meanwhile
            torch.testing.assert_close(logits, short.logits(), rtol=1e-4, atol=1e-4)


def test_more_tokens_than_there_are_cannot_be_taken_back(tiny_model: GPT) -> None:
    session = Engine(tiny_model).session([1, 2], max_new_tokens=5)
    with pytest.raises(ValueError, match="2 of 2"):
        session.take_back(2)


@pytest.mark.parametrize("seed", [2**64, -1])
def test_a_seed_that_no_generator_takes_is_refused(tiny_model: GPT, seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        list(Engine(tiny_model).generate([1], max_new_tokens=1, seed=seed))
