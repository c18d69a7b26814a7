"""What people see: rows as they come, the table, a bar chart for terminals, and one closing sentence. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2x.bench.measure import BUSY_SHARE, CHANGES
from gpt2x.bench.results import Results, Row
from gpt2x.console import format_table

HEADS = ("#", "rung", "ms/step", "±", "tokens/s", "× before", "× start", "peak", "memory", "loss", "")
RIGHT = (True, False, True, True, True, True, True, True, True, True, False)
# Widths for rows that are printed one by one, before the rows below them are known.
WIDTHS = (2, 21, 9, 5, 9, 8, 7, 6, 8, 8, 0)

BAR_CELLS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def head_line() -> str:
    """The heads of the columns, for rows that are printed as they come."""
    return _lay_out(HEADS)


def row_line(results: Results, row: Row) -> str:
    """One row, as wide as all others will be."""
    return _lay_out(_cells(results, row))


def table(results: Results) -> str:
    """All rows under their heads."""
    return format_table(HEADS, [_cells(results, row) for row in results.rows], right=RIGHT)


def _lay_out(cells: Sequence[str]) -> str:
    columns = zip(cells, WIDTHS, RIGHT, strict=True)
    return "  ".join(
        cell.rjust(width) if right else cell.ljust(width) for cell, width, right in columns
    ).rstrip()


def _cells(results: Results, row: Row) -> list[str]:
    if not row.is_measured:
        return [str(row.number), row.title, *["–"] * (len(HEADS) - 3), row.reason]
    mfu = results.mfu(row)
    return [
        str(row.number),
        row.title,
        format_ms(row.step.median),
        f"{row.step.relative:.0%}",
        f"{row.tokens_per_second:,.0f}",
        f"{results.speedup_before(row):.2f}" if results.before(row) else "",
        f"{results.speedup_start(row):.2f}",
        f"{mfu:.1%}" if mfu is not None else "",
        format_memory(row.peak_memory_bytes),
        f"{results.loss(row):.3f}",
        remark(row),
    ]


def remark(row: Row) -> str:
    """What has to be said beside the figures of a measured rung."""
    words = []
    if row.loss is not None and not row.loss.counts:
        words.append(f"does not count: {row.loss.reason}")
    elif row.loss is not None and row.loss.verdict == CHANGES:
        words.append(f"changes the result: {row.loss.reason}")
    if row.is_noisy:
        words.append("noisy")
    return "; ".join(words)


def format_ms(ms: float) -> str:
    """Three digits that mean something: 0.512, 51.2, 5,120."""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def format_memory(num_bytes: float) -> str:
    """Memory for people: 850 MB, 12.3 GB (powers of ten)."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def bars(results: Results) -> str:
    """The climb as bars of tokens per second, for a terminal or a log."""
    rows = results.measured
    if not rows:
        return ""
    most = max(row.tokens_per_second for row in rows)
    width = max(len(row.title) for row in rows)
    lines = []
    for row in rows:
        cells = row.tokens_per_second / most * BAR_CELLS
        bar = "█" * int(cells) + _EIGHTHS[int(cells % 1 * 8)].strip()
        label = f"{row.tokens_per_second:,.0f} tokens/s, {results.speedup_start(row):.2f} ×"
        lines.append(f"{row.title.ljust(width)}  {bar} {label}")
    return "\n".join(lines)


def setting_line(results: Results) -> str:
    """What is measured, in one line."""
    setting, shape = results.setting, results.setting.shape
    return (
        f"{setting.model} ({shape.n_layer} layers, {shape.n_embd} wide, {shape.vocab_size:,} tokens), "
        f"batch {setting.batch} × {setting.seq} on {results.machine.describe(setting.device)}"
    )


def sentence(results: Results) -> str:
    """The closing sentence: how far it went, what helped most, what could not be had here."""
    climbed = results.climbed
    if len(climbed) < 2:
        return "Nothing to compare yet: fewer than two rungs were measured."
    top = climbed[-1]
    speedup = results.speedup_start(top)
    how = f"{speedup:.1f} × faster than" if speedup >= 1.05 else f"{speedup:.2f} × the speed of"
    parts = [
        f"{how} where you started ({climbed[0].tokens_per_second:,.0f} → {top.tokens_per_second:,.0f} tokens/s)"
    ]
    mfu = results.mfu(top)
    if mfu is not None:
        parts[0] += f", at {mfu:.0%} of this machine's measured peak"
    largest = max(climbed[1:], key=results.speedup_before)
    if results.speedup_before(largest) >= 1.05:
        parts.append(f"the largest step was {largest.title} ({results.speedup_before(largest):.2f} ×)")
    fastest = max(climbed, key=results.speedup_start)
    if results.speedup_start(fastest) > 1.05 * speedup:
        parts.append(f"the fastest was {fastest.title} ({results.speedup_start(fastest):.1f} ×)")
    parts += _left_out(results)
    return "; ".join(parts) + "."


def _left_out(results: Results) -> list[str]:
    busy = busy_share(results)
    skipped = [row.title for row in results.rows if not row.is_measured]
    broken = [row.title for row in results.measured if not row.counts]
    words = []
    if broken:
        words.append(f"not counted, because the loss is off: {', '.join(broken)}")
    if skipped:
        words.append(f"not to be had here: {', '.join(skipped)}")
    if not results.complete:
        words.append("interrupted before the end")
    if busy > BUSY_SHARE:
        words.append(f"measured while other programs kept {busy:.0%} of the cores busy, so do not quote it")
    return words


def warnings(results: Results) -> list[str]:
    """What limits the trust in these figures."""
    shares = [share for row in results.measured for share in row.others]
    lines = []
    if max(shares, default=0.0) > BUSY_SHARE:
        lines.append(
            f"other programs kept {busy_share(results):.0%} of the cores busy meanwhile (at most {max(shares):.0%}): "
            "measure again on an idle machine before you quote a figure"
        )
    noisy = [row.title for row in results.measured if row.is_noisy]
    if noisy:
        lines.append(f"the middle half of the steps lies more than 15 % apart for: {', '.join(noisy)}")
    if results.measured and not results.interleaved:
        lines.append(
            "the rungs were measured one after the other, not in turn, so a slow phase may weigh on one alone"
        )
    return lines


def busy_share(results: Results) -> float:
    """The share of the cores that other programs kept busy, averaged over all rounds of all rungs."""
    shares = [share for row in results.measured for share in row.others]
    return sum(shares) / len(shares) if shares else 0.0


def peak_line(results: Results) -> str:
    """The measured roof: 'float32 95 GFLOP/s, bfloat16 806 GFLOP/s'."""
    return ", ".join(f"{name} {_format_flops(flops)}" for name, flops in results.machine.peak_flops.items())


def _format_flops(flops: float) -> str:
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"
