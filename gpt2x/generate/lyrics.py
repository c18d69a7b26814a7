"""Songs: a topic becomes a title, and a title is the prompt that a model trained on songs answers with a song.

In training a song is the document "`song_prompt`, words", after the end-of-text token of the song before; a prompt is
the beginning of such a document, cut into the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gpt2x.data.lyrics import song_prompt
from gpt2x.errors import UsageError
from gpt2x.generate.engine import Engine, TextStream
from gpt2x.generate.sampling import SamplingConfig
from gpt2x.generate.stops import at_end_of_text

SONG_SAMPLING = SamplingConfig(temperature=0.8, top_p=0.95)  # a song should surprise, and still hang together
_SMALL_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "but", "by", "for", "from", "if", "in", "into"}
    | {"nor", "of", "on", "or", "the", "to", "up", "vs", "with"}
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def title_of(topic: str) -> str:
    """A topic in the letters of a title; capitals that are there stay, small words stay small inside.

    Raises:
        UsageError: there is no topic.

    >>> title_of("ex-girlfriend"), title_of("rain in the city"), title_of("don't call ANNA")
    ('Ex-Girlfriend', 'Rain in the City', "Don't Call ANNA")
    """
    topic = " ".join(topic.split())
    if not topic:
        raise UsageError("the topic is empty; say what to sing about, as in: gpt2x sing rain")
    words = list(_WORD.finditer(topic))

    def write(match: re.Match[str]) -> str:
        word = match.group()
        inside = words[0].start() < match.start() < words[-1].start()
        return word if inside and word in _SMALL_WORDS else word[0].upper() + word[1:]

    return _WORD.sub(write, topic)


def prompt_for(topic: str) -> str:
    r"""The beginning of a song about a topic, up to where the words start.

    >>> prompt_for("ex-girlfriend")
    'Ex-Girlfriend\n\n'
    """
    return song_prompt(title_of(topic))


def prompt_ids(tokenizer: Any, topic: str) -> list[int]:
    """The tokens of the prompt, as they stand at the beginning of a document in training.

    A byte-level BPE cuts blanks by what follows them: at the end of a text two line ends are one token, before a
    word they are two. The model has only ever seen the latter, so the prompt is cut as if the words had begun.
    """
    prompt = prompt_for(topic)
    ids = tokenizer.encode_ordinary(prompt + "A")
    if ids and tokenizer.decode_bytes(ids[:-1]) == prompt.encode("utf-8", "replace"):
        ids = ids[:-1]
    else:  # a tokenizer that joins line ends and letters
        ids = tokenizer.encode_ordinary(prompt)
    return [*at_end_of_text(tokenizer).token_ids, *ids]


def sing(
    engine: Engine,
    topic: str,
    *,
    max_tokens: int = 400,
    sampling: SamplingConfig = SONG_SAMPLING,
    seed: int = 0,
    stop_strings: Iterable[str] = (),
) -> TextStream:
    """Write a song: the title, an empty line, then words until the model ends the song or `max_tokens` are written.

    Raises:
        UsageError: an empty topic, or a model without a tokenizer.

    """
    if engine.tokenizer is None:
        raise UsageError("this model has no tokenizer beside it and cannot write text")
    return engine.stream(
        prompt_ids(engine.tokenizer, topic),
        max_new_tokens=max_tokens,
        sampling=sampling,
        seed=seed,
        stops=at_end_of_text(engine.tokenizer, stop_strings),
        first=prompt_for(topic),
    )
