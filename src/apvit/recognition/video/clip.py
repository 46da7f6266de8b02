"""Reading a video file, a webcam or a stream with PyAV: upright frames with their number and time."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from apvit.recognition.video.errors import StoppedError, VideoError
from apvit.recognition.video.sampling import Every

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame as AvFrame
    from av.video.stream import VideoStream

PATIENCE = 10.0
"""Seconds to wait for a camera or a stream to begin, and for its next data."""

CONVERTERS = 1
"""Threads that convert a frame's colours: FFmpeg starts them anew for each frame, which takes ten times the work."""

SHORTFALL = 0.5
"""Seconds (and a fiftieth of the whole) that a video may end before its header says, as rounding makes it."""

SAME_SCENE = 0.5
"""Correlation of two frames below which they show different scenes; see `same_scene`."""

FLAT = 2.0
"""Standard deviation in grey levels below which there is nothing to compare, as in a wall or a black frame."""

Scene: TypeAlias = npt.NDArray[np.float64]
"""A frame shrunk to [18, 32] grey pixels, 0..255."""

_WEBCAM = re.compile(r"webcam:(\d+)")
_STREAM = re.compile(r"(https?|rtsps?|rtmps?|udp|rtp|srt|tcp)://", re.IGNORECASE)
_MICROSECONDS = 1_000_000
# A file may name others (playlists do), and could so make this program fetch what nobody asked for.
_FILE_PROTOCOLS = "file"
_STREAM_PROTOCOLS = "http,https,httpproxy,hls,crypto,data,tls,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt"


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """One frame: its number from 0, its time in seconds, its pixels [H, W, 3] uint8 RGB upright.

    cut: there was a cut to another scene since the frame given before this one
    scene: what `same_scene` compares; that of an earlier frame where this one has no structure, as a black one
    """

    index: int
    time: float
    picture: npt.NDArray[np.uint8]
    cut: bool
    scene: Scene | None


def is_stream(name: str) -> bool:
    """Whether `name` is a webcam or a URL rather than a file."""
    return _WEBCAM.fullmatch(name) is not None or _STREAM.match(name) is not None


class Clip:
    """An open video: a file, "webcam:N", or a URL (rtsp, http ...). Close it, or use it as a context.

    source: as it was named; live: it cannot be read a second time, because it happens now
    duration: in seconds, None where it is not known; rate: frames per second on average, None where it is not known
    broken: how many frames could not be decoded and were left out; raises VideoError where nothing can be read
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self._container = _open(self.source)
        try:
            self._stream = _video_stream(self.source, self._container)
        except VideoError:
            self._container.close()
            raise
        camera = _WEBCAM.fullmatch(self.source) is not None
        self.duration = None if camera else _length(self._container)
        self.live = is_stream(self.source) and (self.duration is None or not _is_http(self.source))
        # Frames decoded side by side come late, which a stream must not.
        self._stream.thread_type = "SLICE" if self.live else "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = float(rate) if rate else None
        self.size = (self._stream.codec_context.width, self._stream.codec_context.height)
        self.broken = 0
        self._reached = 0.0

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, camera or stream."""
        self._container.close()

    def frames(self, every: Every, after: tuple[int, float] | None = None) -> Iterator[ClipFrame]:
        """The frames that `every` takes, in order; only those after the one of this number and time, if given.

        What cannot be decoded is left out and counted. Raises StoppedError after the last good frame of a video that
        ends before it should, or of a stream that stops.
        """
        before: float | None = None
        index = -1
        cut = False
        scene: Scene | None = None
        for time_, frame in self._decoded(after):
            last, scene = scene, _scene(frame, scene)
            cut |= not same_scene(last, scene)
            if after is None or time_ > after[1]:
                index = index + 1 if after is None or index >= 0 else after[0] + 1
                if every.takes(index, time_, before):
                    yield ClipFrame(index, time_, self.upright(frame), cut, scene)
                    cut = False
            elif time_ == after[1]:
                cut = False
            before = time_

    def timed(self, sound: Callable[[Packet[AudioStream]], None]) -> Iterator[tuple[float, AvFrame]]:
        """Every decoded frame as PyAV has it, with its time in seconds; packets of sound go to `sound` as they come."""
        return self._decoded(None, sound)

    @property
    def stream(self) -> VideoStream:
        """The video's stream."""
        return self._stream

    @property
    def sounds(self) -> tuple[AudioStream, ...]:
        """The streams of sound."""
        return self._container.streams.audio

    @property
    def start(self) -> Fraction:
        """When a player begins, on the clock of the streams, in seconds."""
        return Fraction(self._container.start_time or 0, _MICROSECONDS)

    def square_size(self, frame: AvFrame) -> tuple[int, int]:
        """Width and height of the frame before turning, in square pixels."""
        ratio = self._stream.sample_aspect_ratio
        return max(1, round(frame.width * float(ratio))) if ratio else frame.width, frame.height

    def upright(self, frame: AvFrame) -> npt.NDArray[np.uint8]:
        """The frame's pixels [H, W, 3] uint8 RGB as a player shows them: turned, and with square pixels."""
        width, height = self.square_size(frame)
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height, threads=CONVERTERS)
        return np.ascontiguousarray(np.rot90(pixels, quarter_turns(frame)))

    def _decoded(
        self, after: tuple[int, float] | None, sound: Callable[[Packet[AudioStream]], None] | None = None
    ) -> Iterator[tuple[float, AvFrame]]:
        if after is not None and not self._seek(after[1]):
            after = None
        # The clock of a stream began long ago; that of a file is where its first sound or picture is.
        start = None if self.live or self._container.start_time is None else float(self.start)
        step = 1 / (self.rate or 25)
        last = -step
        jumped = after is not None
        for frame in self._readable(sound):
            now = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
            if start is None and now is not None:
                start = now
            now = None if now is None else round(now - (start or 0.0), 6)
            # Time always goes on, also where the video's own is missing or goes back.
            now = round(last + step, 6) if now is None or now <= last else now
            if jumped and after is not None and now > after[1]:  # a file whose index leads astray
                self._seek(0.0)
                yield from self._decoded(None)
                return
            jumped = False
            last = self._reached = now
            yield now, frame
        if jumped:  # there was nothing where the seek led
            self._seek(0.0)
            yield from self._decoded(None)
            return
        self._check_length(last + step)

    def _seek(self, seconds: float) -> bool:
        """Go to the last frame that can be decoded alone before `seconds`; False where the video cannot seek."""
        import av

        start = self._container.start_time or 0
        try:
            self._container.seek(start + int(seconds * _MICROSECONDS), backward=True)
        except (av.FFmpegError, OSError):
            return False
        return True

    def _readable(self, sound: Callable[[Packet[AudioStream]], None] | None) -> Iterator[AvFrame]:
        """What can be decoded, frame by frame."""
        import av

        streams = (self._stream, *(self.sounds if sound is not None else ()))
        packets = self._container.demux(*streams)
        waiting: float | None = None
        while True:
            try:
                packet = next(packets)
                waiting = None
            except StopIteration:
                return
            except BlockingIOError as error:  # a camera has nothing new yet
                now = time.monotonic()
                waiting = now if waiting is None else waiting
                if now - waiting > PATIENCE:
                    raise self._stopped(error) from error
                time.sleep(0.005)
                packets = self._container.demux(*streams)
                continue
            except (av.FFmpegError, OSError) as error:
                with suppress(av.FFmpegError, OSError):  # what the decoder still holds was good
                    yield from self._stream.decode(None)
                raise self._stopped(error) from error
            if packet.stream is not self._stream:
                if sound is not None:
                    sound(cast("Packet[AudioStream]", packet))
                continue
            try:
                frames = self._stream.decode(packet)
            except (av.FFmpegError, OSError):
                self.broken += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.broken += 1
                else:
                    yield frame

    def _stopped(self, error: Exception) -> StoppedError:
        what = "stream" if is_stream(self.source) else "video"
        advice = "start it again" if is_stream(self.source) else "copy or download it again for the rest"
        return StoppedError(
            f"the {what} {self.source} stopped after {self._reached:.1f} s ({_reason(error)}); what came before is "
            f"kept, {advice}"
        )

    def _check_length(self, end: float) -> None:
        """StoppedError where much less came than the header says."""
        promised = _promised(self._container, self._stream)
        if self.live or promised is None:
            return
        if promised - end > max(SHORTFALL, promised / 50):
            raise StoppedError(
                f"the video {self.source} ends after {max(0.0, end):.1f} of {promised:.1f} s, so it is truncated; what "
                f"it holds was used, copy or download it again for the rest"
            )


def quarter_turns(frame: AvFrame) -> int:
    """How many quarters anticlockwise a player turns the frame, 0..3."""
    return round(frame.rotation / 90) % 4


def same_scene(a: Scene | None, b: Scene | None) -> bool:
    """Whether two frames show the same scene; what is not known is taken for it.

    They are compared in twelve parts by correlation, which neither a flash nor a fade changes, and the median of the
    parts decides, so that something large which comes or goes is no cut.
    """
    if a is None or b is None:
        return True
    (p, p_flat), (q, q_flat) = _parts(a), _parts(b)
    likeness = np.where(p_flat | q_flat, p_flat & q_flat, (p * q).sum(axis=1))
    return float(np.median(likeness)) >= SAME_SCENE


def _parts(scene: Scene) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The scene in 3 x 4 parts [12, 48], each of mean 0 and norm 1, and which of them are flat [12]."""
    parts = scene.reshape(3, 6, 4, 8).swapaxes(1, 2).reshape(12, 48)
    parts = parts - parts.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(parts, axis=1)
    return parts / np.maximum(norms, 1e-9)[:, None], norms < FLAT * 48**0.5


def _scene(frame: AvFrame, before: Scene | None) -> Scene | None:
    """The frame's scene, or `before` where it has no structure."""
    grey = frame.to_ndarray(format="gray", width=32, height=18, interpolation="AREA", threads=CONVERTERS)
    small = grey.astype(np.float64)
    return before if float(small.std()) < FLAT else small


def _open(source: str) -> InputContainer:
    try:
        import av
    except ModuleNotFoundError:
        raise VideoError("videos need PyAV: pip install 'apvit[video]'") from None
    name, form, options = source, None, {"protocol_whitelist": _FILE_PROTOCOLS}
    if camera := _WEBCAM.fullmatch(source):
        name, form = _camera(int(camera[1]))
        options = {}
    elif is_stream(source):
        options = {"protocol_whitelist": _STREAM_PROTOCOLS}
        if source.lower().startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # lost datagrams would be broken frames
    else:
        _check_file(Path(source))
        name = f"file:{source}"  # a colon in a file's name is no protocol
    try:
        return av.open(name, format=form, options=options, timeout=PATIENCE)
    except (av.FFmpegError, OSError) as error:
        if camera:
            advice = "check that a camera is there, that you may use it, and that no other program does"
            raise VideoError(f"{source} cannot be opened ({_reason(error)}); {advice}") from error
        if is_stream(source):
            raise VideoError(f"the stream {source} cannot be opened ({_reason(error)}); check the address") from error
        advice = "it is no video, or truncated before its index was written; copy or download it again"
        raise VideoError(f"the video {source} cannot be opened ({_reason(error)}): {advice}") from error


def _camera(number: int) -> tuple[str, str]:
    """What FFmpeg calls the camera, and the format that reads it."""
    if sys.platform.startswith("linux"):
        return f"/dev/video{number}", "v4l2"
    if sys.platform == "darwin":
        return str(number), "avfoundation"
    raise VideoError("webcams can be opened on Linux and macOS only; give the URL of a stream instead")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise VideoError(f"{path} is a folder; name a video in it")
    if not path.exists():
        raise VideoError(f"the video {path} does not exist; check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"the video {path} is empty; copy or download it again")


def _video_stream(source: str, container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        # The picture of an album's cover is kept as a video of one frame.
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise VideoError(f"{source} holds no video, only {' and '.join(kinds) or 'nothing'}; give a file with pictures")


def _length(container: InputContainer) -> float | None:
    """How long the header says the file is from its first sound or picture on, in seconds; None where it is silent."""
    return None if container.duration is None else container.duration / _MICROSECONDS - _uncounted(container)


def _uncounted(container: InputContainer) -> float:
    """Seconds before the first sound or picture that the header's durations include: Matroska counts from 0."""
    return (container.start_time or 0) / _MICROSECONDS if "matroska" in container.format.name else 0.0


def _promised(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says the video is, in seconds, or None where it tells only of the whole with its sound."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    with suppress(KeyError, ValueError):  # Matroska's
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - _uncounted(container)
    return _length(container) if len(container.streams) == 1 else None


def _is_http(source: str) -> bool:
    return source.lower().startswith("http")


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split()).rstrip(".")
