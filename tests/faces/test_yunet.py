"""YuNet: its model file is checked before it is used; its search over sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from apvit.faces.detection import Detector, DetectorError, create_detector
from apvit.faces.yunet import FILE, REPOSITORY


def test_a_changed_model_is_refused(yunet_model: Path, tmp_path: Path) -> None:
    data = bytearray(yunet_model.read_bytes())
    data[1000] ^= 1
    changed = tmp_path / FILE
    changed.write_bytes(data)
    with pytest.raises(DetectorError, match=r"is not the known .* \(its SHA-256 differs\) and was not used; get ") as e:
        create_detector("yunet", model=changed)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("name", "reason"), [("absent.onnx", "No such file or directory"), ("", "Is a directory")])
def test_a_model_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DetectorError, match=rf"cannot be read \({reason}\); get {FILE}"):
        create_detector("yunet", model=tmp_path / name)


def test_offline_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/conftest.py sets HF_HUB_OFFLINE; the cache here is empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DetectorError) as caught:
        create_detector("yunet")
    assert str(caught.value) == (
        f"YuNet's model is not in the Hugging Face cache and cannot be downloaded; get {FILE} from "
        f"https://huggingface.co/{REPOSITORY} and give its path: detector_model='FILE'"
    )


def test_the_cache_is_used_offline(
    yunet_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, np.ndarray]
) -> None:
    repository = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (snapshot / FILE).write_bytes(yunet_model.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert len(create_detector("yunet").detect([pictures["grace_hopper"]])[0]) == 1


@pytest.mark.parametrize("height", [30, 60, 216, 500, 1100])
def test_faces_of_every_size(yunet: Detector, pictures: dict[str, np.ndarray], height: int) -> None:
    """Beyond 350 pixels the net itself sees only parts; smaller copies of the picture find the whole."""
    hopper = pictures["grace_hopper"][40:400, 90:440]  # the face is 216 pixels high
    scale = height / 216
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(hopper, None, fx=scale, fy=scale, interpolation=method))
    ((face,),) = yunet.detect([picture])
    assert face.box[3] - face.box[1] == pytest.approx(height, rel=0.2)


def test_min_face(yunet_model: Path, pictures: dict[str, np.ndarray]) -> None:
    """The camera man's face is 60 x 82 pixels: sought from 200 px, the picture shrinks to an eighth."""
    camera = [pictures["camera"]]
    assert len(create_detector("yunet", model=yunet_model, min_face=60).detect(camera)[0]) == 1
    assert create_detector("yunet", model=yunet_model, min_face=200).detect(camera) == [[]]


def test_min_score(yunet_model: Path, pictures: dict[str, np.ndarray]) -> None:
    camera = [pictures["camera"]]
    (faces,) = create_detector("yunet", model=yunet_model, min_score=0.1).detect(camera)
    assert faces[0].score > 0.8
    higher = create_detector("yunet", model=yunet_model, min_score=faces[0].score + 0.01)
    assert higher.detect(camera) == [[]]
