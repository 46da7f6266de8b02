"""MTCNN: its weights are checked before they are opened; its search, its devices."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest
import torch

from apvit.faces.detection import Detection, Detector, DetectorError, create_detector
from apvit.faces.mtcnn import _UPRIGHT, DEFAULT_MIN_SCORE, MTCNN
from apvit.faces.mtcnn_nets import ONet, PNet, RNet
from apvit.faces.mtcnn_weights import find_weights, load_arrays
from apvit.faces.pictures import read_picture


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("net", ["pnet", "rnet", "onet"])
def test_a_tampered_file_is_refused_before_unpickling(tmp_path: Path, net: str) -> None:
    fuse = tmp_path / "exploded"
    joblib.dump(Bomb(fuse), tmp_path / f"{net}.lz4")
    with pytest.raises(DetectorError, match=r"are not those of mtcnn 1\.0\.0 and were not opened; run: pip install"):
        load_arrays(tmp_path, net)
    assert not fuse.exists()
    pickle.loads(pickle.dumps(Bomb(fuse)))
    assert fuse.exists()  # it would have gone off


def test_a_single_changed_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray((find_weights() / "rnet.lz4").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "rnet.lz4").write_bytes(data)
    with pytest.raises(DetectorError, match=r"rnet\.lz4' are not those of mtcnn 1\.0\.0"):
        load_arrays(tmp_path, "rnet")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"onet\.lz4' cannot be read; run: pip install --force-reinstall"):
        load_arrays(tmp_path, "onet")


def test_the_packages_files_are_the_known_ones(tmp_path: Path) -> None:
    for net in ("pnet", "rnet", "onet"):
        shutil.copy(find_weights() / f"{net}.lz4", tmp_path)
        arrays = load_arrays(tmp_path, net)
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)


def test_the_nets_have_the_papers_sizes() -> None:
    folder = find_weights()
    x = torch.zeros(2, 3, 12, 12)
    score, box = PNet(load_arrays(folder, "pnet"))(x)
    assert (score.shape, box.shape) == ((2, 1, 1), (2, 4, 1, 1))
    score, box = RNet(load_arrays(folder, "rnet"))(torch.zeros(2, 3, 24, 24))
    assert (score.shape, box.shape) == ((2,), (2, 4))
    score, box, landmarks = ONet(load_arrays(folder, "onet"))(torch.zeros(2, 3, 48, 48))
    assert (score.shape, box.shape, landmarks.shape) == ((2,), (2, 4), (2, 10))
    assert ((score >= 0) & (score <= 1)).all()


@pytest.mark.parametrize("sides", [(12, 12), (13, 40), (37, 12), (50, 51)])
def test_the_proposal_net_moves_in_steps_of_two(sides: tuple[int, int]) -> None:
    """A window's score is the same wherever in a picture it lies."""
    pnet = PNet(load_arrays(find_weights(), "pnet"))
    x = torch.randn(1, 3, *sides, generator=torch.Generator().manual_seed(0))
    scores = pnet(x)[0][0]
    assert scores.shape == tuple(-(-(side - 2) // 2) - 4 for side in sides)
    row, column = ((side - 12) // 2 for side in sides)
    window = x[..., 2 * row : 2 * row + 12, 2 * column : 2 * column + 12]
    assert pnet(window)[0].item() == pytest.approx(scores[row, column].item(), abs=1e-6)


def test_strips_give_the_same_as_the_whole(
    mtcnn: Detector, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = [pictures["astronaut"]]
    ((whole,),) = mtcnn.detect(picture)
    monkeypatch.setattr("apvit.faces.mtcnn._STRIP_PIXELS", 1000)
    monkeypatch.setattr("apvit.faces.mtcnn._PATCHES", 3)
    ((parts,),) = mtcnn.detect(picture)
    assert parts.box == pytest.approx(whole.box, abs=1e-3)
    assert parts.landmarks == pytest.approx(whole.landmarks, abs=1e-3)


def looks(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> tuple[list[Detection], list[Detection]]:
    """What may be a face in a picture as the output net sees it, and after the second look, in the same order."""
    detector = MTCNN(min_score=0)
    (second,) = detector.detect([picture])
    monkeypatch.setattr(MTCNN, "_look_again", lambda self, pictures, found: found)
    (first,) = detector.detect([picture])
    by_box = {face.box: face for face in second}
    return first, [by_box[face.box] for face in first if face.box in by_box]


@pytest.mark.parametrize("tilt", [-30, 30])
def test_a_second_look_believes_a_tilted_face(
    tilt: float, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turned upright it looks like a face, whatever the first look made of it."""
    turn = cv2.getRotationMatrix2D((224, 120), tilt, 0.4)
    picture = cv2.warpAffine(pictures["astronaut"], turn, (448, 240), borderMode=cv2.BORDER_REPLICATE)
    first, second = looks(monkeypatch, picture)
    best = max(range(len(first)), key=lambda i: second[i].score)
    assert second[best].score > DEFAULT_MIN_SCORE
    assert second[best].score >= first[best].score - 0.05
    assert np.array_equal(second[best].landmarks, first[best].landmarks)


def test_a_second_look_doubts_crossed_arms(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look gives them up to 0.92, nearly as much as a face."""
    picture = read_picture(shared / "photos" / "portrait_neutral.jpg")
    first, second = looks(monkeypatch, picture)
    face = max(range(len(first)), key=lambda i: first[i].score)
    others = [i for i in range(len(first)) if i != face]
    assert second[face].score > 0.97
    assert max(second[i].score for i in others) < DEFAULT_MIN_SCORE - 0.1


@pytest.mark.parametrize("landmarks", [np.full((5, 2), 30.0), np.array(_UPRIGHT.points)[[1, 0, 2, 4, 3]]])
def test_landmarks_that_are_no_faces_are_no_face(mtcnn: MTCNN, landmarks: np.ndarray) -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    face = Detection((5.0, 5.0, 40.0, 40.0), 0.99, landmarks.astype(np.float32))
    assert mtcnn._look_again([picture, picture], [[], [face]]) == [[], []]


@pytest.mark.parametrize(("min_face", "faces"), [(20, 1), (60, 1), (100, 1), (300, 0), (1000, 0)])
def test_min_face(pictures: dict[str, np.ndarray], min_face: float, faces: int) -> None:
    """The astronaut's face is 90 x 112 pixels; what is much smaller than min_face is not found."""
    assert len(create_detector("mtcnn", min_face=min_face).detect([pictures["astronaut"]])[0]) == faces


def test_min_face_of_one_pixel_in_a_tiny_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (11, 9, 3), dtype=np.uint8)
    (faces,) = create_detector("mtcnn", min_face=1).detect([picture])
    assert all(0 <= face.box[0] < face.box[2] <= 9 for face in faces)


def test_min_score(pictures: dict[str, np.ndarray]) -> None:
    camera = [pictures["camera"]]
    (faces,) = create_detector("mtcnn", min_score=0.05).detect(camera)
    assert len(faces) >= 1
    assert create_detector("mtcnn", min_score=min(1.0, faces[0].score + 1e-6)).detect(camera) == [[]]
    assert len(create_detector("mtcnn", min_score=faces[0].score).detect(camera)[0]) == 1


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DetectorError, match="cannot run on the device 'toaster'; try device='cpu'"):
        create_detector("mtcnn", device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(DetectorError, match="cannot run on the device 'cuda'; try device='cpu'"):
            create_detector("mtcnn", device="cuda")
