"""One folder with every kind of bad input: pictures, weight files and prepared splits, made without a dataset."""

from __future__ import annotations

import io
import json
import os
import pickle
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEADER = 8
"""Bytes of a safetensors file before its header: the header's length."""


class Payload:
    """Unpickled, it makes the folder `ran`: what a hostile checkpoint would do."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def claiming(data: bytes, at: int, size: bytes) -> bytes:
    """A picture's bytes with another width and height in its header."""
    return data[:at] + size + data[at + len(size) :]


def png_claiming(side: int) -> bytes:
    """A PNG of one pixel that says it has `side` x `side`, with the right checksum."""
    data = encoded(Image.new("L", (1, 1)), "PNG")
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


def write_pictures(folder: Path, photo: Image.Image) -> None:
    """Pictures that are refused, and odd ones that are understood; `photo` shows one face."""
    face = photo.crop((160, 20, 360, 270))
    small = face.resize((40, 50))
    grey = np.asarray(small.convert("L"))
    jpeg, png = encoded(photo, "JPEG"), encoded(small, "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side
    files = {
        "text.jpg": b"no picture",
        "empty.png": b"",
        "truncated.jpg": jpeg[: len(jpeg) // 3],
        "truncated.png": png[: len(png) // 2],
        "flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "pickle.png": pickle.dumps(Payload()),
        # Headers alone: to decode them would take 10 GB and more.
        "huge.bmp": claiming(encoded(Image.new("1", (1, 1)), "BMP"), 18, (60_000).to_bytes(4, "little") * 2),
        "huge.png": png_claiming(60_000),
        "large.bmp": claiming(encoded(Image.new("1", (1, 1)), "BMP"), 18, (13_360).to_bytes(4, "little") * 2),
        "large.gif": claiming(encoded(Image.new("P", (1, 1)), "GIF"), 6, (13_360).to_bytes(2, "little") * 2),
        "nan.tif": encoded(Image.fromarray(np.where(grey > 99, np.float32("nan"), grey / np.float32(255))), "TIFF"),
        "infinite.tif": encoded(Image.fromarray(np.where(grey > 99, np.float32("inf"), np.float32(1))), "TIFF"),
        "float.tif": encoded(Image.fromarray(grey / np.float32(255)), "TIFF"),
        "far.tif": encoded(Image.fromarray(grey.astype(np.float32) * 1e6), "TIFF"),
        "animated.gif": encoded(small, "GIF", save_all=True, append_images=[Image.new("RGB", small.size)] * 2),
        "animated.webp": encoded(small, "WEBP", save_all=True, append_images=[Image.new("RGB", small.size)] * 2),
        "animated.png": encoded(small, "PNG", save_all=True, append_images=[Image.new("RGB", small.size)] * 2),
        "cmyk.jpg": encoded(small.convert("CMYK"), "JPEG"),
        "grey16.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "palette.png": encoded(small.convert("P"), "PNG"),
        "palette-clear.gif": encoded(small.convert("P"), "GIF", transparency=3),
        "alpha.png": encoded(Image.merge("RGBA", (*small.split(), small.convert("L"))), "PNG"),
        "grey-alpha.png": encoded(small.convert("LA"), "PNG"),
        "bilevel.png": encoded(small.convert("1"), "PNG"),
        "rotated.jpg": encoded(small, "JPEG", exif=turned),
        "bad-exif.jpg": encoded(small, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "dot.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "line.png": encoded(Image.new("RGB", (3000, 1)), "PNG"),
        "face.png": encoded(face.resize((96, 120)), "PNG"),
        "crop.png": encoded(face.crop((40, 50, 160, 190)).resize((48, 48)), "PNG"),
        "nobody.png": encoded(Image.fromarray(np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)), "PNG"),
    }
    crowd = Image.new("RGB", (4 * 100, 3 * 125))
    for i in range(12):
        crowd.paste(face.resize((100, 125)), (i % 4 * 100, i // 4 * 125))
    files["crowd.png"] = encoded(crowd, "PNG")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "album.png").mkdir()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")


def write_weight_files(folder: Path, good: Path) -> None:
    """Weight files that are refused, made from the good one; and checkpoints for `apvit convert`."""
    import torch
    from safetensors.torch import load_file, save_file

    from apvit.expressions import LabelSpace
    from apvit.nn import APViT, APViTConfig, build_model, read_config
    from apvit.weights import read_card, save_weights
    from apvit.weights.official import official_name

    content, card = good.read_bytes(), read_card(good)
    header = HEADER + int.from_bytes(content[:HEADER], "little")
    tensors = load_file(good)
    files = {
        "w-empty.safetensors": b"",
        "w-text.safetensors": b"# weights\n" * 50,
        "w-short.safetensors": content[: header // 2],
        "w-truncated.safetensors": content[:-1000],
        "w-tampered.safetensors": content[:-1] + bytes([content[-1] ^ 1]),
        "w-relabelled.safetensors": content.replace(b"happiness", b"contempt ", 1),
        "w-header.safetensors": (2**62).to_bytes(HEADER, "little") + content[HEADER:],
        "w-pickle.pth": pickle.dumps(Payload(), 4),
        "w-picture.safetensors": encoded(Image.new("RGB", (9, 9)), "PNG"),
        "w.onnx": b"\x08\x08no graph",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "w-folder.safetensors").mkdir()
    torch.save({"state_dict": {"a": torch.zeros(3)}}, folder / "w-torch.pth")
    save_file({"a": torch.zeros(3)}, folder / "w-foreign.safetensors")
    forge(folder / "w-nan.safetensors", {**tensors, "head.bias": torch.full((8,), torch.nan)}, card.to_json())
    newer = json.dumps({**json.loads(card.to_json()), "format": 99})
    forge(folder / "w-newer.safetensors", tensors, newer)
    forge(folder / "w-vast.safetensors", tensors, _with(card, dim=10**14))
    few, moods = replace(read_config(card.parameters), num_classes=2), LabelSpace("moods", ("neutral", "happiness"))
    save_weights(
        build_model(few), replace(card, parameters=few.to_dict(), labels=moods), folder / "w-moods.safetensors"
    )
    forge(folder / "w-deep.safetensors", tensors, _with(card, depth=10**9))
    config = APViTConfig(
        image_size=16, stem_width=8, stem_stages=((8, 1), (8, 1)), dim=16, depth=1, num_heads=2, patch_keep=16,
        token_keep=(1,),
    )  # fmt: skip
    state = {official_name(name): tensor for name, tensor in APViT(config).state_dict().items()}
    torch.save({"state_dict": state}, folder / "official.pth")
    lacking = {name: tensor for name, tensor in state.items() if "qkv" not in name}
    torch.save({"state_dict": lacking}, folder / "lacking.pth")
    torch.save({"state_dict": {**state, next(iter(state)): state[next(iter(state))] * torch.nan}}, folder / "nan.pth")
    (folder / "cut.pth").write_bytes((folder / "official.pth").read_bytes()[:3000])


def forge(path: Path, tensors: dict[str, Any], card: str) -> None:
    """A weight file with a right digest, as someone who knows the format would write it."""
    import torch
    from safetensors.torch import save_file

    from apvit.weights import file

    names = {dtype: name for name, dtype in file._dtypes().items()}
    stored = [
        file._Stored(name, names[tensor.dtype], list(tensor.shape), tensor.flatten().view(torch.uint8).numpy().data)
        for name, tensor in tensors.items()
    ]
    save_file(tensors, path, {file.CARD_KEY: card, file.DIGEST_KEY: file._digest(card, stored)})


def _with(card: Any, **parameters: Any) -> str:
    return str(replace(card, parameters={**card.parameters, **parameters}).to_json())


def write_splits(folder: Path) -> None:
    """Prepared splits: good, and in label spaces, shapes and states that do not fit; and class folders."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from apvit.data.rows import FaceRow, SplitMetadata
    from apvit.data.store import write_split
    from apvit.expressions import LABEL_SPACES, LabelSpace

    def write(name: str, labels: LabelSpace, count: int = 24, image: bytes | None = None) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (count, 48, 48), np.uint8)
        rows = [
            FaceRow(image or encoded(Image.fromarray(noise[i]), "PNG"), f"{i}.png", i % len(labels), str(i))
            for i in range(count)
        ]
        write_split(folder / name, rows, SplitMetadata("folder", "valid", labels))

    write("good.parquet", LABEL_SPACES["ferplus"])
    write("broken-faces.parquet", LABEL_SPACES["ferplus"], image=b"no picture")
    good = (folder / "good.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(good[:-200])
    half = len(good) // 2
    (folder / "injured.parquet").write_bytes(good[:half] + bytes(400) + good[half + 400 :])
    (folder / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"a": [1]}), folder / "foreign.parquet")
    picture = encoded(Image.new("RGB", (48, 48)), "PNG")
    for tree, files in {
        "faces": {"happy/a.png": picture, "sad/b.png": encoded(Image.new("RGB", (48, 48), "red"), "PNG")},
        "unknown-class": {"happy/a.png": picture, "hungry/b.png": picture},
        "bad-picture": {"happy/a.png": picture, "sad/b.png": b"no picture"},
    }.items():
        for name, data in files.items():
            (folder / tree / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / tree / name).write_bytes(data)
