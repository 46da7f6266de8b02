"""Whatever a user hands over becomes upright 8-bit RGB, or one sentence that names it."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from apvit.faces.pictures import MAX_PIXELS, PictureError, read_picture

# Four flat quarters, so that every turn is told apart and lossy formats stay close: red, green / blue, white.
QUARTERS = np.zeros((32, 48, 3), np.uint8)
QUARTERS[:16, :24] = (200, 20, 20)
QUARTERS[:16, 24:] = (20, 200, 20)
QUARTERS[16:, :24] = (20, 20, 200)
QUARTERS[16:, 24:] = (230, 230, 230)

# The EXIF orientations as the arrays a camera would store for this upright picture.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 12) -> bool:
    """Alike but for what lossy compression does along edges."""
    return a.shape == b.shape and float(np.median(abs(a.astype(int) - b))) <= tolerance


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, color: int, pixels: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares its size and has next to no pixels behind it."""
    return png(width, height, 8, 2, b"\0" * 10)


def png_of_grey_with_alpha(values: np.ndarray) -> bytes:
    """A PNG of 16 bits, which neither Pillow nor OpenCV writes. values: uint16 [H, W, 2]"""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, 4, rows)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(orientation: int, form: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](QUARTERS)))
    picture = read_picture(encoded(stored, form, exif=exif(orientation)))
    assert close(picture, QUARTERS)
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientations_change_nothing(orientation: int) -> None:
    assert close(read_picture(encoded(Image.fromarray(QUARTERS), "JPEG", exif=exif(orientation))), QUARTERS)


def test_damaged_exif_costs_neither_the_picture_nor_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    damaged = exif(6)[:10] + b"\xff" * 40
    assert close(read_picture(encoded(Image.fromarray(QUARTERS), "JPEG", exif=damaged)), QUARTERS)
    assert not recwarn.list


def test_a_pil_image_is_turned_too() -> None:
    stored = Image.open(io.BytesIO(encoded(Image.fromarray(STORED[6](QUARTERS)), "JPEG", exif=exif(6))))
    assert close(read_picture(stored), QUARTERS)


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def with_alpha(mode: str) -> Image.Image:
    """Left half opaque, right half transparent."""
    image = Image.fromarray(QUARTERS).convert(mode)
    image.putalpha(Image.fromarray(np.where(np.arange(48) < 24, 255, 0).astype(np.uint8)[None].repeat(32, 0)))
    return image


def grey_of(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


OVER_WHITE = QUARTERS.copy()
OVER_WHITE[:, 24:] = 255
PALETTE = Image.fromarray(QUARTERS).quantize(8)
TRANSPARENT_PALETTE = encoded(PALETTE, "PNG", transparency=int(np.asarray(PALETTE)[0, 30]))
SHINE_THROUGH = QUARTERS.copy()
SHINE_THROUGH[:16, 24:] = 255
LUMA = np.asarray(Image.fromarray(QUARTERS).convert("L"))
LUMA_OVER_WHITE = np.where(np.arange(48) < 24, LUMA, 255)
DEEP = (GREY.astype(np.uint16) * 257).reshape(16, 16)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(encoded(Image.fromarray(GREY)), grey_of(GREY), id="grey"),
        pytest.param(encoded(Image.fromarray(GREY > 99)), grey_of((GREY > 99) * 255), id="black and white"),
        pytest.param(encoded(Image.fromarray(DEEP)), grey_of(GREY), id="16-bit PNG"),
        pytest.param(encoded(Image.fromarray(DEEP), "TIFF"), grey_of(GREY), id="16-bit TIFF"),
        pytest.param(encoded(Image.fromarray(DEEP.astype(">u2")), "TIFF"), grey_of(GREY), id="16-bit big-endian"),
        pytest.param(Image.fromarray(DEEP.astype(np.int32)), grey_of(GREY), id="32-bit with 16-bit values"),
        pytest.param(Image.fromarray(GREY.astype(np.int32)), grey_of(GREY), id="32-bit with 8-bit values"),
        pytest.param(encoded(Image.fromarray(GREY / np.float32(255)), "TIFF"), grey_of(GREY), id="floats 0..1"),
        pytest.param(encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), grey_of(GREY), id="floats 0..255"),
        pytest.param(Image.fromarray(np.zeros((4, 4), np.float32)), np.zeros((4, 4, 3)), id="floats, all zero"),
        pytest.param(encoded(PALETTE), QUARTERS, id="palette"),
        pytest.param(encoded(Image.fromarray(QUARTERS), "GIF"), QUARTERS, id="GIF"),
        pytest.param(encoded(with_alpha("RGB")), OVER_WHITE, id="alpha"),
        pytest.param(encoded(with_alpha("RGB"), "WEBP", lossless=True), OVER_WHITE, id="alpha WebP"),
        pytest.param(encoded(with_alpha("L")), grey_of(LUMA_OVER_WHITE), id="grey with alpha"),
        pytest.param(TRANSPARENT_PALETTE, SHINE_THROUGH, id="palette with a transparent colour"),
        pytest.param(encoded(Image.fromarray(QUARTERS).convert("CMYK"), "JPEG"), QUARTERS, id="CMYK JPEG"),
        pytest.param(encoded(Image.fromarray(QUARTERS).convert("CMYK"), "TIFF"), QUARTERS, id="CMYK TIFF"),
        pytest.param(encoded(Image.fromarray(QUARTERS), "BMP"), QUARTERS, id="BMP"),
        pytest.param(encoded(Image.fromarray(QUARTERS), "PPM"), QUARTERS, id="PPM"),
        pytest.param(Image.fromarray(QUARTERS).convert("YCbCr"), QUARTERS, id="YCbCr"),
        pytest.param(Image.fromarray(QUARTERS).convert("HSV"), QUARTERS, id="HSV"),
        pytest.param(encoded(Image.fromarray(QUARTERS[:1, :1])), QUARTERS[:1, :1], id="one pixel"),
    ],
)
def test_every_kind_of_pixel(source: bytes | Image.Image, expected: np.ndarray) -> None:
    picture = read_picture(source)
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    assert float(np.percentile(abs(picture.astype(int) - expected), 95)) <= 6


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "int32", "float32"])
def test_deep_grey_is_stretched_by_the_bits_that_it_uses(form: str, bits: int) -> None:
    values = GREY.astype(np.float64) / 255 * (2**bits - 1)
    if form in ("PNG", "TIFF"):
        source: bytes | Image.Image = encoded(Image.fromarray(values.round().astype(np.uint16)), form)
    else:
        source = Image.fromarray(values.round().astype(form))
    assert np.array_equal(read_picture(source), grey_of(GREY))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", ["grey, alpha", "RGB", "RGB, alpha"])
@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_deep_color_is_stretched_by_the_bits_that_it_uses(form: str, channels: str, bits: int) -> None:
    """Pillow gives the upper 8 bits of each, in which 10 bits are nearly black."""
    white = 2**bits - 1
    deep = (QUARTERS / 255 * white).round().astype(np.uint16)
    deep[0, 0] = white
    expected = np.rint(deep / white * 255)
    opaque = np.where(np.arange(48) < 24, white, 0).astype(np.uint16)[None].repeat(32, 0)
    if channels == "grey, alpha":
        if form == ".tiff":
            pytest.skip("OpenCV does not write grey with alpha")
        deep = np.repeat(deep[..., :1], 3, axis=2)
        data = png_of_grey_with_alpha(np.dstack([deep[..., 0], opaque]))
        expected = np.rint(deep / white * 255)
    elif channels == "RGB":
        data = cv2.imencode(form, deep[..., ::-1])[1].tobytes()
    else:
        data = cv2.imencode(form, np.dstack([deep[..., ::-1], opaque]))[1].tobytes()
    if "alpha" in channels:
        expected[:, 24:] = 255
    assert abs(read_picture(data) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_color_is_upright(orientation: int) -> None:
    deep = np.ascontiguousarray(STORED[orientation](QUARTERS[..., ::-1]).astype(np.uint16) * 4)
    data = cv2.imencode(".png", deep)[1].tobytes()
    with Image.open(io.BytesIO(encoded(Image.fromarray(QUARTERS), exif=exif(orientation)))) as image:
        tags = image.info["exif"][6:]
    data = data[:33] + chunk(b"eXIf", tags) + data[33:]
    assert abs(read_picture(data).astype(int) - QUARTERS).max() <= 1


def test_sixteen_bits_stay_what_they_are_where_they_reach_a_quarter_of_white() -> None:
    dark = np.full((8, 8), 2**14, np.uint16)
    assert (read_picture(encoded(Image.fromarray(dark))) == 64).all()
    assert (read_picture(encoded(Image.fromarray(dark - 1))) == 255).all()
    assert (read_picture(cv2.imencode(".png", np.dstack([dark] * 3))[1].tobytes()) == 64).all()
    assert (read_picture(cv2.imencode(".png", np.dstack([dark - 1] * 3))[1].tobytes()) == 255).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animations_first_frame_counts(form: str) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (200, 100, 0)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert (read_picture(data) == 200).all()


def test_paths_bytes_and_images_agree(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(QUARTERS))
    path = tmp_path / "ein Bild, größer.png"
    path.write_bytes(data)
    for source in (path, str(path), data, Image.open(io.BytesIO(data)), QUARTERS):
        assert np.array_equal(read_picture(source), QUARTERS)


def test_the_name_of_a_file_does_not_tell_its_format(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.fromarray(QUARTERS)))
    assert np.array_equal(read_picture(path), QUARTERS)


def test_arrays_are_taken_as_they_are() -> None:
    assert read_picture(QUARTERS) is QUARTERS
    mirrored = read_picture(QUARTERS[:, ::-1])
    assert mirrored.flags.c_contiguous
    assert np.array_equal(mirrored, QUARTERS[:, ::-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"\[H, W, 3\], not \[4, 4\]; repeat the gray channel"),
        (np.zeros((4, 4, 4), np.uint8), r"not \[4, 4, 4\]; leave out alpha"),
        (np.zeros((3, 40, 40), np.uint8), r"not \[3, 40, 40\]; its channels come first"),
        (np.zeros((4, 4, 1), np.uint16), r"not \[4, 4, 1\]; repeat the gray channel"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"not \[1, 4, 4, 3\]; give one picture"),
        (np.zeros((5, 9, 7), np.uint8), r"not \[5, 9, 7\]; give one picture"),
        (np.zeros((0, 4, 3), np.uint8), r"not \[0, 4, 3\]; it has no pixels"),
        (np.zeros((4, 0, 3), np.uint8), r"not \[4, 0, 3\]; it has no pixels"),
        (
            np.zeros((4, 4, 3), np.float32),
            r"must be uint8 with values 0..255, not float32; convert it with \(array / white \* 255\)",
        ),
        (np.full((4, 4, 3), np.nan), "not float64"),
        (np.zeros((4, 4, 3), np.uint16), "not uint16"),
        (np.zeros((4, 4, 3), bool), "not bool"),
    ],
)
def test_wrong_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        read_picture(array)


@pytest.mark.parametrize("source", [None, 3, [[1, 2, 3]], io.BytesIO(b"x"), {"path": "a.png"}])
def test_other_things_are_no_pictures(source: Any) -> None:
    with pytest.raises(PictureError, match=f"cannot read a picture from {type(source).__name__}; give a path, bytes"):
        read_picture(source)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    path = tmp_path / "half.bin"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PictureError, match=r"half\.bin' is (truncated or damaged|not a picture)") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; copy or download the picture again"),
        (b"hello", "is not a picture in a known format; save it as an 8-bit JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture in a known format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "is (not a picture|truncated or damaged)"),
        (png_header(0, 5), "is (not a picture|truncated or damaged)"),
        (png_header(20_000, 10_000), "more than the 178,000,000( pixels)? allowed; shrink it first"),
        (png_header(30_000, 30_000), "more than the 178,000,000 pixels allowed; shrink it first"),
        (png_header(400, 300), "is truncated or damaged"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    for source, name in ((path, r"bad\.png' "), (data, f"the input of {len(data)} bytes ")):
        with pytest.raises(PictureError, match=name + ".*" + message) as caught:
            read_picture(source)
        assert "\n" not in str(caught.value)


def test_bytes_can_have_a_name() -> None:
    with pytest.raises(PictureError, match=r"^page 3 is not a picture"):
        read_picture(b"hello", name="page 3")


def test_the_pixel_limit_holds_before_decoding() -> None:
    """The header's size is refused; were the file decoded, its missing pixels would be the complaint."""
    with pytest.raises(PictureError, match="has 400 x 300 pixels, more than the 119,999 allowed"):
        read_picture(png_header(400, 300), max_pixels=119_999)
    with pytest.raises(PictureError, match="truncated"):
        read_picture(png_header(400, 300), max_pixels=120_000)


@pytest.mark.parametrize(
    ("pillows", "ours", "message"),
    [
        (1000, MAX_PIXELS, r"more than the 2,000 pixels that Pillow allows \(twice its MAX_IMAGE_PIXELS\)"),
        (1000, 1500, "more than the 1,500 pixels allowed"),
        (100_000, 1500, "has 400 x 300 pixels, more than the 1,500 allowed"),
        (None, 1500, "has 400 x 300 pixels, more than the 1,500 allowed"),
        (None, 10**12, "truncated"),
    ],
)
def test_the_limit_that_was_met_is_named(
    pillows: int | None, ours: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    with pytest.raises(PictureError, match=message):
        read_picture(png_header(400, 300), max_pixels=ours)


def test_large_pictures_within_the_limit_give_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    data = encoded(Image.new("1", (12_000, 8_000)))
    assert read_picture(data).shape == (8_000, 12_000, 3)
    assert not recwarn.list


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_images_without_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match=f"PIL image.* has no pixels \\({size[0]} x {size[1]}\\)"):
        read_picture(Image.new("RGB", size))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, np.nan]], np.float32), "values that are not finite numbers"),
        (np.array([[0, np.inf]], np.float32), "values that are not finite numbers"),
        (np.array([[-1, 3]], np.float32), r"values from -1 to 3; scale them to 0\.\.255"),
        (np.array([[0, 70_000]], np.int32), r"values from 0 to 70000; scale them to 0\.\.255"),
    ],
)
def test_deep_values_that_mean_nothing_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        read_picture(Image.fromarray(values))
    with pytest.raises(PictureError, match=message):
        read_picture(encoded(Image.fromarray(values), "TIFF"))


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "file.jpg").write_bytes(JPEG)
    for name, message in (
        ("absent.png", r"absent\.png' does not exist; check the path"),
        ("dangling.png", r"dangling\.png' is a link to '.*nowhere\.png', which does not exist"),
        ("loop.png", r"loop\.png' cannot be opened \(Too many levels of symbolic links\)"),
        ("file.jpg/a.png", r"a\.png' cannot be opened \(Not a directory\)"),
        ("", "is a folder; name a picture file in it"),
        ("pipe", "pipe' is not a regular file"),  # opening it would wait forever
        ("a\0b.png", r"cannot be opened \(embedded null byte\)"),
        ("a" * 300 + ".png", r"cannot be opened \(File name too long\)"),
    ):
        with pytest.raises(PictureError, match=message):
            read_picture(f"{tmp_path}/{name}")


JPEG = encoded(Image.fromarray(QUARTERS), "JPEG", exif=exif(6))
PNG = encoded(Image.fromarray(QUARTERS))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([JPEG, PNG]), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8))
def test_damaged_bytes_give_a_picture_or_a_picture_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    with suppress(PictureError):
        picture = read_picture(bytes(damaged), max_pixels=10_000_000)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3


@pytest.fixture(scope="module")
def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs apvit[heif]")
    pillow_heif.register_heif_opener()
    return encoded(Image.fromarray(STORED[6](QUARTERS)), "HEIF", quality=95, exif=exif(6))


def test_heic_is_read_by_content_and_upright(heic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"  # as some programs name what they have only copied
    path.write_bytes(heic)
    for source in (heic, path):
        assert close(read_picture(source), QUARTERS)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_a_truncated_heic_picture_is_named_as_such(heic: bytes, share: float) -> None:
    with pytest.raises(PictureError, match="is a truncated or damaged HEIC picture"):
        read_picture(heic[: max(32, int(len(heic) * share))])


def test_heic_keeps_the_pixel_limit(heic: bytes) -> None:
    with pytest.raises(PictureError, match="has 48 x 32 pixels, more than the 1,000 allowed"):
        read_picture(heic, max_pixels=1000)


WITHOUT_HEIF = """
import sys
sys.modules["pillow_heif"] = None  # as where it is not installed
from apvit.faces.pictures import PictureError, read_picture
try:
    read_picture(bytes.fromhex(sys.argv[1]))
except PictureError as error:
    print(error)
"""


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0mif1heix"])
def test_heic_without_its_package_is_one_sentence_that_names_both(brands: bytes) -> None:
    data = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(100)
    run = subprocess.run([sys.executable, "-c", WITHOUT_HEIF, data.hex()], capture_output=True, text=True, check=True)
    assert "is a HEIC picture, which apvit reads with the extra heif: pip install 'apvit[heif]'" in run.stdout


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        ("MPO", ".mpo"),
        ("ICO", ".ico"),
        ("JPEG2000", ".jp2"),
        ("JPEG2000", ".j2k"),
        ("JPEG2000", ".jpx"),
        ("PNG", ".apng"),
        ("AVIF", ".avif"),
        ("HEIF", ".hif"),
        ("TGA", ".tga"),
    ],
)
def test_less_common_formats(form: str, suffix: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    square = QUARTERS[:, 8:40]  # as icons are
    options: dict[str, Any] = {}
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    if form == "HEIF":
        request.getfixturevalue("heic")
    elif suffix == ".apng" or form == "MPO":
        options = {"save_all": True, "append_images": [Image.new("RGB", (32, 32))]}
    elif suffix == ".j2k":
        options = {"no_jp2": True}
    elif form == "ICO":
        options = {"sizes": [(32, 32)]}
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(encoded(Image.fromarray(square), form, **options))
    assert close(read_picture(path), square)


CLOSED = ("made", "opened", "file closed")


def closed(how: str, tmp_path: Path) -> Image.Image:
    """A PIL image whose pixels cannot be had any more."""
    if how == "made":
        image = Image.fromarray(QUARTERS)
        image.close()
    elif how == "opened":
        path = tmp_path / "photo.png"
        path.write_bytes(PNG)
        with Image.open(path) as image:
            pass
    else:
        file = io.BytesIO(PNG)
        image = Image.open(file)
        file.close()
    return image


def test_a_loaded_image_may_be_left(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(PNG)) as image:
        image.load()
    assert np.array_equal(read_picture(image), QUARTERS)


class Failing(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, *size: int | None) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("source", "cause", "not_the_cause"),
    [
        pytest.param("", "name of the picture is empty", "folder|'\\.'", id="no name"),
        pytest.param("https://example.org/x.jpg", "'https://example.org/x.jpg' is a URL", "https:/e|exist", id="URL"),
        pytest.param("s3://bucket/x.jpg", "'s3://bucket/x.jpg' is a URL", "s3:/b|exist", id="store"),
        pytest.param(b"", "input of 0 bytes is empty", "format", id="no bytes"),
        pytest.param("made", "the PIL image is closed", "damaged|download", id="closed image"),
        pytest.param("opened", "photo.png' is closed", "damaged|download", id="image closed unread"),
        pytest.param("file closed", "the PIL image is closed", "damaged|download", id="closed file"),
        pytest.param(Image.new("La", (3, 3)), "has the mode La", "damaged|download", id="strange mode"),
        pytest.param(Image.open(io.BytesIO(PNG[:100])), "is truncated or damaged", "closed", id="damaged image"),
    ],
)
def test_a_message_names_the_true_cause(source: Any, cause: str, not_the_cause: str, tmp_path: Path) -> None:
    if isinstance(source, str) and source in CLOSED:
        source = closed(source, tmp_path)
    with pytest.raises(PictureError, match=re.escape(cause)) as caught:
        read_picture(source)
    assert not re.search(not_the_cause, str(caught.value))


def test_a_failing_disk_is_not_a_damaged_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.png").write_bytes(PNG)
    monkeypatch.setattr("builtins.open", lambda *_: Failing())
    with pytest.raises(PictureError, match=r"photo\.png' cannot be read \(Input/output error\)"):
        read_picture(tmp_path / "photo.png")
