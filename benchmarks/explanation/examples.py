"""The pictures of docs/explanation.md, from the photographs that come with scikit-image and matplotlib.

- explain-face.png: one face, as `apvit explain` draws it;
- explain-open.png: one that is left open, because more is asked of its probability than it has;
- explain-panel.png: the gallery of `apvit explain --panel`: both faces, as they are, mirrored, darkened, and with eyes
  or mouth covered as benchmarks/explanation/occlusion.py covers them.

    OMP_NUM_THREADS=1 python benchmarks/explanation/examples.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from skimage import data

from apvit import Recognizer
from apvit.engines.torch_engine import TorchEngine
from apvit.evaluation.corruptions import CORRUPTIONS, corrupt
from apvit.explain.drawing import as_picture
from apvit.explain.explanation import explain
from apvit.explain.figure import Gallery, draw_explanation

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
MARGIN = 0.05
"""So much more than it has is asked of the face that is left open."""


def main() -> None:
    recognizer = Recognizer("apvit_tiny", engine="torch", device="cpu")
    with get_sample_data("grace_hopper.jpg") as file:
        photographs = {"astronaut": data.astronaut(), "grace_hopper": np.asarray(Image.open(file).convert("RGB"))}
    engine = TorchEngine("apvit_tiny", device="cpu")
    template = engine.card.preprocessing.alignment
    gallery, crops = Gallery(recognizer.expressions), []
    for name, photograph in photographs.items():
        ((face, explanation),) = recognizer.explain(photograph)
        if name == "astronaut":
            title = f"{name}.png, face 1: {explanation.likeliest} {face.probability:.2f}"
            save("explain-face.png", as_picture(draw_explanation(explanation, title, photograph=photograph)))
        else:
            needed = min(1.0, face.probability + MARGIN)
            picky = Recognizer("apvit_tiny", engine="torch", device="cpu", min_probability=needed)
            ((face, opened),) = picky.explain(photograph)
            title = f"{name}.jpg, face 1: left open: {opened.likeliest} {face.probability:.2f} is below {needed:.2f}"
            save("explain-open.png", as_picture(draw_explanation(opened, title, photograph=photograph)))
        crop = explanation.face
        crops += [crop, crop[:, ::-1], np.rint(crop * 0.35).astype(np.uint8)]
        for kind in ("eyes", "mouth"):
            crops.append(corrupt(crop, CORRUPTIONS[kind], 4, seed=0, source=name, template=template))
    for explanation in explain(engine, np.stack(crops)):
        gallery.add(explanation)
    save("explain-panel.png", as_picture(gallery.draw()))


def save(name: str, picture: Image.Image) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    partial = IMAGES / f"{name}.partial"
    picture.save(partial, "PNG", optimize=True)
    os.replace(partial, IMAGES / name)


if __name__ == "__main__":
    main()
