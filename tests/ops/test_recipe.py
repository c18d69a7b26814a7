"""The list in CONTRIBUTING.md that says what an operator consists of, followed for every operator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpt2x import ops
from gpt2x.ops import library, reference

REPOSITORY = Path(__file__).parent.parent.parent
GUIDE = REPOSITORY / "CONTRIBUTING.md"


def places() -> list[str]:
    """The file that each line of the list names first."""
    if not GUIDE.exists():
        return []
    section = GUIDE.read_text(encoding="utf-8").partition("### An operator")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)


def test_the_list_is_there_and_names_the_sources_and_the_tests() -> None:
    if not GUIDE.exists():
        pytest.skip("the sources are not here")
    assert len(places()) == 11
    assert {"csrc/ops/schema.cpp", "gpt2x/ops/NAME.py", "tests/ops/test_NAME.py"} <= set(places())


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("operator", library.OPERATORS)
def test_an_operator_is_in_every_place_of_the_list(operator: str, place: str) -> None:
    name = operator.rstrip("_")
    file = REPOSITORY / place.replace("NAME", name)
    if place.endswith(".cu") and not library.OPERATORS[operator].has_cuda_kernel:
        assert not file.exists(), f"{file.name} is there and no operator calls it"
        return
    assert file.exists(), f"{operator} has no {place}"
    if "NAME" not in place:
        assert re.search(rf"\b{operator}(?!\w)", file.read_text(encoding="utf-8")), (
            f"{place} does not name {operator}"
        )


@pytest.mark.parametrize("operator", library.OPERATORS)
def test_an_operator_is_called_by_its_name_in_both_implementations(operator: str) -> None:
    assert operator in ops.__all__
    assert callable(getattr(ops, operator))
    assert callable(getattr(reference, operator))
