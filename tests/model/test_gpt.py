from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gpt2x.model import GPT, GPTConfig
from gpt2x.model.config import FUSED, fused


def random_ids(config: GPTConfig, *shape: int) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, shape)


def loss_and_gradients(model: GPT, idx: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    _, loss = model(idx, targets)
    loss.backward()
    return {"loss": loss.detach()} | {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


def test_an_untrained_model_knows_nothing_yet(tiny: GPTConfig) -> None:
    idx = random_ids(tiny, 4, 32)
    _, loss = GPT(tiny)(idx[:, :-1], idx[:, 1:])
    assert abs(loss.item() - math.log(tiny.vocab_size)) < 0.1


def test_residual_projections_start_smaller_by_the_root_of_twice_the_layers() -> None:
    config = GPTConfig(vocab_size=50, block_size=16, n_layer=8, n_head=2, n_embd=128)
    model = GPT(config)
    for block in model.h:
        assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.attn.c_proj.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
        assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert model.wte.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.h[0].attn.c_attn.bias.any()
    assert (model.ln_f.weight == 1).all()
    assert not model.ln_f.bias.any()


def test_torch_init_leaves_torchs_own_numbers(tiny: GPTConfig) -> None:
    model = GPT(replace(tiny, init="torch", n_embd=128))
    assert model.wpe.weight.std().item() == pytest.approx(1.0, rel=0.1)
    assert model.h[0].attn.c_attn.bias.any()


def test_tied_weights_are_one_matrix_and_count_once(tiny: GPTConfig) -> None:
    tied, untied = GPT(tiny), GPT(replace(tiny, tie_weights=False))
    assert tied.wte.weight is tied.lm_head.weight
    assert untied.wte.weight is not untied.lm_head.weight
    assert untied.num_parameters() - tied.num_parameters() == 101 * 32
    assert tied.num_parameters() == tied.num_parameters(embeddings=False) + 101 * 32 + 32 * 32
    assert copy.deepcopy(tied).to(torch.float64).wte.weight.dtype == torch.float64


@pytest.mark.parametrize(
    "change",
    [{"attention": "naive"}, fused(), *({name: True} for name in FUSED)],
    ids=["naive", "fused", *FUSED],
)
@pytest.mark.parametrize("padded", [None, 128])
@pytest.mark.parametrize("tie_weights", [True, False], ids=["tied", "untied"])
def test_every_path_computes_the_same_loss_and_gradients(
    tiny: GPTConfig, change: dict[str, object], padded: int | None, tie_weights: bool
) -> None:
    config = replace(tiny, padded_vocab_size=padded, tie_weights=tie_weights)
    plain, other = GPT(config), GPT(replace(config, **change))
    other.load_state_dict(plain.state_dict())
    idx, targets = random_ids(tiny, 3, 29), random_ids(tiny, 3, 29)
    targets[0, :5] = -100
    expected, found = loss_and_gradients(plain, idx, targets), loss_and_gradients(other, idx, targets)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradients_of_the_model_are_right_in_float64() -> None:
    config = GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=2, n_embd=4, padded_vocab_size=8)
    torch.manual_seed(0)
    model = GPT(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    idx, targets = random_ids(config, 2, 4), random_ids(config, 2, 4)
    parameters = [
        p for n, p in model.named_parameters() if n in ("wpe.weight", "h.0.attn.c_attn.weight", "ln_f.bias")
    ]
    assert torch.autograd.gradcheck(lambda *_: model(idx, targets)[1], parameters)


def test_padding_of_the_vocabulary_changes_nothing(tiny: GPTConfig) -> None:
    plain, padded = GPT(tiny), GPT(replace(tiny, padded_vocab_size=128))
    state = plain.state_dict()
    rows = torch.full((27, 32), 1e3)  # even weights that would win every draw
    for name in ("wte.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name], rows])
    padded.load_state_dict(state)
    idx, targets = random_ids(tiny, 2, 32), random_ids(tiny, 2, 32)
    (logits, loss), (padded_logits, padded_loss) = plain(idx, targets), padded(idx, targets)
    assert padded_logits.shape == (2, 32, 101)
    torch.testing.assert_close(padded_logits, logits)
    torch.testing.assert_close(padded_loss, loss)
    padded_loss.backward()
    assert not padded.wte.weight.grad[101:].any(), "rows of padding must get no gradient"


def test_a_token_sees_only_itself_and_those_before_it(tiny: GPTConfig) -> None:
    for attention in ("naive", "flash"):
        model = GPT(replace(tiny, attention=attention)).eval()
        idx = random_ids(tiny, 1, 32)
        changed = idx.clone()
        changed[0, 20:] = (changed[0, 20:] + 1) % 101
        before, after = model(idx)[0], model(changed)[0]
        assert torch.equal(before[:, :20], after[:, :20])
        assert not torch.equal(before[:, 20:], after[:, 20:])


def test_more_tokens_than_the_context_are_refused_in_words(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    with pytest.raises(ValueError, match="33 tokens .* block_size = 32"):
        model(random_ids(tiny, 1, 33))
    cache = model.new_cache()
    model(random_ids(tiny, 1, 30), cache=cache)
    with pytest.raises(ValueError, match="33 tokens"):
        model(random_ids(tiny, 1, 3), cache=cache)


def test_hidden_states_are_what_the_head_reads(tiny: GPTConfig) -> None:
    model = GPT(tiny).eval()
    idx = random_ids(tiny, 2, 9)
    hidden = model.hidden_states(idx)
    assert hidden.shape == (2, 9, 32)
    torch.testing.assert_close(F.linear(hidden, model.lm_head.weight), model(idx)[0])
    torch.testing.assert_close(model(idx, last_only=True)[0], model(idx)[0][:, -1:])


def test_hidden_states_after_some_blocks_are_the_stream_there(tiny: GPTConfig) -> None:
    model = GPT(tiny).eval()
    idx = random_ids(tiny, 2, 9)
    last = model.hidden_states(idx, num_blocks=tiny.n_layer)
    torch.testing.assert_close(model.ln_f(last, None)[1], model.hidden_states(idx))
    positions = torch.arange(9)
    assert model.wpe is not None
    torch.testing.assert_close(model.hidden_states(idx, num_blocks=0), model.wte(idx) + model.wpe(positions))
    with pytest.raises(ValueError, match="give no num_blocks"):
        model.hidden_states(idx, cache=model.new_cache(2), num_blocks=1)


def test_optimizer_groups_decay_matrices_only_and_cover_everything_once(tiny: GPTConfig) -> None:
    model = GPT(tiny)
    decayed, plain = model.optimizer_groups(0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() < 2 for p in plain["params"])
    everything = [*decayed["params"], *plain["params"]]
    assert len({id(p) for p in everything}) == len(everything) == len(list(model.parameters()))


def test_dropout_acts_in_training_only(tiny: GPTConfig) -> None:
    model = GPT(replace(tiny, dropout=0.5))
    idx = random_ids(tiny, 1, 8)
    assert not torch.equal(model(idx)[0], model(idx)[0])
    model.eval()
    assert torch.equal(model(idx)[0], model(idx)[0])


@pytest.mark.parametrize("attention", ["naive", "flash"])
def test_dropout_of_attention_weights_is_a_setting_of_its_own(tiny: GPTConfig, attention: str) -> None:
    idx = random_ids(tiny, 1, 8)
    none = GPT(replace(tiny, attention=attention, dropout=0.0, attention_dropout=0.0))
    some = GPT(replace(tiny, attention=attention, dropout=0.0, attention_dropout=0.5))
    some.load_state_dict(none.state_dict())
    assert torch.equal(none(idx)[0], none(idx)[0])
    assert not torch.equal(some(idx)[0], some(idx)[0])
    assert torch.equal(some.eval()(idx)[0], none(idx)[0])


@pytest.mark.parametrize("on", [False, True], ids=["plain", "fused"])
def test_autocast_to_bfloat16_stays_near_float32(tiny: GPTConfig, on: bool) -> None:
    model = GPT(replace(tiny, **fused(on), padded_vocab_size=128))
    idx, targets = random_ids(tiny, 4, 32), random_ids(tiny, 4, 32)
    _, exact = model(idx, targets)
    with torch.autocast("cpu", torch.bfloat16):
        _, rounded = model(idx, targets)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=5e-3)
    rounded.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("on", [False, True], ids=["plain", "fused"])
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_the_model_compiles_as_one_graph(tiny: GPTConfig, on: bool) -> None:
    model = GPT(replace(tiny, **fused(on)))
    idx, targets = random_ids(tiny, 2, 32), random_ids(tiny, 2, 32)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(idx, targets)[1], model(idx, targets)[1])


def test_a_tied_matrix_gets_both_gradients_and_a_kept_graph_gives_them_twice(tiny: GPTConfig) -> None:
    torch.manual_seed(1)
    own = GPT(replace(tiny, **fused()))
    plain = copy.deepcopy(own)
    plain.config = replace(tiny, fused_loss=False)  # embedding, output layer and loss as torch has them
    idx, targets = random_ids(tiny, 2, 8), random_ids(tiny, 2, 8)
    expected = loss_and_gradients(plain, idx, targets)["wte.weight"]
    _, loss = own(idx, targets)
    (first,) = torch.autograd.grad(loss, [own.wte.weight], retain_graph=True)
    (second,) = torch.autograd.grad(loss, [own.wte.weight])
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(first, second)


def test_a_tied_matrix_has_the_gradients_of_torch_func(tiny: GPTConfig) -> None:
    torch.manual_seed(1)
    model = GPT(replace(tiny, **fused()))
    idx, targets = random_ids(tiny, 2, 8), random_ids(tiny, 2, 8)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (idx, targets))[1]

    got = torch.func.grad(loss)(parameters)
    expected = loss_and_gradients(model, idx, targets)
    for name in parameters:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_a_tied_matrix_has_gradients_in_batches(tiny: GPTConfig) -> None:
    torch.manual_seed(1)
    model = GPT(replace(tiny, **fused()))
    _, loss = model(random_ids(tiny, 2, 8), random_ids(tiny, 2, 8))
    weight, factors = model.wte.weight, torch.tensor([1.0, -2.0])
    (batch,) = torch.autograd.grad(loss, weight, factors, is_grads_batched=True, retain_graph=True)
    (single,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(batch, factors[:, None, None] * single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("T", [5, 128, 130])
def test_short_sequences_in_bfloat16_attend_as_exactly_as_flash(tiny: GPTConfig, T: int) -> None:
    torch.manual_seed(1)
    attention = GPT(replace(tiny, **fused(), block_size=130)).h[0].attn
    q, k, v = (torch.randn(2, 2, T, 16) for _ in range(3))
    truth = F.scaled_dot_product_attention(
        q.bfloat16().double(), k.bfloat16().double(), v.bfloat16().double(), is_causal=True
    )
    short = [t.bfloat16() for t in (q, k, v)]
    own = attention._flash(*short)
    flash = F.scaled_dot_product_attention(*short, is_causal=True)
    assert own.dtype == torch.bfloat16
    assert (own - truth).norm() <= 1.2 * (flash - truth).norm()


@pytest.mark.parametrize("on", [False, True])
def test_a_step_compiles_as_one_graph(tiny: GPTConfig, on: bool) -> None:
    torch.manual_seed(1)
    model = GPT(replace(tiny, **fused(on)))
    idx, targets = random_ids(tiny, 2, 8), random_ids(tiny, 2, 8)
    expected = loss_and_gradients(model, idx, targets)
    model.zero_grad()
    torch._dynamo.reset()
    _, loss = torch.compile(model, fullgraph=True, backend="aot_eager")(idx, targets)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected["loss"])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
