"""The literature's lists in every form that their files have; the names are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.evaluation import EvaluationError
from apvit.evaluation.lists import ListedFace, face_name, list_accuracy, match_list, read_list

SHA = "ab" * 28
OTHER = "cd" * 28

RAF = [("test_0004", 0, None), ("test_0010", 6, None)]
FORMS = {
    "raf-db occlusion": (
        "test_0003_aligned 3 4\ntest_0012_aligned 0 1",
        [("test_0003", 3, "4"), ("test_0012", 0, "1")],
    ),
    "raf-db pose": ("0/test_0004_aligned.jpg\n6/test_0010_aligned.jpg\n", RAF),
    "raf-db with a header": ("2 7\n0/test_0004_aligned.jpg\n6/test_0010_aligned.jpg", RAF),
    "ferplus occlusion": (
        "1_fer0034656.png 8 0\n7_fer0032220.png 8 3\n",
        [("fer0034656", 1, "0"), ("fer0032220", 7, "3")],
    ),
    "ferplus pose": ("0/fer0032226.jpg\n", [("fer0032226", 0, None)]),
    "affectnet occlusion": (f"val/0/{SHA}/\nval/7/{OTHER}/\n", [(SHA, 0, None), (OTHER, 7, None)]),
    "affectnet pose 30": (f"0/{SHA}.jpg\n7/{OTHER}/8.jpg\n", [(SHA, 0, None), (OTHER, 7, None)]),
    "repeated": ("test_2464_aligned 6 1\ntest_2464_aligned 6 2", [("test_2464", 6, "1"), ("test_2464", 6, "2")]),
    "windows and blank lines": ("\ufeff0\\test_0004_aligned.JPG\r\n\r\n", [("test_0004", 0, None)]),
    "names alone": ("test_0004.jpg\n", [("test_0004", None, None)]),
}


def written(folder: Path, text: str, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(("text", "expected"), FORMS.values(), ids=FORMS)
def test_every_form(tmp_path: Path, text: str, expected: list[tuple]) -> None:
    read = read_list(written(tmp_path, text))
    assert read.faces == tuple(ListedFace(*row) for row in expected)
    assert read.warnings == ()
    assert read.repeated == len(expected) - len({row[0] for row in expected})
    space = {"t": "raf-db", "f": "ferplus", "a": "affectnet-8"}[expected[0][0][0]]
    assert read.labels.name == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1247 7\n", "is empty"),
        ("1247 7\n0\n4\n2\n", "labels without names.*val_raf_db_list.txt"),
        ("7\n0\n4\n", "labels without names"),
        ("photo.jpg 3\n", "a line that no known list has: 'photo.jpg 3'"),
        ("test_0003_aligned happy\n", "a line that no known list has"),
        ("test_0003_aligned 3 4 5\n", "a line that no known list has"),
        (f"{SHA}/{OTHER}.jpg\n", "a line that no known list has"),
        ("0/fer0032226.jpg\n0/test_0004_aligned.jpg\n", "mixes faces of ferplus, raf-db"),
        ("test_0003_aligned 7 4\n", "labels test_0003 as 7, outside the 7 of raf-db"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read_list(written(tmp_path, text))


def test_refuses_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("list.txt", "absent.txt"):
        with pytest.raises(EvaluationError, match="cannot read the list"):
            read_list(tmp_path / name)


def test_a_header_that_counts_otherwise_is_a_warning(tmp_path: Path) -> None:
    read = read_list(written(tmp_path, "1247 7\n0/test_0004_aligned.jpg\n"))
    assert read.warnings == ("list.txt announces 1,247 faces and lists 1",)


@pytest.mark.parametrize(
    "source",
    [
        "test_0003_aligned.jpg", "basic/Image/aligned/test_0003_aligned.jpg", "basic/Image/original/test_0003.jpg",
        "test_0003.PNG", "test_0003.jpg#1",
    ],
)  # fmt: skip
def test_names_of_prepared_faces(source: str) -> None:
    assert face_name(source) == "test_0003"


@given(st.integers(0, 99999), st.integers(0, 6), st.integers(1, 4), st.booleans())
def test_occlusion_lines_are_read_back(tmp_path_factory, number: int, label: int, kind: int, ends: bool) -> None:
    folder = tmp_path_factory.mktemp("lists")
    path = written(folder, f"test_{number:04d}_aligned {label} {kind}" + "\n" * ends)
    assert read_list(path).faces == (ListedFace(f"test_{number:04d}", label, str(kind)),)


@pytest.fixture
def split(make_split):
    """RAF-DB's test_0001 to test_0005; the fourth has no label."""
    sources = [f"Image/aligned/test_000{i}_aligned.jpg" for i in range(1, 6)]
    return make_split([3, 4, 6, None, 0], space="raf-db", dataset="raf-db", split="test", source=sources)


def test_matching(tmp_path: Path, split) -> None:
    fields = ("0001_aligned 3 1", "0003_aligned 5 2", "0001_aligned 3 1", "0004_aligned 2 1", "9999_aligned 0 4")
    faces = read_list(written(tmp_path, "\n".join(f"test_{text}" for text in fields)))
    match = match_list(faces, split)
    assert match.faces.tolist() == [0, 2, 0, 3]  # twice where it stands twice
    assert match.missing == ["test_9999"]
    assert match.unlabelled == 1
    assert match.disagreements == ["test_0003: anger in the list, neutral in the data"]
    scored = list_accuracy(match, {0: True, 1: False, 2: False, 4: True})
    assert scored == {
        "faces": 3, "accuracy": pytest.approx(2 / 3),
        "by_kind": {"1": {"faces": 2, "accuracy": 1.0}, "2": {"faces": 1, "accuracy": 0.0}},
    }  # fmt: skip


def test_labels_are_compared_by_expression(tmp_path: Path, make_split) -> None:
    """The same list over data that count otherwise: RAF-DB's 3 is happiness, which is 1 in FER+'s order."""
    split = make_split([1], space="ferplus", source=["test_0001.png"])
    match = match_list(read_list(written(tmp_path, "test_0001_aligned 3 1")), split)
    assert match.disagreements == []


def test_a_list_of_other_faces_is_refused(tmp_path: Path, split) -> None:
    faces = read_list(written(tmp_path, "1_fer0034656.png 8 0"))
    with pytest.raises(EvaluationError, match=r"none of 1 face of .*test split of raf-db.*split='test'"):
        match_list(faces, split)


def test_an_ambiguous_name_is_refused(tmp_path: Path, make_split) -> None:
    split = make_split([3, 3], space="raf-db", source=["a/test_0001.jpg", "b/test_0001_aligned.jpg"])
    with pytest.raises(EvaluationError, match=r"test_0001 of .* stands for 2 faces"):
        match_list(read_list(written(tmp_path, "test_0001_aligned 3 1")), split)
