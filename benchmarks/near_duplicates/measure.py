"""Measures what `apvit data verify` calls nearly equal pictures (`apvit.data.duplicates`), on FER+.

Found: every validation face, encoded anew, resized, or made brighter or darker, against its original; the threshold
on the distance and the equal band are both asked for. Confused: validation faces against mirrored training faces,
which are faces like any others but never the same picture (but for those that FER2013 itself holds mirrored).
Existing: validation faces nearly equal to a training face, equal pixels aside. Speed: 300,000 hashes against 30,000.

    OMP_NUM_THREADS=1 python benchmarks/near_duplicates/measure.py ../shared/data/ferplus_train_valid.zip

writes result.json beside this file.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from apvit.data import ferplus
from apvit.data.duplicates import BAND, BANDS, NEAR, Hashes, near_pairs, perceptual_hash
from apvit.data.pictures import pixel_group, work_on_faces
from apvit.data.sources import Source
from apvit.machine import describe_machine

Pixels = np.ndarray


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def light(pixels: Pixels, gain: float, added: float) -> Pixels:
    return np.clip(pixels * np.float32(gain) + np.float32(added), 0, 255).astype(np.uint8)


def cropped(pixels: Pixels, border: int) -> Pixels:
    return resized(pixels[border:-border, border:-border], len(pixels))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG, quality 60": lambda p: jpeg(p, 60),
    "JPEG, quality 30": lambda p: jpeg(p, 30),
    "resized to 112 px": lambda p: resized(p, 112),
    "resized to 32 px": lambda p: resized(p, 32),
    "25 of 255 brighter": lambda p: light(p, 1, 25),
    "40 of 255 brighter": lambda p: light(p, 1, 40),
    "contrast 1.2": lambda p: light(p, 1.2, 0),
    "contrast 1.4, much of it clipped": lambda p: light(p, 1.4, 0),
    "contrast 0.6": lambda p: light(p, 0.6, 0),
    "brighter, resized to 100 px, JPEG 50": lambda p: jpeg(resized(light(p, 1.1, 15), 100), 50),
    "1 px of 48 cut off all round": lambda p: cropped(p, 1),
    "2 px of 48 cut off all round": lambda p: cropped(p, 2),
}


def hashes(pictures: list[Pixels]) -> Hashes:
    return np.array([perceptual_hash(picture) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zip", type=Path, help="FER+ in its official layout")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("result.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with Source(arguments.zip, ferplus.EXPECTED) as source:
        listing = ferplus.list_faces(source)
        read = [(face.split, p) for face, p in work_on_faces(source, listing, listing.faces, lambda face: face.pixels)]
    train, valid = ([pixels for split, pixels in read if split == wanted] for wanted in ("train", "valid"))
    train_hashes, valid_hashes = hashes(train), hashes(valid)
    found = {name: measure_change(valid, valid_hashes, change) for name, change in CHANGES.items()}
    mirrored = near_pairs(hashes([np.ascontiguousarray(picture[:, ::-1]) for picture in train]), valid_hashes)
    known = {pixel_group(picture) for picture in train}
    equal = np.array([pixel_group(picture) in known for picture in valid])
    pairs = near_pairs(train_hashes, valid_hashes[~equal])
    result = {
        "hash": {"bits": 255, "near": NEAR, "bands": BANDS, "bits per band": BAND},
        "faces": {"train": len(train), "valid": len(valid)},
        "found": found,
        "confused": {
            "pairs compared": len(train) * len(valid),
            "pairs called nearly equal": len(mirrored),
            "validation faces": len(set(mirrored[:, 1].tolist())),
        },
        "existing": {
            "validation faces equal to a training face": int(equal.sum()),
            "others nearly equal to one": len(set(pairs[:, 1].tolist())),
        },
        "speed": speed(train_hashes),
        "environment": describe_machine(),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "environment"}, indent=1))


def measure_change(valid: list[Pixels], originals: Hashes, change: Callable[[Pixels], Pixels]) -> dict[str, object]:
    """Distances in bits, and the share of faces found."""
    changed = hashes([change(picture) for picture in valid])
    distance = np.bitwise_count(changed ^ originals).sum(1)
    pairs = near_pairs(originals, changed)
    share = (pairs[:, 0] == pairs[:, 1]).sum() / len(valid)
    quantiles = np.quantile(distance, [0.5, 0.99, 1]).tolist()
    return {"found": round(float(share), 4), "distance (median, 99 %, largest)": quantiles}


def speed(train: Hashes) -> dict[str, float]:
    """Seconds to compare 300,000 faces with 30,000, made of FER+'s by changing one bit in eight at random."""
    random = np.random.default_rng(0)
    chosen = train[random.integers(0, len(train), 330_000)]
    noise = np.packbits(random.random((len(chosen), 256)) < 1 / 8, axis=1)
    many = chosen ^ noise
    start = time.perf_counter()
    near_pairs(many[:300_000], many[300_000:])
    return {"seconds for 300,000 x 30,000": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    main()
