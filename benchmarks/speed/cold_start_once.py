"""One `apvit` command in a fresh process, and where its seconds went: started by cold_start.py.

    python cold_start_once.py SPAWNED recognize photo.jpg ...

SPAWNED is `time.monotonic()` of just before the start. The last line printed is the record, as JSON. Imports count as
imports wherever they happen, so that the other stages are what they do.
"""

import time

STARTED = time.monotonic()

import builtins  # noqa: E402
import functools  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

WATCHED = ("torch", "onnx", "onnxruntime", "openvino", "cv2", "PIL", "pyarrow", "matplotlib", "scipy", "rich")
"""Packages whose presence in the end is reported."""


class Clock:
    """Seconds by stage; a stage begun within another interrupts it."""

    def __init__(self, spawned: float):
        self.seconds = {"interpreter": STARTED - spawned}
        self._stack = ["rest"]
        self._since = STARTED

    def switch(self, stage: str | None) -> None:
        """Begin a stage, or with None end the current one."""
        now = time.monotonic()
        current = self._stack[-1]
        self.seconds[current] = self.seconds.get(current, 0.0) + now - self._since
        self._since = now
        if stage is None:
            self._stack.pop()
        else:
            self._stack.append(stage)

    def count(self, owner: Any, name: str, stage: str) -> None:
        """From now on the time in `owner.name` belongs to `stage`."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def counted(*arguments: Any, **options: Any) -> Any:
            self.switch(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.switch(None)

        setattr(owner, name, counted)


def main() -> None:
    clock = Clock(float(sys.argv[1]))
    clock.count(builtins, "__import__", "imports")
    clock.count(importlib, "import_module", "imports")
    import apvit.cli
    import apvit.engines
    import apvit.faces.detection
    import apvit.faces.pictures
    import apvit.recognition.recognizer as recognition

    clock.count(apvit.engines, "create_engine", "weights")
    clock.count(apvit.faces.detection, "create_detector", "detector")
    clock.count(apvit.faces.pictures, "read_picture", "reading")
    clock.count(recognition.Recognizer, "_detect", "detection")
    clock.count(recognition.Recognizer, "_frame", "alignment")
    clock.count(recognition.Recognizer, "_classify", "classification")
    try:
        apvit.cli.main(sys.argv[2:])
    except SystemExit as stop:
        if stop.code:
            raise
    clock.switch("rest")
    loaded = [name for name in WATCHED if name in sys.modules]
    print(json.dumps({"seconds": clock.seconds, "modules": len(sys.modules), "loaded": loaded}))


if __name__ == "__main__":
    main()
