"""Measures the alignment template "ferplus-48-v1": the median landmarks of FER+'s training faces in their 48 px crops.

A network trained on FER2013's crops sees a photograph only through a crop of the same framing. FER2013 comes without
landmarks, so MTCNN finds them: every training picture is enlarged to 192 px (MTCNN's output net looks at 48 px, and the
faces fill their crops) and its border replicated 48 px outwards (the squares MTCNN looks at reach beyond the crop).
Where it finds several faces, the one with the best score counts.

    OMP_NUM_THREADS=1 python benchmarks/framing/measure_template.py ../shared/data/ferplus_train_valid.zip

writes template.json beside this file. A new measurement is a new template version: the weights' cards name theirs.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from apvit.faces.detection import create_detector
from apvit.machine import describe_machine

CROP, ENLARGED, BORDER = 48, 192, 48
MIN_FACE = 80.0  # px in the enlarged picture; no training face is smaller than 20 of its 48 px
MIN_SCORE = 0.7  # MTCNN's usual threshold, whatever apvit's default is
BATCH = 64
LANDMARKS = (
    "image-left eye",
    "image-right eye",
    "nose",
    "image-left mouth corner",
    "image-right mouth corner",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zip", type=Path, help="FER+ in its official layout, with the folder FER2013Train")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("template.json"))
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    detector = create_detector("mtcnn", min_face=MIN_FACE, min_score=MIN_SCORE)
    landmarks: list[np.ndarray] = []
    faces = 0
    pending = read_training_faces(arguments.zip)
    while pictures := list(islice(pending, BATCH)):
        found = detector.detect([enlarge(picture) for picture in pictures])
        landmarks += [to_crop(detections[0].landmarks) for detections in found if detections]
        faces += len(pictures)
        if faces % (BATCH * 50) == 0:
            print(f"{len(landmarks):,} of {faces:,} found", flush=True)

    points = np.stack(landmarks).astype(np.float64)
    low, median, high = np.percentile(points, (25, 50, 75), axis=0)
    result = {
        "template": "ferplus-48-v1",
        "size": CROP,
        "faces": faces,
        "found": len(points),
        "found_share": round(len(points) / faces, 4),
        "landmarks": list(LANDMARKS),
        "median": median.round(4).tolist(),
        "interquartile_range": (high - low).round(4).tolist(),
        "detector": {"name": "mtcnn", "min_face": MIN_FACE, "min_score": MIN_SCORE},
        "enlarged": ENLARGED,
        "border": BORDER,
        "environment": describe_machine(),
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(points):,} of {faces:,} training faces found ({len(points) / faces:.1%})")
    print("| landmark | median x, y | interquartile range x, y |\n|---|---|---|")
    for name, middle, spread in zip(LANDMARKS, median, high - low, strict=True):
        print(f"| {name} | {middle[0]:.2f}, {middle[1]:.2f} | {spread[0]:.2f}, {spread[1]:.2f} |")


def read_training_faces(path: Path) -> Iterator[np.ndarray]:
    """FER2013Train's pictures in the order of their names, uint8 [48, 48, 3]."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if "FER2013Train/" in name and name.endswith(".png"):
                yield np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def enlarge(picture: np.ndarray) -> np.ndarray:
    """uint8 [48, 48, 3] -> uint8 [288, 288, 3]."""
    large = cv2.resize(picture, (ENLARGED, ENLARGED), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE))


def to_crop(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [5, 2] of the enlarged picture in pixels of the crop; (0, 0) is the centre of the first pixel."""
    return (landmarks - BORDER + 0.5) * (CROP / ENLARGED) - 0.5


if __name__ == "__main__":
    main()
