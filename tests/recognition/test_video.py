"""Videos in, tracked faces out: real decoding and detection, a network that classifies at random."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.recognition.clips import scene, write_clip
from tests.recognition.spoiling import spoil

from apvit.recognition import FaceWarning, Recognizer
from apvit.recognition.video.ahead import ReadAhead
from apvit.recognition.video.clip import Clip, is_stream
from apvit.recognition.video.errors import StoppedError, VideoError
from apvit.recognition.video.recognising import recognise
from apvit.recognition.video.results import VideoFrame
from apvit.recognition.video.sampling import Every
from apvit.recognition.video.smoothing import Smoother

ALL = Every(frames=1)


def corners(height: int = 64, width: int = 96) -> np.ndarray:
    """Red above left, green above right, blue below left, white below right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 220)
    picture[height // 2 :, width // 2 :] = 235
    return picture


def texture(seed: int) -> np.ndarray:
    """A picture like no other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def times(path: Path, every: Every = ALL, after: tuple[int, float] | None = None) -> list[tuple[int, float]]:
    with Clip(path) as clip:
        return [(frame.index, frame.time) for frame in clip.frames(every, after)]


@pytest.fixture(scope="module")
def recognizer(weights: Path) -> Recognizer:
    return Recognizer(weights, device="cpu")


@pytest.fixture(scope="module")
def clip_of_two(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hopper moves (0..14), is gone (15..19), is back (20..29); a cut, and there is somebody else (30..39)."""

    def frames() -> Iterator[np.ndarray]:
        hopper = photographs["grace_hopper"]
        yield from scene(hopper, [(20 + 2 * i, 136 - i) for i in range(15)])
        yield from scene(None, [(0, 0)] * 5)
        yield from scene(hopper, [(50 - i, 120) for i in range(10)])
        yield from scene(photographs["astronaut"], [(0, 240)] * 10)

    return write_clip(tmp_path_factory.mktemp("clips") / "two.mp4", frames())


@pytest.fixture(scope="module")
def frames_of_two(recognizer: Recognizer, clip_of_two: Path) -> list[VideoFrame]:
    return list(recognizer.video(clip_of_two))


# Reading


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_frames_are_upright(tmp_path: Path, rotation: int) -> None:
    shown = corners()
    stored = np.ascontiguousarray(np.rot90(shown, -rotation // 90))
    path = write_clip(tmp_path / "turned.mp4", [stored] * 2, rotation=rotation)
    with Clip(path) as clip:
        pictures = [frame.picture for frame in clip.frames(ALL)]
    assert [picture.shape for picture in pictures] == [shown.shape] * 2
    inner = np.s_[8:-8:12, 8:-8:20]
    assert np.abs(pictures[0][inner].astype(int) - shown[inner]).max() < 60


def test_oblong_pixels_become_square(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "wide.mp4", [corners()] * 2, pixel=Fraction(3, 2))
    with Clip(path) as clip:
        assert next(clip.frames(ALL)).picture.shape == (64, 144, 3)


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    given_times = [0.0, 0.04, 0.5, 0.52, 1.75, 1.8]
    path = write_clip(tmp_path / "uneven.mp4", [texture(1)] * 6, times=given_times)
    assert [time for _, time in times(path)] == pytest.approx(given_times, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (1, list(range(12))),
        ("5", [0, 5, 10]),
        ("0.2s", [0, 5, 10]),
        ("0.1s", [0, 3, 5, 8, 10]),
        ("30s", [0]),
    ],
)
def test_every(tmp_path: Path, text: str | int, taken: list[int]) -> None:
    path = write_clip(tmp_path / "short.mp4", [texture(i) for i in range(12)])
    assert [index for index, _ in times(path, Every.parse(text))] == taken


@pytest.mark.parametrize("text", ["0", "-1", "x", "0s", "s", "infs", "nans", "1.5", 0])
def test_what_every_cannot_be(text: str | int) -> None:
    with pytest.raises(VideoError, match="every must be a number of frames"):
        Every.parse(text)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("every", ["1", "3", "0.2s"])
def test_a_clip_can_be_gone_on_with(tmp_path: Path, suffix: str, every: str) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", [texture(i // 4) for i in range(33)])
    taken = Every.parse(every)
    whole = times(path, taken)
    assert len(whole) > 6
    for done in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        assert times(path, taken, whole[done - 1]) == whole[done:]


def test_cuts(tmp_path: Path) -> None:
    dark = (texture(2) * 0.6).astype(np.uint8)
    shots = [texture(1)] * 3 + [texture(2)] * 3 + [dark] * 2 + [np.zeros_like(dark)] * 2 + [texture(2), texture(3)]
    with Clip(write_clip(tmp_path / "cuts.mp4", shots)) as clip:
        cuts = [frame.index for frame in clip.frames(ALL) if frame.cut]
    assert cuts == [3, 11]  # neither growing darker nor black frames between the same scene are cuts
    with Clip(tmp_path / "cuts.mp4") as clip:
        assert [frame.index for frame in clip.frames(Every(frames=5)) if frame.cut] == [5]


def test_something_large_that_vanishes_is_no_cut(photographs: dict[str, Path], tmp_path: Path) -> None:
    wall = Image.new("RGB", (240, 136), (92, 98, 108))
    wall.paste(Image.open(photographs["grace_hopper"]).convert("RGB").resize((115, 136)), (0, 0))
    sheet = wall.copy()
    sheet.paste((232, 230, 222), (20, 70, 90, 136))
    with Clip(write_clip(tmp_path / "sheet.mp4", [np.asarray(wall), np.asarray(sheet), np.asarray(wall)])) as clip:
        assert not any(frame.cut for frame in clip.frames(ALL))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("sound", [False, True])
def test_a_video_that_starts_late_is_whole(tmp_path: Path, suffix: str, sound: bool) -> None:
    """A cut keeps the times of what it was cut from; Matroska's header then counts from there."""
    given_times = [10 + i / 25 for i in range(50)]
    path = write_clip(tmp_path / f"late{suffix}", [texture(i // 9) for i in range(50)], times=given_times, sound=sound)
    first = 10.0 if sound else 0.0  # the sound begins at 0
    assert [time for _, time in times(path)] == pytest.approx([first + i / 25 for i in range(50)], abs=0.1)
    with Clip(path) as clip:
        assert clip.duration == pytest.approx(first + 2, abs=0.1)


def test_a_truncated_video_gives_what_it_holds(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "whole.mkv", [texture(i) for i in range(100)]).read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    got = []
    with Clip(tmp_path / "half.mkv") as clip, pytest.raises(StoppedError, match=r"half.mkv (ends|stopped) after \d"):
        got.extend(frame.index for frame in clip.frames(ALL))
    assert got == list(range(len(got)))
    assert 30 < len(got) < 70


def test_broken_frames_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "whole.ts"
    write_clip(path, [texture(i) for i in range(60)])
    content = bytearray(path.read_bytes())
    third = len(content) // 3 // 188 * 188
    for packet in range(third, third + 20 * 188, 188):  # the payload of some packets of the transport stream
        content[packet + 20 : packet + 188] = b"\xff" * 168
    path.write_bytes(content)
    with Clip(path) as clip:
        frames = [frame.time for frame in clip.frames(ALL)]
    assert frames == sorted(set(frames))
    assert 20 < len(frames) <= 60
    assert frames[-1] == pytest.approx(59 / 25, abs=0.05)


def _sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        heard.sample_rate = 16000
        file.mux(stream.encode(heard))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_sound_alone, "holds no video, only audio; give a file"),
        (lambda path: path.write_text("no video"), "cannot be opened .*: it is no video, or truncated"),
        (lambda path: path.touch(), "is empty; copy or download it again"),
        (lambda path: path.mkdir(), "is a folder; name a video in it"),
        (lambda path: None, "does not exist; check the path"),
        (
            lambda path: path.write_bytes(write_clip(path, [texture(1)] * 9).read_bytes()[:2000]),
            "cannot be opened .* truncated before its index was written",
        ),
        # A file that names others must not make anyone fetch them.
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"), "cannot be opened"),
    ],
    ids=["sound", "text", "empty", "folder", "missing", "truncated", "playlist"],
)
def test_what_is_no_video(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(VideoError, match=message) as raised:
        Clip(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "stream"),
    [("clip.mp4", False), ("webcam:0", True), ("webcam", False), ("rtsp://host/live", True), ("file.http", False)],
)
def test_what_is_taken_for_a_stream(name: str, stream: bool) -> None:
    assert is_stream(name) == stream


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("webcam:97", "webcam:97 cannot be opened .*; check that a camera is there"),
        ("rtsp://127.0.0.1:9/live", "the stream rtsp://127.0.0.1:9/live cannot be opened .*refused.*; check the addr"),
    ],
)
def test_a_camera_or_stream_that_is_not_there(source: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        Clip(source)


def serve(content: bytes, over: threading.Event) -> str:
    """A stream on this machine that sends `content` and then nothing, until it is `over`; its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(content)
            over.wait(60)
        server.close()

    threading.Thread(target=send, daemon=True).start()
    return f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("stops", [False, True])
def test_a_stream_that_ends_and_one_that_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    monkeypatch.setattr("apvit.recognition.video.clip.PATIENCE", 2.0)
    content = write_clip(tmp_path / "clip.ts", [texture(i // 10) for i in range(200)]).read_bytes()
    over = threading.Event()
    if not stops:
        over.set()
    frames: list[int] = []
    with Clip(serve(content, over)) as clip:
        assert clip.live
        if stops:
            with pytest.raises(StoppedError, match=r"the stream tcp://.* stopped after \d.* what came before is kept"):
                frames.extend(frame.index for frame in clip.frames(ALL))
        else:
            frames.extend(frame.index for frame in clip.frames(ALL))
    over.set()
    assert frames == list(range(len(frames)))
    assert len(frames) > 150


# Reading ahead


def test_reading_ahead_keeps_order_and_ends_with_the_error() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise StoppedError("over")

    ahead = ReadAhead(items(), 4)
    assert [ahead.take(3) for _ in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    with pytest.raises(StoppedError):
        ahead.take(3)


def test_what_comes_too_fast_gives_way_to_what_is_new() -> None:
    given_all = threading.Event()

    def items() -> Iterator[int]:
        yield from range(10)
        given_all.set()

    ahead = ReadAhead(items(), 3, drop=True)
    given_all.wait(10)
    assert ahead.take(5) == [7, 8, 9]
    assert ahead.dropped == 7
    assert ahead.take(5) == []


def test_closing_ends_the_thread() -> None:
    ahead = ReadAhead(iter(int, 1), 2)
    assert ahead.take(2) == [0, 0]
    ahead.close(10)
    assert not ahead._thread.is_alive()


# Smoothing


def test_smoothing_by_hand() -> None:
    smoother = Smoother(0.5)
    assert smoother.step(1, 0.0, {"anger": 1.0, "fear": 0.0}) == {"anger": 1.0, "fear": 0.0}
    after = smoother.step(1, 0.5, {"anger": 0.0, "fear": 1.0})
    assert after == pytest.approx({"anger": math.exp(-1), "fear": 1 - math.exp(-1)}, abs=1e-6)
    assert smoother.step(2, 0.5, {"anger": 0.0, "fear": 1.0})["fear"] == 1.0  # tracks do not mix
    assert smoother.step(1, 60.0, {"anger": 1.0, "fear": 0.0})["anger"] == pytest.approx(1.0, abs=1e-6)


def test_no_smoothing_and_no_window() -> None:
    smoother = Smoother(0)
    smoother.step(1, 0.0, {"anger": 1.0})
    assert smoother.step(1, 0.1, {"anger": 0.25}) == {"anger": 0.25}
    with pytest.raises(ValueError, match="must be a number of seconds from 0"):
        Smoother(-1)


@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1)), min_size=1, max_size=20), st.floats(0, 5))
def test_smoothed_probabilities_stay_probabilities(steps: list[tuple[float, float]], window: float) -> None:
    smoother, time = Smoother(window), 0.0
    for pause, p in steps:
        time += pause
        smoothed = smoother.step(1, time, {"anger": p, "fear": 1 - p})
        assert sum(smoothed.values()) == pytest.approx(1, abs=1e-5)
        assert all(0 <= value <= 1 for value in smoothed.values())


# Recognising


def test_who_is_who_over_time(frames_of_two: list[VideoFrame]) -> None:
    assert [frame.index for frame in frames_of_two] == list(range(40))
    assert [frame.time for frame in frames_of_two] == pytest.approx([i / 25 for i in range(40)], abs=1e-4)
    tracks = [[face.track for face in frame.tracks] for frame in frames_of_two]
    assert tracks[:15] == [[1]] * 15
    assert tracks[15:20] == [[]] * 5  # frames without a face simply have none
    assert tracks[20:30] == [[1]] * 10  # the gap is bridged
    assert tracks[30:] == [[2]] * 10  # after the cut it is somebody else
    followed = [face.detected for frame in frames_of_two[:15] for face in frame.tracks]
    assert followed.count(True) == 3  # five searches a second; in between faces are followed
    boxes = np.array([frame.tracks[0].box for frame in frames_of_two[:15]])
    assert np.abs(np.diff(boxes, axis=0)).max() < 8  # no jumps between following and finding


def test_faces_are_those_of_single_pictures(recognizer: Recognizer, frames_of_two: list[VideoFrame]) -> None:
    frame = frames_of_two[0]
    assert frame.picture is not None
    (face,) = recognizer(frame.picture)
    np.testing.assert_allclose(frame.tracks[0].face.box, face.box, atol=0.05)
    assert frame.tracks[0].face.probabilities == pytest.approx(face.probabilities, abs=1e-4)
    # A followed face is framed about as a found one.
    followed = frames_of_two[3]
    assert followed.picture is not None
    (found,) = recognizer(followed.picture)
    assert not followed.tracks[0].detected
    assert followed.tracks[0].face.landmarks is not None
    np.testing.assert_allclose(followed.tracks[0].face.landmarks, found.landmarks, atol=3)


def test_a_face_that_cannot_be_framed_is_left_out_alone_and_named(
    weights: Path, photographs: dict[str, Path], tmp_path: Path
) -> None:
    recognizer = spoil(Recognizer(weights, device="cpu"), 0)
    hopper, astronaut = (next(scene(photographs[name], [(0, 136)])) for name in ("grace_hopper", "astronaut"))
    crowd = np.concatenate([hopper, astronaut, hopper[::2, ::2].repeat(2, 0)[:, :120]], axis=1)
    (frame, _) = recognizer.video(write_clip(tmp_path / "crowd.mp4", [crowd] * 2))
    assert frame.picture is not None
    with pytest.warns(FaceWarning, match="left out"):
        alone = {face.box: face for face in recognizer(frame.picture)}
    assert len(alone) >= 1
    assert {face.box for face in frame.tracks} == set(alone)
    for face in frame.tracks:
        assert face.face.probabilities == pytest.approx(alone[face.box].probabilities, abs=1e-5)
    assert frame.warning is not None
    assert frame.warning.startswith(f"1 of {len(alone) + 1} faces was left out: the landmarks all lie on one point")


def test_probabilities_are_smoothed_and_the_raw_ones_kept(frames_of_two: list[VideoFrame]) -> None:
    smoother = Smoother(0.5)
    for frame in frames_of_two:
        for face in frame.tracks:
            expected = smoother.step(face.track, frame.time, face.face.probabilities)
            assert face.smoothed == pytest.approx(expected, abs=1e-5)
            assert face.expression == max(face.smoothed, key=lambda name: face.smoothed[name])
            assert face.probability == max(face.smoothed.values())


def test_every_fifth_frame(recognizer: Recognizer, clip_of_two: Path) -> None:
    frames = list(recognizer.video(clip_of_two, every="0.2s", smooth=0))
    assert [frame.index for frame in frames] == list(range(0, 40, 5))
    assert all(face.detected for frame in frames for face in frame.tracks)
    assert all(face.smoothed == pytest.approx(face.face.probabilities, abs=1e-6) for f in frames for face in f.tracks)


@pytest.mark.parametrize("done", [3, 17, 33])
def test_a_run_goes_on_from_its_table(
    recognizer: Recognizer, clip_of_two: Path, frames_of_two: list[VideoFrame], done: int
) -> None:
    # What a table holds is rounded.
    table = [VideoFrame.from_dict(frame.to_dict()) for frame in frames_of_two[:done]]
    with Clip(clip_of_two) as clip:
        rest = list(recognise(recognizer, clip, ALL, done=table))
    assert [frame.index for frame in rest] == list(range(done, 40))
    for frame, expected in zip(rest, frames_of_two[done:], strict=True):
        assert [(f.track, f.detected) for f in frame.tracks] == [(f.track, f.detected) for f in expected.tracks]
        for face, other in zip(frame.tracks, expected.tracks, strict=True):
            np.testing.assert_allclose(face.box, other.box, atol=0.05)
            assert face.smoothed == pytest.approx(other.smoothed, abs=1e-3)


def test_without_a_detector_every_frame_is_the_face(weights: Path, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "faces.mp4", [texture(1)] * 4)
    frames = list(Recognizer(weights, "none", device="cpu").video(path))
    assert [[face.track for face in frame.tracks] for frame in frames] == [[1]] * 4
    assert frames[0].tracks[0].box == (0, 0, 96, 64)


def test_frames_before_an_early_end_are_given(recognizer: Recognizer, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "whole.mkv", [texture(i) for i in range(50)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames: list[VideoFrame] = []
    with pytest.raises(StoppedError):
        frames.extend(recognizer.video(path))
    assert len(frames) > 10
