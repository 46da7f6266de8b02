"""Pictures for the service, and one service for all tests that need no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.serve.browsing import Open, browsing, opening
from tests.serve.serving import SMALL, Served, encoded, serving


@pytest.fixture(scope="session")
def portrait(photographs: dict[str, Path]) -> Image.Image:
    """One face, 512 x 512."""
    with Image.open(photographs["astronaut"]) as picture:
        return picture.convert("RGB")


@pytest.fixture(scope="session")
def photo(portrait: Image.Image) -> bytes:
    """The same as a JPEG file, smaller."""
    return encoded(portrait.resize((256, 256)), "JPEG", quality=95)


@pytest.fixture(scope="session")
def crowd(portrait: Image.Image) -> bytes:
    """Three faces."""
    face = portrait.crop((150, 0, 310, 200))
    picture = Image.new("RGB", (480, 200))
    for i in range(3):
        picture.paste(face, (160 * i, 0))
    return encoded(picture)


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """A service with `SMALL` limits."""
    with serving(SMALL) as one:
        yield one


@pytest.fixture(scope="module")
def browser(portrait: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, with a camera that sees the portrait.

    Of a module, as Playwright keeps an event loop of its own running, beside which other tests could run none.
    """
    seen = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    seen.write_bytes(encoded(portrait, "JPEG", quality=95))
    with browsing(seen) as one:
        yield one


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Open]:
    """Opens the page; at the end nothing was asked of another host, and no script or policy complained."""
    with opening(browser, served.url) as open_it:
        yield open_it
