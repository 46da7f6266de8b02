"""The page at /: files of our own, which may load and ask nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

FOLDER = Path(__file__).with_name("page")

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Said here, as what a system's own table says of .js differs."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked for each time, and sent only where it has changed
}


def add_page(app: FastAPI) -> None:
    """Serve every file of the page under its name, and index.html at /.

    A route for each, and no mount: that would answer 404 where a route of the service answers 405.
    """
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in TYPES:
            _add(app, "/" if file.name == "index.html" else f"/{file.name}", file)


def _add(app: FastAPI, path: str, file: Path) -> None:
    @app.get(path, include_in_schema=False)
    async def page() -> Response:
        return FileResponse(file, media_type=TYPES[file.suffix], headers=HEADERS)
