"""Small videos made of package photographs: faces that move, leave, come back and are cut away from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

CLOCK = Fraction(1, 12800)


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    sound: str | bool = False,
    pixel: Fraction | None = None,
) -> Path:
    """Frames uint8 [H, W, 3] as H.264: `rate` per second or at `times` (seconds), turned by `rotation` when shown.

    sound: a tone, in AAC or in the codec that it names
    """
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"g": "10", "preset": "ultrafast", "crf": "18"})
        codec = sound if isinstance(sound, str) else "aac"
        tone = file.add_stream(codec, rate=16000, bit_rate=32000) if sound else None
        stream.codec_context.time_base = CLOCK
        stream.pix_fmt = "yuv420p"
        last = 0.0
        for number, picture in enumerate(frames):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                if rotation:
                    stream.set_display_rotation(rotation)
                if pixel is not None:
                    stream.codec_context.sample_aspect_ratio = pixel
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            last = number / rate if times is None else times[number]
            frame.pts, frame.time_base = round(last / CLOCK), CLOCK
            file.mux(stream.encode(frame))
        if tone is not None:
            wave = (np.sin(np.arange(int(16000 * (last + 1 / rate))) / 6) * 8000).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
            heard.sample_rate, heard.pts = 16000, 0
            file.mux(tone.encode(heard))
            file.mux(tone.encode(None))
        file.mux(stream.encode(None))
    return path


def scene(
    photograph: Path | Image.Image | None, places: Iterable[tuple[int, int]], size: tuple[int, int] = (240, 136)
) -> Iterator[np.ndarray]:
    """A photograph on a pattern, its upper left corner at each of `places` (x, and its height); None: nobody there."""
    photo = Image.open(photograph).convert("RGB") if isinstance(photograph, Path) else photograph
    y, x = np.mgrid[: size[1], : size[0]]
    ground = np.stack([x * 160 // size[0] + 40, y * 160 // size[1] + 40, 90 + 60 * ((x // 20) % 2)], axis=-1)
    for left, height in places:
        canvas = Image.fromarray(ground.astype(np.uint8))
        if photo is not None:
            canvas.paste(photo.resize((round(photo.width * height / photo.height), height)), (left, 0))
        yield np.asarray(canvas)
