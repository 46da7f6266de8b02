"""The recognizer's mechanics on real detectors and photographs, with a network that classifies at random."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tests.recognition.spoiling import spoil

import apvit
from apvit.faces.pictures import PictureError
from apvit.recognition import Face, FaceWarning, Profile, Recognizer
from apvit.recognition.profile import STAGES
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
    sources: list[Any] = [photographs["cat"], crowd, *photographs.values(), crowd, photographs["astronaut"]]
    alone = [recognizer(source) for source in sources]
    assert [len(faces) for faces in alone] == [0, 3, 1, 0, 1, 3, 1]
    for batch_size in (1, 5):
        many = list(Recognizer(weights, device="cpu", batch_size=batch_size, workers=2).many(sources))
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
        ({"workers": 0}, "workers must be a positive whole number, got 0"),
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


@pytest.mark.parametrize(
    "one",
    [
        *("photo.jpg", b"bytes", bytearray(b"bytes"), memoryview(b"bytes"), Path("photo.jpg"), io.BytesIO(b"file")),
        *(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.array(0), torch.zeros(3, 8, 8)),
        *(Image.new("RGB", (8, 8)), None, 7),
    ],
    ids=lambda one: f"{type(one).__name__}{getattr(one, 'ndim', '')}",
)
def test_one_source_is_not_many(recognizer: Recognizer, one: Any) -> None:
    for call in (recognizer.many, recognizer.recognitions):  # at once, not with the first result
        with pytest.raises(RecognizerError, match=f"several sources are expected, got one {type(one).__name__}; call"):
            call(one)


def test_arrays_of_pictures_and_of_paths_are_many(recognizer: Recognizer, photographs: dict[str, Path]) -> None:
    cat = str(photographs["cat"])
    for several in (np.zeros((2, 8, 8, 3), np.uint8), np.array([cat, cat]), np.array([cat, cat], object), (cat,) * 2):
        assert [faces for _, faces in recognizer.many(several)] == [[], []]


def refilled_array(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """What a camera loop does."""
    buffer = np.empty_like(frames[0])
    for frame in frames:
        buffer[:] = frame
        yield buffer


def window_of_a_refilled_array(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    buffer = np.zeros((frames[0].shape[0] + 8, frames[0].shape[1] + 8, 3), np.uint8)
    for frame in frames:
        buffer[4:-4, 4:-4] = frame
        yield buffer[4:-4, 4:-4]


def image_pasted_over(frames: Sequence[np.ndarray]) -> Iterator[Image.Image]:
    image = Image.fromarray(frames[0])
    for frame in frames:
        image.paste(Image.fromarray(frame))
        yield image


def frames_of_an_animation(frames: Sequence[np.ndarray]) -> Iterator[Image.Image]:
    """Pillow gives the same image, sought to each frame."""
    file = io.BytesIO()
    first, *rest = map(Image.fromarray, frames)
    first.save(file, "PNG", save_all=True, append_images=rest)
    yield from ImageSequence.Iterator(Image.open(file))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "reused", [refilled_array, window_of_a_refilled_array, image_pasted_over, frames_of_an_animation]
)
def test_a_source_may_change_once_it_was_taken(
    several: dict[int, Recognizer], photographs: dict[str, Path], reused: Callable[..., Iterator[Any]], workers: int
) -> None:
    face = np.asarray(Image.open(photographs["astronaut"]).convert("RGB"))[30:230, 120:320]
    frames = [np.zeros((200, 320, 3), np.uint8) for _ in range(7)]
    for i, frame in enumerate(frames):
        frame[:, 20 * i : 20 * i + 200] = face
    expected = [faces[0].box for _, faces in several[workers].many(frames)]  # type: ignore[union-attr]
    assert len(set(expected)) == len(frames)
    found = list(several[workers].recognitions(reused(frames)))
    assert [one.faces[0].box for one in found] == expected
    for one, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(one.picture, frame)


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
    assert taken <= 15 + 16 + 2 * recognizer.workers  # windows of 1, 2, 4, 8; the next one; what is begun


@pytest.fixture(scope="module")
def small_sources(photographs: dict[str, Path]) -> list[Any]:
    """Two portraits, a crowd of two, a cat, no picture, a truncated one, a missing one: fast to search."""
    photo = Image.open(photographs["grace_hopper"]).convert("RGB")
    portrait = photo.resize((160, 188))
    pair = Image.new("RGB", (300, 150), "white")
    for x in (0, 150):
        pair.paste(photo.resize((128, 150)), (x, 0))
    cat = Image.open(photographs["cat"]).resize((90, 60))
    cut = photographs["grace_hopper"].read_bytes()[:9000]
    return [portrait, portrait.rotate(5), pair, cat, b"no picture", cut, "missing.jpg"]


@pytest.fixture(scope="module")
def several(weights: Path) -> dict[int, Recognizer]:
    """By its number of workers, a recognizer."""
    return {n: Recognizer(weights, device="cpu", workers=n, batch_size=3, embeddings=True) for n in (1, 2, 3)}


@settings(max_examples=8, deadline=None)
@given(picks=st.lists(st.integers(0, 6), max_size=14))
def test_workers_change_nothing(several: dict[int, Recognizer], small_sources: list[Any], picks: list[int]) -> None:
    """Order, errors and every number: a picture is searched alone, and batches depend on the sources only."""
    sources = [small_sources[i] for i in picks]
    expected = list(several[1].recognitions(sources))
    faces = {0: 1, 1: 1, 2: 2}
    assert [len(found.faces) for found in expected] == [faces.get(i, 0) for i in picks]
    for workers in (2, 3):
        found = list(several[workers].recognitions(iter(sources)))
        assert [one.source for one in found] == sources
        for one, other in zip(expected, found, strict=True):
            # On some processors the last bit of a box depends on how many threads the nets have.
            for face, again in zip(one.faces, other.faces, strict=True):
                assert again.box == pytest.approx(face.box, abs=1e-3)
                assert again.landmarks == pytest.approx(face.landmarks, abs=1e-3)
                assert again.detection_score == pytest.approx(face.detection_score, abs=1e-5)
                assert again.probabilities == pytest.approx(face.probabilities, abs=1e-5)
            assert one.error_text == other.error_text
            assert (one.width, one.height) == (other.width, other.height)


def test_the_profile_says_where_the_time_went(several: dict[int, Recognizer], small_sources: list[Any]) -> None:
    profile = Profile()
    results = list(several[2].many(small_sources * 2, profile=profile))
    assert len(results) == profile.pictures == 14
    assert profile.faces == 8
    assert profile.slowest == "detect"
    assert set(profile.seconds) == set(STAGES)
    assert all(seconds > 0 for seconds in profile.seconds.values())
    assert sum(profile.seconds[name] for name in ("read", "detect", "align", "classify")) < 2 * profile.elapsed
    assert 0 < profile.reached <= 1
    assert profile.faces_per_second == pytest.approx(8 / profile.elapsed)
    lines = str(profile).splitlines()
    assert [line.split()[0] for line in lines[1:7]] == list(STAGES)
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[7].startswith("14 pictures, 8 faces in ")
    assert lines[8].startswith("detect is the slowest stage and alone would allow ")


def test_a_profile_of_nothing() -> None:
    profile = Profile()
    assert (profile.faces_per_second, profile.reached) == (0, 0)
    assert str(profile).splitlines()[-1] == "0 pictures, 0 faces in 0.00 s: 0.0 faces/s, 0.0 pictures/s"


def test_a_face_that_cannot_be_aligned_is_left_out_alone(weights: Path, crowd: np.ndarray, tmp_path: Path) -> None:
    recognizer = Recognizer(weights, device="cpu", workers=2)
    whole = recognizer(crowd)
    spoil(recognizer, -1)
    sentence = "1 of 3 faces was left out: the landmarks all lie on one point"
    with pytest.warns(FaceWarning, match=f"^{sentence}"):
        faces = recognizer(crowd)
    close(faces, whole[:2])
    with pytest.warns(FaceWarning, match=f"^{sentence}"):
        assert [face for face, _ in recognizer.explain(crowd)] == faces
    path = tmp_path / "crowd.png"
    Image.fromarray(crowd).save(path)
    with pytest.warns(FaceWarning, match=f"^{path}: {sentence}"):
        ((_, again),) = recognizer.many([path])
    assert again == faces
    for found in recognizer.recognitions([crowd] * 2):
        assert found.warning is not None
        assert found.warning.startswith(sentence)
        assert found.error is None
        close(found.faces, faces)


@pytest.mark.slow
def test_memory_stays_flat(weights: Path, photographs: dict[str, Path], tmp_path: Path) -> None:
    """Twelve times as many pictures take no more memory; their pixels together are 900 MB."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs Linux's figure of the largest resident set")
    photo = Image.open(photographs["grace_hopper"]).convert("RGB").resize((900, 1060))
    photo.save(tmp_path / "photo.jpg")
    code = (
        "import sys, time; from pathlib import Path; import apvit\n"
        "r = apvit.Recognizer(sys.argv[1], device='cpu', min_face=200, workers=2)\n"
        "n = 0\n"
        "for source, faces in r.many([sys.argv[2]] * int(sys.argv[3])):\n"
        "    n += len(faces)\n"
        "    time.sleep(float(sys.argv[4]))\n"
        "assert n == int(sys.argv[3]), n\n"
        "print(next(l.split()[1] for l in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in l))\n"
    )

    def megabytes(count: int, pause: float) -> float:
        command = [sys.executable, "-c", code, str(weights), str(tmp_path / "photo.jpg"), str(count), str(pause)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) / 1000

    short, long, slow = megabytes(64, 0), megabytes(320, 0), megabytes(320, 0.02)
    assert long < short + 60
    assert slow < short + 60


def test_importing_the_room_needs_no_torch() -> None:
    code = (
        "import sys, apvit.recognition.recognizer, apvit.recognition.sinks, apvit.recognition.rendering, "
        "apvit.recognition.sources, apvit.recognition.album; "
        "sys.exit(', '.join({'torch', 'lightning', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numpys_numbers_are_numbers(weights: Path, photographs: dict[str, Path]) -> None:
    options = {"max_faces": np.int64(1), "workers": np.int32(1), "batch_size": np.uint8(4), "min_face": np.float32(30)}
    assert len(Recognizer(weights, **options)(photographs["astronaut"])) == 1
