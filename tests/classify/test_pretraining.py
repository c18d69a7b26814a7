"""A GPT that is pretrained on the training texts: once for the same texts, never half, and every failure a sentence."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt2x.classify import GPT2LSTMClassifier, load, pretraining
from gpt2x.classify.pretraining import Plan
from gpt2x.errors import Gpt2xError, InputDataError, MissingComponentError, OutputError, UsageError
from gpt2x.paths import cache_dir
from gpt2x.tokenizer import Tokenizer

Corpus = tuple[list[str], list[str]]

FAKE = """
import json, os, shutil, signal, sys
words = sys.argv[1:]
flags = dict(zip(words, words[1:]))
out, texts = flags["--out"], open(flags["--data"]).read()
with open({log!r}, "a") as log:
    log.write(json.dumps({{"words": words, "texts": texts, "environment": dict(os.environ)}}) + "\\n")
"""
WELL = "shutil.copytree({model!r}, out, dirs_exist_ok=True)"


class Trainers:
    """Stands in for the trainer with a program that takes no time, and lists how it was started."""

    def __init__(self, log: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.model, self.monkeypatch = log, model, monkeypatch

    def does(self, program: str) -> None:
        code = FAKE.format(log=str(self.log)) + program.format(model=str(self.model))
        self.monkeypatch.setattr(
            pretraining.child,
            "module_command",
            lambda module, words: [sys.executable, "-S", "-c", code, *words],
        )

    @property
    def starts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def trainer(tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Trainers:
    trainers = Trainers(tmp_path / "starts.jsonl", gpt2_folder, monkeypatch)
    trainers.does(WELL)
    return trainers


def make_lstm(**changes: Any) -> GPT2LSTMClassifier:
    values = {"gpt2": "pretrain", "hidden": 8, "epochs": 1, "random_state": 0, "device": "cpu"}
    return GPT2LSTMClassifier(**{**values, **changes})


def kept() -> list[Path]:
    return sorted((cache_dir() / pretraining.FOLDER).glob("*"))


# -- the trainer itself -------------------------------------------------------------------------------------------


def test_a_gpt_reads_the_training_texts_and_the_lstm_its_states(
    corpus: Corpus,
    unseen: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pretraining, "SMALL", pretraining.Shape(1, 2, 16, 512))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = make_lstm(verbose=True, hidden=16, epochs=6, learning_rate=0.02).fit(*corpus)
    said = capfd.readouterr().err
    assert said.startswith(
        "pretraining a small GPT (1 layers x 16, vocabulary 512) on the 300 training texts: 10 passes"
    )
    assert "validation loss" in said, "the trainer's own talk"
    assert model.score(*unseen) > 0.5
    assert "a GPT pretrained on the training texts (1 layers x 16" in model.describe()
    (folder,) = kept()
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "run", "whole.json"]
    assert not (folder / "run" / "trainer").exists(), "checkpoints are not needed any more"
    model.save(tmp_path / "saved")
    monkeypatch.setattr(pretraining, "_run", None)  # nothing is trained from here on
    loaded = load(tmp_path / "saved")
    assert loaded.gpt_.config.beyond_gpt2, "a modern model is kept with its parts"
    np.testing.assert_array_equal(loaded.predict_proba(unseen[0]), model.predict_proba(unseen[0]))
    again = make_lstm(hidden=16, epochs=6, learning_rate=0.02).fit(*corpus)
    np.testing.assert_array_equal(again.predict_proba(unseen[0]), model.predict_proba(unseen[0]))
    config = tmp_path / "saved" / "gpt2" / "config.json"
    config.write_text(config.read_text().replace('"relu2"', '"gelu_new"'))
    with pytest.raises(InputDataError, match="not of the shape"):
        load(tmp_path / "saved")


# -- what is trained, and when ------------------------------------------------------------------------------------


def test_the_same_texts_are_pretrained_on_once(
    trainer: Trainers, corpus: Corpus, gpt2_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_lstm().fit(*corpus)
    assert capsys.readouterr().err == "", "verbose is False"
    assert first.gpt2_ == "pretrain"
    assert first.tokenizer_.n_vocab == Tokenizer.load(gpt2_folder).n_vocab
    make_lstm(random_state=1, verbose=True).fit(*corpus)
    assert "the model that was pretrained on these texts is kept" in capsys.readouterr().err
    assert len(trainer.starts) == 1
    make_lstm().fit(corpus[0][:200], corpus[1][:200])
    assert len(trainer.starts) == 2
    assert len(kept()) == 2


def test_the_lstm_reads_an_inner_layer_and_embeddings(trainer: Trainers, corpus: Corpus) -> None:
    model = make_lstm().fit(*corpus)
    width = model.gpt_.config.n_embd
    assert model.net_.forwards.input_size == 2 * width
    ids = model.tokenizer_.encode_ordinary(corpus[0][0])
    inner = model.gpt_.hidden_states(torch.tensor([[model.tokenizer_.eot_token, *ids]]), num_blocks=1)[
        0, 1:
    ].detach()
    with model._rows(corpus[0][:1]) as rows:
        np.testing.assert_allclose(rows.values[:, :width], model.gpt_.wte.weight[ids].detach(), atol=1e-3)
        np.testing.assert_allclose(rows.values[:, width:], inner, atol=1e-2)


def test_the_trainer_gets_the_training_texts_as_they_are_read_and_no_labels(
    trainer: Trainers, corpus: Corpus
) -> None:
    texts = [*corpus[0][:-1], "A Title\u00e9 \ud800 with <|endoftext|>"]
    make_lstm().fit(texts, corpus[1])
    (start,) = trainer.starts
    written = [json.loads(line) for line in start["texts"].splitlines()]
    assert written == [{"text": text.lower()} for text in texts]
    make_lstm(lowercase=False).fit(texts, corpus[1])
    assert json.loads(trainer.starts[1]["texts"].splitlines()[-1]) == {"text": texts[-1]}


def test_only_the_command_line_decides_what_is_trained(
    trainer: Trainers, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_TRAIN_STEPS", "7")
    monkeypatch.setenv("WORLD_SIZE", "2")
    make_lstm().fit(*corpus)
    (start,) = trainer.starts
    assert not {"GPT2X_TRAIN_STEPS", "WORLD_SIZE"} & start["environment"].keys()
    assert Path(start["environment"]["GPT2X_CACHE"]).is_relative_to(cache_dir())
    assert start["words"][0] == "text"
    assert {"--quiet", "--modern"} < set(start["words"])


@pytest.mark.parametrize(
    ("num_texts", "letters", "plan"),
    [
        (40, 40, {"tokens": 400, "vocab": 512, "block_size": 32, "epochs": 10}),
        (3, 40, {"tokens": 30, "block_size": 16}),
        (2_000, 120, {"vocab": 896, "block_size": 32, "epochs": 400_000 / 60_000}),
        (20_000, 200, {"tokens": 10**6, "vocab": 4096, "block_size": 64, "epochs": 2}),
        (80_000, 200, {"vocab": 8192, "shape": pretraining.LARGE, "block_size": 64}),
        (200, 20_000, {"tokens": 10**6, "shape": pretraining.SMALL, "block_size": 256}),
    ],
)
def test_little_text_makes_a_small_vocabulary_and_long_texts_a_long_context(
    num_texts: int, letters: int, plan: dict[str, Any]
) -> None:
    found = Plan.of(["x" * letters] * num_texts)
    assert {name: getattr(found, name) for name in plan} == plan


def test_much_text_is_not_read_more_often_than_there_is_time_for() -> None:
    plan = Plan.of(["x" * 4_000] * 100_000)
    assert plan.epochs * plan.tokens == pytest.approx(pretraining.MOST_TOKENS)


def test_the_time_is_told_where_it_is_long_enough_to_matter(
    trainer: Trainers, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretraining, "STEPS_WORTH_A_PLAN", 0)
    trainer.does('print(json.dumps({{"step_s": 90.0}})) if "--plan" in words else ' + WELL)
    make_lstm(verbose=True).fit(*corpus)
    steps = Plan.of(corpus[0]).steps
    assert f", about {steps * 1.5:.0f} min\n" in capsys.readouterr().err
    trainer.does('sys.exit(1) if "--plan" in words else ' + WELL)
    make_lstm(verbose=True).fit(corpus[0][:99], corpus[1][:99])
    assert "about" not in capsys.readouterr().err


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"), [(1, Gpt2xError), (2, UsageError), (3, InputDataError), (4, MissingComponentError)]
)
def test_a_trainer_that_fails_is_one_sentence_of_its_kind(
    trainer: Trainers, corpus: Corpus, code: int, kind: type[Gpt2xError]
) -> None:
    trainer.does(
        f"print('talk\\ngpt2x: the disk is full; free some space\\n', file=sys.stderr); sys.exit({code})"
    )
    with pytest.raises(kind, match=r"^pretraining failed: the disk is full; free some space$") as caught:
        make_lstm().fit(*corpus)
    assert caught.value.exit_code == code
    trainer.does(WELL)
    make_lstm().fit(*corpus)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL; the same command goes on"),
        ("sys.exit(9)", "ended with exit code 9 and said nothing"),
        ("pass", "ended without a model"),
    ],
)
def test_a_trainer_that_ends_without_a_word_is_one_sentence(
    trainer: Trainers, corpus: Corpus, program: str, sentence: str
) -> None:
    trainer.does(program)
    with pytest.raises(Gpt2xError, match=sentence):
        make_lstm().fit(*corpus)


def test_no_trainer_is_one_sentence(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining.child, "module_command", lambda module, words: ["/nowhere/python"])
    with pytest.raises(
        Gpt2xError, match="the trainer cannot be started: No such file or directory: /nowhere"
    ):
        make_lstm().fit(*corpus)


def test_an_interrupted_run_is_gone_on_with_by_the_same_command(trainer: Trainers, corpus: Corpus) -> None:
    trainer.does(WELL + "; sys.exit(130)")  # published weights do not make a model whole
    with pytest.raises(KeyboardInterrupt):
        make_lstm().fit(*corpus)
    trainer.does(WELL)
    make_lstm().fit(*corpus)
    first, second = trainer.starts
    assert (second["words"], second["texts"]) == (first["words"], first["texts"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_interrupts_the_classifier_lets_the_trainer_save(
    trainer: Trainers,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    def interrupted(line: str) -> None:
        if line == "step 1":
            raise error

    saved = tmp_path / "saved"
    trainer.does(
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(saved)!r}, 'w').close(), sys.exit(130)))\n"
        "print('step 1', file=sys.stderr, flush=True)\nsignal.pause()"
    )
    monkeypatch.setattr(pretraining, "say", interrupted)
    with pytest.raises(error):
        make_lstm(verbose=True).fit(*corpus)
    assert saved.exists()


def test_a_damaged_model_is_trained_again(trainer: Trainers, corpus: Corpus) -> None:
    make_lstm().fit(*corpus)
    (folder,) = kept()
    os.truncate(folder / "run" / "model.safetensors", 100)
    make_lstm().fit(*corpus)
    assert len(trainer.starts) == 2
    (folder / "whole.json").write_text("{")
    make_lstm().fit(*corpus)
    assert len(trainer.starts) == 3


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_one_sentence(
    trainer: Trainers, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pretraining.json, "dumps", full)
        with pytest.raises(OutputError, match=r"No space left on device; set GPT2X_CACHE to a folder"):
            make_lstm().fit(*corpus)
    assert not list(cache_dir().rglob("texts.jsonl")), "the half of it would keep the disk full"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / pretraining.FOLDER).write_text("a file where the folder would be")
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OutputError, match="is no folder; set GPT2X_CACHE"):
        make_lstm().fit(*corpus)
    assert not trainer.starts


# -- what is kept -------------------------------------------------------------------------------------------------


def test_the_oldest_models_go_when_all_take_too_much(trainer: Trainers, corpus: Corpus) -> None:
    def fit(num_texts: int, **changes: Any) -> Path:
        before = set(kept())
        make_lstm(**changes).fit(corpus[0][:num_texts], corpus[1][:num_texts])
        (new,) = set(kept()) - before
        return new

    first, second = fit(100), fit(110)
    os.utime(first / "whole.json", (1, 1))
    size = sum(file.stat().st_size for file in second.rglob("*") if file.is_file())
    third = fit(90, cache_gib=2.5 * size / 2**30)
    assert kept() == sorted([second, third])


def test_nothing_is_kept_where_nothing_should_be(trainer: Trainers, corpus: Corpus) -> None:
    make_lstm(cache_gib=0).fit(*corpus)
    assert kept() == []


def test_a_folder_in_use_elsewhere_is_waited_for(
    trainer: Trainers, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    make_lstm().fit(*corpus)
    (folder,) = kept()
    other = (folder / "lock").open("wb")
    fcntl.flock(other, fcntl.LOCK_EX)
    said: list[str] = []
    monkeypatch.setattr(pretraining, "say", lambda line: (said.append(line), other.close()))
    make_lstm().fit(*corpus)
    assert said == ["another process pretrains on the same texts; waiting for it to finish …"]
