"""Loss, perplexity and bits per byte of documents, and multiple choice: against plain sums, and transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gpt2x.errors import InputDataError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.folder import save_folder
from gpt2x.tokenizer import Tokenizer, train
from gpt2x.train import evaluate as module
from gpt2x.train.evaluate import (
    Question,
    answer_questions,
    choice_ids,
    documents_in,
    evaluate,
    read_questions,
    token_losses,
)

TEXTS = ["low lower lowest", "a", "the lowest of the low is lower than low, 愛 " * 5, "new newer newest"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train(TEXTS, 280, special_tokens=("<|endoftext|>",))


@pytest.fixture
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(3)
    config = GPTConfig(
        vocab_size=tokenizer.n_vocab, padded_vocab_size=320, n_layer=2, n_head=2, n_embd=16, block_size=12
    )
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def plain_losses(model: GPT, ids: list[int]) -> list[float]:
    """The loss of each token but the first, one window and one token at a time."""
    T = model.config.block_size
    losses = []
    for start in range(0, len(ids) - 1, T):
        window = ids[start : start + T + 1]
        with torch.no_grad():
            logits, _ = model(torch.tensor([window[:-1]]))
        assert logits is not None
        logs = torch.log_softmax(logits[0].double(), -1)
        losses += [-float(logs[i, token]) for i, token in enumerate(window[1:])]
    return losses


@pytest.mark.parametrize("logits_at_once", [1, 10_000, 1 << 26])
def test_losses_are_those_of_each_window_alone(
    monkeypatch: pytest.MonkeyPatch, model: GPT, logits_at_once: int
) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", logits_at_once)
    monkeypatch.setattr(module, "SEQUENCES_AT_ONCE", 3)
    sequences = [list(np.random.RandomState(n).randint(0, 280, n)) for n in (2, 13, 12, 14, 40, 3, 25)]
    found = list(token_losses(model, [np.array(ids, np.int64) for ids in sequences]))
    for ids, losses in zip(sequences, found, strict=True):
        np.testing.assert_allclose(losses, plain_losses(model, ids), rtol=1e-4, atol=1e-5)


def test_loss_perplexity_and_bits_per_byte_are_of_all_tokens(model: GPT, tokenizer: Tokenizer) -> None:
    documents = [np.array(tokenizer.encode_ordinary(text), np.int64) for text in TEXTS]
    result = evaluate(model, tokenizer, documents)
    losses = [
        loss
        for text in TEXTS
        for loss in plain_losses(model, [tokenizer.eot_token, *tokenizer.encode_ordinary(text)])
    ]
    assert result.documents == 4
    assert result.tokens == len(losses)
    assert result.bytes == sum(len(text.encode()) for text in TEXTS)
    assert result.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    assert result.bits_per_byte == pytest.approx(sum(losses) / math.log(2) / result.bytes, rel=1e-4)


def test_without_a_token_there_is_nothing_to_measure(model: GPT, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputDataError, match="no token to predict"):
        evaluate(model, tokenizer, [np.empty(0, np.int64)])


@pytest.mark.parametrize("limit", [None, 4, 6])
def test_documents_are_what_stands_between_two_ends(limit: int | None) -> None:
    stream = np.array([9, 1, 2, 9, 9, 3, 9], np.uint16)
    expected: dict[int | None, list[list[int]]] = {None: [[1, 2], [3]], 4: [[1, 2]], 6: [[1, 2], [3]]}
    assert [ids.tolist() for ids in documents_in(stream, 9, limit)] == expected[limit]
    assert [ids.tolist() for ids in documents_in(np.array([1, 2, 9, 3]), 9)] == [[1, 2], [3]]


def test_the_choice_with_the_highest_likelihood_is_taken(model: GPT, tokenizer: Tokenizer) -> None:
    questions = [Question("the low is", ("the", "lowest lowest lowest", "a"), n % 3) for n in range(3)]

    def score(choice: str) -> float:
        asked = [tokenizer.eot_token, *tokenizer.encode_ordinary("the low is")]
        whole = [tokenizer.eot_token, *tokenizer.encode_ordinary(f"the low is {choice}")]
        return -sum(plain_losses(model, whole)[len(asked) - 1 :])

    sums = [score(choice) for choice in questions[0].choices]
    normalised = [value / len(choice) for value, choice in zip(sums, questions[0].choices, strict=True)]
    for question in questions:
        result = answer_questions(model, tokenizer, [question])
        assert result.accuracy == float(int(np.argmax(sums)) == question.answer)
        assert result.accuracy_normalised == float(int(np.argmax(normalised)) == question.answer)
    assert answer_questions(model, tokenizer, questions).accuracy == pytest.approx(1 / 3)
    assert np.argmax(sums) != np.argmax(normalised), "choices of other lengths should show the difference"


def test_a_question_that_is_too_long_loses_its_beginning(tokenizer: Tokenizer) -> None:
    ids, count = choice_ids(tokenizer, "low " * 50, "newest", 12)
    assert len(ids) == 13
    assert tokenizer.decode(ids[-count:].tolist()) == " newest"


def test_questions_are_read_with_the_answer_as_place_or_text(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "Q", "choices": ["a", "b"], "answer": 1}\n\n'
        '{"question": "", "choices": ["c", "d"], "answer": "c"}\n'
    )
    assert read_questions(path) == [Question("Q", ("a", "b"), 1), Question("", ("c", "d"), 0)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q", "choices": ["a"], "answer": 0},
        {"question": "Q", "choices": ["a", "b"], "answer": 2},
        {"question": "Q", "choices": ["a", "b"], "answer": -1},
        {"question": "Q", "choices": ["a", "b"], "answer": "c"},
        {"question": "Q", "choices": ["a", ""], "answer": 0},
        {"question": "Q", "choices": ["a", "b"], "answer": True},
        {"question": 1, "choices": ["a", "b"], "answer": 0},
        {"choices": ["a", "b"], "answer": 0},
        [],
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Q", "choices": ["a", "b"], "answer": 1}\n' + json.dumps(row) + "\n")
    with pytest.raises(InputDataError, match="line 2 is no question"):
        read_questions(path)


def test_a_file_without_a_question_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(InputDataError, match="holds no question"):
        read_questions(tmp_path / "q.jsonl")


def test_losses_are_those_of_transformers(tmp_path: Path, model: GPT, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    save_folder(model, tokenizer, tmp_path / "run")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "run").eval()
    ids = [tokenizer.eot_token, *tokenizer.encode_ordinary(TEXTS[0])][:13]
    (ours,) = token_losses(model, [np.array(ids, np.int64)])
    with torch.no_grad():
        logits = theirs(torch.tensor([ids[:-1]])).logits[0]
    expected = F.cross_entropy(logits.double(), torch.tensor(ids[1:]), reduction="none")
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_model_whose_weights_are_damaged_has_no_figures(model: GPT, tokenizer: Tokenizer) -> None:
    with torch.no_grad():
        model.ln_f.weight.fill_(float("nan"))
    with pytest.raises(InputDataError, match="weights are damaged"):
        evaluate(model, tokenizer, [np.array([1, 2, 3])])
    with pytest.raises(InputDataError, match="weights are damaged"):
        answer_questions(model, tokenizer, [Question("rain is", ("wet", "dry"), 0)])
