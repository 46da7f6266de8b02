"""Damaged pictures of every format: each gets an answer, and the worker lives on, no larger than before."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image, features
from tests.serve.serving import Served, encoded

FORMATS = (
    ("PNG", "RGB", {}),
    ("PNG", "P", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "I;16", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("GIF", "P", {"save_all": True}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {}),
    ("ICO", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
)
"""What is accepted, in the variants that different code decodes."""


def seeds(portrait: Image.Image) -> list[bytes]:
    """A small face in every format that this build of Pillow writes."""
    face = portrait.crop((160, 20, 300, 180)).resize((84, 96))
    files = []
    for form, mode, options in FORMATS:
        if (form, True) in (("AVIF", not features.check("avif")), ("JPEG2000", not features.check("jpg_2000"))):
            continue
        picture = face.convert("L").convert("I;16") if mode == "I;16" else face.convert(mode)
        more = {"append_images": [picture] * 3} if options.get("save_all") else {}
        files.append(encoded(picture, form, **options, **more))
    return files


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to eight injuries, most of them near its head, where the sizes stand."""
    wound = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(min(len(wound), chance.choice((32, 256, len(wound)))) or 1)
        match chance.randrange(6):
            case 0 | 1:
                wound[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                wound[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0"))
            case 3:
                del wound[at : at + chance.randint(1, 64)]
            case 4:
                wound[at:at] = wound[at : at + chance.randint(1, 64)]
            case _:
                del wound[max(at, 16) :]
    return bytes(wound)


def resident(pid: int | None) -> float:
    """Memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def injure(served: Served, portrait: Image.Image, rounds: int, seed: int = 0) -> list[float]:
    """So many requests of four mutated pictures each; the worker's memory after every tenth of them."""
    chance = random.Random(seed)
    files = seeds(portrait)
    losses = served.metric("apvit_worker_losses_total")
    sizes = []
    for number in range(rounds):
        pictures = [mutated(files[(4 * number + i) % len(files)], chance) for i in range(4)]
        answer = served.post(*pictures, min_face=40)
        assert answer.status_code in (200, 422), answer.text
        assert answer.elapsed.total_seconds() < 10
        results = answer.json()["results"]
        assert len(results) == 4
        for result in results:
            assert (result["error"] is None) == (result["width"] is not None)
            assert result["error"] is None or "\n" not in result["error"]
        json.dumps(results, allow_nan=False)
        if rounds >= 10 and number % (rounds // 10) == 0:
            sizes.append(resident(served.service.worker.pid))
    assert served.metric("apvit_worker_losses_total") == losses
    return sizes


def test_every_seed_is_a_picture(portrait: Image.Image) -> None:
    for data in seeds(portrait):
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (84, 96) or picture.format == "ICO"


def test_damaged_pictures(served: Served, portrait: Image.Image) -> None:
    injure(served, portrait, 15)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_thousands_of_damaged_pictures(served: Served, portrait: Image.Image, seed: int) -> None:
    """No crash, no hang, no growth: memory settles in the first tenths and stays where it is. A thousand each."""
    sizes = injure(served, portrait, 250, seed)
    assert max(sizes[-3:]) < max(sizes[2:5]) + 50, sizes
