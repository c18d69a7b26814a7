"""What every benchmark's result file has: the same first keys, the same words for how a row went. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gpt2x.paths import atomic_write

FORMAT = "gpt2x-bench"
"""What the format of every result file begins with; the ladder's is this itself."""

REPORT_DATA = "gpt2x-results"
"""The id of the element of an HTML report that holds the results as JSON."""

MEASURED, SKIPPED, FAILED = "measured", "skipped", "failed"


class Dated(Protocol):
    """What every kind of result says of the run that made it."""

    created: str
    command: list[str]
    complete: bool
    duration_s: float


def head(results: Dated, format: str, schema: int) -> dict[str, Any]:
    """The first keys of every result file."""
    return {
        "format": format,
        "schema": schema,
        "created": results.created,
        "command": results.command,
        "complete": results.complete,
        "duration_s": round(results.duration_s, 3),
    }


class Record(Protocol):
    """What can be kept as a JSON file."""

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON shape."""
        ...


def to_json(results: Record) -> dict[str, Any]:
    """`Results.as_dict`, with null for numbers that JSON does not have."""
    values: dict[str, Any] = _finite(results.as_dict())
    return values


def save(results: Record, path: Path) -> None:
    """Write the JSON file.

    Raises:
        OutputError: it cannot be written; nothing half-written is left.

    """
    with atomic_write(path, text=True) as file:
        json.dump(to_json(results), file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: a loss that is one becomes null."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(inner) for inner in value]
    return value
