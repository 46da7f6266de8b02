"""The pictures of the service's page in docs/images: a photo in either theme, and a video.

    python examples/page_pictures.py [FOLDER]

starts `apvit serve` on a free port, opens the page in Debian's Chromium through Playwright (`apvit[dev]`), and writes
page-light.png, page-dark.png and page-video.png into FOLDER (default: docs/images). Half a minute on a machine that
does nothing else: the page shows milliseconds. All that is shown comes from installed packages.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from matplotlib.cbook import get_sample_data
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage.data import astronaut
from video_demo import HEIGHT, RATE, WIDTH, frames

WIDE = {"width": 1200, "height": 900}


@contextmanager
def service() -> Iterator[str]:
    """`apvit serve` with its defaults; its address."""
    code = "from apvit.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(url for line in process.stderr if (url := json.loads(line).get("url")))
    finally:
        process.terminate()
        process.communicate()


def two_portraits() -> bytes:
    """Eileen Collins and Grace Hopper side by side, a JPEG file."""
    picture = Image.new("RGB", (1112, 600))
    picture.paste(Image.fromarray(astronaut()).resize((600, 600), Image.Resampling.LANCZOS), (0, 0))
    with get_sample_data("grace_hopper.jpg") as file:
        picture.paste(Image.open(file).convert("RGB").resize((512, 600)), (600, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def clip() -> bytes:
    """The clip of video_demo.py in a form that every Chromium plays, a WebM file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=RATE, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 1_500_000
        for number, picture in enumerate(frames()):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def choose(page: Any, name: str, kind: str, data: bytes) -> None:
    """Choose a file, as a person does in the dialog."""
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def show_a_photo(page: Any, what: str, keep: int | None) -> None:
    """The two portraits, with `what` switched on, the dial at `keep` patches."""
    choose(page, "two portraits.jpg", "image/jpeg", two_portraits())
    page.wait_for_selector(".face h2 img[src^='data:']")
    if keep is not None:
        page.eval_on_selector("#keep", f"k => {{ k.value = {keep}; k.dispatchEvent(new Event('input')) }}")
    page.click(f"text={what}")
    for _ in range(5):  # the first answers of a process are slow, and the page shows the last one's milliseconds
        page.wait_for_timeout(1000)
        page.eval_on_selector("#keep", "k => k.dispatchEvent(new Event('input'))")
    page.wait_for_timeout(1500)


def show_a_video(page: Any) -> None:
    """The clip, looked through, at a moment with two faces."""
    choose(page, "two portraits.webm", "video/webm", clip())
    page.wait_for_selector(".who")
    page.wait_for_selector("#stop", state="hidden", timeout=120_000)
    page.eval_on_selector("#video", "video => { video.currentTime = 6.2 }")
    page.wait_for_timeout(1000)


def save(page: Any, path: Path) -> None:
    """The whole page, in its true colours: a palette would lose those of the legend, which are rare."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    partial = path.with_name(path.name + ".partial")
    picture.save(partial, "PNG", optimize=True)
    os.replace(partial, path)
    print(f"wrote {path}")


def main() -> None:
    """Write the three pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    with service() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        for name, theme, show in (
            ("page-light", "light", lambda page: show_a_photo(page, "kept patches", 40)),
            ("page-dark", "dark", lambda page: show_a_photo(page, "relevance", None)),
            ("page-video", "light", show_a_video),
        ):
            page = browser.new_page(color_scheme=theme, viewport=WIDE)
            page.goto(url)
            show(page)
            save(page, folder / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
