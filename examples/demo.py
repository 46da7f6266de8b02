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


if __name__ == "__main__":
    photographs = [str(path) for path in package_photographs(FOLDER / "photographs")]
    main(["recognize", *photographs, *sys.argv[1:], "--save-dir", str(FOLDER), "--show-pooling"])
