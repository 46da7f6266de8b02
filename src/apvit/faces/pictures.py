"""Reading a picture from anything a user hands over, as upright 8-bit RGB.

Pillow decodes; this file decides what its many modes mean as a photograph, checks the size before anything is decoded,
and turns every failure into one sentence that names the picture.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from apvit.files import counted, reason

MAX_PIXELS = 178_000_000
"""Default limit of width x height; just below the 178,956,970 at which Pillow itself refuses to go on."""

# An allow-list, because some of Pillow's other readers start programs (EPS runs Ghostscript) or are rarely tested.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}

_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners give a value."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A picture cannot be used; the message is one sentence that names it and says what to do."""


def read_picture(
    source: str | Path | bytes | Image.Image | npt.NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> npt.NDArray[np.uint8]:
    """`source` as an upright RGB array, uint8 [H, W, 3].

    `source` is a path, the bytes of an encoded picture, a PIL image, or an array that already is uint8 [H, W, 3] RGB
    (returned as it is, not copied where it is contiguous). EXIF orientation is applied, transparency laid over white,
    CMYK, palette and grey converted; of animations the first frame counts. HEIC is read with the extra `heif`.
    `max_pixels` limits width x height and is checked from the header, before decoding. `name` is what errors call
    bytes.

    Pictures of more than 8 bits do not say how many of their bits are used: cameras of 12 bits write 0..4095 into files
    of 16. White is therefore taken to be the largest value of the fewest bits that hold the picture's highest value:
    8, 10, 12, 14 or 16 (of floats up to 1, white is 1). A true 16-bit picture is only changed where nothing in it
    reaches a quarter of white: it becomes brighter.

    Raises PictureError for anything that is not such a picture.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source)
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        return _decode(source, repr(filename) if filename else "the PIL image", max_pixels)
    if isinstance(source, bytes):
        return _open(io.BytesIO(source), name or f"the input of {counted(source, 'byte')}", max_pixels)
    if isinstance(source, str | Path):
        return _read_file(source, max_pixels)
    raise PictureError(
        f"cannot read a picture from {type(source).__name__}; give a path, bytes, a PIL image "
        "or a numpy array uint8 [H, W, 3] in RGB order"
    )


def _read_file(path: str | Path, max_pixels: int) -> npt.NDArray[np.uint8]:
    name = repr(str(path))  # as it was given: a Path made of a URL would have one slash
    if path == "":
        raise PictureError("the name of the picture is empty; give the path of a picture file")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{name} is a folder; name a picture file in it")
        if not stat.S_ISREG(mode):  # a pipe or device could block or never end
            raise PictureError(f"{name} is not a regular file; save the picture to a file first")
        with open(path, "rb") as file:
            return _open(file, name, max_pixels)
    except PictureError:
        raise
    except FileNotFoundError as error:
        if "://" in str(path):
            raise PictureError(f"{name} is a URL; download the picture and give the path of the file") from error
        if os.path.islink(path):
            raise PictureError(f"{name} is a link to {os.readlink(path)!r}, which does not exist") from error
        raise PictureError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PictureError(f"{name} cannot be opened ({reason(error)}); check the path and its permissions") from error


def _open(file: BinaryIO, name: str, max_pixels: int) -> npt.NDArray[np.uint8]:
    try:
        head = file.read(256)
        file.seek(0)
        if not head:
            raise PictureError(f"{name} is empty; copy or download the picture again")
        heic = _is_heic(head)
        if heic:
            _register_heic(name)
        Image.init()
        # Older builds of Pillow lack AVIF.
        formats = ["HEIF"] if heic else [form for form in _FORMATS if form in Image.OPEN]
        with warnings.catch_warnings():
            # Our own limit on pixels is checked next, and loudly; damaged EXIF is nothing to bother a user with.
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=formats)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        if heic:
            raise PictureError(f"{name} is a truncated or damaged HEIC picture; copy or download it again") from error
        raise PictureError(
            f"{name} is not a picture in a known format; save it as an 8-bit JPEG, PNG, WebP, TIFF, GIF or BMP"
        ) from error
    except Image.DecompressionBombError as error:
        pillows = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        limit = f"{max_pixels:,} pixels allowed"
        if pillows < max_pixels:
            limit = f"{pillows:,} pixels that Pillow allows (twice its MAX_IMAGE_PIXELS)"
        raise PictureError(f"{name} has more than the {limit}; shrink it first") from error
    except Exception as error:  # damaged headers make Pillow's readers raise nearly anything
        raise _unreadable(name, error) from error
    with image:
        return _decode(image, name, max_pixels, file)


def _is_heic(head: bytes) -> bool:
    """Whether a file with these first bytes is HEIC: its brands say so, whatever its name."""
    if head[4:8] != b"ftyp":
        return False
    brands = {head[start : start + 4] for start in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)}
    return not brands.isdisjoint(_HEIC_BRANDS) and brands.isdisjoint(_AVIF_BRANDS)


def _register_heic(name: str) -> None:
    """Make Pillow read HEIC; PictureError where the package for it is missing."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise PictureError(
            f"{name} is a HEIC picture, which apvit reads with the extra heif: pip install 'apvit[heif]', or save the "
            "picture as JPEG"
        ) from error
    register_heif_opener()


def _decode(image: Image.Image, name: str, max_pixels: int, file: BinaryIO | None = None) -> npt.NDArray[np.uint8]:
    """The current frame of an opened image (the first, unless the caller sought another), upright: uint8 [H, W, 3].

    `file` is what the image was opened from.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(
            f"{name} has {width:,} x {height:,} pixels, more than the {max_pixels:,} allowed; shrink it first"
        )
    if width == 0 or height == 0:
        raise PictureError(f"{name} has no pixels ({width} x {height}); give a picture of at least 1 x 1")
    try:
        deep = image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", ""))
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        # Of 16 bits a color, Pillow keeps the upper 8. Where the picture uses 14 bits or fewer, the others count.
        if deep and file is not None and np.asarray(image.convert("RGB")).max() < 64:
            image = _with_all_bits(image, file)
        pixels = _to_rgb(image, name)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError(
            f"{name} has {width:,} x {height:,} pixels, for which there is not enough memory; shrink it first"
        ) from error
    except Exception as error:  # see _open
        if file is None and ("closed" in str(error) or getattr(image, "fp", image) is None):
            raise PictureError(f"{name} is closed; keep it open until it is read, or pass a copy of it") from error
        raise _unreadable(name, error) from error
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return np.ascontiguousarray(pixels)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8; 1 where there is none. Called after loading: Pillow turns TIFF files itself then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF should not cost the picture
        return 1


def _with_all_bits(image: Image.Image, file: BinaryIO) -> Image.Image:
    """A loaded image of 16 bits a color, with 8 that are chosen by its highest value; as it is where OpenCV fails."""
    import cv2

    try:
        file.seek(0)
        encoded = np.frombuffer(file.read(), np.uint8)
        values = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return image
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[1::-1] != image.size:
        return image
    pixels = _scale_to_8_bits(values[..., 2::-1])
    if values.shape[2] == 4:
        pixels = np.dstack([pixels, _scale_to_8_bits(values[..., 3])])
    return Image.fromarray(pixels)


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise PictureError(
                f"{name} holds values that are not finite numbers; replace them and save it as 8 or 16 bits"
            )
        if low < 0 or high > 65535:
            raise PictureError(
                f"{name} holds values from {low:g} to {high:g}; scale them to 0..255 and save it as 8 bits"
            )
        return np.repeat(_scale_to_8_bits(values)[..., None], 3, axis=2)
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise PictureError(f"{name} has the mode {image.mode}, which Pillow cannot convert; save it as RGB") from error


def _scale_to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Values of 0..65535 as 0..255; what is white is told by the highest (see `read_picture`)."""
    high = float(values.max())
    fraction = values.dtype.kind == "f" and high <= 1
    white = 1 if fraction else next(2**bits - 1 for bits in _DEPTHS if high < 2**bits)
    scaled = np.rint(values.astype(np.float32) * np.float32(255 / white))
    return np.asarray(np.minimum(scaled, 255), np.uint8)  # a float may lie just above what its bits hold


def _check_array(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    shape = list(array.shape)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in shape:
        advice = "give one picture, its channels last"
        if 0 in shape:
            advice = "it has no pixels"
        elif array.ndim == 2 or shape[2:] == [1]:
            advice = "repeat the gray channel three times, as np.dstack([gray] * 3) does"
        elif array.ndim == 3 and shape[2] == 4:
            advice = "leave out alpha, as array[..., :3] does"
        elif array.ndim == 3 and shape[0] in (1, 3, 4):
            advice = "its channels come first; array.transpose(1, 2, 0) puts them last"
        raise PictureError(f"a picture array must have shape [H, W, 3], not {shape}; {advice}")
    if array.dtype != np.uint8:
        raise PictureError(
            f"a picture array must be uint8 with values 0..255, not {array.dtype}; convert it with "
            "(array / white * 255).round().astype('uint8'), where white is its value for white: 1 for floats in 0..1, "
            "4095 for 12 bits, 65535 for 16"
        )
    return np.ascontiguousarray(array)


def _unreadable(name: str, error: Exception) -> PictureError:
    if isinstance(error, OSError) and error.errno is not None:  # the disk's, the network's; Pillow's own have no number
        return PictureError(f"{name} cannot be read ({reason(error)}); check the disk or connection it is on")
    if isinstance(error, MemoryError):
        return PictureError(f"{name} needs more memory than there is; shrink it first")
    return PictureError(f"{name} is truncated or damaged ({reason(error).rstrip('.')}); copy or download it again")
