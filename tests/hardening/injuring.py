"""Injures files of one kind, reads each, and prints how often which error came out. Run by `test_mutations`.

python -m tests.hardening.injuring KIND FOLDER SECONDS ROUNDS BYTES, with the folder that `conftest.bad_inputs` makes.
Any error but the room's own ends it with a traceback, as does a reading of more than ten seconds; so does memory beyond
BYTES of address space, unless the room says so in its own words.
"""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, features

LONGEST = 10.0
"""Seconds that reading one file may take."""


@dataclass(frozen=True)
class Kind:
    """Whole files; what reads the bytes of an injured one; the errors that it may raise; where the sizes stand."""

    files: list[bytes]
    read: Callable[[bytes], object]
    errors: tuple[type[ValueError], ...]
    heads: tuple[int, ...]


def injured(data: bytes, chance: random.Random, heads: tuple[int, ...]) -> bytes:
    """`data` with one to eight injuries, half of them near its beginning or end, where the sizes stand."""
    wound = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        reach = min(chance.choice((*heads, len(wound))), len(wound))
        at = chance.randrange(reach or 1)
        if chance.random() < 0.3:
            at = len(wound) - 1 - at
        match chance.randrange(7):
            case 0 | 1:
                wound[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                wound[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0"))
            case 3:
                del wound[at : at + chance.randint(1, 64)]
            case 4:
                wound[at:at] = wound[at : at + chance.randint(1, 64)]
            case 5:  # a number written in digits: a shape or an offset in JSON
                digits = [i for i, byte in enumerate(wound[: heads[-1]]) if 48 <= byte <= 57]
                if digits:
                    place = chance.choice(digits)
                    wound[place : place + 1] = chance.choice((b"999999999999", b"-1", b"1e9", b"0", b"9"))
            case _:
                del wound[max(at, 16) :]
    return bytes(wound)


def with_right_length(data: bytes) -> bytes:
    """A safetensors file whose header's length was made right again, so that the injury gets further in."""
    end = data.find(b"}}", 8) + 2
    return struct.pack("<Q", max(end - 8, 0)) + data[8:] if end > 10 else data


def with_heif() -> bool:
    """Whether HEIC can be written here (apvit[heif])."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def encoded_faces(photo: Path) -> list[bytes]:
    """A small face in every format that this build of Pillow writes."""
    with Image.open(photo) as file:
        face = file.convert("RGB").resize((40, 50))
    forms: list[tuple[str, str, dict[str, object]]] = [
        *(("PNG", mode, {}) for mode in ("RGB", "P", "RGBA", "L", "1")),
        *(("JPEG", mode, {"progressive": progressive}) for mode in ("RGB", "CMYK") for progressive in (False, True)),
        *(("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {}), ("BMP", "RGB", {})),
        *(("TIFF", "RGB", {"compression": name}) for name in (None, "tiff_lzw", "jpeg", "tiff_adobe_deflate")),
        *(("TIFF", "F", {}), ("TIFF", "CMYK", {}), ("PPM", "RGB", {}), ("TGA", "RGB", {}), ("ICO", "RGB", {})),
        *([("JPEG2000", "RGB", {})] if features.check("jpg_2000") else []),
        *([("AVIF", "RGB", {})] if features.check("avif") else []),
        *([("HEIF", mode, {}) for mode in ("RGB", "RGBA")] if with_heif() else []),
    ]
    files = []
    for form, mode, options in forms:
        buffer = io.BytesIO()
        (face.convert("L") if mode in ("F", "1") else face).convert(mode).save(buffer, form, **options)
        files.append(buffer.getvalue())
    return files


def weights(folder: Path, place: Path) -> Kind:
    """Our own format, through the header's length, its JSON, the card in it, and the tensors."""
    from apvit.weights import CardError, WeightsError, load_weights

    def read(data: bytes) -> object:
        place.write_bytes(with_right_length(data) if len(data) % 2 else data)
        return load_weights(place)

    good = (folder / "good.safetensors").read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    return Kind([good], read, (WeightsError, CardError), (8, 256, header))


def checkpoints(folder: Path, place: Path) -> Kind:
    """torch.save's zip, and the pickle in it; the hostile pickle too."""
    from apvit.weights import CheckpointError, from_official

    def read(data: bytes) -> object:
        path = place.with_suffix(".pth")
        path.write_bytes(data)
        return from_official(path, num_heads=2, patch_keep=16, token_keep=(1,))

    files = [(folder / name).read_bytes() for name in ("official.pth", "w-pickle.pth")]
    return Kind(files, read, (CheckpointError,), (64, 1024, 4096))


def data(folder: Path, place: Path) -> Kind:
    """A prepared split, whose sizes stand in its footer; its faces are decoded too."""
    from apvit.data import DataError, read_split

    def read(content: bytes) -> object:
        place.write_bytes(content)
        return read_split(place).pixels()

    return Kind([(folder / "good.parquet").read_bytes()], read, (DataError,), (8, 512, 4096))


def pictures(folder: Path, place: Path) -> Kind:
    """Every format that is accepted."""
    from apvit.faces.pictures import PictureError, read_picture

    return Kind(encoded_faces(folder / "face.png"), read_picture, (PictureError,), (32, 256))


KINDS = {kind.__name__: kind for kind in (weights, checkpoints, data, pictures)}


def main(kind: str, folder: str, seconds: str, rounds: str, memory: str) -> None:
    """Injure and read until the time is over or so many were read; prints {outcome: how often} as JSON."""
    warnings.simplefilter("ignore")  # a checkpoint's leftover keys are one
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        chosen = KINDS[kind](Path(folder), Path(temporary) / "injured")
        for whole in chosen.files:  # so that everything is imported, and memory is what reading takes
            with suppress(*chosen.errors):
                chosen.read(whole)
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        outcomes: Counter[str] = Counter()
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end and outcomes.total() < int(rounds):
            wound = injured(chance.choice(chosen.files), chance, chosen.heads)
            start = time.monotonic()
            try:
                chosen.read(wound)
                outcomes["read"] += 1
            except chosen.errors as error:
                if "\n" in str(error):
                    raise AssertionError(f"no single sentence: {error}") from error
                outcomes[type(error).__name__] += 1
            except Exception:
                (Path(tempfile.gettempdir()) / f"injured.{kind}").write_bytes(wound)  # to look at
                raise
            assert time.monotonic() - start < LONGEST, f"reading took {time.monotonic() - start:.1f} s"
        assert not Path("ran").exists(), "a pickle ran"
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
