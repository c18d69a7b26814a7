"""How the ladder writes single figures: times, shares, bytes, rates. Loads no torch."""

from __future__ import annotations


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


def format_loss(loss: float | None) -> str:
    """A loss in nats: 10.853; empty when it is not known."""
    return "" if loss is None else f"{loss:.3f}"


def format_flops(flops: float) -> str:
    """Operations a second for people: 95 GFLOP/s, 1.2 TFLOP/s."""
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"
