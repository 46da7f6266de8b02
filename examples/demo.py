"""Find every face in two real photographs and name its expression; `make demo` runs this. Needs no network.

The photographs come with installed packages (`pip install 'apvit[demo]'`): matplotlib's grace_hopper.jpg and
scikit-image's astronaut. Further arguments are handed to `apvit recognize`: pictures of yours, --weights, --detector.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

from apvit.cli import main

FOLDER = Path("demo")
HEIGHT = 560  # pixels of both photographs side by side


def package_photographs(folder: Path) -> list[Path]:
    """Both photographs as files in `folder`, which is made."""
    from matplotlib.cbook import get_sample_data
    from skimage.data import astronaut

    folder.mkdir(parents=True, exist_ok=True)
    grace_hopper, collins = folder / "grace_hopper.jpg", folder / "astronaut.png"
    with get_sample_data("grace_hopper.jpg", asfileobj=True) as file, grace_hopper.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    Image.fromarray(astronaut()).save(collins)
    return [grace_hopper, collins]


def side_by_side(paths: list[Path], target: Path) -> None:
    """The pictures at one height beside each other."""
    pictures = [Image.open(path).convert("RGB") for path in paths]
    pictures = [
        picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    canvas = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT))
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width
    canvas.save(target, quality=90)


if __name__ == "__main__":
    photographs = package_photographs(FOLDER / "photographs")
    try:
        main(["recognize", *map(str, photographs), *sys.argv[1:], "--save-dir", str(FOLDER), "--show-pooling"])
    except SystemExit as stop:
        if stop.code:
            raise
    side_by_side([FOLDER / path.name for path in photographs], FOLDER / "demo.jpg")
    print(f"both beside each other: {FOLDER / 'demo.jpg'}", file=sys.stderr)
