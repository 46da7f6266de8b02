"""The page in Debian's Chromium: what tests do with it as a person would, and what they see."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = Path("/usr/bin/chromium")

Open = Callable[..., Any]
"""Opens the page at a URL, with options of a browser context."""


@contextmanager
def browsing(seen: Path) -> Iterator[Any]:
    """Chromium, with a camera that sees the picture `seen` (.mjpeg)."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (apvit[dev])")
    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments.append(f"--use-file-for-fake-video-capture={seen}")
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses root
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield one
        one.close()


@contextmanager
def opening(browser: Any, default: str) -> Iterator[Open]:
    """Opens the page; at the end nothing was asked of another host, and no script or policy complained."""
    contexts: list[Any] = []
    asked: list[str] = []
    complaints: list[str] = []

    def notice(message: Any) -> None:
        # The browser itself logs every refusal of the service as an error.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_it(url: str = default, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", notice)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))] == []
    assert complaints == []


def choose(page: Any, data: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    """Choose a file, as a person does in the dialog."""
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def drawn(page: Any, canvas: str) -> Image.Image:
    """What stands on a canvas."""
    url = page.eval_on_selector(canvas, "canvas => canvas.toDataURL()")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")


def faults(page: Any) -> list[tuple[str, str, list[str]]]:
    """What axe-core finds: the rule, how serious, where."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-playwright-python, for the axe-core in it (apvit[dev])")
    page.evaluate(Path(found.origin).with_name("axe.min.js").read_text("utf-8"))
    violations = page.evaluate("axe.run().then((result) => result.violations)")
    return [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in violations]
