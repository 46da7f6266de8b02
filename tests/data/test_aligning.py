"""Alignment of listed faces: which face, where its landmarks land, and that neither processes nor kills change it."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from apvit.data import aligning
from apvit.data.aligning import align_faces, load_template
from apvit.data.aligning_faces import AlignedFace, align_picture, overlap
from apvit.data.aligning_results import holds_results, read_results, write_results
from apvit.data.aligning_search import Detectors, Search
from apvit.data.aligning_workers import Task
from apvit.data.errors import DataError
from apvit.data.listing import Listed
from apvit.data.rows import FaceRow
from apvit.data.sources import Source
from apvit.faces.alignment import TEMPLATES

ARCFACE = TEMPLATES["arcface-112"]
Picture = np.ndarray
Landmarks = tuple[float, ...]


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors.create()


@pytest.fixture(scope="module")
def portraits(photographs: dict[str, Path]) -> dict[str, Picture]:
    return {name: np.asarray(Image.open(path).convert("RGB")) for name, path in photographs.items()}


@pytest.fixture(scope="module")
def two_faces(portraits: dict[str, Picture]) -> Picture:
    """The astronaut's face near the centre, Grace Hopper's larger one in the upper left corner, on grey."""
    canvas = np.full((900, 900, 3), 128, np.uint8)
    canvas[:400, :400] = portraits["grace_hopper"][:400, 60:460]
    canvas[420:740, 420:740] = portraits["astronaut"][:320, 60:380]
    return canvas


def png(pixels: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decoded(face: AlignedFace | FaceRow) -> Picture:
    return np.asarray(Image.open(io.BytesIO(face.image)).convert("RGB"))


def listed(picture: str = "a.png", number: int = 0, **values: object) -> Listed:
    return Listed("train", f"{picture}#{number}", picture, **({"label": 0} | values))  # type: ignore[arg-type]


def aligned(pixels: Picture, detectors: Detectors, choose: str = "nearest-centre", **values: object) -> AlignedFace:
    (result,) = align_picture(png(pixels), [listed(**values)], ARCFACE, choose, detectors)
    assert isinstance(result, AlignedFace), result
    return result


def refused(pixels: Picture, detectors: Detectors, choose: str = "nearest-centre", **values: object) -> str:
    (result,) = align_picture(png(pixels), [listed(**values)], ARCFACE, choose, detectors)
    assert isinstance(result, str)
    return result


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_landmarks_are_where_the_face_is_in_the_crop(
    name: str, portraits: dict[str, Picture], detectors: Detectors
) -> None:
    face = aligned(portraits[name], detectors)
    crop = decoded(face)
    assert crop.shape == (112, 112, 3)
    assert face.framing == "only face"
    landmarks = np.reshape(face.landmarks, (5, 2))
    (again,) = Search(crop, detectors).found
    assert np.abs(again.landmarks - landmarks).max() < 2  # px; of the detector's own making on another picture
    # A face is no exact copy of the template; the least squares between them leave the same centre.
    np.testing.assert_allclose(landmarks.mean(axis=0), np.mean(ARCFACE.points, axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("width", "margin"), [(48, 0), (48, 20), (100, 10), (224, 0), (500, 10)], ids=lambda value: str(value)
)
def test_a_crop_of_a_face_is_searched_in_a_close_up(
    width: int, margin: int, portraits: dict[str, Picture], detectors: Detectors
) -> None:
    """RAF-DB ships 100 px, FER+ 48 px: the same landmarks are found as in the photograph."""
    photograph = portraits["astronaut"]
    (face,) = Search(photograph, detectors).found
    x1, y1, x2, y2 = (round(edge + way) for edge, way in zip(face.box, (-margin, -margin, margin, margin), strict=True))
    part = photograph[y1:y2, x1:x2]
    height = round(width * part.shape[0] / part.shape[1])
    small = np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR))
    (found,) = Search(small, detectors).found
    back = (found.landmarks + 0.5) * (part.shape[1] / width, part.shape[0] / height) - 0.5 + (x1, y1)
    assert np.abs(back - face.landmarks).max() < 0.04 * (face.box[2] - face.box[0])


def test_without_a_face_there_is_a_sentence(portraits: dict[str, Picture], detectors: Detectors) -> None:
    assert refused(portraits["cat"], detectors) == "a.png#0: no face is found in its 451 x 300 pixels"


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 1), (30, 30)])
def test_tiny_and_thin_pictures_have_no_face(size: tuple[int, int], detectors: Detectors) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert "no face is found" in refused(noise, detectors)


HOPPER, ASTRONAUT = (112.0, 107.0, 293.0, 326.0), (540.0, 482.0, 626.0, 594.0)
"""Boxes of the two faces."""


@pytest.mark.parametrize(
    ("choose", "box", "expected", "framing"),
    [
        ("nearest-centre", None, ASTRONAUT, "nearest-centre of 2"),
        ("largest", None, HOPPER, "largest of 2"),
        ("nearest-centre", HOPPER, HOPPER, "given box, overlap 0."),
        ("largest", ASTRONAUT, ASTRONAUT, "given box, overlap 0."),
        ("given", ASTRONAUT, ASTRONAUT, "given box, overlap 0."),
        # Datasets draw boxes much wider than detectors, also beyond the picture.
        ("largest", (-50.0, 20.0, 330.0, 360.0), HOPPER, "given box, overlap 0.3"),
    ],
)
def test_which_of_two_faces(
    choose: str,
    box: tuple[float, float, float, float] | None,
    expected: tuple[float, float, float, float],
    framing: str,
    two_faces: Picture,
    detectors: Detectors,
) -> None:
    face = aligned(two_faces, detectors, choose, box=box)
    assert face.framing.startswith(framing)
    only = np.full_like(two_faces, 128)
    x1, y1, x2, y2 = (round(edge) for edge in expected)
    only[max(y1 - 40, 0) : y2 + 40, max(x1 - 40, 0) : x2 + 40] = two_faces[
        max(y1 - 40, 0) : y2 + 40, max(x1 - 40, 0) : x2 + 40
    ]
    alone = aligned(only, detectors)
    assert np.abs(np.subtract(face.landmarks, alone.landmarks)).max() < 1
    middle = np.s_[40:90, 30:80]  # the surroundings differ
    assert np.abs(decoded(face)[middle].astype(int) - decoded(alone)[middle]).mean() < 12


def test_a_given_box_is_looked_at_closely_where_the_face_is_too_small(
    portraits: dict[str, Picture], detectors: Detectors
) -> None:
    small = np.asarray(Image.fromarray(portraits["grace_hopper"]).resize((24, 28), Image.Resampling.BOX))
    canvas = np.full((400, 400, 3), 128, np.uint8)
    canvas[100:128, 200:224] = small
    assert "no face is found" in refused(canvas, detectors)
    face = aligned(canvas, detectors, box=(208.0, 105.0, 217.0, 115.0))
    assert face.framing.startswith("given box")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"box": (600.0, 10.0, 800.0, 200.0)},
            "no face is found that shares 0.3 of their union with the given box (600",
        ),
        ({"box": (900.0, 0.0, 950.0, 50.0)}, "the given box (900, 0, 950, 50) holds nothing of its 900 x 900 pixels"),
        ({"box": (50.0, 0.0, 40.0, 50.0)}, "the given box (50, 0, 40, 50) holds nothing"),
        ({"box": (float("nan"), 0.0, 40.0, 50.0)}, "the given box (nan, 0, 40, 50) holds nothing"),
        ({"box": (5.0, 5.0, 5.01, 5.01)}, "no face is found that shares"),
        ({}, "the dataset gives neither box nor landmarks; choose nearest-centre or largest"),
        ({"landmarks": (5.0,) * 10}, "the landmarks all lie on one point"),
        ({"landmarks": (-5.0,) * 10}, "the given landmarks lie outside its 900 x 900 pixels"),
        ({"landmarks": (float("nan"),) * 10}, "the given landmarks lie outside"),
    ],
)
def test_given_places_without_a_face(
    values: dict[str, object], sentence: str, two_faces: Picture, detectors: Detectors
) -> None:
    assert f"a.png#0: {sentence}" in refused(two_faces, detectors, "given", **values)


def test_given_landmarks_are_used_only_when_asked_for(portraits: dict[str, Picture], detectors: Detectors) -> None:
    shifted = Search(portraits["astronaut"], detectors).found[0].landmarks + np.array([10, 0])
    values = {"landmarks": tuple(shifted.ravel().tolist())}
    theirs = aligned(portraits["astronaut"], detectors, "given", **values)
    ours = aligned(portraits["astronaut"], detectors, "nearest-centre", **values)
    assert (theirs.framing, ours.framing) == ("given landmarks", "only face")
    assert theirs.image != ours.image


@given(
    angle=st.floats(-180, 180),
    scale=st.floats(1, 4),
    shift=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
)
@settings(max_examples=25, deadline=None)
def test_a_turned_face_lands_on_the_template_and_is_never_mirrored(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    """Discs of five colours at a turned template's landmarks: each stands at its own landmark in the crop."""
    turn = np.deg2rad(angle)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (np.array(ARCFACE.points) - 56) @ rotation.T + 300 + shift
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)], np.uint8)
    rows, columns = np.mgrid[:600, :600]
    pixels = np.zeros((600, 600, 3), np.uint8)
    for (x, y), colour in zip(points, colours, strict=True):
        pixels[np.hypot(columns - x, rows - y) <= 5 * scale] = colour
    face = aligned(pixels, None, "given", landmarks=tuple(points.ravel().tolist()))  # type: ignore[arg-type]
    np.testing.assert_allclose(np.reshape(face.landmarks, (5, 2)), ARCFACE.points, atol=1e-6)
    crop = decoded(face).astype(int)
    for (x, y), colour in zip(ARCFACE.points, colours, strict=True):
        where = np.argwhere(np.abs(crop - colour).sum(axis=2) < 150)
        assert np.abs(where.mean(axis=0) - (y, x)).max() < 1


def test_a_crop_without_colour_is_stored_with_one_channel(portraits: dict[str, Picture], detectors: Detectors) -> None:
    grey = np.asarray(Image.fromarray(portraits["astronaut"]).convert("L"))
    modes = [Image.open(io.BytesIO(aligned(p, detectors).image)).mode for p in (grey, portraits["astronaut"])]
    assert modes == ["L", "RGB"]


@given(
    st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 100)] * 2),
    st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 100)] * 2),
)
def test_overlap(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    a, b = ((x, y, x + width, y + height) for x, y, width, height in (a, b))
    assert overlap(a, a) == pytest.approx(1)  # type: ignore[arg-type]
    assert 0 <= overlap(a, b) == overlap(b, a) <= 1 + 1e-9  # type: ignore[arg-type]


# Templates


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_templates_by_name(name: str) -> None:
    assert load_template(name) is TEMPLATES[name]


def test_a_users_own_template(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    points = [list(point) for point in ARCFACE.points]
    path.write_text(json.dumps({"name": "mine", "size": 112, "points": points}))
    assert load_template(path).points == ARCFACE.points
    assert load_template(str(path)).name == "mine"
    path.write_text(json.dumps(ARCFACE.to_dict()))
    assert load_template(path) == ARCFACE


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "unknown alignment template"),
        ("", "is not an alignment template"),
        ("[1]", "its content is not an object"),
        ('{"name": "mine", "size": 112}', "has the keys name, points, size, not name, size"),
        ('{"name": "mine", "size": 112, "points": [[1, 2]]}', "needs five finite points"),
        ('{"name": "mine", "size": 112, "points": 5}', "needs points that are pairs of numbers"),
        ('{"name": "arcface-112", "size": 9, "points": [[1,2],[3,2],[2,3],[1,4],[3,4]]}', "known with other points"),
        (b"\xff\xfe\x00", "is not an alignment template"),
    ],
)
def test_files_that_are_no_template(content: str | bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=sentence):
        load_template(path)


@pytest.mark.parametrize("name", ["apvit_tiny", "mine.safetensors", "hf://someone/weights"])
def test_weights_are_no_template_and_the_error_says_what_to_give(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"known are .*arcface-112.* JSON file .*for a weight file give the name"):
        load_template(tmp_path / name if name.endswith("s") and "/" not in name else name)


# Processes, files


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, Picture], two_faces: Picture) -> Path:
    """Five pictures: one face, none, two, one damaged, one face."""
    folder = tmp_path_factory.mktemp("dataset") / "pictures"
    folder.mkdir()
    for name in ("astronaut", "cat", "grace_hopper"):
        (folder / f"{name}.png").write_bytes(png(portraits[name]))
    (folder / "two.png").write_bytes(png(two_faces))
    (folder / "damaged.png").write_bytes(png(two_faces)[:2000])
    return folder


FACES = [
    Listed("train", "two.png#0", "two.png", 3, group="two", votes=(1, 2), box=HOPPER, attributes=("female",)),
    listed("astronaut.png", label=None),
    listed("cat.png"),
    listed("missing.png"),
    Listed("train", "two.png#1", "two.png", 4, group="two", votes=(3, 0), box=ASTRONAUT, attributes=("unsure",)),
    listed("damaged.png"),
    listed("grace_hopper.png", label=6),
]


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(aligning, "FACES_PER_JOB", 2)
    yield
    assert multiprocessing.active_children() == []


def run(path: Path, folder: Path, workers: int = 1, **options: object) -> list[FaceRow | str]:
    with Source(path, "pictures") as source:
        return list(align_faces(source, FACES, ARCFACE, workers=workers, folder=folder, **options))  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_jobs")
def test_rows_depend_neither_on_processes_nor_on_interruptions(
    dataset: Path, tmp_path: Path, write_zip: Callable[[Path, Path], Path]
) -> None:
    seen: list[tuple[int, int]] = []
    archive = write_zip(tmp_path / "pictures.zip", dataset)
    work = tmp_path / "work"
    rows = run(archive, work, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 7)
    assert seen[-1] == (7, 7)
    assert sorted(seen) == seen
    assert len(seen) == 7  # six pictures, one of two faces

    found = [row for row in rows if isinstance(row, FaceRow)]
    assert [isinstance(row, FaceRow) for row in rows] == [True, True, False, False, True, False, True]
    assert [(r.source, r.label, r.votes, r.attributes) for r in found] == [
        ("two.png#0", 3, (1, 2), ("female",)),
        ("astronaut.png#0", None, None, None),
        ("two.png#1", 4, (3, 0), ("unsure",)),
        ("grace_hopper.png#0", 6, None, None),
    ]
    assert [row.group for row in found if row.source.startswith("two")] == ["two", "two"]
    assert len({row.group for row in found}) == 3
    assert all(row.group and row.framing and len(row.landmarks or ()) == 10 for row in found)
    sentences = [row for row in rows if isinstance(row, str)]
    assert sentences[0] == "cat.png#0: no face is found in its 451 x 300 pixels"
    assert "missing.png is missing in" in sentences[1]
    assert sentences[2].startswith("damaged.png is truncated or damaged")

    # By one process, only what is missing or was cut short is done again.
    files = sorted(work.iterdir())
    assert len(files) == 4
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-10])
    (work / f".{files[0].name}.1.tmp").write_bytes(b"what a killed process leaves")
    before = {file.name: file.stat().st_mtime_ns for file in files[2:]}
    seen.clear()
    assert run(archive, work, progress=lambda done, total: seen.append((done, total))) == rows
    assert 0 < seen[0][0] < 7
    assert {file.name: file.stat().st_mtime_ns for file in files[2:]} == before

    seen.clear()
    assert run(archive, work, progress=lambda done, total: seen.append((done, total))) == rows
    assert seen == [(7, 7)]


def names_of_jobs(path: Path, template: object = ARCFACE, choose: str = "largest", faces: list[Listed] = FACES) -> set:
    with Source(path, "pictures") as source:
        task = Task(source, None, template, choose)  # type: ignore[arg-type]
        plan = aligning._plan(faces, task, Path("work"))
    return {job.path for job, _ in plan}


@pytest.mark.usefixtures("small_jobs")
def test_no_finished_job_is_reused_for_another_configuration(dataset: Path) -> None:
    same = names_of_jobs(dataset)
    assert names_of_jobs(dataset) == same
    # What is only passed through does not matter.
    assert (
        names_of_jobs(dataset, faces=[Listed(**values(face) | {"label": 1, "votes": None}) for face in FACES]) == same
    )
    moved = [Listed(**values(face) | {"box": (0.0, 0.0, 9.0, 9.0)}) for face in FACES]
    others = [
        names_of_jobs(dataset, choose="nearest-centre"),
        names_of_jobs(dataset, TEMPLATES["ferplus-48-v1"]),
        names_of_jobs(dataset, aligning._scale(ARCFACE, 224)),
        names_of_jobs(dataset, faces=moved),
    ]
    assert all(same.isdisjoint(other) for other in others)
    os.utime(dataset / "cat.png", ns=(1, 1))
    assert len(same - names_of_jobs(dataset)) == 1


def values(face: Listed) -> dict[str, object]:
    return {name: getattr(face, name) for name in face.__slots__}


def test_arguments_that_do_not_fit(dataset: Path, tmp_path: Path) -> None:
    for options, sentence in (
        ({"choose": "best"}, "unknown choice of face 'best'; known are nearest-centre, largest, given"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"size": 0}, "size must be at least 1, not 0"),
    ):
        with pytest.raises(DataError, match=sentence):
            run(dataset, tmp_path, **options)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make the folder"):
        run(dataset, tmp_path / "file")
    with Source(dataset, "pictures") as source:
        assert list(align_faces(source, [], ARCFACE, folder=tmp_path / "work")) == []


def test_results_survive_their_file(tmp_path: Path) -> None:
    results = [AlignedFace(b"png", (1 / 3, 2.0) * 5, "only face", "group"), "no face", ""]
    path = tmp_path / "job.parquet"
    write_results(path, results)
    assert read_results(path) == results
    assert holds_results(path, 3)
    assert not holds_results(path, 2)
    assert not holds_results(tmp_path / "absent", 3)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="cannot write"):
        write_results(tmp_path / "absent" / "job.parquet", results)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="delete it and run again"):
        read_results(path)


@pytest.mark.usefixtures("small_jobs")
def test_a_process_that_is_killed_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done:
            (process,) = multiprocessing.active_children()
            os.kill(process.pid or 0, signal.SIGKILL)

    with pytest.raises(DataError, match=r"was killed by signal 9 at \w+.png \(if memory ran out, use fewer workers\)"):
        run(dataset, tmp_path, progress=kill)


class Table:
    """Pictures that are not files: `Listing.read` of FER2013's table of pixels is like this."""

    def __init__(self, pictures: dict[str, bytes]):
        self.pictures = pictures

    def read(self, name: str) -> bytes:
        if name not in self.pictures:
            raise DataError(f"{name} is not a row of the table")
        return self.pictures[name]


def test_pictures_of_a_table(tmp_path: Path, portraits: dict[str, Picture]) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "pixels.csv").touch()
    table = Table({"7": png(portraits["astronaut"][40:200, 150:310])})
    faces = [Listed("train", "fer7.png", "7", 0), Listed("train", "fer8.png", "8", 0)]

    def rows() -> list[FaceRow | str]:
        with Source(tmp_path / "table", "a table") as source:
            return list(align_faces(source, faces, ARCFACE, size=48, folder=tmp_path / "work", read=table.read))

    row, sentence = rows()
    assert isinstance(row, FaceRow)
    assert decoded(row).shape == (48, 48, 3)
    assert (
        np.abs(np.reshape(row.landmarks, (5, 2)).mean(axis=0) - np.mean(ARCFACE.points, axis=0) * 48 / 112).max() < 0.5
    )
    assert sentence == "8 is not a row of the table"
    os.utime(tmp_path / "table" / "pixels.csv", ns=(1, 1))
    with Source(tmp_path / "table", "a table") as source:
        plan = aligning._plan(faces, Task(source, table.read, ARCFACE, "largest"), tmp_path / "work")
    assert not any(job.path.exists() for job, _ in plan)


SCRIPT = """
import sys
from pathlib import Path
from apvit.data import aligning
from apvit.data.listing import Listed
from apvit.data.rows import FaceRow
from apvit.data.sources import Source
from apvit.faces.alignment import TEMPLATES

aligning.FACES_PER_JOB = 2
if __name__ == "__main__":
    path, folder, workers = sys.argv[1:]
    with Source(path, "pictures") as source:
        faces = [Listed("train", name, name, 0) for name in source.names]
        show = lambda done, total: print(done, flush=True)
        rows = aligning.align_faces(
            source, faces, TEMPLATES["arcface-112"], workers=int(workers), folder=Path(folder), progress=show
        )
        for row in rows:
            print(row, flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts SCRIPT in a process group of its own."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "script.py"), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    return start


@pytest.fixture
def many(tmp_path: Path, photographs: dict[str, Path]) -> Path:
    """Thirty pictures."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        name = list(photographs)[number % 3]
        (folder / f"{number:02d}.png").write_bytes(png(np.asarray(Image.open(photographs[name]).convert("RGB"))))
    return folder


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, theirs = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(theirs) == group and state != "Z":
            found.append(int(entry.name))
    return found


def left_after(seconds: float, group: int) -> list[int]:
    """Processes of a group that are still alive after at most so many seconds."""
    deadline = time.monotonic() + seconds
    while (found := members(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_the_rows_are_the_same(
    workers: int, many: Path, tmp_path: Path, script: Callable[..., subprocess.Popen[str]]
) -> None:
    whole, _ = script(many, tmp_path / "whole", 3 - workers).communicate(timeout=120)
    rows = [line for line in whole.splitlines() if not line.isdigit()]
    assert len(rows) == 30

    killed = script(many, tmp_path / "killed", workers)
    assert killed.stdout is not None
    done = 0
    while done < 9:
        line = killed.stdout.readline().strip()
        done = int(line) if line.isdigit() else done
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert left_after(20, killed.pid) == []  # its processes notice
    finished = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed").glob("*.parquet")}
    assert 1 <= len(finished) < 15

    again, errors = script(many, tmp_path / "killed", 2).communicate(timeout=120)
    assert [line for line in again.splitlines() if not line.isdigit()] == rows, errors
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert int(again.split()[0]) == 2 * len(finished)


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, 5])
def test_ctrl_c_ends_all_processes_at_once(
    done: int, many: Path, tmp_path: Path, script: Callable[..., subprocess.Popen[str]]
) -> None:
    """While they start, and while they work."""
    process = script(many, tmp_path / "work", 2)
    assert process.stdout is not None
    while not (line := process.stdout.readline().strip()).isdigit() or int(line) < done:
        pass
    if done == 0:
        time.sleep(0.5)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - start < 3
    assert process.returncode in (-signal.SIGINT, 130)
    assert errors.count("Traceback") == 1  # its own, none of its processes'
    assert left_after(3, process.pid) == []  # Python's own helper process notices a moment later
