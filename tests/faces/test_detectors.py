"""What both detectors must do: find the faces of photographs and nothing else, in pictures of any shape.

tests/faces/test_mtcnn.py and test_yunet.py have what only one of them does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from apvit.faces.alignment import TEMPLATES, similarity
from apvit.faces.detection import DETECTORS, Detection, Detector
from apvit.faces.pictures import read_picture

FACES = {"astronaut": (180, 62, 270, 174), "camera": (196, 114, 256, 196), "grace_hopper": (174, 110, 354, 326)}
"""x1, y1, x2, y2 from brow to chin, measured by hand."""

PORTRAITS = {"portrait_neutral": (432, 165, 712, 575), "portrait_smiling": (372, 80, 608, 422)}


@pytest.fixture(params=DETECTORS, scope="module")
def detector(request: pytest.FixtureRequest) -> Detector:
    found: Detector = request.getfixturevalue(request.param)
    return found


def check_face(face: Detection, expected: Sequence[float], shape: tuple[int, ...]) -> None:
    """The box is where it was measured to be, and the landmarks are a face inside it."""
    x1, y1, x2, y2 = face.box
    side = max(expected[2] - expected[0], expected[3] - expected[1])
    assert np.abs(np.array(face.box) - expected).max() < 0.2 * side
    assert 0 <= x1 < x2 <= shape[1]
    assert 0 <= y1 < y2 <= shape[0]
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks.dtype == np.float32
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks.tolist()
    assert all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in face.landmarks)
    assert left_eye[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    # As large in the template as faces are, and upright.
    matrix = similarity(face.landmarks, TEMPLATES["ferplus-48-v1"].points)
    assert 0.4 < np.hypot(*matrix[:, 0]) * (y2 - y1) / 48 < 1.3
    assert abs(np.arctan2(matrix[1, 0], matrix[0, 0])) < np.deg2rad(20)


@pytest.mark.parametrize("name", FACES)
def test_exactly_one_face_where_there_is_one(detector: Detector, pictures: dict[str, np.ndarray], name: str) -> None:
    ((face,),) = detector.detect([pictures[name]])
    check_face(face, FACES[name], pictures[name].shape)


@pytest.mark.parametrize("name", PORTRAITS)
def test_exactly_one_face_in_each_portrait(detector: Detector, shared: Path, name: str) -> None:
    """Not the crossed arms: MTCNN gives them up to 0.94."""
    picture = read_picture(shared / "photos" / f"{name}.jpg")
    ((face,),) = detector.detect([picture])
    check_face(face, PORTRAITS[name], picture.shape)


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket"])
def test_no_face_where_there_is_none(detector: Detector, pictures: dict[str, np.ndarray], name: str) -> None:
    assert detector.detect([pictures[name]]) == [[]]


def test_several_faces_are_all_found_best_first(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    astronaut = pictures["astronaut"]
    side_by_side = np.concatenate([astronaut, pictures["camera"], astronaut[:, ::-1]], axis=1)
    (faces,) = detector.detect([side_by_side])
    assert len(faces) == 3
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    x1, y1, x2, y2 = FACES["astronaut"]
    left, middle, right = sorted(faces, key=lambda face: face.box[0])
    check_face(left, FACES["astronaut"], side_by_side.shape)
    check_face(middle, (512 + 196, 114, 512 + 256, 196), side_by_side.shape)
    check_face(right, (3 * 512 - x2, y1, 3 * 512 - x1, y2), side_by_side.shape)


def test_a_batch_of_different_sizes_equals_one_by_one(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    """Two share a shape, one is empty of faces, one is tiny."""
    astronaut = pictures["astronaut"]
    batch = [astronaut, pictures["cat"], astronaut[:, ::-1].copy(), np.zeros((3, 5, 3), np.uint8), astronaut[:300]]
    together = detector.detect(batch)
    assert [len(faces) for faces in together] == [1, 0, 1, 0, 1]
    for picture, faces in zip(batch, together, strict=True):
        (alone,) = detector.detect([picture])
        for face, same in zip(faces, alone, strict=True):
            assert face.box == pytest.approx(same.box, abs=1e-2)
            assert face.score == pytest.approx(same.score, abs=1e-4)
            assert face.landmarks == pytest.approx(same.landmarks, abs=1e-2)


def test_no_pictures_no_results(detector: Detector) -> None:
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "shape", [(1, 1), (11, 11), (1, 2000), (2000, 1), (12, 12), (23, 500), (31, 33), (63, 64), (400, 300)]
)
@pytest.mark.parametrize("value", [0, 255])
def test_pictures_without_content_of_any_shape(detector: Detector, shape: tuple[int, int], value: int) -> None:
    assert detector.detect([np.full((*shape, 3), value, np.uint8)]) == [[]]


@pytest.mark.parametrize("left", [185, 200, 215, 240])
@pytest.mark.parametrize("top", [60, 90, 120])
def test_results_never_leave_the_picture(
    detector: Detector, pictures: dict[str, np.ndarray], left: int, top: int
) -> None:
    """Faces cut by the picture's border, found or not."""
    crop = np.ascontiguousarray(pictures["astronaut"][top : top + 97, left : left + 83])
    (faces,) = detector.detect([crop])
    for face in faces:
        x1, y1, x2, y2 = face.box
        assert 0 <= x1 < x2 <= 83
        assert 0 <= y1 < y2 <= 97
        assert 0 <= face.score <= 1
        assert np.isfinite(face.landmarks).all()


@pytest.mark.parametrize("scale", [0.4, 3.0])
def test_landmarks_grow_with_the_picture(detector: Detector, pictures: dict[str, np.ndarray], scale: float) -> None:
    """Coordinates count from the first pixel's centre, so x + 1/2 is what scales; within a tenth of the face."""
    astronaut = pictures["astronaut"]
    scaled = np.asarray(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    ((face,),), ((large,),) = detector.detect([astronaut]), detector.detect([scaled])
    error = large.landmarks - ((face.landmarks + 0.5) * scale - 0.5)
    assert abs(error).max() < 0.1 * scale * 112
    assert abs(error.mean(0)).max() < 0.05 * scale * 112


def test_the_same_picture_gives_the_same_faces(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    (first,), (second,) = (detector.detect([pictures["grace_hopper"]]) for _ in range(2))
    assert first[0].box == second[0].box
    assert np.array_equal(first[0].landmarks, second[0].landmarks)
