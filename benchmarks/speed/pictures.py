"""Pictures to recognise, all from packages: two portraits in the public domain, and crowds made of them."""

from __future__ import annotations

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from apvit.faces.pictures import read_picture

Picture = NDArray[np.uint8]

CROWD = (1920, 960)
"""Width and height of a crowd, in pixels."""


def photographs() -> dict[str, Picture]:
    """astronaut [512, 512, 3] and grace_hopper [606, 512, 3], one face each."""
    hopper = read_picture(get_sample_data("grace_hopper.jpg", asfileobj=False))
    return {"astronaut": np.asarray(astronaut()), "grace_hopper": hopper}


def crowd(faces: int, tile: int) -> Picture:
    """A grey picture of CROWD's size with the two portraits in turn on the first `faces` of its squares of `tile`."""
    width, height = CROWD
    columns, rows = width // tile, height // tile
    if faces > columns * rows:
        raise ValueError(f"{faces} squares of {tile} px do not fit into {width} x {height} px")
    portraits = [_square(picture, tile) for picture in photographs().values()]
    picture = np.full((height, width, 3), 127, np.uint8)
    for number in range(faces):
        y, x = (number // columns) * tile, (number % columns) * tile
        picture[y : y + tile, x : x + tile] = portraits[number % 2]
    return picture


def _square(picture: Picture, side: int) -> Picture:
    short = min(picture.shape[:2])
    return np.asarray(Image.fromarray(picture[:short, :short]).resize((side, side), Image.Resampling.LANCZOS))
