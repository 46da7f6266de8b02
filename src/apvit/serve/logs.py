"""Logs of the service: one JSON object a line on standard error. No file name, no picture, no result, no caller."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """A record as JSON: time, level, event, and the fields that came with it (`extra={"fields": {...}}`)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


@contextmanager
def json_lines() -> Iterator[None]:
    """All logs of this process as JSON lines: ours from info on, everybody else's from warning on.

    Afterwards they go where they went before: whoever called may have closed the standard error of the meantime.
    """
    root, ours = logging.getLogger(), logging.getLogger("apvit.serve")
    handlers, levels = root.handlers, (root.level, ours.level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
