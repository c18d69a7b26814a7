"""What `gpt2x bpe diff | stats` do; `bpe_table` says what they take."""

from __future__ import annotations

import itertools
from typing import Any

from gpt2x.cli.bpe_corpus import check_threads, fill
from gpt2x.cli.bpe_work import Source, load, load_each
from gpt2x.console import clean, emit, emit_json, key_value_lines
from gpt2x.errors import InputDataError, UsageError
from gpt2x.tables import format_table, table_width

# ----------------------------------------------------------------------------------------------------------------
# diff


def diff(words: list[str], *, vocab_pattern: str | None, limit: int, json: bool, quiet: bool) -> None:
    """Print where two vocabularies or patterns differ."""
    from gpt2x.tokenizer.comparing import Side, compare

    if len(words) not in (2, 3):
        raise UsageError(
            f"diff compares two vocabularies, on one text if you like; {len(words)} names were given"
        )
    _check_limit(limit)
    names = [name for name in map(Side.vocabulary_of, words[:2]) if name is not None]
    if vocab_pattern is not None and not names:
        raise UsageError("--pattern is for vocabularies that do not tell theirs; two patterns are compared")
    loaded = dict(zip(names, load_each(names, vocab_pattern), strict=True))
    a, b = (Side.parse(word, loaded.__getitem__) for word in words[:2])
    text = _read(words[2]) if len(words) == 3 else None
    report = compare(a, b, text, limit=limit)
    if report["text"] is not None:
        report["text"] = {"name": words[2]} | report["text"]
    if json:
        emit_json(report)
    else:
        emit(_show_diff(report))


def _read(name: str) -> bytes:
    """A UTF-8 text as a whole."""
    from gpt2x.tokenizer.utf8 import NotUtf8Error

    source = Source(name, None, any_bytes=False)
    data = source.read()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        finding = NotUtf8Error(source.label, data[error.start], error.start).finding
        raise InputDataError(f"{finding}; convert the file to UTF-8 first") from error
    return data


def _show_diff(report: dict[str, Any]) -> str:
    blocks = [key_value_lines({side: _side_line(report[side]) for side in "ab"})]
    if report["vocabulary"]:
        blocks.append(_show_vocabularies(report["vocabulary"]))
    if report["text"]:
        blocks.append(_show_text_diff(report["text"]))
    return "\n\n".join(blocks)


def _side_line(side: dict[str, Any]) -> str:
    size = f", {side['vocab_size']:,} ids" if side["vocab_size"] else ""
    return f"{side['name']}{size}, pattern {clean(side['pattern'])}, Unicode {side['unicode']}"


def _show_vocabularies(found: dict[str, Any]) -> str:
    lines: dict[str, object] = {
        "shared tokens": f"{found['shared']:,}, {found['other_ids']:,} of them with another id",
        "only in a": _some(found["only_a"], [token["text"] for token in found["first_only_a"]]),
        "only in b": _some(found["only_b"], [token["text"] for token in found["first_only_b"]]),
    }
    for side in "ab":
        if found["special_tokens"][f"only_{side}"]:
            lines[f"special in {side}"] = ", ".join(found["special_tokens"][f"only_{side}"])
    merges = found["merges"]
    if merges is None:
        lines["merges"] = "one of the vocabularies is no list of merges"
        return key_value_lines(lines)
    lines["merges"] = f"the first {merges['same_at_first']:,} are the same"
    if merges["first_difference"]:
        parts = (merges["first_difference"][side] for side in "ab")
        lines["then"] = ", ".join(
            f"{side} merges {' + '.join(merge)}" if merge else f"{side} has no more"
            for side, merge in zip("ab", parts, strict=True)
        )
    lines["order"] = f"{merges['out_of_order']:,} of {merges['shared']:,} shared merges come in another order"
    moves = [f"{move['text']} {move['a']:,} → {move['b']:,}" for move in merges["farthest_moved"]]
    if moves:
        lines["farthest"] = ", ".join(moves)
    return key_value_lines(lines)


def _show_text_diff(found: dict[str, Any]) -> str:
    from gpt2x.tokenizer.corpus import label

    unit = found["unit"]
    rows = [
        [side, found[side], found[f"bytes_per_unit_{side}"] or 0.0, found[f"fewer_in_{side}"]]
        for side in "ab"
    ]
    table = format_table(
        ["", unit, f"bytes/{unit[:-1]}", f"stretches with fewer {unit}"], rows, width=table_width()
    )
    blocks = [f"{label(found['name'])}: {found['bytes']:,} bytes\n{table}", _difference_line(found, unit)]
    if found["pieces"]:
        blocks.append(_difference_line(found["pieces"], "pieces"))
    return "\n\n".join(blocks)


def _difference_line(found: dict[str, Any], unit: str) -> str:
    if not found["different"]:
        return f"the same {unit} everywhere"
    share = f"{found['different']:,} stretches ({found['different_bytes']:,} bytes) are other {unit}"
    examples = [
        f"  at {example['offset']}: …{_in_context(example)}…\n"
        f"    a  {' | '.join(example['a'])}\n"
        f"    b  {' | '.join(example['b'])}"
        for example in found["first"]
    ]
    return "\n".join([f"{share}; the first:" if examples else share, *examples])


def _in_context(example: dict[str, Any]) -> str:
    before, text, after = (_one_line(example[part]) for part in ("before", "text", "after"))
    return f"{before}[{text}]{after}"


def _one_line(text: str) -> str:
    return repr(text)[1:-1]


def _some(count: int, examples: list[str]) -> str:
    more = ", …" if count > len(examples) else ""
    return f"{count:,}: {', '.join(examples)}{more}" if examples else f"{count:,}"


# ----------------------------------------------------------------------------------------------------------------
# stats


def stats(
    words: list[str],
    *,
    vocab_pattern: str | None,
    limit: int,
    threads: int | None,
    json: bool,
    quiet: bool,
) -> None:
    """Print what a vocabulary is made of and how it serves a text."""
    from gpt2x.tokenizer.stats import describe, new_corpus

    if not words:
        raise UsageError("there is nothing to describe; name a vocabulary, such as gpt2 or a folder")
    check_threads(threads)
    _check_limit(limit)
    name, *files = words
    tokenizer = load(name, vocab_pattern)
    corpus = None
    if files:
        corpus = new_corpus(tokenizer, num_threads=threads)
        fill(corpus, files, counts=False)
    report = describe(tokenizer, corpus, limit=limit)
    if report["text"] is not None:
        report["text"] = {"sources": files} | report["text"]
    if json:
        emit_json(report)
    else:
        emit(_show_stats(report))


def _show_stats(report: dict[str, Any]) -> str:
    found = report["vocabulary"]
    total = found["tokens"]
    lines: dict[str, object] = {
        "vocabulary": f"{report['tokenizer']}: {report['vocab_size']:,} ids, pattern {clean(report['pattern'])}",
        "splitting": report["splitting"],
        "special": _named(report["special_tokens"]),
        **({"added": _named(report["added_tokens"])} if report["added_tokens"] else {}),
        "tokens": f"{found['mean_bytes']:.2f} bytes each, {found['begin_with_space'] / total:.0%} begin with a space",
        "longest": ", ".join(f"{token['text']} ({token['bytes']})" for token in found["longest"]),
        "scripts": ", ".join(f"{script} {count:,}" for script, count in found["scripts"].items()),
    }
    if report["text"] is None:
        return key_value_lines(lines)
    text = report["text"]
    in_text: dict[str, object] = {
        "text": f"{text['bytes']:,} bytes, {text['pieces']:,} pieces, {text['unique_pieces']:,} different ones",
        "tokens": f"{text['tokens']:,}, {text['bytes_per_token'] or 0:.2f} bytes each, "
        f"{text['tokens_per_piece'] or 0:.2f} a piece, {text['pieces_of_one_token'] or 0:.1%} of pieces are one",
        "unused": _some(text["unused"], [token["text"] for token in text["first_unused"]])
        + f" (and {text['unused_bytes']} single bytes)",
        "most used": ", ".join(f"{token['text']} {token['count']:,}" for token in text["most_used"]),
    }
    columns = ["script", "characters", "bytes", "tokens", "bytes/token"]
    keys = ["script", "characters", "bytes", "tokens", "bytes_per_token"]
    table = format_table(
        columns, [[row[key] for key in keys] for row in text["scripts"]], width=table_width()
    )
    return "\n\n".join([key_value_lines(lines), key_value_lines(in_text), table])


def _named(tokens: dict[str, int]) -> str:
    """Texts of tokens, one after the other; spaces are shown as such, and not all of very many."""
    shown = [
        text if text.isprintable() and not text.isspace() else repr(text)
        for text in itertools.islice(tokens, 100)
    ]
    more = f", … ({len(tokens):,} in all)" if len(tokens) > len(shown) else ""
    return ", ".join(shown) + more or "none"


def _check_limit(limit: int) -> None:
    if limit < 0:
        raise UsageError(f"--limit is {limit}; give 0 or more")
