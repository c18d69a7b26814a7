"""How the ladder writes single figures: times, shares, bytes, rates. Loads no torch."""

from __future__ import annotations

from gpt2x.bench.bootstrap import Ratio


def format_ms(ms: float) -> str:
    """Three digits that mean something: 0.512, 51.2, 5,120."""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def format_memory(num_bytes: float) -> str:
    """Memory for people: 850 MB, 12.3 GB (powers of ten)."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def format_share(share: float | None) -> str:
    """A share of a whole: 38%, 4.2%; empty when it is not known."""
    return "" if share is None else f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"


def format_times(ratio: float) -> str:
    """How many times: 1.07, 12.3, 386."""
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}" if ratio < 99.95 else f"{ratio:,.0f}"


def format_ratio(ratio: Ratio, unit: str = "") -> str:
    """A ratio with its interval, '1.19 (1.17–1.20)'; '≈ 1' where the interval holds 1; without one, the ratio alone.

    The unit comes before the interval: '1.19 × (1.17–1.20)'.
    """
    if ratio.low is None or ratio.high is None:
        return f"{format_times(ratio.median)}{unit}"
    if ratio.low <= 1.0 <= ratio.high:
        return "≈ 1"
    return f"{format_times(ratio.median)}{unit} ({format_times(ratio.low)}–{format_times(ratio.high)})"


def format_loss(loss: float | None) -> str:
    """A loss in nats: 10.853; empty when it is not known."""
    return "" if loss is None else f"{loss:.3f}"


def format_flops(flops: float) -> str:
    """Operations a second for people: 95 GFLOP/s, 1.2 TFLOP/s."""
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"
