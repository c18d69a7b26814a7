"""`gpt2x sing --web`: serve the page until Ctrl-C."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpt2x.cli.sing_song import Singer
from gpt2x.console import say

if TYPE_CHECKING:
    from gpt2x.generate.song_settings import SongSettings

PORT = 8420


def serve_page(
    singer: Singer,
    settings: SongSettings,
    *,
    topic: str,
    seed: int | None,
    port: int | None,
    open_browser: bool,
) -> None:
    """Serve the page on this machine; returns after Ctrl-C.

    Args:
        singer: the model.
        settings: hold for what the page does not ask for.
        topic: shown at first.
        seed: shown at first; None for a new one a song.
        port: None takes `PORT`.
        open_browser: show the page in a browser.

    Raises:
        Gpt2xError: the port is taken.

    """
    from gpt2x.web.server import SongServer, Stage

    stage = Stage(
        engine=singer.engine,
        name=singer.folder.name,
        options=singer.options,
        settings=settings,
        topic=topic,
        seed=seed,
        index=singer.index,
    )
    server = SongServer(stage, PORT if port is None else port)
    try:
        say(f"{singer.folder} sings at {server.url} until Ctrl-C")
        if open_browser:
            threading.Thread(target=_open, args=(server.url,), daemon=True).start()
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("\nthe page is closed")
    finally:
        server.stop()


def _open(url: str) -> None:
    """Show the page in a browser; some of them return only when they are closed, hence the thread."""
    import webbrowser

    if not webbrowser.open(url):
        say(f"no browser could be started; open {url} yourself")
