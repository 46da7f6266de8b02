"""What a recognizer is made of: the engine that runs the weights, and the detector that finds the faces for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apvit.files import unknown

if TYPE_CHECKING:
    from apvit.engines import Engine, Keep
    from apvit.faces.detection import Detector


class RecognizerError(ValueError):
    """A recognizer cannot be made or used as asked."""


def load(
    weights: str | Path,
    detector: str,
    engine: str,
    device: str,
    *,
    keep: str | Keep | None,
    min_face: float | None,
    min_detection: float | None,
    detector_model: str | Path | None,
) -> tuple[Engine, Detector | None]:
    """The engine, and the detector (None for "none"); the arguments are those of `Recognizer`.

    Raises RecognizerError where they do not go together, and what `create_engine` and `create_detector` raise.
    """
    from apvit.engines import Keep, create_engine
    from apvit.engines.exported import OnnxEngine, OpenVinoEngine
    from apvit.faces.detection import DEFAULT_MIN_FACE, DETECTORS, DetectorError, create_detector

    if detector not in (*DETECTORS, "none"):
        raise DetectorError(unknown("detector", detector, (*DETECTORS, "none")))
    search = {"min_face": min_face, "min_detection": min_detection, "detector_model": detector_model}
    if detector == "none" and (useless := [name for name, value in search.items() if value is not None]):
        raise RecognizerError(f"the detector 'none' searches for no faces; leave out {', '.join(useless)}")
    opened = create_engine(weights, engine, device, keep=Keep.parse(keep) if isinstance(keep, str) else keep)
    if detector == "none":
        return opened, None
    # After the engine, which decides whether torch is there at all: an exported file must not bring it in.
    exported = isinstance(opened, (OnnxEngine, OpenVinoEngine))
    finder = create_detector(
        detector,
        device="cpu" if exported else _detector_device(detector, device),
        min_face=DEFAULT_MIN_FACE if min_face is None else min_face,
        min_score=min_detection,
        model=detector_model,
        runtime="onnx" if exported else "torch",
    )
    if opened.card.preprocessing.alignment is None:
        raise RecognizerError(
            f"the weights {weights} name no alignment template, so faces that a detector found cannot be framed as in "
            f"training; crop the faces yourself and use the detector 'none'"
        )
    return opened, finder


def _detector_device(detector: str, device: str) -> str:
    """What "auto" means to a detector beside torch: a GPU where it has one. Only MTCNN runs on torch."""
    if device != "auto" or detector != "mtcnn":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
