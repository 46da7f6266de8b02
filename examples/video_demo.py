"""A video made of two portraits, recognised and rendered: table, summary, subtitles, timeline, annotated copy.

The photographs come with installed packages (matplotlib's grace_hopper.jpg and scikit-image's astronaut), so this needs
no network: `pip install 'apvit[video,demo]'`, then

    python examples/video_demo.py [FOLDER]

Everything lies in FOLDER (default: demo) afterwards. docs/images/timeline.png is the timeline it makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from skimage.data import astronaut

from apvit.cli import main

WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 25, 14


def frames() -> Iterator[Image.Image]:
    """Hopper stays and sways; Collins comes, goes and comes back; a sheet of paper hides a mouth, the light fails."""
    with get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB").resize((300, 355))
    collins = Image.fromarray(astronaut()).crop((60, 0, 420, 360)).resize((300, 300))
    room = Image.fromarray(np.full((HEIGHT, WIDTH, 3), (92, 98, 108), np.uint8))
    for number in range(SECONDS * RATE):
        time = number / RATE
        picture = room.copy()
        sway = 14 * np.sin(time * 1.3)
        left = (round(10 + sway), 5)
        picture.paste(hopper.rotate(5 * np.sin(time * 0.9), Image.Resampling.BICUBIC, fillcolor=(92, 98, 108)), left)
        away = max(0.0, 3.5 - time) * 220 + max(0.0, 3.0 - abs(time - 9.5)) * 260
        if away < 320:
            picture.paste(collins, (round(330 + away - 0.4 * sway), 30))
        if 5.0 <= time < 7.0:
            top = 165 + max(0.0, 5.4 - time) * 400 + max(0.0, time - 6.6) * 400
            ImageDraw.Draw(picture).rectangle((left[0] + 60, top, left[0] + 250, top + 120), fill=(232, 230, 222))
        if time >= 11.5:
            picture = ImageEnhance.Brightness(picture).enhance(1 - 0.6 * min(1.0, (time - 11.5) / 1.2))
            picture = picture.filter(ImageFilter.GaussianBlur(2.5 * min(1.0, (time - 11.5) / 1.2)))
        yield picture


def write_clip(path: Path) -> None:
    """The frames as H.264, with a quiet tone."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=RATE, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = file.add_stream("aac", rate=16000)
        tone = (np.sin(np.arange(SECONDS * 16000) / 10) * 800).astype(np.int16)
        heard = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        heard.sample_rate = 16000
        file.mux(sound.encode(heard))
        for number, picture in enumerate(frames()):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        file.mux(sound.encode(None))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / "two portraits.mp4"
    write_clip(clip)
    main(
        [
            *("recognize", str(clip), "--format", "parquet", "--output", str(folder / "table.parquet")),
            *("--summary", str(folder / "summary.json"), "--subtitles", str(folder / "two portraits.srt")),
            *("--timeline", str(folder / "timeline.png"), "--save-video", str(folder / "annotated.mp4")),
        ]
    )
