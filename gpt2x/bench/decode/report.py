"""What people see of `gpt2x bench decode`: a table of all ways, and two sentences. Loads no torch."""

from __future__ import annotations

import statistics

from gpt2x.bench.decode.compare import Decoded, Entry
from gpt2x.bench.stats import MS_PER_SECOND

HEAD = ("decoding", "tokens/s", "×", "ms", "fastest", "GB/s", "of memory", "prompt/s", "RAM", "greedy text")
RIGHT = (False, *(True for _ in HEAD[1:-1]), False)


def table_rows(decoded: Decoded) -> list[list[str]]:
    """One row a way, under `HEAD`."""
    return [_row(decoded, entry) for entry in decoded.entries]


def _row(decoded: Decoded, entry: Entry) -> list[str]:
    if not entry.is_measured:
        return [entry.title, *("–" for _ in HEAD[2:]), entry.failed]
    ratio = decoded.ratio(entry)
    prompt_per_second = decoded.setting.prompt * MS_PER_SECOND / statistics.median(entry.prompt_ms)
    return [
        entry.title,
        f"{MS_PER_SECOND / entry.median_ms:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{entry.median_ms:.2f}",
        f"{entry.fastest_ms:.2f}",
        f"{entry.bytes_per_second / 1e9:.1f}",
        f"{(decoded.share(entry) or 0.0):.0%}",
        f"{prompt_per_second:.0f}",
        f"{entry.peak_memory_bytes / 1e9:.2f} GB",
        _verdict(decoded, entry),
    ]


def _verdict(decoded: Decoded, entry: Entry) -> str:
    """Whether a way wrote what the plain model wrote."""
    if not decoded.has_reference:
        return ""
    place = decoded.first_difference(entry)
    if place is None:
        return "same"
    return f"other from token {place}" + (", and must not" if entry.exact else "")


def sentences(decoded: Decoded) -> list[str]:
    """What was measured, and what the columns are held against."""
    setting, baseline = decoded.setting, decoded.baseline
    threads = decoded.seen["threads"]
    where = decoded.seen["name"] or f"{decoded.machine.cpu_name}, {threads} thread{'s' * (threads != 1)}"
    held = f"; × is times the rate of: {baseline.title}" if baseline is not None else ""
    return [
        f"{setting.model}, prompt {setting.prompt}, {setting.tokens} tokens written, greedy; {where}",
        f"memory gives {decoded.bandwidth / 1e9:.1f} GB/s; GB/s counts the weights that a token reads{held}",
    ]
