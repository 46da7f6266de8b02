"""The annotated copy of a video: its own frames with boxes and labels, its own sound, from the table alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.files import completing, reason
from apvit.recognition.album import CONTAINERS, MARK
from apvit.recognition.labels import COLOURS, Label
from apvit.recognition.placement import Box
from apvit.recognition.rendering import draw_box
from apvit.recognition.video.clip import CONVERTERS, Clip, quarter_turns
from apvit.recognition.video.errors import StoppedError, VideoError
from apvit.recognition.video.results import TrackedFace, VideoFrame
from apvit.recognition.video.summary import LONGEST, UNSURE

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet
    from av.video.frame import VideoFrame as AvFrame

_ENCODER = {"crf": "20", "preset": "veryfast"}
_BT709 = 1  # FFmpeg's number of its colours, primaries and curve; also that of the range 16..235


def annotate_video(
    source: str | Path,
    table: Iterable[VideoFrame],
    path: str | Path,
    *,
    numbered: bool = True,
    until: float | None = None,
    whole: bool = True,
) -> None:
    """Write the video `source` with the faces of its `table` (frames in order) to `path`, as H.264.

    Frames keep their times and their rotation. Sound is copied as it is; where the file cannot hold it, it becomes AAC.
    A face that the table has before and after a frame is drawn in between. `numbered`: labels begin with the number of
    the track; `until`: end there (seconds). The file appears complete or not at all (see `completing` for `whole`).
    Raises VideoError for a suffix other than `CONTAINERS`, for a live source, and where FFmpeg cannot write it.
    """
    import av

    path = Path(path)
    check_annotated(path)
    timeline = Timeline(table)
    with completing(path, whole=whole) as partial, Clip(source) as clip:
        if clip.live:
            raise VideoError(f"{source} cannot be read a second time; record it to annotate it")
        try:
            _write(clip, timeline, partial, CONTAINERS[path.suffix.lower()], numbered=numbered, until=until)
        except av.FFmpegError as error:
            raise VideoError(f"the annotated video {path} cannot be written ({reason(error)})") from error


def _write(clip: Clip, timeline: Timeline, path: Path, form: str, *, numbered: bool, until: float | None) -> None:
    writer = _Writer(clip, path, form)
    try:
        # What the table was made from ended there too, and its user knows.
        with suppress(StoppedError):
            for time, frame in clip.timed(writer.sound):
                if until is not None and time > until:
                    break
                picture = clip.upright(frame)
                faces = timeline.at(time)
                writer.picture(time, frame, draw(picture, faces, numbered=numbered) if faces else picture)
    finally:
        writer.close()


def check_annotated(path: Path) -> None:
    """Raises VideoError for a name that an annotated video cannot have."""
    if path.suffix.lower() not in CONTAINERS:
        raise VideoError(f"an annotated video must end in {', '.join(CONTAINERS)}, not {path.name!r}")


class Timeline:
    """The faces at any time, from the frames of a table that were looked at; asked in order of time."""

    def __init__(self, table: Iterable[VideoFrame]) -> None:
        self._frames = iter(table)
        self._before: VideoFrame | None = None
        self._after = next(self._frames, None)

    def at(self, time: float) -> list[tuple[Box, TrackedFace]]:
        """Each face at `time` (seconds) with its box: moved evenly between two frames that both have it.

        One that the later frame lacks stays where it was for half of the way.
        """
        while self._after is not None and self._after.time <= time:
            self._before, self._after = self._after, next(self._frames, None)
        before, after = self._before, self._after
        if before is None or time - before.time > LONGEST:
            return []
        if after is None or after.time - before.time > LONGEST:
            return [(face.box, face) for face in before.tracks]
        way = (time - before.time) / (after.time - before.time)
        later = {face.track: face.box for face in after.tracks}
        faces = []
        for face in before.tracks:
            if face.track in later:
                x1, y1, x2, y2 = (a + way * (b - a) for a, b in zip(face.box, later[face.track], strict=True))
                faces.append(((x1, y1, x2, y2), face))
            elif way <= 0.5:
                faces.append((face.box, face))
        return faces


def draw(
    picture: npt.NDArray[np.uint8], faces: list[tuple[Box, TrackedFace]], *, numbered: bool
) -> npt.NDArray[np.uint8]:
    """A copy of `picture` [H, W, 3] with the box of each face and its smoothed expression.

    Sizes follow the picture's alone, and each label has one place, above its face where there is room: what jumps from
    frame to frame cannot be read.
    """
    canvas = Image.fromarray(picture)
    text = max(13.0, 0.03 * math.sqrt(canvas.width * canvas.height))
    line = max(2, round(text / 8))
    for box, face in faces:
        x1, x2 = (min(max(x, 0.0), canvas.width - 1.0) for x in (box[0], box[2]))
        y1, y2 = (min(max(y, 0.0), canvas.height - 1.0) for y in (box[1], box[3]))
        colour = COLOURS[face.expression]
        draw_box(canvas, (x1, y1, x2, y2), colour, line)
        name = face.expression or UNSURE
        label = Label(colour, f"{face.track}  {name}" if numbered else name, face.probability, (), None, text)
        width, height = label.size
        x = max(0.0, min(x1 - line, canvas.width - width))
        y = y1 - height - line
        if y < 0:
            y = y2 + line if y2 + line + height <= canvas.height else y1 + line
        label.draw(canvas, (x, y, x + width, y + height))
    return np.asarray(canvas)


def _can_hold(form: str, sound: AudioStream) -> bool:
    """Whether a file of FFmpeg's format `form` can hold this sound: tried, since its own list promises too much."""
    import av

    with av.open(BytesIO(), "w", format=form) as trial:
        try:
            trial.add_stream_from_template(sound)
            trial.start_encoding()
        except (av.FFmpegError, OSError, ValueError):
            return False
    return True


class _Writer:
    """The file being written. Its video stream is made with the first frame, which tells size and rotation."""

    def __init__(self, clip: Clip, path: Path, form: str) -> None:
        import av

        self._clip = clip
        self._file = av.open(str(path), "w", format=form)
        self._file.metadata["comment"] = MARK.decode()
        self._video: Any = None
        self._form = form
        self._sounds: dict[int, AudioStream] = {}
        self._encoded: set[int] = set()  # the sounds that are encoded anew
        self._early: list[Packet[AudioStream]] = []

    def picture(self, time: float, original: AvFrame, picture: npt.NDArray[np.uint8]) -> None:
        """Add the upright `picture` in place of the frame `original` at `time` (seconds)."""
        from av.video.frame import VideoFrame as AvFrame

        if self._video is None:
            self._begin(original)
        turned = np.ascontiguousarray(np.rot90(picture, -quarter_turns(original)))
        stream = self._video
        frame = AvFrame.from_ndarray(turned, format="rgb24").reformat(
            width=stream.width,
            height=stream.height,
            format="yuv420p",
            dst_colorspace="ITU709",
            threads=CONVERTERS,
        )
        frame.time_base = stream.codec_context.time_base
        frame.pts = round(time / frame.time_base)
        self._file.mux(stream.encode(frame))

    def sound(self, packet: Packet[AudioStream]) -> None:
        """Copy a packet of sound, or encode it anew."""
        if self._video is None:
            self._early.append(packet)
        elif packet.stream.index in self._encoded:
            self._encode(packet)
        elif packet.dts is not None and packet.pts is not None:
            shift = round(self._clip.start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._sounds[packet.stream.index]
            self._file.mux(packet)

    def _encode(self, packet: Packet[AudioStream]) -> None:
        import av

        try:
            heard = packet.decode()
        except (av.FFmpegError, OSError):  # a damaged packet is silence, as in any player
            return
        for frame in heard:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self._clip.start / frame.time_base)
            self._file.mux(self._sounds[packet.stream.index].encode(frame))

    def close(self) -> None:
        """Write what the encoder holds, and the end of the file."""
        if self._video is not None:
            self._file.mux(self._video.encode(None))
            for index in self._encoded:
                self._file.mux(self._sounds[index].encode(None))
        self._file.close()

    def _begin(self, frame: AvFrame) -> None:
        import av

        source = self._clip.stream
        codec = "libx264" if "libx264" in av.codecs_available else "h264"
        video: Any = self._file.add_stream(codec, rate=source.average_rate or source.guessed_rate, options=_ENCODER)
        width, height = self._clip.square_size(frame)
        video.width, video.height = width + width % 2, height + height % 2  # H.264's colours come in pairs of pixels
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.time_base = source.time_base
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        if quarter_turns(frame):
            video.set_display_rotation(frame.rotation)
        for sound in self._clip.sounds:
            if _can_hold(self._form, sound):
                self._sounds[sound.index] = self._file.add_stream_from_template(sound)
            else:
                rates = av.Codec("aac", "w").audio_rates or []
                rate = sound.rate if sound.rate in rates else 48_000
                layout = "mono" if sound.channels == 1 else "stereo"
                self._sounds[sound.index] = self._file.add_stream("aac", rate=rate, layout=layout)
                self._encoded.add(sound.index)
        self._file.start_encoding()
        self._video = video
        for packet in self._early:
            self.sound(packet)
        self._early = []
