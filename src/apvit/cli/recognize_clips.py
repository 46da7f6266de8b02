"""`apvit recognize study/`: the videos among many inputs, one after the other, and where the results of all go."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apvit.cli.interruption import uninterrupted
from apvit.cli.messages import Messages
from apvit.cli.recognize_video import ClipRun, VideoOptions, settings_of
from apvit.cli.recognize_video_rendering import print_summary
from apvit.files import beside, counted, extended, is_special, names_folder, sentence, write_whole
from apvit.recognition.video.errors import VideoError

if TYPE_CHECKING:
    from apvit.recognition import Recognizer
    from apvit.recognition.album import Album
    from apvit.recognition.results import Recognition
    from apvit.recognition.sinks import Sink
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.intervals import Interval
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.summary import Summary
    from apvit.recognition.video.table import Table

UNFINISHED = ".unfinished"
PICTURES = "pictures"
"""Name of the file for the results of all pictures, where each video has one of its own."""


class Results:
    """Where results go: the terminal, one file for all, or a folder with a file for each video and one for pictures.

    videos: whether there may be videos; the columns of CSV and Parquet follow from it. Nothing is made before there is
    something to write; `began` tells whether there was.
    """

    def __init__(
        self, form: str, output: str | None, expressions: Sequence[str], *, embeddings: bool, videos: bool
    ) -> None:
        self.form, self.output, self.expressions, self.embeddings = form, output, expressions, embeddings
        self.folder = Path(output) if output is not None and names_folder(output) else None
        self._mixed = form != "table" and self.folder is None and (videos or form == "jsonl")
        self._sink: Sink | None = None  # for pictures
        self._table: Table | None = None  # for frames; for pictures too, where it is mixed
        self._video = ""
        self.began = False

    def picture(self, found: Recognition) -> None:
        """Take the result of a picture."""
        self.began = True
        if self._mixed:
            self._stacked().write_picture(found)
        else:
            self._pictures().write(found)

    def failed(self, source: str, error: Exception) -> None:
        """Take the error of a video."""
        from apvit.recognition.results import Recognition

        if self.folder is None:
            self.picture(Recognition(source, None, None, [], error))

    def begin(self, name: str) -> None:
        """A video begins; `name` is its file's in a folder."""
        self._video = name

    def write(self, frame: VideoFrame) -> None:
        """Take a frame of the video that began last."""
        self.began = True
        if self.folder is not None and self._table is None:
            self._table = self._open(self.folder / extended(self._video, f".{self.form}"))
        if self.folder is not None or self._mixed:
            self._stacked().write(frame)

    def end(self, *, whole: bool) -> None:
        """The video is over."""
        if self.folder is not None and self._table is not None:
            self._table.close(whole=whole)
            self._table = None

    def close(self, *, whole: bool) -> None:
        """Complete all; a file gets its name only if the run was `whole`."""
        self.end(whole=False)
        if whole and self.folder is None and not self.began:
            self.began = True
            _ = self._stacked() if self._mixed else self._pictures()
        for one in (self._sink, self._table):
            if one is not None:
                one.close(whole=whole)

    def _pictures(self) -> Sink:
        from apvit.recognition.sinks import open_sink

        if self._sink is None:
            output = self.output if self.folder is None else self.folder / f"{PICTURES}.{self.form}"
            self._sink = open_sink(self.form, output, self.expressions, embeddings=self.embeddings)
        return self._sink

    def _stacked(self) -> Table:
        if self._table is None:
            self._table = self._open(self.output, mixed=True)
        return self._table

    def _open(self, path: str | Path | None, *, mixed: bool = False) -> Table:
        from apvit.recognition.video.table import open_table

        return open_table(self.form, path, self.expressions, embeddings=self.embeddings, mixed=mixed)


class Clips:
    """Videos on their way to `results`, and what is made from each of them.

    Until the run is over, the frames are also kept in the folder `.unfinished` of the output, so that the same command
    goes on at the video and the frame where it was stopped.
    album: for annotated videos and timelines; temporary: makes a folder for the frames where there is no output
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: VideoOptions,
        results: Results,
        album: Album | None,
        messages: Messages,
        *,
        weights: str,
        recognizer_options: Mapping[str, Any],
        temporary: Callable[[], str],
    ) -> None:
        self.recognizer, self.options, self.results, self.album = recognizer, options, results, album
        self.messages = messages
        self.count = self.frames = self.faces = self.bad = self.unwritten = 0
        self.interrupted = self.may_go_on = False
        self._weights, self._recognizer_options, self._temporary = weights, recognizer_options, temporary
        self._folder: Path | None = None
        self._names: set[str] = set()
        self._summaries: list[Summary] = []
        self._intervals: list[tuple[Summary, Sequence[Interval]]] = []

    def take(self, source: str) -> None:
        """Recognize a video, and make from it what was asked for. Its errors are messages.

        Raises KeyboardInterrupt after Ctrl-C, when what was done is kept.
        """
        from apvit.recognition.video.clip import Clip

        self.count += 1
        try:
            clip = Clip(source)
        except (VideoError, OSError) as error:
            self._fail(source, error)
            return
        with clip:
            self._recognize(clip)
        if self.interrupted:
            raise KeyboardInterrupt

    def finish(self, *, whole: bool) -> None:
        """Write what tells of all videos; remove what was kept, if the run was `whole`."""
        from apvit.recognition.video.intervals import write_intervals
        from apvit.recognition.video.summary import write_summary

        summary, intervals = self.options.summary, self.options.intervals
        if self._summaries and summary is not None:
            self._write("summary", lambda: write_summary(summary, self._summaries, whole=whole))
        if self._intervals and intervals is not None:
            self._write("intervals", lambda: write_intervals(intervals, self._intervals, whole=whole))
        if whole and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _recognize(self, clip: Clip) -> None:
        from av import FFmpegError

        from apvit.recognition.video.journal import Journal
        from apvit.recognition.video.table import read_table

        name = self._unique(clip.source)
        kept = self._kept(clip)
        run = ClipRun(clip, self.recognizer, self.options, self.messages)
        run.stream = self.results
        self.results.begin(name)
        try:
            with self.messages.part(f"frames of {name}"):
                if kept is not None and kept.is_done:
                    for frame in read_table(kept.table):
                        run.take(frame)
                    run.error = kept.error
                else:
                    if kept is not None:
                        run.journal = Journal(kept.table, "jsonl", self.recognizer.expressions, kept.settings)
                    run.recognise()
        except (VideoError, FFmpegError) as error:
            self._fail(clip.source, error)
            self.results.end(whole=False)
            return
        finally:
            self.frames += run.frames
            self.faces += run.faces
        self.interrupted, self.may_go_on = run.interrupted, self.may_go_on or run.may_go_on
        with uninterrupted():
            if run.error is not None:
                self._fail(clip.source, VideoError(run.error))
            self.results.end(whole=run.whole)
            done = kept is not None and kept.is_done
            line = f"{counted(run.frames, 'frame')} of an earlier run" if done else run.counts()
            self.messages.say(f"{clip.source}: {line}")
            if kept is not None and run.journal is not None and run.frames and run.whole:
                kept.note(error=run.error)
                run.journal.finish(whole=True)
        if kept is not None and run.frames and run.whole:
            self._render(clip, name, kept)
        elif run.journal is not None and run.frames:
            self._tell(run.journal.frames)

    def _render(self, clip: Clip, name: str, kept: _Kept) -> None:
        """Make what was asked for from the table of a whole video, unless an earlier start of the run did."""
        from apvit.recognition.album import CONTAINERS
        from apvit.recognition.video.annotated import annotate_video
        from apvit.recognition.video.intervals import write_intervals
        from apvit.recognition.video.subtitles import write_subtitles
        from apvit.recognition.video.table import read_table
        from apvit.recognition.video.timeline import write_timeline

        def frames() -> Iterator[VideoFrame]:
            return read_table(kept.table)

        summary, found = self._tell(frames)
        options, source = self.options, clip.source
        if options.subtitles is not None:
            subtitles = Path(options.subtitles, extended(name, ".srt"))
            self._write("subtitles", lambda: write_subtitles(subtitles, frames(), summary.numbers))
        if options.intervals is not None and names_folder(options.intervals):
            grid = Path(options.intervals, extended(name, ".TextGrid"))
            self._write("intervals", lambda: write_intervals(grid, [(summary, found)]))
        if self.album is None:
            return
        if kept.files and all(path.exists() for path in kept.files):
            for path in kept.files:
                self.album.reserve(path)
            return
        timeline = self.album.place(source, "-timeline.png")
        self._write("timeline", lambda: write_timeline(timeline, frames, summary))
        files = [timeline]
        if clip.live:
            self.messages.warn(f"{source} cannot be read a second time, so there is no annotated copy of it")
        else:
            suffix = Path(source).suffix
            copy = self.album.place(source, suffix if suffix.lower() in CONTAINERS else ".mp4")
            numbered = len(summary.tracks) + summary.short > 1
            self._write("annotated copy", lambda: annotate_video(source, frames(), copy, numbered=numbered))
            files.append(copy)
        kept.note(error=kept.error, files=files)

    def _tell(self, frames: Callable[[], Iterable[VideoFrame]]) -> tuple[Summary, Sequence[Interval]]:
        """Note what the files on all videos say of this one."""
        from apvit.recognition.video.intervals import intervals
        from apvit.recognition.video.summary import summarise

        summary = summarise(frames(), min_track=self.options.min_track_or_default)
        self._summaries.append(summary)
        found = [] if self.options.intervals is None else intervals(frames(), summary.numbers)
        if self.options.intervals is not None and not names_folder(self.options.intervals):
            self._intervals.append((summary, found))
        if self.results.form == "table":
            print_summary(summary, heading=True)
        return summary, found

    def _kept(self, clip: Clip) -> _Kept | None:
        """Where the frames of a video are kept, None where nothing is made from them."""
        output, options = self.results.output, self.options
        if self._folder is None:
            if self.results.folder is not None:
                self._folder = self.results.folder / UNFINISHED
            elif output is not None and not is_special(output):
                self._folder = beside(output, UNFINISHED)
            elif self.results.form == "table" or self.album is not None or options.rendered():
                self._folder = Path(self._temporary())
            else:
                return None
            self._folder.mkdir(exist_ok=True)
        card = self.recognizer.card.to_json()
        return _Kept(self._folder, settings_of(clip, options, self._weights, self._recognizer_options, card))

    def _unique(self, source: str) -> str:
        """The video's file name, with a number where another of the run has the same."""
        path = Path(source)
        names = (f"{path.stem}-{number}{path.suffix}" for number in count(2))
        name = next(name for name in chain([path.name], names) if name.lower() not in self._names)
        self._names.add(name.lower())
        return name

    def _fail(self, source: str, error: Exception) -> None:
        self.bad += 1
        self.results.failed(source, error)
        if self.results.form != "table":
            self.messages.error(sentence(error))

    def _write(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except (VideoError, OSError) as error:
            self.unwritten += 1
            self.messages.error(f"the {what} cannot be written: {sentence(error)}")


class _Kept:
    """The table of a video in `folder`, known by what it was made from and with; and a note once it is whole.

    error: why the video ended early; files: what the album has of it
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
        self.settings = settings
        self.table, self._note = folder / f"{name}.jsonl", folder / f"{name}.json"
        self.is_done = self.table.exists() and self._note.exists()
        note = json.loads(self._note.read_bytes()) if self.is_done else {}
        self.error: str | None = note.get("error")
        self.files = [Path(file) for file in note.get("files", ())]

    def note(self, *, error: str | None, files: Sequence[Path] = ()) -> None:
        """Note that the table is whole, or is about to be."""
        self.error = error
        write_whole(self._note, json.dumps({"error": error, "files": [str(file) for file in files]}))
