"""Where a setting's value comes from: default < preset < config file < environment < flag.

Settings are plain dataclasses that live beside the code they configure; a field's text stands in its metadata
(`field(default, metadata={"help": …})`, or the helper `setting`). `resolve` lays the sources over one another and
remembers where each value came from, for ``--show-config``. Idea: torchtitan's and litgpt's typed configs.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import CONFIG_BYTES, read_text

T = TypeVar("T")


LARGEST_WHOLE, LARGEST_SEED = 2**31 - 1, 2**63 - 1
"""No whole number that is given may be larger, or smaller than minus this; only a seed is not counted to."""

SMALLEST, LARGEST = 1.2e-38, 3.4e38
"""Between these is every number but 0: it is computed with in float32."""


def check_number(name: str, value: object) -> None:
    """Refuse a number that nothing can be computed with, for every setting and option alike.

    Raises:
        UsageError: NaN, infinite, outside of what float32 holds, or a whole number of too many bits.

    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} = {value} is not a finite number; give one that is")
    if isinstance(value, float) and value != 0 and not SMALLEST <= abs(value) <= LARGEST:
        raise UsageError(f"{name} = {value} is outside of float32; give 0, or {SMALLEST} to {LARGEST}")
    largest = LARGEST_SEED if name.endswith("seed") else LARGEST_WHOLE
    if isinstance(value, int) and abs(value) > largest:
        raise UsageError(f"{name} = {quoted(value)} is too large; give at most {largest}")


def setting(default: Any, help: str) -> Any:
    """A dataclass field with a default and the sentence that documents it."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    """The settings that hold, and for each field the source that had the last word."""

    values: T
    sources: dict[str, str]

    def table(self) -> list[tuple[str, object, str]]:
        """Rows of (name, value, source), for ``--show-config``."""
        return [(name, getattr(self.values, name), source) for name, source in self.sources.items()]


def resolve(
    cls: type[T],
    *,
    preset: tuple[str, Mapping[str, Any]] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    config_table: tuple[str, Mapping[str, Any]] | None = None,
    section: str = "",
    flags: Mapping[str, Any] | None = None,
) -> Resolved[T]:
    """Build `cls` from its defaults, a preset, a TOML file, the environment and flags, in rising priority.

    Args:
        cls: a dataclass whose fields are str, int, float, bool, or optionals of these.
        preset: its name and its values.
        config_file: a TOML file; read from its table `section` when there is one, else from the top level.
        config_table: what else came from a file, by what it is to be called: the caller has read it.
        section: also the prefix of environment variables: field ``max_steps`` of section ``train`` is
            ``GPT2X_TRAIN_MAX_STEPS``.
        flags: values from the command line; None means "not given".

    Raises:
        UsageError: an unknown name or a value of the wrong type, naming the source.
        InputDataError: the file is missing or not TOML.

    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kinds = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    sources = dict.fromkeys(fields, "default")

    def lay(layer: Mapping[str, Any], source: str) -> None:
        for name, value in layer.items():
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known names: {', '.join(fields)}"
                raise UsageError(f"unknown setting {quoted(name)} in {source}{hint}")
            values[name] = convert(value, kinds[name], name, source)
            sources[name] = source

    if preset is not None:
        lay(preset[1], f"preset {preset[0]}")
    if config_file is not None:
        table = read_toml(config_file)
        inner = table.get(section)
        lay(inner if isinstance(inner, dict) else table, f"file {config_file}")
    if config_table is not None:
        lay(config_table[1], config_table[0])
    prefix = "GPT2X_" + (f"{section.upper()}_" if section else "")
    for name in fields:
        if prefix + name.upper() in os.environ:
            lay({name: os.environ[prefix + name.upper()]}, f"environment {prefix + name.upper()}")
    lay({k: v for k, v in (flags or {}).items() if v is not None}, "flag")
    return Resolved(cls(**values), sources)


def convert(value: Any, kind: Any, name: str, source: str) -> Any:
    """Bring a value from text or TOML to the field's type.

    Raises:
        UsageError: it cannot be read as that type.

    """
    options = (
        typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) else (kind,)
    )
    if value is None or (value in ("", "none", "None") and type(None) in options):
        if type(None) in options:
            return None
        raise UsageError(f"{name} in {source} needs a value")
    target = next(option for option in options if option is not type(None))
    try:
        if target is bool:
            return _to_bool(value)
        if target is int and isinstance(value, float) and not value.is_integer():
            raise ValueError(value)
        return target(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name} = {quoted(value)} in {source} is not {_kind_name(target)}") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    return words[str(value).lower()] if str(value).lower() in words else _raise(value)


def _raise(value: Any) -> bool:
    raise ValueError(value)


def _kind_name(kind: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(kind, str(kind))


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputDataError: the file is missing or not TOML.

    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    text = read_text(path, limit=CONFIG_BYTES)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputDataError(f"{Path(path)} is not a TOML file: {error}") from error
