"""A table that survives being killed: frames go into a journal of JSON lines, which becomes the table at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from apvit.files import beside, completing, partial_name
from apvit.recognition.video.results import VideoFrame
from apvit.recognition.video.table import json_line, open_table, read_table


class Journal:
    """The frames recognised so far, for the table `output` in the format `form` ("jsonl", "csv" or "parquet").

    OUTPUT.unfinished.jsonl holds them, a line each, and OUTPUT.unfinished.json what they were made with. Where
    both are left from an earlier run with the same `settings`, `done` gives its frames and the run goes on after them;
    otherwise it begins anew. Only `finish` makes or replaces `output`, and only with the whole table.
    """

    def __init__(
        self,
        output: str | Path,
        form: str,
        expressions: Sequence[str],
        settings: Mapping[str, Any],
        *,
        embeddings: bool = False,
    ) -> None:
        self.output, self.form, self.expressions, self.embeddings = Path(output), form, expressions, embeddings
        self.path = beside(output, ".unfinished.jsonl")
        self._note = beside(output, ".unfinished.json")
        self._stream: BinaryIO | None = None
        self.resumes = self._was_made_with(settings)
        if not self.resumes:
            self.path.unlink(missing_ok=True)
            self._note.write_text(json.dumps(settings) + "\n", encoding="utf-8")

    def _was_made_with(self, settings: Mapping[str, Any]) -> bool:
        try:
            same = json.loads(self._note.read_text(encoding="utf-8")) == json.loads(json.dumps(settings))
            return bool(same and self.path.stat().st_size > 0)
        except (OSError, ValueError):
            return False

    def done(self) -> Iterator[VideoFrame]:
        """The whole frames of the earlier run; a line that it did not finish is cut off."""
        if not self.resumes:
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    frame = VideoFrame.from_dict(json.loads(line))
                except (KeyError, TypeError, ValueError):
                    break
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                yield frame
        os.truncate(self.path, end)

    def write(self, frame: VideoFrame) -> None:
        """Add one frame; it is on its way to the disk when this returns."""
        if self._stream is None:
            self._stream = self.path.open("ab")
        try:
            self._stream.write(json_line(frame))
            self._stream.flush()
        except OSError as error:  # a full disk does not say where
            error.filename = error.filename or str(self.path)
            raise

    def frames(self) -> Iterator[VideoFrame]:
        """All frames written so far, this run's and the earlier one's."""
        if self.path.exists() and self.path.stat().st_size:
            yield from read_table(self.path)

    def finish(self, *, whole: bool) -> Path:
        """Make the table of what there is, and say where it stands.

        Where more is to come (not `whole`), that is beside `output`, in its partial name, and the journal stays.
        """
        unfinished = partial_name(self.output)
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None
        if whole and self.form == "jsonl" and self.path.exists():
            with completing(self.output) as finished:
                os.replace(self.path, finished)
        else:
            table = open_table(self.form, self.output, self.expressions, embeddings=self.embeddings)
            for frame in self.frames():
                table.write(frame)
            table.close(whole=whole)
        if not whole:
            return unfinished
        self.discard()
        return self.output

    def discard(self) -> None:
        """Remove the journal."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)
