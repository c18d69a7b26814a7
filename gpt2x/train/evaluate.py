"""How well a model predicts text: loss, perplexity and bits per byte of documents, and multiple choice.

Each document is predicted by itself, after ``<|endoftext|>``, as it stands in training. One that is longer than the
model's context is cut into windows that follow one another without overlap (nanoGPT's and llm.c's way); the first
token of a window sees no more than the last of the one before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from gpt2x.data.files import lines_of
from gpt2x.errors import InputDataError, quoted
from gpt2x.model import GPT

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

LOGITS_AT_ONCE = 1 << 26
"""How many logits are held at a time."""

IGNORE = -100
SEQUENCES_AT_ONCE = 64

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model made of some documents.

    Attributes:
        documents: how many there are.
        tokens: how many were predicted, all but the ``<|endoftext|>`` before each document.
        bytes: the documents' length as UTF-8.
        loss: mean cross-entropy in nats a token.
        perplexity: e to the loss.
        bits_per_byte: cross-entropy of all tokens in bits, over `bytes`; it does not depend on the vocabulary.

    """

    documents: int
    tokens: int
    bytes: int
    loss: float
    perplexity: float
    bits_per_byte: float

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Choices:
    """How many of some questions a model answered.

    Attributes:
        questions: how many there are.
        accuracy: the share in which the right choice has the highest log-likelihood, summed over its tokens.
        accuracy_normalised: the same with the log-likelihood over the choice's length in UTF-8 bytes.

    """

    questions: int
    accuracy: float
    accuracy_normalised: float

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def token_losses(model: GPT, sequences: Iterable[Ids]) -> Iterator[npt.NDArray[np.float64]]:
    """The cross-entropy, in nats, of each token of each sequence but its first, given those before it.

    Args:
        model: computes where it is, in its own dtype.
        sequences: token ids, 1-D, at least two each.

    Raises:
        InputDataError: a loss is NaN or infinite, because weights are.

    """
    iterator = iter(sequences)
    while group := list(islice(iterator, SEQUENCES_AT_ONCE)):
        yield from _group_losses(model, group)


@torch.no_grad()
def _group_losses(model: GPT, group: list[Ids]) -> list[npt.NDArray[np.float64]]:
    """`token_losses` of a few sequences: windows of like length are computed together."""
    T, device = model.config.block_size, model.wte.weight.device
    losses = [np.empty(len(ids) - 1) for ids in group]
    windows = sorted(
        ((owner, start) for owner, ids in enumerate(group) for start in range(0, len(ids) - 1, T)),
        key=lambda window: min(T, len(group[window[0]]) - 1 - window[1]),
    )
    batch_size = max(1, LOGITS_AT_ONCE // (T * model.config.vocab_size))
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        rows = [group[owner][start : start + T + 1] for owner, start in batch]
        length = max(map(len, rows)) - 1
        inputs = np.zeros((len(rows), length), np.int64)  # what pads a row comes after it, and so is not seen
        targets = np.full((len(rows), length), IGNORE, np.int64)
        for number, row in enumerate(rows):
            inputs[number, : len(row) - 1], targets[number, : len(row) - 1] = row[:-1], row[1:]
        logits, _ = model(torch.from_numpy(inputs).to(device))  # (B, T, V)
        assert logits is not None
        found = F.cross_entropy(
            logits.float().flatten(0, 1),
            torch.from_numpy(targets).to(device).flatten(),
            ignore_index=IGNORE,
            reduction="none",
        ).view(len(rows), length)
        for (owner, start), row, values in zip(batch, rows, found.double().cpu().numpy(), strict=True):
            losses[owner][start : start + len(row) - 1] = values[: len(row) - 1]
    if not all(np.isfinite(values).all() for values in losses):
        raise InputDataError(
            "the model's logits are not finite numbers; its weights are damaged, train or load others"
        )
    return losses


def evaluate(model: GPT, tokenizer: Tokenizer, documents: Iterable[Ids]) -> Evaluation:
    """Measure a model on documents, given as their ids without ``<|endoftext|>``.

    Raises:
        InputDataError: there is no document with a token, or the model's weights are damaged.

    """
    num_documents = num_tokens = num_bytes = 0
    total = 0.0

    def counted() -> Iterator[Ids]:
        nonlocal num_bytes
        for ids in documents:
            if len(ids):
                num_bytes += len(tokenizer.decode_bytes(ids.tolist()))
                yield np.concatenate([[tokenizer.eot_token], ids]).astype(np.int64)

    model.eval()
    for losses in token_losses(model, counted()):
        num_documents, num_tokens, total = num_documents + 1, num_tokens + len(losses), total + losses.sum()
    if not num_tokens:
        raise InputDataError("there is no token to predict; give documents with text")
    loss = float(total / num_tokens)
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return Evaluation(
        num_documents, num_tokens, num_bytes, loss, perplexity, float(total / math.log(2) / num_bytes)
    )


def documents_in(tokens: Any, eot_token: int, limit: int | None = None) -> Iterator[Ids]:
    """The documents of a stream of ids: what stands between ``<|endoftext|>``; of the first `limit` ids alone.

    >>> [ids.tolist() for ids in documents_in(np.array([9, 1, 2, 9, 3]), 9)]
    [[1, 2], [3]]
    """
    count = len(tokens) if limit is None else min(limit, len(tokens))
    pending: list[Ids] = []
    for first in range(0, count, 1 << 20):
        block = np.asarray(tokens[np.arange(first, min(first + (1 << 20), count))]).astype(np.int64)
        *whole, rest = np.split(block, np.flatnonzero(block == eot_token))
        for ids in whole:
            pending.append(ids)
            yield from _joined(pending, eot_token)
            pending = []
        pending.append(rest)
    yield from _joined(pending, eot_token)


def _joined(parts: list[Ids], eot_token: int) -> Iterator[Ids]:
    ids = np.concatenate(parts) if parts else np.empty(0, np.int64)
    ids = ids[1:] if len(ids) and ids[0] == eot_token else ids
    if len(ids):
        yield ids


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its choices, and the place of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


def read_questions(path: Path) -> list[Question]:
    """Read JSON lines such as ``{"question": "2 + 2 is", "choices": ["4", "5"], "answer": 0}``.

    The answer is the place of the right choice, counted from 0, or that choice itself.

    Raises:
        InputDataError: the file cannot be read or holds no question; a line is no such object, which is named.

    """
    questions = []
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            try:
                questions.append(_question(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputDataError(
                    f"{path}: line {number} is no question, two choices or more and an answer among them: "
                    f"{quoted(line.strip())}"
                ) from error
    if not questions:
        raise InputDataError(f"{path} holds no question; give JSON lines with question, choices and answer")
    return questions


def _question(row: dict[str, Any]) -> Question:
    question, choices, answer = row["question"], row["choices"], row["answer"]
    if not isinstance(question, str) or not isinstance(choices, list) or len(choices) < 2:
        raise ValueError
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError
    place = choices.index(answer) if isinstance(answer, str) else answer
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(choices):
        raise ValueError
    return Question(question, tuple(choices), place)


def choice_ids(tokenizer: Tokenizer, question: str, choice: str, block_size: int) -> tuple[Ids, int]:
    """The ids of a question and one of its choices, and how many of the last are the choice's.

    The choice follows after a blank, which is cut into tokens together with it. Where both are longer than the context,
    the beginning of the question is left out.
    """
    asked = question.rstrip()
    whole = tokenizer.encode_ordinary(f"{asked} {choice}" if asked else choice)
    num_asked = len(tokenizer.encode_ordinary(asked))
    num_choice = min(max(1, len(whole) - num_asked), block_size)
    ids = np.array([tokenizer.eot_token, *whole], np.int64)
    return ids[-(block_size + 1) :], num_choice


def answer_questions(model: GPT, tokenizer: Tokenizer, questions: Iterable[Question]) -> Choices:
    """Let a model choose: of each question's choices the one with the highest log-likelihood after it."""
    asked = list(questions)
    pairs = [
        (choice_ids(tokenizer, question.question, choice, model.config.block_size), choice)
        for question in asked
        for choice in question.choices
    ]
    model.eval()
    losses = token_losses(model, (ids for (ids, _), _ in pairs))
    scores = [
        (-values[-count:].sum(), -values[-count:].sum() / len(choice.encode("utf-8", "replace")))
        for values, ((_, count), choice) in zip(losses, pairs, strict=True)
    ]
    right = [0, 0]
    first = 0
    for question in asked:
        own = scores[first : first + len(question.choices)]
        first += len(question.choices)
        for kind in (0, 1):
            right[kind] += int(np.argmax([score[kind] for score in own])) == question.answer
    return Choices(len(asked), right[0] / len(asked), right[1] / len(asked))
