"""The page in a browser without a window: what is asked for is sung, and the buttons do what they say."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from gpt2x.paths import assets_dir
from gpt2x.web.page import PAGE, page_of
from gpt2x.web.server import SongServer, _Handler

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("GPT2X_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is here (GPT2X_TEST_BROWSER names one that is not on the PATH)"
)

DRIVER = """
<script>
(async () => {
  const seen = {copied: null};
  const until = async (done) => { while (!done()) await new Promise((later) => setTimeout(later, 10)); };
  const clipboard = {writeText: async (text) => { if (seen.refuses) throw new Error("no"); seen.copied = text; }};
  Object.defineProperty(navigator, "clipboard", {value: clipboard});
  await until(() => at("mood").options.length > 1);
  at("topic").value = "rain";
  at("seed").value = "3";
  at("sing").click();
  await until(() => !at("actions").hidden);
  at("copy").click();
  await until(() => seen.copied !== null);
  seen.status = at("status").textContent;
  seen.title = at("title").textContent;
  seen.lines = [...document.querySelectorAll("#lines-sung p > span:first-child")].map((line) => line.textContent);
  seen.refuses = true;
  at("copy").click();
  await until(() => at("status").textContent !== seen.status);
  seen.refused = at("status").textContent;
  seen.selected = getSelection().toString();
  seen.wider = document.documentElement.scrollWidth - innerWidth;
  fetch("/?" + encodeURIComponent(JSON.stringify(seen)));
})();
</script>
"""


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[str]:
    """What a page sends back, as the query of one more request for itself."""
    paths: queue.Queue[str] = queue.Queue()
    send_page = _Handler._send_page

    def record(handler: _Handler) -> None:
        paths.put(handler.path)
        send_page(handler)

    monkeypatch.setattr(_Handler, "_send_page", record)
    return paths


def seen_by(server: SongServer, reports: queue.Queue[str], folder: Path, width: int) -> dict[str, Any]:
    """What the driver in the page saw."""
    text = (assets_dir() / PAGE).read_text(encoding="utf-8")
    server.page = page_of(text.replace("</body>", f"{DRIVER}</body>"))
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    more = ("--remote-debugging-port=0", f"--window-size={width},900", f"--user-data-dir={folder}")
    assert BROWSER is not None
    with subprocess.Popen(
        [BROWSER, *options, *more, server.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as browser:
        try:
            while not (query := urlsplit(reports.get(timeout=60)).query):
                pass
        finally:
            browser.terminate()
    return dict(json.loads(unquote(query)))


def test_a_song_is_sung_and_copied_whole(
    server: SongServer, reports: queue.Queue[str], tmp_path: Path
) -> None:
    seen = seen_by(server, reports, tmp_path, 500)  # Chromium has no narrower window
    assert seen["title"] == "Rain"
    assert seen["status"] == "Copied."
    assert seen["copied"].startswith("Rain\n\n")
    assert seen["copied"].removeprefix("Rain\n\n").strip() == "\n".join(seen["lines"]).strip()
    assert "does not let the page copy" in seen["refused"]
    assert seen["selected"].strip(), "what cannot be copied is selected"
    assert seen["wider"] <= 0, "nothing is wider than the window"
