"""The pictures of thresholds.py: photographs, package pictures, textures, and validation faces pasted onto them.

A scene knows where its faces are; every detection elsewhere is a false one. Only package pictures and FER+'s
validation faces are read; nothing made here is ever saved.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import skimage
from PIL import Image

from apvit.data.store import read_split
from apvit.faces.pictures import read_picture

Picture = np.ndarray
Box = tuple[float, float, float, float]

# The box of the one face, brow to chin, measured by hand in the picture's own pixels.
PHOTOGRAPHS: dict[str, Box] = {
    "portrait_neutral": (432, 165, 712, 575),
    "portrait_smiling": (372, 80, 608, 422),
    "astronaut": (180, 62, 270, 174),
    "camera": (196, 114, 256, 196),
    "grace_hopper": (174, 110, 354, 326),
}
# scikit-image's pictures without a person; coins is left out, as there are heads on them.
FACELESS = (
    "brick", "cell", "chelsea", "clock_motion", "coffee", "color", "grass", "gravel", "horse", "hubble_deep_field",
    "ihc", "logo", "moon", "motorcycle_left", "motorcycle_right", "page", "phantom", "retina", "rocket", "text",
)  # fmt: skip
# Of these, the photographs that faces are pasted onto.
BACKGROUNDS = ("brick", "chelsea", "coffee", "grass", "gravel", "motorcycle_left", "motorcycle_right", "rocket")

FACE_SIZES = (32, 48, 64, 96, 128, 160)
LONG_SIDES = (1600, 1131, 800, 566, 400, 283, 200)
LARGEST_ENLARGEMENT = 1.6
TILT = 15  # degrees, to either side
SCENE = 320  # pixels; side of the pictures with a pasted face


@dataclass(frozen=True)
class Scene:
    """A picture uint8 [H, W, 3] with `faces` upright enough to be found, and `ignored` ones that are not."""

    group: str
    name: str
    picture: Picture
    faces: tuple[Box, ...] = ()
    ignored: tuple[Box, ...] = ()

    @property
    def megapixels(self) -> float:
        return self.picture.shape[0] * self.picture.shape[1] / 1e6


def read_photographs(folder: Path) -> dict[str, Picture]:
    """The five photographs of PHOTOGRAPHS; the portraits lie in `folder`."""
    paths = {name: folder / f"{name}.jpg" for name in PHOTOGRAPHS if name.startswith("portrait")}
    paths["grace_hopper"] = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    paths |= {name: package_path(name) for name in ("astronaut", "camera")}
    return {name: read_picture(paths[name]) for name in PHOTOGRAPHS}


def package_path(name: str) -> Path:
    folder = Path(skimage.__file__).parent / "data"
    return next(path for path in (folder / f"{name}.png", folder / f"{name}.jpg") if path.exists())


def photograph_scenes(photographs: dict[str, Picture]) -> Iterator[Scene]:
    """Every photograph at several sizes, mirrored, tilted; and lying or upside down, where its face does not count."""
    for name, original in photographs.items():
        for picture, scale in _sizes(original):
            box = _scaled(PHOTOGRAPHS[name], scale)
            for mirrored in (False, True):
                for angle in (0, -TILT, TILT):
                    turned, face = _tilt(picture, box, angle)
                    if mirrored:
                        turned, face = _mirror(turned, face)
                    yield Scene("photographs", name, turned, faces=(face,))
            for turns in (1, 2, 3):
                turned, face = _quarter_turns(picture, box, turns)
                yield Scene("photographs on their side or head", name, turned, ignored=(face,))


def faceless_scenes() -> Iterator[Scene]:
    """Package pictures without people, at several sizes and in four quarter turns; and textures out of noise."""
    pictures = {name: read_picture(package_path(name)) for name in FACELESS}
    for name, original in (pictures | _textures()).items():
        for picture, _ in _sizes(original):
            for turns in range(4):
                yield Scene("without faces", name, np.ascontiguousarray(np.rot90(picture, turns)))


def pasted_scenes(valid: Path, count: int, rng: np.random.Generator) -> Iterator[Scene]:
    """`count` validation faces in each of FACE_SIZES, tilted, somewhere on a grey background without faces."""
    split = read_split(valid)
    labelled = np.flatnonzero(split.labels >= 0)
    backgrounds = [_at_least(read_picture(package_path(name)), SCENE) for name in BACKGROUNDS]
    for index in rng.permutation(labelled)[:count]:
        face = np.asarray(Image.open(io.BytesIO(split.images[index])).convert("RGB"))
        for size in FACE_SIZES:
            background = backgrounds[rng.integers(len(backgrounds))]
            y, x = (rng.integers(0, side - SCENE + 1) for side in background.shape[:2])
            scene = _grey(background[y : y + SCENE, x : x + SCENE])
            yield Scene(f"pasted {size}", str(index), *_paste(scene, face, size, rng))


def _paste(scene: Picture, face: Picture, size: int, rng: np.random.Generator) -> tuple[Picture, tuple[Box, ...]]:
    angle = np.deg2rad(rng.uniform(-TILT, TILT))
    reach = size * 0.5 * (abs(np.cos(angle)) + abs(np.sin(angle)))
    centre = rng.uniform(reach, SCENE - reach, size=2)
    # Enlarged bilinearly, shrunk by areas, as the crops of FER2013 once were; then only turned.
    method = cv2.INTER_AREA if size < len(face) else cv2.INTER_LINEAR
    face = cv2.resize(face, (size, size), interpolation=method)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])
    canvas = (SCENE, SCENE)
    turned = cv2.warpAffine(face, matrix, canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.ones((size, size), np.float32), matrix, canvas)[..., None]
    mixed = np.rint(scene * (1 - cover) + turned * cover).astype(np.uint8)
    x, y = centre + 0.5
    return mixed, ((x - size / 2, y - size / 2, x + size / 2, y + size / 2),)


def _textures() -> dict[str, Picture]:
    """Smooth to rough noise in grey and colour, and a fine grating: uint8 [512, 512, 3]."""
    rng = np.random.default_rng(1)
    result = {}
    for blur in (0, 2, 6, 16):
        for channels in (1, 3):
            noise = rng.normal(size=(512, 512, channels)).astype(np.float32)
            if blur:
                noise = cv2.GaussianBlur(noise, (0, 0), blur).reshape(512, 512, channels)
            noise = 127 + 45 * noise / noise.std()
            result[f"noise {blur} x{channels}"] = np.repeat(noise.clip(0, 255).astype(np.uint8), 3 // channels, axis=2)
    y, x = np.mgrid[:512, :512]
    grating = 127 + 90 * np.sin(x * 0.3 + np.sin(y * 0.05) * 4)
    result["grating"] = np.repeat(grating.astype(np.uint8)[..., None], 3, axis=2)
    return result


def _sizes(picture: Picture) -> Iterator[tuple[Picture, float]]:
    """`picture` with each of LONG_SIDES that does not enlarge it too much, and its scale."""
    for long_side in LONG_SIDES:
        scale = long_side / max(picture.shape[:2])
        if scale > LARGEST_ENLARGEMENT:
            continue
        height, width = (round(side * scale) for side in picture.shape[:2])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        yield cv2.resize(picture, (width, height), interpolation=method), scale


def _tilt(picture: Picture, box: Box, angle: float) -> tuple[Picture, Box]:
    """Turned about its centre without growing; the box keeps its size and moves with its centre."""
    if angle == 0:
        return picture, box
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x1, y1, x2, y2 = box
    x, y = matrix @ np.array([(x1 + x2) / 2, (y1 + y2) / 2, 1])
    return turned, (x - (x2 - x1) / 2, y - (y2 - y1) / 2, x + (x2 - x1) / 2, y + (y2 - y1) / 2)


def _mirror(picture: Picture, box: Box) -> tuple[Picture, Box]:
    width = picture.shape[1]
    return np.ascontiguousarray(picture[:, ::-1]), (width - box[2], box[1], width - box[0], box[3])


def _quarter_turns(picture: Picture, box: Box, turns: int) -> tuple[Picture, Box]:
    """Turned counter-clockwise `turns` times by 90 degrees."""
    for _ in range(turns):
        width = picture.shape[1]
        x1, y1, x2, y2 = box
        picture, box = np.rot90(picture), (y1, width - x2, y2, width - x1)
    return np.ascontiguousarray(picture), box


def _at_least(picture: Picture, side: int) -> Picture:
    scale = max(1.0, (side + 1) / min(picture.shape[:2]))
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR))


def _grey(picture: Picture) -> Picture:
    """FER+'s faces are grey; on a coloured background they would look like nothing a camera takes."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _scaled(box: Box, scale: float) -> Box:
    x1, y1, x2, y2 = (edge * scale for edge in box)
    return x1, y1, x2, y2
