"""The table of dials tells what the classes say, and refuses what no chosen model has."""

from __future__ import annotations

import inspect

import pytest

from gpt2x.classify.dials import DIALS, check_belong, check_values, dials_of
from gpt2x.classify.kinds import KINDS, get_kind
from gpt2x.classify.loading import load_class
from gpt2x.errors import UsageError


@pytest.mark.parametrize("model", KINDS)
def test_the_table_has_the_names_and_defaults_of_the_classes(model: str) -> None:
    if KINDS[model].neural:
        pytest.importorskip("torch")
    own = load_class(get_kind(model))
    defaults = {name: p.default for name, p in inspect.signature(own).parameters.items()}
    for dial in DIALS:
        if model in dial.defaults:
            assert dial.defaults[model] == defaults[dial.name], dial.name
            assert dial.name in own.rules, "what it may be is checked"
        else:
            assert dial.name not in defaults, f"{model} has {dial.name}, and the table does not say so"


def test_names_and_flags_are_distinct() -> None:
    assert len({dial.name for dial in DIALS}) == len({dial.flag for dial in DIALS}) == len(DIALS)


def test_a_dial_of_no_chosen_model_is_refused_with_the_models_that_have_it() -> None:
    with pytest.raises(
        UsageError, match=r"^--alpha is for nb; linear does not have it: leave it out, or choose nb$"
    ):
        check_belong(["alpha"], ["linear"])
    with pytest.raises(UsageError, match="--bits is for hashed-nb and linear; nb, tfidf do not have it"):
        check_belong(["bits"], ["nb", "tfidf"])
    check_belong(["alpha", "bits"], ["nb", "linear"])


def test_each_model_gets_its_own_dials() -> None:
    values = {"alpha": 0.5, "min_count": 3, "epochs": 2}
    assert dials_of("nb", values) == {"alpha": 0.5, "min_count": 3}
    assert dials_of("linear", values) == {"min_count": 3, "epochs": 2}


def test_a_value_that_cannot_work_is_refused_by_its_flag() -> None:
    check_values("linear", {"min_count": 1, "alpha": -1.0})  # which is no dial of it
    with pytest.raises(UsageError, match="--min-count = 0 cannot work; give a whole number from 1"):
        check_values("linear", {"min_count": 0})
    with pytest.raises(UsageError, match="--class-weight = 'odd' cannot work"):
        check_values("nb", {"class_weight": "odd"})
