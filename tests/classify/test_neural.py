"""Rows, batches, the network and its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.classify import GPT2LSTMClassifier, RNNClassifier
from gpt2x.classify.base import split_rows
from gpt2x.classify.gpt2_lstm import load_gpt2, split_by_tokens
from gpt2x.classify.neural import (
    Plan,
    Ragged,
    SequenceNet,
    batches_by_length,
    one_thread_if_small,
    predict_logits,
    texts_a_step,
    train_network,
)
from gpt2x.classify.rnn import find_tokenizer, token_shapes
from gpt2x.errors import InputDataError, OutputError

Corpus = tuple[list[str], list[str]]
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(np.array)


@given(LENGTHS, st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=50)
def test_each_row_is_in_exactly_one_batch(lengths: np.ndarray, batch_size: int, shuffled: bool) -> None:
    batches = batches_by_length(lengths, batch_size, np.random.default_rng(0) if shuffled else None)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size


def test_batches_by_length_pad_a_fraction_of_what_random_ones_do() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 80, 5000)
    real = lengths.sum()

    def padding(batches: list[np.ndarray]) -> float:
        return sum(len(b) * lengths[b].max() for b in batches) / real - 1

    plain = [rng.permutation(5000)[i : i + 32] for i in range(0, 5000, 32)]
    assert padding(batches_by_length(lengths, 32, rng)) < 0.1 * padding(plain)


@pytest.mark.parametrize(
    ("num_texts", "batch"), [(1, 32), (32_999, 32), (64_000, 64), (128_000, 128), (10**7, 128)]
)
def test_more_texts_are_learned_in_larger_steps(num_texts: int, batch: int) -> None:
    assert texts_a_step(num_texts) == batch


def test_a_batch_size_that_nobody_gives_is_that_of_the_number_of_texts() -> None:
    texts, labels = ["rain and wind", "a goal at last"] * 40, ["weather", "sport"] * 40
    default, given = (make_rnn(batch_size=size).fit(texts, labels) for size in (None, 32))
    assert (default.predict_proba(texts) == given.predict_proba(texts)).all()


def test_batches_of_one_length_need_no_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = np.repeat([5, 9, 7], [40, 35, 20])[rng.permutation(95)]
    batches = batches_by_length(lengths, 10, rng)
    assert sorted(map(len, batches)) == [5, *[10] * 9]
    mixed = [batch for batch in batches if len(set(lengths[batch].tolist())) > 1]
    assert len(mixed) == 0, "35 rows leave 5 over, and 40 and 20 none"
    again = batches_by_length(lengths, 10, np.random.default_rng(0))
    assert not all(len(a) == len(b) and (a == b).all() for a, b in zip(batches, again, strict=True))


@given(LENGTHS, st.integers(1, 100))
@settings(deadline=None, max_examples=50)
def test_batches_for_gpt2_hold_a_bounded_number_of_tokens(lengths: np.ndarray, tokens: int) -> None:
    batches = list(split_by_tokens(batches_by_length(lengths, 64), lengths, tokens))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= tokens for b in batches)


def test_rows_come_back_padded_with_zeros() -> None:
    rows = Ragged.of([[1, 2, 3], [4], [5, 6]])
    batch, lengths = rows.pad(np.array([2, 0]))
    assert batch.tolist() == [[5, 6, 0], [1, 2, 3]]
    assert lengths.tolist() == [2, 3]


def make_net(*, cell: str = "rnn", bidirectional: bool = True, num_tokens: int | None = 20) -> SequenceNet:
    torch.manual_seed(0)
    net = SequenceNet(
        num_classes=3, num_tokens=num_tokens, features=6, hidden=5, cell=cell, bidirectional=bidirectional,
        dropout=0.0, head_dropout=0.0, token_dropout=0.0,
    )  # fmt: skip
    return net.eval()


@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "forwards"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_padding_does_not_change_what_the_network_says(cell: str, bidirectional: bool) -> None:
    net = make_net(cell=cell, bidirectional=bidirectional)
    ids, lengths = torch.randint(1, 20, (4, 7)), torch.tensor([7, 3, 1, 5])
    with torch.no_grad():
        batch = net(ids, lengths)
        other_padding = net(torch.cat([ids, torch.randint(1, 20, (4, 9))], dim=1), lengths)
        alone = torch.cat(
            [net(ids[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths.tolist())]
        )
    torch.testing.assert_close(other_padding, batch, rtol=0, atol=1e-6)
    torch.testing.assert_close(alone, batch, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_reading_backwards_equals_torchs_packed_sequences(cell: str) -> None:
    net = make_net(cell=cell)
    ids, lengths = torch.randint(1, 20, (4, 7)), torch.tensor([7, 3, 1, 5])
    both = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM}[cell](6, 5, batch_first=True, bidirectional=True)
    state = {name: value for name, value in net.forwards.state_dict().items()}
    state |= {f"{name}_reverse": value for name, value in net.backwards.state_dict().items()}
    both.load_state_dict(state)
    with torch.no_grad():
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            net.embedding(ids), lengths, True, enforce_sorted=False
        )
        out, counts = torch.nn.utils.rnn.pad_packed_sequence(both(packed)[0], batch_first=True)  # (B, T, 2H)
        mean = torch.stack([row[:n].mean(0) for row, n in zip(out, counts, strict=True)])
        most = torch.stack([row[:n].amax(0) for row, n in zip(out, counts, strict=True)])
        torch.testing.assert_close(net(ids, lengths), net.head(torch.cat([mean, most], dim=1)))


def test_there_is_one_output_a_class() -> None:
    assert make_net().head.out_features == 3


def test_no_gradient_comes_from_padding() -> None:
    net = make_net(num_tokens=None)
    x = torch.randn(2, 5, 6, requires_grad=True)
    net(x, torch.tensor([5, 2])).sum().backward()
    assert (x.grad[1, 2:] == 0).all()
    assert (x.grad[1, :2] != 0).any()


def test_dropout_hides_the_same_features_of_an_embedding_throughout_a_text() -> None:
    net = make_net().train()
    net.dropout.p = 0.5
    hidden = net._features(torch.arange(1, 13).view(2, 6)) == 0  # (B, T, E)
    assert hidden.any()
    assert not hidden.all()
    assert (hidden == hidden[:, :1]).all()


def test_label_smoothing_keeps_a_network_from_being_too_sure() -> None:
    rows, y = toy_rows()
    sure = []
    for smoothing in (0.0, 0.3):
        net = make_net()
        train_network(net, rows, y, make_plan(label_smoothing=smoothing, patience=50), "toy")
        sure.append(float(predict_logits(net, rows).softmax(1).amax(1).mean()))
    assert sure[1] < sure[0] - 0.05


def toy_rows(num: int = 120) -> tuple[Ragged, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, num)
    return Ragged.of([[int(k) + 1, *rng.integers(4, 20, rng.integers(1, 9))] for k in y]), y


def make_plan(**changes: float) -> Plan:
    values = {
        "epochs": 12,
        "batch_size": 16,
        "learning_rate": 0.02,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "validation_fraction": 0.2,
    }
    return Plan(**{**values, "patience": 2, "seed": 0, **changes})  # type: ignore[arg-type]


def test_training_lowers_the_loss_and_keeps_the_best_epoch() -> None:
    rows, y = toy_rows()
    net = make_net()
    history = train_network(net, rows, y, make_plan(), "toy")
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    best = min(record["validation_loss"] for record in history)
    _, check = split_rows(y, 0.2, np.random.default_rng(0))
    logits = predict_logits(net, rows, check)
    assert float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[check]))) == pytest.approx(
        best, rel=1e-5
    )
    assert (predict_logits(net, rows).argmax(1).numpy() == y).mean() > 0.9


def test_rows_of_equal_weights_train_as_rows_without() -> None:
    rows, y = toy_rows()
    plain, weighted = make_net(), make_net()
    train_network(plain, rows, y, make_plan(epochs=3), "toy")
    train_network(weighted, rows, y, make_plan(epochs=3), "toy", row_weights=np.full(len(y), 2.5))
    for own, other in zip(plain.parameters(), weighted.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("fraction", [0.2, 0.01])  # the second leaves no validation rows
def test_rows_of_no_weight_teach_nothing(fraction: float) -> None:
    rows, y = toy_rows(240)
    wrong = np.arange(len(y)) % 2 == 1
    given, weights = np.where(wrong, (y + 1) % 3, y), np.where(wrong, 0.0, 1.0)
    net = make_net()
    plan = make_plan(validation_fraction=fraction)
    train_network(net, rows, given, plan, "toy", row_weights=weights)
    assert (predict_logits(net, rows).argmax(1).numpy() == y).mean() > 0.9


def test_the_heavier_of_two_labels_wins() -> None:
    rows, y = toy_rows()
    twice = Ragged.of(
        [rows.values[rows.offsets[i] : rows.offsets[i + 1]] for i in range(len(y)) for _ in range(2)]
    )
    labels = np.stack([y, (y + 1) % 3], axis=1).ravel()
    weights = np.tile([1.0, 4.0], len(y))
    net = make_net()
    history = train_network(net, twice, labels, make_plan(patience=50), "toy", row_weights=weights)
    assert (predict_logits(net, rows).argmax(1).numpy() == (y + 1) % 3).mean() > 0.9
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]


def test_training_stops_when_the_validation_loss_no_longer_falls() -> None:
    rows, y = toy_rows()
    noise = np.random.default_rng(1).permutation(y)
    history = train_network(make_net(), rows, noise, make_plan(epochs=50, learning_rate=0.05), "noise")
    assert len(history) < 50


def test_a_loss_that_is_no_number_is_one_clear_error() -> None:
    rows, y = toy_rows()
    net = make_net()
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))
    with pytest.raises(InputDataError, match="lower learning_rate"):
        train_network(net, rows, y, make_plan(), "toy")


def test_a_class_that_weighs_more_is_named_more_often(corpus: Corpus) -> None:
    def share(class_weight: dict[str, float] | None) -> float:
        model = RNNClassifier(
            tokenizer="learn",
            hidden=8,
            embedding=8,
            epochs=1,
            class_weight=class_weight,
            random_state=0,
        )
        return float((model.fit(*corpus).predict(corpus[0]) == "sport").mean())

    assert share({"sport": 50.0}) > share({"sport": 0.02})


@given(st.lists(st.integers(0, 5), min_size=2, max_size=80).map(np.array), st.floats(0.05, 0.6))
@settings(deadline=None, max_examples=60)
def test_a_split_covers_all_rows_once_and_never_takes_a_whole_class(y: np.ndarray, fraction: float) -> None:
    rest, part = split_rows(y, fraction, np.random.default_rng(0), at_least=1)
    assert sorted([*rest, *part]) == list(range(len(y)))
    for k in np.unique(y):
        size = (y == k).sum()
        assert (y[rest] == k).sum() >= 1
        assert (y[part] == k).sum() >= min(1, size - 1)
        assert abs((y[part] == k).sum() - fraction * size) <= 1


def test_standardised_features_have_mean_zero_and_deviation_one() -> None:
    net = make_net(num_tokens=None)
    values = np.random.default_rng(0).normal(5, [1, 200, 1, 1, 1, 0], (500, 6)).astype(np.float16)
    net.standardise(values)
    scaled = net._features(torch.from_numpy(values)[None])[0]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=0.05, rtol=0)
    torch.testing.assert_close(scaled.std(0)[:5], torch.ones(5), atol=0.05, rtol=0)


# -- RNN --------------------------------------------------------------------------------------------------------------


def make_rnn(**changes: object) -> RNNClassifier:
    values: dict[str, object] = {
        "tokenizer": "learn",
        "embedding": 8,
        "hidden": 8,
        "epochs": 1,
        "random_state": 0,
    }
    return RNNClassifier(**{**values, **changes})  # type: ignore[arg-type]


def test_only_tokens_of_the_training_texts_have_a_row_of_their_own(corpus: Corpus) -> None:
    model = make_rnn(min_count=1).fit(*corpus)
    seen = {token for text in corpus[0] for token in model.tokenizer_.encode_ordinary(text)}
    assert model.token_ids_.tolist() == sorted(seen)
    assert model.net_.embedding.num_embeddings == len(seen) + 1
    strange = [token for token in range(model.tokenizer_.n_vocab - 1) if token not in seen][:2]
    with model._rows([model.tokenizer_.decode(strange[:1])]) as rows:
        assert 0 in rows.values


def test_the_rnn_takes_any_tokenizer(corpus: Corpus, tmp_path: Path, gpt2_folder: Path) -> None:
    from gpt2x.tokenizer import train

    mine = train(corpus[0], 300, allow_fewer=True)
    mine.save(tmp_path / "mine")
    given = make_rnn(tokenizer=mine).fit(*corpus)
    by_path = make_rnn(tokenizer=str(tmp_path / "mine")).fit(*corpus)
    np.testing.assert_array_equal(given.predict_proba(corpus[0][:5]), by_path.predict_proba(corpus[0][:5]))


def test_case_does_not_matter_to_the_rnn_unless_it_is_told_so(corpus: Corpus) -> None:
    model = make_rnn().fit(*corpus)
    upper = [text.upper() for text in corpus[0][:9]]
    np.testing.assert_array_equal(model.predict_proba(upper), model.predict_proba(corpus[0][:9]))
    exact = make_rnn(lowercase=False).fit(*corpus)
    assert not np.allclose(exact.predict_proba(upper), exact.predict_proba(corpus[0][:9]))


def test_shapes_tell_the_rnn_how_a_token_is_written(corpus: Corpus, tmp_path: Path) -> None:
    model = make_rnn(shapes=True).fit(*corpus)
    upper = [text.upper() for text in corpus[0][:9]]
    assert not np.allclose(model.predict_proba(upper), model.predict_proba(corpus[0][:9]))
    model.save(tmp_path / "kept")
    again = RNNClassifier.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.predict_proba(upper), model.predict_proba(upper))


@given(st.lists(st.text(st.sampled_from("ab Z'1éÉİ\x1f\U0001f600"), max_size=12), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_shapes_are_those_of_the_letters_that_a_token_covers(texts: list[str]) -> None:
    tokenizer = find_tokenizer("learn", ["ab abz zz a'b ab1"] * 3)
    encoded = Ragged.of([ids or [-1] for ids in tokenizer.encode_ordinary_batch([t.lower() for t in texts])])
    shapes = token_shapes(texts, encoded, tokenizer)
    for i, text in enumerate(texts):
        raw, low = text.encode(), text.lower().encode()
        raw, start = raw if len(raw) == len(low) else low, 0
        for place in range(encoded.offsets[i], encoded.offsets[i + 1]):
            token = encoded.values[place]
            end = start + (len(tokenizer.decode_single_token_bytes(token)) if token >= 0 else 0)
            letters = [chr(byte) for byte in raw[start:end] if byte < 128 and chr(byte).isalpha()]
            start = end
            if not letters:
                expected = 0
            elif all(map(str.islower, letters)):
                expected = 1
            else:
                expected = 3 if len(letters) > 1 and all(map(str.isupper, letters)) else 2
            assert shapes[place] == expected


def test_the_rnn_tells_fields_apart(corpus: Corpus) -> None:
    texts, labels = corpus
    model = make_rnn().fit([text.replace(" ", "\x1f", 1) for text in texts], labels)
    one, two = model.predict_proba(["rain wind"]), model.predict_proba(["rain\x1fwind"])
    assert not np.allclose(one, two)


def test_bf16_is_for_training_alone(corpus: Corpus) -> None:
    half, full = (make_rnn(precision=precision).fit(*corpus) for precision in ("bf16", "float32"))
    assert half.net_.trains_in_bf16
    assert not full.net_.trains_in_bf16
    assert {parameter.dtype for parameter in half.net_.parameters()} == {torch.float32}
    together = half.predict_proba(corpus[0][:9])
    alone = [half.predict_proba([text])[0] for text in corpus[0][:9]]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_macro_moves_the_bias_towards_small_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(1500) < 0.9, "often", "seldom")
    right = rng.random(1500) < 0.7
    texts = np.where((labels == "often") == right, "rain", "goal").tolist()
    plain, macro = (
        make_rnn(objective=objective, epochs=3, learning_rate=0.05, batch_size=256).fit(
            texts, labels.tolist()
        )
        for objective in ("accuracy", "macro")
    )
    change = (macro.net_.head.bias - plain.net_.head.bias).detach()
    assert change[1] > change[0]
    assert (macro.predict(texts) == "seldom").sum() > (plain.predict(texts) == "seldom").sum()


def test_texts_longer_than_max_tokens_are_cut(corpus: Corpus) -> None:
    model = make_rnn(max_tokens=3).fit(*corpus)
    assert model._encode(["rain wind snow storm goal match"]).lengths.tolist() == [3]


# -- LSTM over GPT-2 --------------------------------------------------------------------------------------------------


def make_lstm(folder: Path | None, **changes: object) -> GPT2LSTMClassifier:
    values: dict[str, object] = {"gpt2": folder and str(folder), "hidden": 8, "epochs": 1, "random_state": 0}
    return GPT2LSTMClassifier(**{**values, **changes})  # type: ignore[arg-type]


def test_embeddings_are_gpt2s_last_hidden_states_after_the_end_of_text_token(gpt2_folder: Path) -> None:
    gpt, tokenizer = load_gpt2(gpt2_folder, torch.device("cpu"))
    model = make_lstm(gpt2_folder)
    model._prepare([], torch.device("cpu"))
    texts = ["rain and wind", "", "the goal of the match today and the people say more of it"]
    with model._rows(texts) as rows, torch.no_grad():
        for i, text in enumerate(texts):
            ids = [tokenizer.eot_token, *(tokenizer.encode_ordinary(text) or [tokenizer.eot_token])]
            states = gpt.hidden_states(torch.tensor([ids]))[0, 1:]
            mine = torch.from_numpy(rows.values[rows.offsets[i] : rows.offsets[i + 1]]).float()
            torch.testing.assert_close(mine, states, atol=2e-3, rtol=2e-3)


def test_gpt2_itself_is_not_trained(gpt2_folder: Path, corpus: Corpus) -> None:
    before, _ = load_gpt2(gpt2_folder, torch.device("cpu"))
    model = make_lstm(gpt2_folder).fit(*corpus)
    after = model.gpt_.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.state_dict().items())
    assert model.num_parameters_ == sum(p.numel() for p in model.net_.parameters())
    assert model.num_frozen_ == before.num_parameters()


def test_features_beyond_the_memory_bound_go_to_a_file_that_is_gone_afterwards(
    gpt2_folder: Path, corpus: Corpus, unseen: Corpus
) -> None:
    from gpt2x.paths import cache_dir

    in_memory = make_lstm(gpt2_folder).fit(*corpus)
    in_file = make_lstm(gpt2_folder, memory_gib=0).fit(*corpus)
    np.testing.assert_array_equal(in_file.predict_proba(unseen[0]), in_memory.predict_proba(unseen[0]))
    assert list(cache_dir().iterdir()) == []


def test_too_little_room_for_features_is_one_clear_error(
    gpt2_folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="GPT2X_CACHE"):
        make_lstm(gpt2_folder, memory_gib=0).fit(*corpus)


def test_texts_longer_than_the_context_are_cut(gpt2_folder: Path, corpus: Corpus) -> None:
    model = make_lstm(gpt2_folder).fit(*corpus)
    assert model.predict(["rain " * 500]).shape == (1,)


def test_the_newest_run_serves_where_none_is_named(
    gpt2_folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_RUNS", str(gpt2_folder.parent))
    model = make_lstm(None).fit(*corpus)
    assert Path(model.gpt2_) == gpt2_folder
    assert "tiny" in model.describe()
    assert make_lstm("tiny").fit(*corpus).gpt2_ == model.gpt2_  # type: ignore[arg-type]


def test_a_folder_that_holds_no_gpt2_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "nowhere"):
        # a long path is shown without its middle
        with pytest.raises(InputDataError, match=f"{name.name}['; ]"):
            make_lstm(name).fit(*corpus)


def test_a_moved_classifier_brings_its_gpt2_along(gpt2_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(gpt2_folder, tmp_path / "run")
    model = make_lstm(tmp_path / "run").fit(*corpus)
    model.save(tmp_path / "kept")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "kept").rename(tmp_path / "moved")
    again = GPT2LSTMClassifier.load(tmp_path / "moved")
    np.testing.assert_allclose(
        again.predict_proba(corpus[0][:5]), model.predict_proba(corpus[0][:5]), rtol=1e-5
    )


def test_a_small_network_computes_with_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_if_small(make_net()):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
