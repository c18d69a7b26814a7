"""The model for writing against the model as it stands in one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.data.lyrics import read_songs
from gpt2x.errors import InputDataError, MissingComponentError, UsageError
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.model import decoding as decoding_module
from gpt2x.model.decoding import FEW_ROWS, WEIGHTS, DecodingModel, suits
from gpt2x.ops import backend

pytestmark = pytest.mark.skipif(
    backend.report()[0].implementation != "native", reason="the native operators are not built"
)


def spread_out(config: GPTConfig) -> GPT:
    """A random model whose every parameter, biases among them, has a say in the logits."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def model(tiny: GPTConfig) -> GPT:
    return spread_out(tiny)


def logits_of(model: DecodingModel, text: torch.Tensor) -> torch.Tensor:
    """The logits after every token of a text, read one by one."""
    cache = model.new_cache()
    return torch.stack([model(text[place : place + 1], cache) for place in range(len(text))])


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.integers(1, 3 * FEW_ROWS), min_size=1, max_size=8).filter(lambda p: sum(p) <= 32),
    padded=st.sampled_from([None, 128]),
    tied=st.booleans(),
)
def test_a_text_read_in_any_parts_gives_the_logits_of_the_model(
    parts: list[int], padded: int | None, tied: bool
) -> None:
    config = GPTConfig(vocab_size=101, block_size=32, n_layer=2, n_head=4, n_embd=32)
    plain = spread_out(replace(config, padded_vocab_size=padded, tie_weights=tied))
    decoding = DecodingModel(plain)
    text = torch.randint(0, 101, (sum(parts),))
    with torch.inference_mode():
        expected = plain(text[None])[0][0]  # (T, V)
    cache, end = decoding.new_cache(), 0
    for part in text.split(parts):
        end += len(part)
        torch.testing.assert_close(decoding(part, cache), expected[end - 1], rtol=0, atol=1e-4)
        assert cache.length == end


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_shorter_weights_compute_what_a_model_with_the_rounded_matrices_computes(
    model: GPT, weights: str
) -> None:
    """Exact up to the order of sums: rounding happens to the weights, once, and nowhere else."""
    decoding, rounded = DecodingModel(model, weights), DecodingModel(model)
    for mine, theirs in zip(rounded.layers, decoding.layers, strict=True):
        for name in ("qkv", "attention_out", "widen", "narrow"):
            matrix = getattr(theirs, name)
            stored = matrix.weight.float() * (1.0 if matrix.scale is None else matrix.scale[:, None])
            getattr(mine, name).weight.copy_(stored)
    head = decoding.head
    stored = head.weight.float() * (1.0 if head.scale is None else head.scale[:, None])
    rounded.head = rounded.head._replace(weight=stored)
    text = torch.arange(20)
    torch.testing.assert_close(logits_of(decoding, text), logits_of(rounded, text), rtol=0, atol=1e-4)
    for rows in (FEW_ROWS, FEW_ROWS + 1):  # streamed, and in float32 first
        few = decoding(text[:rows], decoding.new_cache())
        torch.testing.assert_close(few, rounded(text[:rows], rounded.new_cache()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("weights", "bound"), [("bfloat16", 0.01), ("int8", 0.04)])
def test_shorter_weights_move_the_logits_by_a_small_share_of_their_spread(
    model: GPT, weights: str, bound: float
) -> None:
    """bfloat16 keeps 8 bits of mantissa, int8 half a step of 127: about 0.2 and 0.3 per cent of a row's largest."""
    text = torch.randint(0, 101, (32,), generator=torch.Generator().manual_seed(1))
    exact, rounded = logits_of(DecodingModel(model), text), logits_of(DecodingModel(model, weights), text)
    distance = ((rounded - exact).square().mean().sqrt() / exact.std()).item()
    assert 0 < distance < bound


@pytest.fixture(scope="module")
def singer() -> tuple[GPT, torch.Tensor]:
    """A small model of bytes that has learned something from the packaged songs, and songs it has not seen."""
    raw = "".join(song.text for song in read_songs()).encode()
    text = torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()
    torch.manual_seed(0)
    untied = {"tie_weights": False, "init": "torch"}  # learns pairs of letters within seconds
    model = GPT(GPTConfig(vocab_size=256, block_size=64, n_layer=2, n_head=2, n_embd=64, **untied))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        starts = torch.randint(0, len(text) * 9 // 10, (8,))
        batch = torch.stack([text[start : start + 65] for start in starts.tolist()])
        loss = model(batch[:, :-1], batch[:, 1:])[1]
        assert loss is not None
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 3.0, "ln 256 is 5.5: the model must know something that rounding could lose"
    return model.eval(), text[-640:]


@pytest.mark.parametrize(("weights", "bound"), [("float32", 1e-5), ("bfloat16", 0.001), ("int8", 0.002)])
def test_the_perplexity_of_songs_stays(singer: tuple[GPT, torch.Tensor], weights: str, bound: float) -> None:
    """Nats a byte; for the models in docs/how-it-works/generation.md no more than 0.0001 were seen."""
    model, songs = singer
    decoding = DecodingModel(model, weights)
    with torch.inference_mode():
        expected = sum(model(part[None, :-1], part[None, 1:])[1].item() for part in songs.split(64)) / 10
    nats = [
        torch.nn.functional.cross_entropy(logits_of(decoding, part[:-1]), part[1:]).item()
        for part in songs.split(64)
    ]
    assert sum(nats) / 10 == pytest.approx(expected, abs=bound)


def test_float32_holds_nothing_twice_and_follows_the_model(model: GPT) -> None:
    decoding = DecodingModel(model)
    assert decoding.head.weight.data_ptr() == model.lm_head.weight.data_ptr() == decoding.wte.data_ptr()
    assert decoding.layers[1].narrow.weight.data_ptr() == model.h[1].mlp.c_proj.weight.data_ptr()
    with torch.no_grad():
        model.ln_f.bias.add_(1.0)
    text = torch.arange(5)
    expected = model(text[None], last_only=True)[0][0, -1]
    torch.testing.assert_close(decoding(text, decoding.new_cache()), expected, rtol=0, atol=1e-4)


def test_a_model_from_a_folder_is_not_copied_either(model: GPT, tmp_path: Path) -> None:
    save_folder(model, None, tmp_path)
    loaded, _ = load_folder(tmp_path)
    decoding = DecodingModel(loaded)
    assert decoding.layers[0].qkv.weight.data_ptr() == loaded.h[0].attn.c_attn.weight.data_ptr()


@pytest.mark.parametrize(("weights", "size"), [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_a_token_reads_as_many_bytes_as_its_weights_have(model: GPT, weights: str, size: int) -> None:
    """A block has 12 C² weights, 9 C biases and 4 C numbers in its LayerNorms; int8 has a scale a row, 9 C a block."""
    n_layer, C, V = 2, 32, 101
    matrices, rows = n_layer * 12 * C * C + V * C, n_layer * 9 * C + V
    few = n_layer * (9 + 4) * C + 2 * C
    assert DecodingModel(model, weights).bytes_per_token == (
        size * matrices + 4 * few + (4 * rows if weights == "int8" else 0)
    )


def test_a_model_of_another_dtype_keeps_its_dtype_unless_another_is_asked_for(model: GPT) -> None:
    short = model.bfloat16()
    assert not suits(short)
    decoding = DecodingModel(short, "bfloat16")
    assert decoding.layers[0].qkv.weight.data_ptr() == short.h[0].attn.c_attn.weight.data_ptr(), "no copy"
    text = torch.arange(9)
    wide = DecodingModel(short.float(), "float32")
    torch.testing.assert_close(logits_of(decoding, text), logits_of(wide, text), rtol=0, atol=1e-4)


def test_more_tokens_than_fit_are_refused_in_words(model: GPT) -> None:
    decoding = DecodingModel(model)
    with pytest.raises(ValueError, match="33 tokens are more than the model's context of block_size = 32"):
        decoding(torch.zeros(33, dtype=torch.int64), decoding.new_cache())
    cache = decoding.new_cache(max_length=4)
    decoding(torch.zeros(4, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match="4 of 4 tokens"):
        decoding(torch.zeros(1, dtype=torch.int64), cache)


@pytest.mark.parametrize("id_", [-1, 101])
def test_an_id_that_the_model_does_not_have_is_refused(model: GPT, id_: int) -> None:
    decoding = DecodingModel(model)
    with pytest.raises(IndexError):
        decoding(torch.tensor([1, id_]), decoding.new_cache())


@pytest.mark.parametrize("weights", ["int4", "", "Float32"])
def test_unknown_weights_are_refused_and_the_choices_named(model: GPT, weights: str) -> None:
    with pytest.raises(UsageError, match=f"{weights!r} is unknown; choose float32, bfloat16 or int8"):
        DecodingModel(model, weights)


def test_a_model_elsewhere_keeps_its_own_weights() -> None:
    with torch.device("meta"):
        model = GPT(GPTConfig(vocab_size=9, block_size=8, n_layer=1, n_head=1, n_embd=4))
    assert not suits(model)
    with pytest.raises(UsageError, match="this one is on meta; use device cpu"):
        DecodingModel(model, "int8")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tiny: GPTConfig) -> Callable[..., GPT]:
    """A model that is not on the CPU, on a device that could have kernels: tensors without data stand for a GPU's."""
    monkeypatch.setattr(decoding_module, "DEVICES", ("cpu", "meta"))

    def make(**changes: Any) -> GPT:
        with torch.device("meta"):
            return GPT(replace(tiny, **changes))

    return make


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])  # int8 looks whether the weights are numbers
def test_where_the_model_is_stands_all_that_reads_it(
    elsewhere: Callable[..., GPT], weights: str, positions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "serves", lambda device, dtype: True)
    model = elsewhere(positions=positions)
    assert suits(model)
    decoding = DecodingModel(model, weights)
    cache = decoding.new_cache()
    assert cache._rows.is_meta
    for part in (5, 6, 1):  # the first tokens, more behind them, a single one
        logits = decoding(torch.zeros(part, dtype=torch.int64), cache)
        assert (logits.device.type, logits.dtype, logits.shape) == ("meta", torch.float32, (101,))
    logits = decoding.read_rows(torch.zeros(3, dtype=torch.int64), cache.fork(3, 2))
    assert (logits.device.type, logits.shape) == ("meta", (3, 101))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_where_no_kernels_serve_the_model_reads_itself(elsewhere: Callable[..., GPT], weights: str) -> None:
    model = elsewhere()
    assert not suits(model)
    with pytest.raises(MissingComponentError, match="native operators on meta"):
        DecodingModel(model, weights)


@pytest.fixture
def no_native_operators() -> Iterator[None]:
    with backend.using("reference"):
        yield


@pytest.mark.usefixtures("no_native_operators")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_without_native_operators_the_remedy_is_named(model: GPT, weights: str) -> None:
    assert not suits(model)
    with pytest.raises(MissingComponentError, match="native operators"):
        DecodingModel(model, weights)


def test_weights_that_are_no_numbers_are_refused_in_words(model: GPT) -> None:
    with torch.no_grad():
        model.h[1].mlp.c_fc.weight[3, 4] = torch.nan
    with pytest.raises(InputDataError, match="not finite"):
        DecodingModel(model, "int8")


@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
def test_texts_read_together_have_the_logits_of_each_alone(model: GPT, rows: int) -> None:
    decoding, size = DecodingModel(model), model.config.vocab_size
    text, more = torch.randint(0, size, (6,)), torch.randint(0, size, (rows, 3))
    cache = decoding.new_cache()
    decoding(text, cache)
    fork = cache.fork(rows, room=3)
    together = torch.stack([decoding.read_rows(more[:, step], fork) for step in range(3)], 1)  # (B, 3, V)
    with torch.inference_mode():
        alone = model(torch.cat([text.expand(rows, -1), more], 1))[0][:, 6:]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
