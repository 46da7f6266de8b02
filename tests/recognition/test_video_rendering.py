"""Tables of a video, and what is rendered from them: by hand where it can be, real files where it must be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.recognition.clips import scene, write_clip

from apvit.recognition import Face
from apvit.recognition.video.annotated import Timeline, annotate_video
from apvit.recognition.video.errors import VideoError
from apvit.recognition.video.intervals import intervals, write_intervals
from apvit.recognition.video.journal import Journal
from apvit.recognition.video.results import TrackedFace, VideoFrame
from apvit.recognition.video.subtitles import cues, timestamp, write_subtitles
from apvit.recognition.video.summary import summarise, write_summary
from apvit.recognition.video.table import open_table, read_table
from apvit.recognition.video.timeline import tracks_over_time, write_timeline

NAMES = ("neutral", "happiness", "anger")


def face(track: int, name: str | None, x: float = 10.0, *, points: bool = True) -> TrackedFace:
    """A face with raw probabilities of its own and smoothed ones for `name` (None: left open)."""
    raw = {"neutral": 0.5, "happiness": 0.3, "anger": 0.2}
    smoothed = (
        {n: 0.8 if n == name else 0.1 for n in NAMES} if name else {"neutral": 0.4} | dict.fromkeys(NAMES[1:], 0.3)
    )
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) if points else None
    seen = Face((x, 10.0, x + 20, 34.5), landmarks, 0.97 if points else None, "neutral", 0.5, raw)
    return TrackedFace(track, seen, track % 2 == 1, smoothed, name, max(smoothed.values()))


def frame(index: int, *faces: TrackedFace, step: float = 0.5) -> VideoFrame:
    return VideoFrame("clip.mp4", index, round(index * step, 6), 64, 48, list(faces))


FRAMES = [
    frame(0, face(1, "happiness")),
    frame(1, face(1, "happiness"), face(2, "anger", 40)),
    frame(2, face(1, "neutral"), face(2, "anger", 40)),
    replace(frame(3), warning="1 of 1 face was left out: the landmarks all lie on one point"),
    frame(4, face(1, None)),
    replace(frame(5, face(1, "neutral", points=False)), warning="1 of 2 faces was left out"),
]


def written(path: Path, form: str) -> Path:
    table = open_table(form, path, NAMES)
    for one in FRAMES:
        table.write(one)
    table.close()
    return path


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_table_is_read_as_it_was_written(tmp_path: Path, form: str) -> None:
    path = written(tmp_path / "table", form)
    assert [one.to_dict() for one in read_table(path)] == [one.to_dict() for one in FRAMES]


def test_a_table_from_before_there_were_warnings_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "old.csv", "csv")
    path.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in path.read_text().splitlines()))
    assert [one.to_dict() for one in read_table(path)] == [{**one.to_dict(), "warning": None} for one in FRAMES]


def test_what_tables_hold(tmp_path: Path) -> None:
    line = json.loads(written(tmp_path / "t.jsonl", "jsonl").read_text().splitlines()[1])
    assert list(line) == ["source", "frame", "time", "width", "height", "faces", "warning"]
    assert (line["frame"], line["time"]) == (1, 0.5)
    second = line["faces"][1]
    assert (second["track"], second["detected"], second["box"]) == (2, False, [40, 10, 60, 34.5])
    assert second["probabilities"] == {"neutral": 0.5, "happiness": 0.3, "anger": 0.2}
    assert second["smoothed"]["expression"] == "anger"
    assert second["smoothed"]["probabilities"]["anger"] == 0.8
    rows = list(csv.DictReader(written(tmp_path / "t.csv", "csv").read_text().splitlines()))
    assert [(row["frame"], row["track"]) for row in rows] == [
        *(("0", "1"), ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")),
        *(("3", ""), ("4", "1"), ("5", "1")),
    ]
    assert (rows[2]["time"], rows[2]["p_anger"], rows[2]["smoothed_anger"]) == ("0.5", "0.2", "0.8")
    assert rows[6]["smoothed_expression"] == ""
    typed = pq.read_table(written(tmp_path / "t.parquet", "parquet")).to_pylist()
    assert [{n: "" if v is None else str(v) for n, v in row.items()} for row in typed] == rows


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b'{"source": "photo.jpg", "faces": []}\n', b"PAR1", b"{\n"])
def test_what_is_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(VideoError, match="is no table of a video"):
        list(read_table(tmp_path / "t"))


def test_the_summary_by_hand(tmp_path: Path) -> None:
    summary = summarise(FRAMES)
    assert (summary.frames, summary.start, summary.end, summary.expressions) == (6, 0.0, 3.0, NAMES)
    first, second = summary.tracks
    assert (first.track, first.start, first.end, first.seconds, first.frames) == (1, 0.0, 3.0, 2.5, 5)
    assert first.share == pytest.approx({"happiness": 0.4, "neutral": 0.4, "unsure": 0.2})
    assert (first.changes, first.main) == (3, "happiness")
    assert (second.seconds, second.changes, second.share) == (1.0, 0, {"anger": 1.0})
    write_summary(tmp_path / "s.json", summary)
    assert json.loads((tmp_path / "s.json").read_text())["tracks"][1] == {
        **{"track": 2, "start": 0.5, "end": 1.5, "seconds": 1.0, "frames": 2, "main": "anger", "changes": 0},
        "share": {"anger": 1.0},
    }
    write_summary(tmp_path / "s.csv", [summary, summary])
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 5
    write_summary(tmp_path / "s.csv", summary)
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [[row[n] for n in ("source", "track", "share_anger", "share_unsure")] for row in rows] == [
        ["clip.mp4", "1", "0.0", "0.2"],
        ["clip.mp4", "2", "1.0", "0.0"],
    ]
    write_summary(tmp_path / "s.json", [summary, summary])
    assert [one["source"] for one in json.loads((tmp_path / "s.json").read_text())] == ["clip.mp4", "clip.mp4"]


def test_subtitles_by_hand(tmp_path: Path) -> None:
    assert list(cues(FRAMES, {1, 2})) == [
        (0.0, 0.5, "happiness"),
        (0.5, 1.0, "1: happiness\n2: anger"),
        (1.0, 1.5, "1: neutral\n2: anger"),
        (2.0, 2.5, "unsure"),
        (2.5, 3.0, "neutral"),
    ]
    write_subtitles(tmp_path / "s.srt", FRAMES, {1, 2})
    lines = (tmp_path / "s.srt").read_text().splitlines()
    assert lines[:4] == ["1", "00:00:00,000 --> 00:00:00,500", "happiness", ""]
    assert lines[4:9] == ["2", "00:00:00,500 --> 00:00:01,000", "1: happiness", "2: anger", ""]
    assert timestamp(3723.9996) == "01:02:04,000"
    write_subtitles(tmp_path / "none.srt", [], ())
    assert (tmp_path / "none.srt").read_text() == ""


SHORT = [frame(i, face(1, "happiness"), *([face(2, "anger")] if i == 3 else []), step=0.04) for i in range(25)]


def test_a_face_that_flickers_is_not_shown_but_kept(tmp_path: Path) -> None:
    summary = summarise(SHORT)
    assert ([track.track for track in summary.tracks], summary.short) == ([1], 1)
    assert {text for _, _, text in cues(SHORT, summary.numbers)} == {"happiness"}
    assert [(one.track, one.start, one.end) for one in intervals(SHORT, summary.numbers)] == [
        (1, 0.0, pytest.approx(1))
    ]
    write_timeline(tmp_path / "t.png", lambda: SHORT, summary)
    everyone = summarise(SHORT, min_track=0)
    assert ([track.track for track in everyone.tracks], everyone.short) == ([1, 2], 0)
    assert [track.track for track in summarise(SHORT[:5]).tracks] == [1]  # a video that is shorter than the limit


def test_intervals_by_hand(tmp_path: Path) -> None:
    summary = summarise(FRAMES)
    found = intervals(FRAMES, summary.numbers)
    assert [(one.start, one.end, one.track, one.expression) for one in found] == [
        (0.0, 1.0, 1, "happiness"),
        (0.5, 1.5, 2, "anger"),
        (1.0, 1.5, 1, "neutral"),
        (2.0, 2.5, 1, "unsure"),
        (2.5, 3.0, 1, "neutral"),
    ]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        write_intervals(tmp_path / f"i{suffix}", [(summary, found), (summary, found)])
        first, second, *rest = (tmp_path / f"i{suffix}").read_text().splitlines()
        assert first.split(delimiter) == ["source", "start", "end", "track", "expression"]
        assert second.split(delimiter) == ["clip.mp4", "0.0", "1.0", "1", "happiness"]
        assert len(rest) == 9
    with pytest.raises(VideoError, match=r"must end in .csv, .tsv or .TextGrid, not 'i.eaf'"):
        write_intervals(tmp_path / "i.eaf", [])


@pytest.mark.parametrize("frames", [FRAMES, SHORT, []], ids=["gaps", "a short track", "nobody"])
def test_a_text_grid_is_filled_from_beginning_to_end(tmp_path: Path, frames: list[VideoFrame]) -> None:
    summary = summarise(frames)
    write_intervals(tmp_path / "i.TextGrid", [(summary, intervals(frames, summary.numbers))])
    lines = [line.strip() for line in (tmp_path / "i.TextGrid").read_text().splitlines()]
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    values = [line.split(" = ")[1].strip('"') for line in lines if " = " in line]
    _, _, start, end, tiers, *rest = values
    assert (start, float(end)) == ("0", pytest.approx(max(summary.end, 0.001)))
    for _ in range(int(tiers)):
        kind, name, start, last, count, *rest = rest
        assert (kind, last) == ("IntervalTier", end)
        assert name.startswith("face ") or not summary.tracks
        before = "0.000"
        for _ in range(int(count)):
            start, until, _, *rest = rest
            assert start == before
            before = until
        assert before == end
    assert rest == []


def test_the_timeline_has_what_was_seen_when(tmp_path: Path) -> None:
    summary = summarise(FRAMES)
    over_time = tracks_over_time(FRAMES, summary.tracks, summary)
    shares, names = over_time[2]
    seen = ~np.isnan(shares).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(seen.astype(int))), [249, 749])  # from 0.5 to 1.5 of 3 s
    np.testing.assert_allclose(shares[500], [0.1, 0.1, 0.8])
    assert set(names) == {None, "anger"}
    write_timeline(tmp_path / "t.png", lambda: FRAMES, summary)
    assert Image.open(tmp_path / "t.png").size[0] == 1800
    write_timeline(tmp_path / "none.png", lambda: [], summarise([]))
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".png"] == []


def test_faces_between_looks_are_moved_evenly() -> None:
    looks = [frame(0, face(1, "anger", 10), face(2, "neutral", 30)), frame(1, face(1, "anger", 20)), frame(2)]
    timeline = Timeline(looks)

    def at(time: float) -> list[tuple[int, float]]:
        return [(shown.track, box[0]) for box, shown in timeline.at(time)]

    assert at(0.0) == [(1, 10), (2, 30)]
    assert at(0.2) == [(1, 14), (2, 30)]
    assert at(0.3) == [(1, 16)]
    assert at(0.5) == [(1, 20)]
    assert at(0.9) == []
    assert at(5.0) == []


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = list(scene(None, [(0, 0)] * 12, (65 + 1, 48)))
    path = tmp_path_factory.mktemp("sounding") / "clip.mp4"
    times = [0.0, 0.04, 0.08, 0.3, 0.34, 0.38, 0.6, 0.64, 0.68, 1.0, 1.04, 1.08]
    return write_clip(path, pictures, times=times, rotation=90, sound=True)


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as file:
        packets = file.demux(file.streams.audio[0])
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None and p.size]


def frames_of(path: Path) -> list[tuple[float, int, np.ndarray]]:
    with av.open(str(path)) as file:
        return [(f.time, f.rotation, f.to_ndarray(format="rgb24")) for f in file.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_an_annotated_video_keeps_sound_times_and_rotation(sounding: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"annotated{suffix}"
    annotate_video(sounding, FRAMES[:3], path)
    before, after = frames_of(sounding), frames_of(path)
    assert len(after) == len(before)
    start = after[0][0] - before[0][0]  # Matroska has no times before 0, where this sound begins
    assert [time - start for time, _, _ in after] == pytest.approx([time for time, _, _ in before], abs=2e-3)
    assert [rotation for _, rotation, _ in after] == [90] * 12
    assert [sound for _, sound in sound_of(path)] == [sound for _, sound in sound_of(sounding)]
    heard = [time - start for time, _ in sound_of(path)]
    assert heard == pytest.approx([time for time, _ in sound_of(sounding)], abs=2e-3)
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == "h264"
    changed = np.abs(after[0][2].astype(int) - before[0][2]).max(axis=2) > 60
    assert 0.02 < changed.mean() < 0.6
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("source", "codec", "suffix", "kept"),
    [
        ("clip.wmv", "wmav2", ".mp4", "aac"),
        ("clip.wmv", "wmav2", ".mkv", "aac"),
        ("clip.mkv", "flac", ".mov", "aac"),
        ("clip.mkv", "flac", ".mp4", "flac"),
    ],
)
def test_sound_that_the_file_cannot_hold_becomes_aac(
    tmp_path: Path, source: str, codec: str, suffix: str, kept: str
) -> None:
    path = tmp_path / source
    write_clip(path, list(scene(None, [(0, 0)] * 25, (64, 48))), sound=codec)
    annotate_video(path, FRAMES[:3], tmp_path / f"annotated{suffix}")
    with av.open(str(tmp_path / f"annotated{suffix}")) as file:
        sound = file.streams.audio[0]
        assert sound.codec_context.name == kept
        heard = list(file.decode(sound))
    assert sum(frame.samples for frame in heard) / heard[0].sample_rate == pytest.approx(1, abs=0.15)
    assert max(np.abs(frame.to_ndarray().astype(float)).max() for frame in heard) > 0.1


def test_frames_without_faces_stay_as_they_were(tmp_path: Path) -> None:
    pictures = list(scene(None, [(0, 0)] * 3, (160, 90)))
    source = write_clip(tmp_path / "clip.mp4", pictures)
    annotate_video(source, [frame(0)], tmp_path / "same.mp4")
    for picture, (_, _, kept) in zip(pictures, frames_of(tmp_path / "same.mp4"), strict=True):
        assert np.abs(kept.astype(int) - picture).mean() < 6


def test_an_annotated_video_can_end_earlier(sounding: Path, tmp_path: Path) -> None:
    annotate_video(sounding, FRAMES[:3], tmp_path / "part.mp4", until=0.5)
    assert len(frames_of(tmp_path / "part.mp4")) == 6


def test_names_that_an_annotated_video_cannot_have(sounding: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"must end in .mp4, .m4v, .mov, .mkv, not 'a.avi'"):
        annotate_video(sounding, FRAMES, tmp_path / "a.avi")


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_journal_is_gone_on_with_and_becomes_the_table(tmp_path: Path, form: str) -> None:
    output = tmp_path / f"t.{form}"
    first = Journal(output, form, NAMES, {"every": 1})
    assert not first.resumes
    for one in FRAMES[:3]:
        first.write(one)
    assert not output.exists()
    with first.path.open("ab") as file:
        file.write(b'{"source": "clip.mp4", "fra')  # what a kill in the middle of a line leaves
    second = Journal(output, form, NAMES, {"every": 1})
    assert second.resumes
    assert [one.to_dict() for one in second.done()] == [one.to_dict() for one in FRAMES[:3]]
    for one in FRAMES[3:]:
        second.write(one)
    second.finish(whole=True)
    assert [one.to_dict() for one in read_table(output)] == [one.to_dict() for one in FRAMES]
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_journal_of_other_settings_begins_anew(tmp_path: Path) -> None:
    first = Journal(tmp_path / "t", "jsonl", NAMES, {"every": 1})
    first.write(FRAMES[0])
    second = Journal(tmp_path / "t", "jsonl", NAMES, {"every": 2})
    assert not second.resumes
    assert list(second.done()) == []


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_interrupted_journal_gives_a_partial_table_and_stays(tmp_path: Path, form: str) -> None:
    output = tmp_path / "t"
    output.write_text("an earlier run's")
    journal = Journal(output, form, NAMES, {})
    journal.write(FRAMES[0])
    partial = journal.finish(whole=False)
    assert partial == tmp_path / "t.partial"
    assert len(list(read_table(partial))) == 1
    assert output.read_text() == "an earlier run's"
    again = Journal(output, form, NAMES, {})
    assert len(list(again.done())) == 1
    again.write(FRAMES[1])
    assert again.finish(whole=True) == output
    assert len(list(read_table(output))) == 2
    assert list(tmp_path.iterdir()) == [output]


def test_what_is_rendered_from_a_partial_table_is_partial_too(sounding: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("s.json", "s.srt", "t.png", "v.mp4")}
    for path in files.values():
        path.write_text("an earlier run's")
    summary = summarise(FRAMES[:3])
    write_summary(files["s.json"], summary, whole=False)
    write_subtitles(files["s.srt"], FRAMES[:3], {1}, whole=False)
    write_timeline(files["t.png"], lambda: FRAMES[:3], summary, whole=False)
    annotate_video(sounding, FRAMES[:3], files["v.mp4"], until=0.5, whole=False)
    assert {path.read_text() for path in files.values()} == {"an earlier run's"}
    assert json.loads((tmp_path / "s.json.partial").read_text())["frames"] == 3
    assert (tmp_path / "s.srt.partial").read_text().startswith("1\n00:00:00")
    assert Image.open(tmp_path / "t.png.partial").format == "PNG"
    assert len(frames_of(tmp_path / "v.mp4.partial")) == 6
