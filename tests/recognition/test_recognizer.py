"""The recognizer's mechanics on real detectors and photographs, with a network that classifies at random."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import apvit
from apvit.faces.alignment import AlignmentError
from apvit.faces.pictures import PictureError
from apvit.recognition import Face, Recognition, Recognizer
from apvit.recognition.recognizer import RecognizerError


@pytest.fixture(scope="module")
def recognizer(weights: Path) -> Recognizer:
    return Recognizer(weights, device="cpu")


@pytest.fixture(scope="module")
def crowd(photographs: dict[str, Path]) -> np.ndarray:
    """Grace Hopper three times, in three sizes."""
    photo = Image.open(photographs["grace_hopper"]).convert("RGB")
    canvas = Image.new("RGB", (1300, 620), "white")
    for x, height in ((0, 300), (300, 600), (900, 450)):
        canvas.paste(photo.resize((round(height * photo.width / photo.height), height)), (x, 0))
    return np.asarray(canvas)


def close(a: list[Face], b: list[Face]) -> None:
    """The same faces to 1e-5, boxes and landmarks to a hundredth of a pixel."""
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.01)
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.01)
        assert one.expression == other.expression
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(other.probabilities.values()), rtol=0, atol=1e-5
        )
        np.testing.assert_array_equal(one.patches, other.patches)


def test_a_face_has_all_its_fields(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    (face,) = recognizer(photographs["astronaut"])
    x1, y1, x2, y2 = face.box
    assert 150 < x1 < x2 < 300
    assert 40 < y1 < y2 < 220
    assert face.landmarks is not None
    assert ((face.landmarks > (x1, y1)) & (face.landmarks < (x2, y2))).all()
    assert face.detection_score is not None
    assert face.detection_score > 0.9
    assert tuple(face.probabilities) == recognizer.expressions
    assert face.probability == max(face.probabilities.values())
    assert face.patches is not None
    assert face.patches.shape == (118,)
    assert recognizer.grid == 12
    assert face.embedding is None
    assert apvit.Recognizer is Recognizer


def test_embeddings_when_asked_for(weights: Path, photographs: dict[str, Path]) -> None:
    (face,) = Recognizer(weights, device="cpu", embeddings=True)(photographs["astronaut"])
    assert face.embedding is not None
    assert (face.embedding.shape, face.embedding.dtype) == ((32,), np.float32)


def test_an_unsure_face_is_left_open(recognizer: Recognizer, weights: Path, photographs: dict[str, Path]) -> None:
    (sure,) = recognizer(photographs["astronaut"])
    for least, expression in ((sure.probability, sure.expression), (np.nextafter(sure.probability, 2), None)):
        (face,) = Recognizer(weights, device="cpu", min_probability=float(least))(photographs["astronaut"])
        assert face.expression == expression
        assert (face.probability, face.probabilities) == (sure.probability, sure.probabilities)


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_min_probability_is_a_fraction(weights: Path, least: float) -> None:
    with pytest.raises(RecognizerError, match=r"min_probability must lie in 0\.\.1, got"):
        Recognizer(weights, min_probability=least)


def test_a_picture_without_faces_gives_an_empty_list(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    assert recognizer(photographs["cat"]) == []
    assert recognizer(np.full((1, 1, 3), 7, np.uint8)) == []


def test_every_kind_of_source(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    path = photographs["astronaut"]
    image = Image.open(path)
    sources = [path, str(path), path.read_bytes(), image, np.asarray(image)]
    for faces in map(recognizer, sources):
        assert faces == recognizer(path)


def test_many_gives_what_one_by_one_gives_in_order(
    recognizer: Recognizer, weights: Path, photographs: dict[str, Path], crowd: np.ndarray
) -> None:
    sources: list[Any] = [photographs["cat"], crowd, *photographs.values(), crowd, photographs["astronaut"]] * 2
    alone = [recognizer(source) for source in sources]
    assert [len(faces) for faces in alone] == [0, 3, 1, 0, 1, 3, 1] * 2
    for batch_size in (1, 2, 5, 32):
        many = list(Recognizer(weights, device="cpu", batch_size=batch_size).many(sources))
        assert [id(source) for source, _ in many] == [id(source) for source in sources]
        for (_, faces), expected in zip(many, alone, strict=True):
            assert isinstance(faces, list)
            close(faces, expected)


def test_faces_come_largest_first_and_max_faces_keeps_those(weights: Path, crowd: np.ndarray) -> None:
    faces = Recognizer(weights, device="cpu")(crowd)
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert [round(face.box[0] // 300) for face in faces] == [1, 3, 0]
    close(Recognizer(weights, device="cpu", max_faces=2)(crowd), faces[:2])


def test_min_face_and_min_detection(weights: Path, crowd: np.ndarray) -> None:
    everyone = Recognizer(weights, device="cpu")(crowd)
    for min_face, count in ((60, 3), (130, 2), (200, 1), (300, 0)):
        faces = Recognizer(weights, device="cpu", min_face=min_face)(crowd)
        assert len(faces) == count
        assert all(max(f.box[2] - f.box[0], f.box[3] - f.box[1]) >= min_face for f in faces)
    scores = sorted(face.detection_score or 0 for face in everyone)
    kept = Recognizer(weights, device="cpu", min_detection=scores[1])(crowd)
    assert all((face.detection_score or 0) >= scores[1] for face in kept)
    assert len(kept) == 2


def test_a_bad_input_between_good_ones(recognizer: Recognizer, photographs: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photographs["grace_hopper"].read_bytes()[:20_000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    bad: list[Any] = [
        *(broken, tmp_path / "empty.png", tmp_path / "text.jpg", tmp_path / "missing.jpg", tmp_path, b"", b"GIF89a"),
        *(np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None, 7, ""),
    ]
    sources = [item for source in bad for item in (source, photographs["astronaut"])]
    results = list(recognizer.many(sources))
    assert [id(source) for source, _ in results] == [id(source) for source in sources]
    for source, faces in results[::2]:
        assert isinstance(faces, PictureError), source
        assert len(str(faces).splitlines()) == 1
        with pytest.raises(PictureError):
            recognizer(source)
    for _, faces in results[1::2]:
        assert isinstance(faces, list)
        assert len(faces) == 1


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_boxes_are_in_the_upright_picture(
    recognizer: Recognizer, photographs: dict[str, Path], orientation: int
) -> None:
    upright = Image.open(photographs["grace_hopper"]).convert("RGB")
    stored = {
        **{1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"]},
        **{5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"]},
    }[orientation]
    image = upright
    for turn in stored:
        image = image.transpose(getattr(Image.Transpose, turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    (found,) = recognizer.recognitions([file.getvalue()])
    assert (found.width, found.height) == upright.size
    close(found.faces, recognizer(upright))


def test_a_recognition_says_size_pixels_and_error(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    good, bad = recognizer.recognitions([str(photographs["cat"]), "missing.jpg"])
    assert (good.source, good.width, good.height, good.faces, good.error) == (
        *(str(photographs["cat"]), 451, 300, [], None),
    )
    assert good.picture is not None
    assert good.picture.shape == (300, 451, 3)
    assert (bad.source, bad.width, bad.height, bad.faces, bad.picture) == ("missing.jpg", None, None, [], None)
    assert bad.error_text == "'missing.jpg' does not exist; check the path"


def test_with_detector_none_the_picture_is_the_face(weights: Path, photographs: dict[str, Path]) -> None:
    recognizer = Recognizer(weights, "none", device="cpu")
    (face,) = recognizer(photographs["cat"])
    assert face.box == (0, 0, 451, 300)
    assert (face.landmarks, face.detection_score, recognizer.template) == (None, None, None)
    crop = np.asarray(Image.open(photographs["cat"]).resize((48, 48), Image.Resampling.BILINEAR))
    assert list(recognizer(crop)[0].probabilities.values()) == pytest.approx(
        list(face.probabilities.values()), abs=1e-6
    )


def test_yunet(weights: Path, photographs: dict[str, Path], shared: Path) -> None:
    model = shared / "models" / "face_detection_yunet_2023mar.onnx"
    recognizer = Recognizer(weights, "yunet", device="cpu", detector_model=model)
    (face,) = recognizer(photographs["grace_hopper"])
    (expected,) = Recognizer(weights, device="cpu")(photographs["grace_hopper"])
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a positive whole number, got 0"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"max_faces": 0}, "max_faces"),
        ({"min_face": 0}, "min_face"),
        ({"min_face": float("nan")}, "min_face"),
        ({"min_detection": 1.5}, "min_score must lie between 0 and 1"),
        ({"detector": "haar"}, "unknown detector 'haar'"),
        ({"detector": "none", "min_face": 20, "min_detection": 0.5}, "leave out min_face, min_detection"),
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"device": "abacus"}, "abacus"),
        ({"weights": "nobody"}, "no weights 'nobody'"),
    ],
)
def test_arguments_that_do_not_fit(weights: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recognizer(**{"weights": weights, "device": "cpu"} | arguments)


def test_weights_without_alignment_need_cropped_faces(weights: Path, tmp_path: Path) -> None:
    model, card = apvit.load_weights(weights)
    unaligned = replace(card, preprocessing=replace(card.preprocessing, alignment=None))
    apvit.save_weights(model, unaligned, tmp_path / "w.safetensors")
    with pytest.raises(RecognizerError, match="name no alignment template"):
        Recognizer(tmp_path / "w.safetensors", device="cpu")
    recognizer = Recognizer(tmp_path / "w.safetensors", "none", device="cpu")
    assert len(recognizer(np.zeros((48, 48, 3), np.uint8))) == 1


@pytest.mark.parametrize("one", ["photo.jpg", b"bytes", Path("photo.jpg")])
def test_one_source_is_not_many(recognizer: Recognizer, one: Any) -> None:
    with pytest.raises(RecognizerError, match="several sources are expected"):
        next(recognizer.many(one))


def test_many_reads_no_further_than_it_must(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield photographs["cat"]

    results = recognizer.many(endless())
    next(results)
    assert taken == 1
    for _ in range(9):
        next(results)
    assert taken <= 15  # windows of 1, 2, 4, 8


def test_large_pictures_make_small_windows(
    recognizer: Recognizer, photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apvit.recognition.recognizer.WINDOW_PIXELS", 451 * 300 * 2)
    windows: list[list[Recognition]] = list(recognizer._windows([photographs["cat"]] * 9))
    assert [len(window) for window in windows] == [1, 2, 2, 2, 2]


def test_landmarks_that_make_no_face_are_that_pictures_error(
    weights: Path, photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = Recognizer(weights, device="cpu")
    assert recognizer._detector is not None
    detect = recognizer._detector.detect

    def spoil(pictures: Any) -> Any:
        found = detect(pictures)
        for i, picture in enumerate(pictures):
            if picture.shape[0] == 512:  # the astronaut
                found[i] = [replace(d, landmarks=np.ones((5, 2), np.float32)) for d in found[i]]
        return found

    monkeypatch.setattr(recognizer._detector, "detect", spoil)
    names = ["grace_hopper", "astronaut", "grace_hopper"]
    results = [faces for _, faces in recognizer.many(photographs[name] for name in names)]
    assert [len(faces) if isinstance(faces, list) else type(faces) for faces in results] == [1, AlignmentError, 1]
    with pytest.raises(AlignmentError):
        recognizer(photographs["astronaut"])


def test_importing_the_room_needs_no_torch() -> None:
    code = (
        "import sys, apvit.recognition.recognizer, apvit.recognition.sinks, apvit.recognition.rendering, "
        "apvit.recognition.sources, apvit.recognition.album; "
        "sys.exit(', '.join({'torch', 'lightning', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
