"""A video from end to end: frames per second at 640 x 360, one face, by stage; memory over 20,000 frames.

The clip is made of matplotlib's grace_hopper.jpg, moving over a pattern at 25 frames a second. Each stage runs alone
over all its frames, as often as the whole path needs it (whole frames are searched five times a second, faces followed
in between), then the whole path runs, and the annotated copy is rendered from the table. Memory: the peak of a process
of its own over a long clip of 160 x 90 pixels with one face, after 2,000 frames and at the end.

    python benchmarks/speed/video.py

writes video.json beside this file in about three minutes of two quiet cores.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from pictures import photographs
from PIL import Image
from processes import run
from records import HERE, machine, options, spread, write_record
from subjects import workplace

from apvit.faces.tracking import Follower
from apvit.recognition import Recognizer
from apvit.recognition.video.annotated import annotate_video
from apvit.recognition.video.clip import Clip
from apvit.recognition.video.recognising import SEARCH
from apvit.recognition.video.sampling import Every

RATE, SIZE, SMALL = 25, (640, 360), (160, 90)
"""Frames per second; width and height of the clip that is timed, and of the long one."""


def main() -> None:
    parser = options(__doc__, "video")
    parser.add_argument("--rounds", type=int, default=3, help="of everything that is timed (default: 3)")
    parser.add_argument("--frames", type=int, default=200, help="of the clip that is timed (default: 200)")
    parser.add_argument("--long", type=int, default=20_000, help="frames of the long clip (default: 20000)")
    arguments = parser.parse_args()
    made = machine()
    with workplace(arguments.folder) as folder:
        clip = write_clip(folder / "clip.mp4", SIZE, arguments.frames)
        stages = measure(clip, folder / "annotated.mp4", arguments.rounds)
        long = write_clip(folder / "long.mp4", SMALL, arguments.long)
        memory = json.loads(run([sys.executable, str(HERE / "video_memory_once.py"), str(long)]))
    record = {
        "what": "ms per frame of the clip by stage (a stage that not every frame needs is spread over all), frames per "
        "second of the whole; peak bytes of a process over the long clip",
        "weights": "apvit_tiny",
        "detector": "mtcnn",
        "clip": {"width": SIZE[0], "height": SIZE[1], "rate": RATE, "frames": arguments.frames, "faces": 1},
        "searches_per_second": 1 / SEARCH,
        "rounds": arguments.rounds,
        "ms_per_frame": stages,
        "frames_per_second": 1000 / stages["whole"]["median"],
        "memory": {"width": SMALL[0], "height": SMALL[1], **memory},
        "machine": made,
    }
    write_record(arguments.output, record)
    print(table(record))


def portrait(size: tuple[int, int], frames: int) -> Iterator[np.ndarray]:
    """A portrait that moves to and fro over a pattern, uint8 [H, W, 3]."""
    width, height = size
    photo = Image.fromarray(photographs()["grace_hopper"])
    photo = photo.resize((round(photo.width * height / photo.height), height))
    y, x = np.mgrid[:height, :width]
    ground = np.stack([x * 160 // width + 40, y * 160 // height + 40, 90 + 60 * ((x // 20) % 2)], -1).astype(np.uint8)
    room = width - photo.width
    for number in range(frames):
        picture = Image.fromarray(ground)
        picture.paste(photo, (round(room / 2 * (1 + np.sin(number / RATE))), 0))
        yield np.asarray(picture)


def write_clip(path: Path, size: tuple[int, int], frames: int) -> Path:
    """The moving portrait as H.264."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, picture in enumerate(portrait(size, frames)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def measure(path: Path, annotated: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds per frame of the clip at `path`: the spread over `rounds`, by stage."""
    recognizer = Recognizer()
    follower = recognizer._detector
    assert isinstance(follower, Follower)
    found = list(recognizer.video(path))  # warms up
    pictures = [frame.picture for frame in found if frame.picture is not None]
    faces = [frame.tracks[0].face for frame in found if frame.tracks]
    if len(faces) < 0.9 * len(found):
        raise SystemExit(f"only {len(faces)} of {len(found)} frames have their face: this would time something else")
    searched = [frame.picture for frame in found if frame.tracks and frame.tracks[0].detected]
    where = [recognizer._detect(picture) for picture in pictures]
    framed = [pair for picture, one in zip(pictures, where, strict=True) for pair in recognizer._frame(picture, one)[0]]
    crops = [crop for _, crop in framed]

    def decode() -> None:
        with Clip(path) as clip:
            for _ in clip.frames(Every(frames=1)):
                pass

    stages: dict[str, Callable[[], Any]] = {
        "decode": decode,
        "search": lambda: [recognizer._detect(picture) for picture in searched],
        "follow": lambda: [follower.follow(p, [f.box]) for p, f in zip(pictures, faces, strict=False)],
        "align": lambda: [recognizer._frame(picture, one) for picture, one in zip(pictures, where, strict=True)],
        "classify": lambda: recognizer._classify(crops),
        "whole": lambda: sum(1 for _ in recognizer.video(path)),
        "annotate": lambda: annotate_video(path, found, annotated, numbered=False),
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            times[name].append((time.perf_counter() - start) * 1000 / len(found))
    return {name: spread(values) for name, values in times.items()}


def table(record: dict[str, Any]) -> str:
    """The record for people."""
    lines = [f"{'stage':<10} {'ms per frame':>12}"]
    lines += [f"{name:<10} {values['median']:>12.2f}" for name, values in record["ms_per_frame"].items()]
    memory = record["memory"]
    settled, end = (memory[name] / 2**20 for name in ("settled", "end"))
    return "\n".join(
        [
            *lines,
            f"{record['frames_per_second']:.1f} frames per second; real time is {RATE}",
            f"peak memory over {memory['frames']:,} frames: {settled:.0f} MiB after 2,000, {end:.0f} MiB at the end",
        ]
    )


if __name__ == "__main__":
    main()
