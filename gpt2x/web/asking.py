"""What a listener asks for: JSON from the page becomes settings of a song, or a sentence that says why not."""

from __future__ import annotations

import dataclasses
import json
import secrets
from typing import Any, NoReturn

from gpt2x.data.lyrics import FORMS
from gpt2x.errors import UsageError, quoted
from gpt2x.generate.song_settings import MOODS, TOPIC_CHARACTERS, SongSettings, one_word, plain_topic

LINES = (4, 80)
"""The fewest and the most lines that the page asks for."""

MAX_TEMPERATURE = 2.0
MAX_SEED = 2**53 - 1
"""JavaScript knows no larger whole number exactly."""

_FIELDS = ("topic", "mood", "form", "temperature", "lines", "seed")


def read_wish(body: bytes, usual: SongSettings) -> tuple[SongSettings, int]:
    """Read a request for a song.

    Args:
        body: JSON, an object of some of topic (needed), mood, form, temperature, lines and seed.
        usual: what holds for all that the page does not say.

    Returns:
        The settings, and the seed: a new one where none was asked for.

    Raises:
        UsageError: not JSON, an unknown field, a value of another kind or out of range.

    """
    wish = _object(body)
    unknown = next((name for name in wish if name not in _FIELDS), None)
    if unknown is not None:
        raise UsageError(f"{quoted(unknown)} is unknown; send {', '.join(_FIELDS)}")
    settings = usual.asking(
        topic=plain_topic(_text(wish, "topic")),
        mood=one_word("mood", _text(wish, "mood")),
        form=one_word("form", _text(wish, "form")),
    )
    if wish.get("lines") is not None:
        settings = settings.with_lines(int(_number(wish, "lines", *LINES, whole=True)))
    if wish.get("temperature") is not None:
        temperature = _number(wish, "temperature", 0, MAX_TEMPERATURE)
        sampling = dataclasses.replace(settings.sampling, temperature=temperature)
        settings = dataclasses.replace(settings, sampling=sampling)
    if wish.get("seed") is None:
        return settings, secrets.randbelow(10**6)
    return settings, int(_number(wish, "seed", 0, MAX_SEED, whole=True))


def choices(usual: SongSettings, topic: str, seed: int | None) -> dict[str, Any]:
    """What the page offers, and what it shows at first."""
    request = usual.request
    return {
        "topic": topic,
        "mood": request.mood,
        "form": request.form,
        "temperature": min(usual.sampling.temperature, MAX_TEMPERATURE),
        "lines": max(LINES[0], min(request.max_lines, LINES[1])),
        "seed": seed,
        "moods": sorted({*MOODS, *filter(None, [request.mood])}),
        "forms": list(FORMS),
        "limits": {
            "topic": TOPIC_CHARACTERS,
            "lines": list(LINES),
            "temperature": [0, MAX_TEMPERATURE],
            "seed": [0, MAX_SEED],
        },
    }


def _object(body: bytes) -> dict[str, Any]:
    try:
        wish = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{quoted(body[:60])} is no JSON in UTF-8; send an object such as a page sends"
        ) from None
    if not isinstance(wish, dict):
        raise UsageError(f"{quoted(wish)} is no object; send one with a topic")
    return wish


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _text(wish: dict[str, Any], name: str) -> str:
    value = wish.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"{name} = {quoted(value)} is no text; send a string")
    return value


def _number(wish: dict[str, Any], name: str, least: float, most: float, *, whole: bool = False) -> float:
    value = wish[name]
    kinds = int if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UsageError(f"{name} = {quoted(value)} is no {'whole ' * whole}number; send one")
    if not least <= value <= most:
        raise UsageError(f"{name} = {quoted(value)} is outside {least} … {most}; send one inside")
    return value
