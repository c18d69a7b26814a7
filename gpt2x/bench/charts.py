"""What the charts of the benchmarks share. No torch; matplotlib is optional (the extra ``plots``)."""

from __future__ import annotations

from typing import Any

from gpt2x.errors import MissingComponentError

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"


def is_available() -> bool:
    """True where matplotlib is installed."""
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width: float, height: float, dpi: int) -> Any:
    """An empty figure of so many inches, without a window system and without the global state of pyplot.

    Raises:
        MissingComponentError: matplotlib is not installed.

    """
    if not is_available():
        raise MissingComponentError('charts need matplotlib; install it with: pip install "gpt2x[plots]"')
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
