"""Reading a picture from anything a user hands over, as upright 8-bit RGB.

Pillow decodes; this file decides what its many modes mean as a photograph, checks the size before anything is decoded,
and turns every failure into one sentence that names the picture.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 178_000_000
"""Default limit of width x height; just below the 178,956,970 at which Pillow itself refuses to go on."""

# An allow-list, because some of Pillow's other readers start programs (EPS runs Ghostscript) or are rarely tested.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

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
    16-bit grey scaled to 8 bits, float pictures taken as 0..1 or 0..255, CMYK, palette and grey converted; of
    animations the first frame counts. `max_pixels` limits width x height and is checked from the header, before
    decoding. `name` is what errors call bytes.

    Raises PictureError for anything that is not such a picture.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source)
    if isinstance(source, Image.Image):
        name = repr(getattr(source, "filename", "") or "PIL image")
        return _decode(source, name, max_pixels)
    if isinstance(source, bytes):
        return _open(io.BytesIO(source), name or f"the {len(source)} bytes given", max_pixels, empty=not source)
    if isinstance(source, str | Path):
        return _read_file(Path(source), max_pixels)
    raise PictureError(
        f"cannot read a picture from {type(source).__name__}; give a path, bytes, a PIL image "
        "or a numpy array uint8 [H, W, 3] in RGB order"
    )


def _read_file(path: Path, max_pixels: int) -> npt.NDArray[np.uint8]:
    name = repr(str(path))
    try:
        if path.is_dir():
            raise PictureError(f"{name} is a folder; name a picture file in it")
        if not path.exists():
            raise PictureError(f"{name} does not exist; check the path")
        if not path.is_file():  # a pipe or device could block or never end
            raise PictureError(f"{name} is not a regular file; save the picture to a file first")
        empty = path.stat().st_size == 0
        with path.open("rb") as file:
            return _open(file, name, max_pixels, empty=empty)
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{name} cannot be opened ({reason}); check the path and its permissions") from error


def _open(file: Any, name: str, max_pixels: int, *, empty: bool) -> npt.NDArray[np.uint8]:
    if empty:
        raise PictureError(f"{name} is empty; copy or download the picture again")
    try:
        with warnings.catch_warnings():
            # Our own limit on pixels is checked next, and loudly; damaged EXIF is nothing to bother a user with.
            warnings.simplefilter("ignore")
            Image.init()
            # Older builds of Pillow lack AVIF.
            image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is not a picture in a known format; save it as an 8-bit JPEG, PNG, WebP, TIFF, GIF or BMP"
        ) from error
    except Image.DecompressionBombError as error:
        limit = min(max_pixels, MAX_PIXELS)
        raise PictureError(f"{name} has more than the {limit:,} pixels allowed; shrink it first") from error
    except Exception as error:  # damaged headers make Pillow's readers raise nearly anything
        raise _damaged(name, error) from error
    with image:
        return _decode(image, name, max_pixels)


def _decode(image: Image.Image, name: str, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The current frame of an opened image (the first, unless the caller sought another), upright: uint8 [H, W, 3]."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(
            f"{name} has {width:,} x {height:,} pixels, more than the {max_pixels:,} allowed; shrink it first"
        )
    if width == 0 or height == 0:
        raise PictureError(f"{name} has no pixels ({width} x {height}); give a picture of at least 1 x 1")
    try:
        image.load()
        pixels = _to_rgb(image, name)
        turn = _UPRIGHT.get(_orientation(image))
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError(
            f"{name} has {width:,} x {height:,} pixels, for which there is not enough memory; shrink it first"
        ) from error
    except Exception as error:  # see _open
        raise _damaged(name, error) from error
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


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        grey = _scale_to_8_bits(np.asarray(image), image.mode, name)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _scale_to_8_bits(values: npt.NDArray[Any], mode: str, name: str) -> npt.NDArray[np.uint8]:
    """One-channel values [H, W] of a deep mode as uint8: I;16* is 0..65535; I and F say their range by their values."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise PictureError(f"{name} holds values that are not finite numbers; replace them and save it as 8 or 16 bits")
    if low < 0 or high > 65535:
        raise PictureError(f"{name} holds values from {low:g} to {high:g}; scale them to 0..255 and save it as 8 bits")
    if mode.startswith("I;16") or high > 255:
        scale = 1 / 257
    elif mode == "F" and high <= 1:
        scale = 255.0
    else:
        scale = 1.0
    return np.asarray(np.rint(values.astype(np.float32) * np.float32(scale)), dtype=np.uint8)


def _check_array(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise PictureError(
            f"a picture array must have shape [H, W, 3] with H and W at least 1, not {list(array.shape)}; "
            "repeat a grey channel three times, drop alpha, put the channels last"
        )
    if array.dtype != np.uint8:
        raise PictureError(
            f"a picture array must be uint8 with values 0..255, not {array.dtype}; scale, round and cast it first"
        )
    return np.ascontiguousarray(array)


def _damaged(name: str, error: Exception) -> PictureError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return PictureError(f"{name} is truncated or damaged ({reason}); copy or download it again")
