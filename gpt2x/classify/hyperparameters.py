"""What a hyperparameter may be, as data: each classifier has a table of rules, read when it is fitted or loaded.

scikit-learn's rule is that ``__init__`` stores what it is given and `fit` checks it, so that `clone` and `set_params`
work; hence no rule changes a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt2x.errors import UsageError, quoted


class Rule:
    """What a value must be; `wanted` says it in words."""

    wanted: str

    def allows(self, value: Any) -> bool:
        """True if the value can work."""
        raise NotImplementedError

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that can never work, by name.

        Raises:
            UsageError: it cannot.

        """
        if not self.allows(value):
            raise UsageError(f"{name} = {_shown(value)} cannot work; give {self.wanted}")


@dataclass(frozen=True, slots=True)
class Whole(Rule):
    """A whole number from `low` to `high`, Python's or NumPy's; True is none. Or None where that is allowed."""

    low: int
    high: int
    or_none: bool = False

    @property
    def wanted(self) -> str:  # type: ignore[override]  # noqa: D102
        return f"{'None or ' if self.or_none else ''}a whole number from {self.low:,} to {self.high:,}"

    def allows(self, value: Any) -> bool:  # noqa: D102
        if value is None:
            return self.or_none
        is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return is_whole and bool(self.low <= value <= self.high)


@dataclass(frozen=True, slots=True)
class Number(Rule):
    """A number from `low` to `high`, which NaN is not; True is none."""

    low: float
    high: float

    @property
    def wanted(self) -> str:  # type: ignore[override]  # noqa: D102
        return f"a number from {self.low:g} to {self.high:g}"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return _is_number(value) and self.low <= value <= self.high


class Share(Rule):
    """A number from 0 to below 1."""

    wanted = "a share from 0 to below 1"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return _is_number(value) and 0 <= value < 1


class Flag(Rule):
    """True or False, Python's or NumPy's."""

    wanted = "True or False"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return isinstance(value, bool | np.bool_)


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """One of a few words, or None where that is allowed."""

    words: tuple[str, ...]
    or_none: bool = False

    @property
    def wanted(self) -> str:  # type: ignore[override]  # noqa: D102
        return f"{'None or ' if self.or_none else ''}one of {', '.join(self.words)}"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return (value is None and self.or_none) or (isinstance(value, str) and value in self.words)


class Threads(Rule):
    """joblib's ``n_jobs``: -1 is all cores, -2 all but one; None is one."""

    wanted = "-1 for all cores or a whole number from 1 to 256"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return value is None or (Whole(-256, 256).allows(value) and value != 0)


class Seed(Rule):
    """scikit-learn's ``random_state``, or a Generator."""

    wanted = "None, a whole number from 0 to 4,294,967,295, a numpy.random.Generator or a RandomState"

    def allows(self, value: Any) -> bool:  # noqa: D102
        given = (
            value is None
            or value is np.random
            or isinstance(value, np.random.RandomState | np.random.Generator)
        )
        return given or Whole(0, 2**32 - 1).allows(value)


class Device(Rule):
    """A name for `gpt2x.model.device.pick_device`, which says whether that device is here."""

    wanted = "auto, cpu, cuda or cuda:N"

    def allows(self, value: Any) -> bool:  # noqa: D102
        return isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value) is not None


class Name(Rule):
    """None, or a name or path."""

    wanted = "None, a name or a path"

    def allows(self, value: Any) -> bool:  # noqa: D102
        if value is None:
            return True
        return isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)


def check_all(rules: Mapping[str, Rule], values: Mapping[str, Any]) -> None:
    """Check each value by its rule.

    Raises:
        UsageError: the first that cannot work, by name.

    """
    for name, rule in rules.items():
        rule.check(name, values[name])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value for a sentence; of a container only what it is, which may be too deep to print."""
    plain = isinstance(value, str | bytes | int | float | np.generic) or value is None
    return quoted(value) if plain else f"a {type(value).__name__}"
