"""The list in CONTRIBUTING.md that says what an operator consists of, followed for every operator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpt2x import ops
from gpt2x.ops import library, reference

REPOSITORY = Path(__file__).parent.parent.parent
GUIDE = REPOSITORY / "CONTRIBUTING.md"
SCHEMA = REPOSITORY / "csrc" / "ops" / "schema.cpp"


def places() -> list[str]:
    """The file that each line of the list names first."""
    if not GUIDE.exists():
        return []
    section = GUIDE.read_text(encoding="utf-8").partition("### An operator")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)


def signatures() -> dict[str, str]:
    """What schema.cpp defines: the arguments by name, as the C++ compiler reads the strings."""
    if not SCHEMA.exists():
        return {}
    code = re.sub(r"//.*", "", SCHEMA.read_text(encoding="utf-8"))
    strings = re.findall(r'm\.def\(((?:\s*"[^"]*")+)\s*\)', code)
    texts = ["".join(re.findall(r'"([^"]*)"', string)) for string in strings]
    return {text.partition("(")[0]: text.partition("(")[2].partition(") ->")[0] for text in texts}


def backwards() -> list[str]:
    """Those that only the gradient of another one calls."""
    return [name for name in signatures() if name.removesuffix("_backward") in set(signatures()) - {name}]


def operators() -> list[str]:
    """Those that people call; what takes no tensor tells something about this machine, and computes nothing."""
    return [
        name for name, arguments in signatures().items() if "Tensor" in arguments and name not in backwards()
    ]


def test_every_definition_of_the_schema_is_read() -> None:
    if not SCHEMA.exists():
        pytest.skip("the sources are not here")
    assert len(signatures()) == SCHEMA.read_text(encoding="utf-8").count("m.def(") > len(operators()) > 0
    assert all(re.fullmatch(r"\w+", name) for name in signatures())


def test_python_registers_what_the_schema_defines_and_nothing_else() -> None:
    if not SCHEMA.exists():
        pytest.skip("the sources are not here")
    assert set(library.OPERATORS) == set(operators())


@pytest.mark.parametrize("name", backwards())
def test_a_backward_is_registered_beside_its_operator(name: str) -> None:
    file = Path(ops.__file__).parent / f"{name.removesuffix('_backward')}.py"
    assert f'Operator("{name}", called=False)' in file.read_text(encoding="utf-8")


def test_the_list_is_there_and_names_the_sources_and_the_tests() -> None:
    if not GUIDE.exists():
        pytest.skip("the sources are not here")
    assert len(places()) == 11
    assert {"csrc/ops/schema.cpp", "gpt2x/ops/NAME.py", "tests/ops/test_NAME.py"} <= set(places())


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("operator", operators())
def test_an_operator_is_in_every_place_of_the_list(operator: str, place: str) -> None:
    name = operator.rstrip("_")
    file = REPOSITORY / place.replace("NAME", name)
    registered = library.OPERATORS.get(operator)
    if place.endswith(".cu") and registered is not None and not registered.has_cuda_kernel:
        assert not file.exists(), f"{file.name} is there and no operator calls it"
        return
    assert file.exists(), f"{operator} has no {place}"
    if "NAME" not in place:
        assert re.search(rf"\b{operator}(?!\w)", file.read_text(encoding="utf-8")), (
            f"{place} does not name {operator}"
        )


@pytest.mark.parametrize("operator", operators())
def test_an_operator_is_called_by_its_name_in_both_implementations(operator: str) -> None:
    assert operator in ops.__all__
    assert callable(getattr(ops, operator))
    assert callable(getattr(reference, operator))
