"""Chooses the detectors' default score thresholds: faces found against false ones, on pictures with and without faces.

Both detectors run once over the scenes of scenes.py with hardly any threshold; every threshold is then a count. MTCNN
runs again as published, which is without its second look, and with changed inner thresholds, to see what each is worth
and costs.

    OMP_NUM_THREADS=1 python benchmarks/detection/thresholds.py prepared/ferplus/valid.parquet \\
        ../shared/photos ../shared/models/face_detection_yunet_2023mar.onnx

writes thresholds.json beside this file in about three minutes of one core; README.md there reads it. The defaults
themselves stand in src/apvit/faces and were set by hand from these tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from scenes import (
    FACE_SIZES,
    Box,
    Picture,
    Scene,
    faceless_scenes,
    package_path,
    pasted_scenes,
    photograph_scenes,
    read_photographs,
)

from apvit.faces import mtcnn, yunet
from apvit.faces.detection import DEFAULT_MIN_FACE, Detection, Detector, create_detector
from apvit.faces.pictures import read_picture
from apvit.machine import describe_machine

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99)
NEARLY_NONE = 0.05
# Intersection over union from which a detection is of the face: low, because FER+'s crops are not all tight.
OVERLAP = 0.1
FACES = 120
FACES_AGAIN = 60  # for MTCNN's variants
SMALL = 800  # pixels; the variants' false faces are counted on pictures without faces up to this long


def one_look(detector: mtcnn.MTCNN, pictures: Sequence[Picture], found: list[list[Detection]]) -> list[list[Detection]]:
    """In place of MTCNN._look_again: the published cascade."""
    return found


AS_PUBLISHED = {"REFINED_SCORE": 0.7}
# What is changed, constants of apvit.faces.mtcnn, whether it looks twice, and the thresholds of interest.
VARIANTS: tuple[tuple[str, dict[str, float], bool, tuple[float, ...]], ...] = (
    ("as published: one look", {**AS_PUBLISHED, "DOUBTFUL_SCORE": NEARLY_NONE}, False, (0.7, 0.95)),
    ("a second look only", AS_PUBLISHED, True, (mtcnn.DEFAULT_MIN_SCORE,)),
    ("second look, refined from 0.5", {"REFINED_SCORE": 0.5}, True, (mtcnn.DEFAULT_MIN_SCORE,)),
    ("as it is: refined from 0.2", {}, True, (mtcnn.DEFAULT_MIN_SCORE,)),
    ("proposals from 0.5", {"PROPOSAL_SCORE": 0.5}, True, (mtcnn.DEFAULT_MIN_SCORE,)),
)


@dataclass
class Tally:
    """What a detector made of one group of scenes."""

    scenes: int = 0
    megapixels: float = 0.0
    found: list[float] = field(default_factory=list)  # of every face the best score, 0 where there is none
    false: list[tuple[float, str]] = field(default_factory=list)  # score and picture

    def found_share(self, threshold: float) -> float:
        return round(float(np.mean(np.array(self.found) >= threshold)), 4)

    def false_count(self, threshold: float) -> int:
        return sum(score >= threshold for score, _ in self.false)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("valid", type=Path, help="FER+'s validation split, prepared (valid.parquet)")
    parser.add_argument("photos", type=Path, help="folder of portrait_neutral.jpg and portrait_smiling.jpg")
    parser.add_argument("yunet", type=Path, help=f"YuNet's model, {yunet.FILE}")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("thresholds.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    photographs = read_photographs(arguments.photos)
    as_they_are = photographs | {"cat": read_picture(package_path("chelsea"))}

    def scenes() -> Iterator[Scene]:
        yield from photograph_scenes(photographs)
        yield from faceless_scenes()
        yield from pasted_scenes(arguments.valid, FACES, np.random.default_rng(0))

    def make(name: str, **options: Any) -> Detector:
        return create_detector(name, model=arguments.yunet if name == "yunet" else None, **options)

    result: dict[str, Any] = {"thresholds": THRESHOLDS, "min_face": DEFAULT_MIN_FACE, "overlap": OVERLAP}
    for name, default in (("mtcnn", mtcnn.DEFAULT_MIN_SCORE), ("yunet", yunet.DEFAULT_MIN_SCORE)):
        detect = make(name)
        result[name] = {
            "default_min_score": default,
            "faces_in_the_photographs_as_they_are": {
                key: len(detect.detect([picture])[0]) for key, picture in as_they_are.items()
            },
            **sweep(make(name, min_score=NEARLY_NONE), scenes()),
        }
        print_table(name, result[name])
    result["mtcnn_variants"] = [compare(*variant, arguments.valid) for variant in VARIANTS]
    result["environment"] = describe_machine()
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def sweep(detector: Detector, scenes: Iterable[Scene]) -> dict[str, Any]:
    """Faces found and false ones per group of scenes and threshold, as JSON values."""
    tallies, seconds = tally(detector, scenes)
    groups = {
        group: {
            "scenes": t.scenes,
            "megapixels": round(t.megapixels, 1),
            **({"found_share": [t.found_share(x) for x in THRESHOLDS]} if t.found else {}),
            "false": [t.false_count(x) for x in THRESHOLDS],
        }
        for group, t in tallies.items()
    }
    elsewhere = [t for group, t in tallies.items() if not group.startswith("pasted")]
    worst = sorted(chain.from_iterable(t.false for t in elsewhere), reverse=True)[:10]
    megapixels = sum(t.megapixels for t in tallies.values())
    return {
        "groups": groups,
        "highest_false_scores": [[round(score, 3), name] for score, name in worst],
        "cpu_ms_per_megapixel": round(1000 * seconds / megapixels, 1),
    }


def tally(detector: Detector, scenes: Iterable[Scene]) -> tuple[dict[str, Tally], float]:
    """Every group's Tally, and the CPU seconds that detection took."""
    tallies: dict[str, Tally] = {}
    seconds = 0.0
    for scene in scenes:
        t = tallies.setdefault(scene.group, Tally())
        t.scenes += 1
        t.megapixels += scene.megapixels
        start = time.process_time()
        detections = detector.detect([scene.picture])[0]
        seconds += time.process_time() - start
        missing = list(scene.faces)
        for detection in detections:  # best score first
            face = next((f for f in missing if intersection_over_union(detection.box, f) >= OVERLAP), None)
            if face is not None:
                missing.remove(face)
                t.found.append(detection.score)
            elif all(intersection_over_union(detection.box, f) < OVERLAP for f in scene.ignored):
                t.false.append((detection.score, scene.name))
        t.found += [0.0] * len(missing)
    return tallies, seconds


def compare(
    label: str, constants: dict[str, float], looks_twice: bool, thresholds: tuple[float, ...], valid: Path
) -> dict[str, Any]:
    """One of VARIANTS: what it finds of fewer faces, false ones on fewer pictures, and its time."""
    small = (scene for scene in faceless_scenes() if max(scene.picture.shape) <= SMALL)
    scenes = chain(pasted_scenes(valid, FACES_AGAIN, np.random.default_rng(0)), small)
    look = mtcnn.MTCNN._look_again if looks_twice else one_look
    with patch.dict(vars(mtcnn), constants), patch.object(mtcnn.MTCNN, "_look_again", look):
        tallies, seconds = tally(create_detector("mtcnn", min_score=NEARLY_NONE), scenes)
    found = [score for t in tallies.values() for score in t.found]
    false = [score for t in tallies.values() for score, _ in t.false]
    row = {
        "variant": label,
        "faces": len(found),
        "megapixels": round(sum(t.megapixels for t in tallies.values()), 1),
        "thresholds": thresholds,
        "found_share": [round(float(np.mean(np.array(found) >= x)), 4) for x in thresholds],
        "false": [sum(score >= x for score in false) for x in thresholds],
    }
    row["cpu_ms_per_megapixel"] = round(1000 * seconds / row["megapixels"], 1)
    print(row, flush=True)
    return row


def intersection_over_union(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def print_table(name: str, swept: dict[str, Any]) -> None:
    groups = swept["groups"]
    with_faces = {group: g for group, g in groups.items() if "found_share" in g}
    false_groups = [g for group, g in groups.items() if not group.startswith("pasted")]
    megapixels = sum(g["megapixels"] for g in false_groups)
    print(f"\n{name}: default {swept['default_min_score']}, {swept['cpu_ms_per_megapixel']} CPU ms per megapixel")
    print(f"faces in the photographs as they are: {swept['faces_in_the_photographs_as_they_are']}")
    print(f"highest false scores: {swept['highest_false_scores']}")
    print(f"| threshold | {' | '.join(with_faces)} | false in {megapixels:.0f} MP | false beside pasted faces |")
    print("|---" * (len(with_faces) + 3) + "|")
    for i, threshold in enumerate(THRESHOLDS):
        found = " | ".join(f"{g['found_share'][i]:.3f}" for g in with_faces.values())
        false = sum(g["false"][i] for g in false_groups)
        beside = sum(groups[f"pasted {size}"]["false"][i] for size in FACE_SIZES)
        print(f"| {threshold} | {found} | {false} | {beside} |", flush=True)


if __name__ == "__main__":
    main()
