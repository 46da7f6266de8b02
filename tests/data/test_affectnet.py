from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.data import trees

from apvit.data import affectnet
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES

TRAINING = "Manually_Annotated_file_lists/training.csv"
VALIDATION = "Manually_Annotated_file_lists/validation.csv"
HUGE = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<i8', 'fortran_order': False, 'shape': (%d,)}" % 10**40
    + b" " * 22
    + b"\n"
)
FIRST = trees.AFFECTNET_A["training"][0][0]  # neutral


def listed(root: Path, **options) -> Listing:
    with Source(root, affectnet.EXPECTED) as source:
        assert affectnet.recognises(source)
        return affectnet.list_faces(source, **options)


def splits(listing: Listing) -> list[tuple[str, int]]:
    return [(face.split, face.label) for face in listing.faces]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# Release A


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
def test_release_a(tmp_path, header, quoted):
    listing = listed(trees.affectnet_a(tmp_path, header_in_validation=header, quoted=quoted))
    assert listing.malformed == []
    assert listing.warnings == []
    # The official validation is `test`: it is what the literature reports on.
    assert splits(listing) == [("train", i) for i in (*range(8), *range(8))] + [("test", i) for i in range(8)]
    assert listing.labels == LABEL_SPACES["affectnet-8"]
    first = listing.faces[0]
    assert first.source == FIRST
    assert first.picture == f"Manually_Annotated/Manually_Annotated_Images/{FIRST}"
    assert first.box == (8, 9, 48, 48)  # x, y, width, height made x1, y1, x2, y2
    assert first.landmarks == pytest.approx(trees.FIVE)
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert listing.protocol == "release=A classes=8 test=official validation"
    assert listing.description == (
        "release A, whole pictures with a face box; left out: 3 no face, 3 none, 3 uncertain"
    )
    assert set(listing.inputs) == {TRAINING, VALIDATION}


def test_seven_classes_leave_out_contempt(tmp_path):
    listing = listed(trees.affectnet_a(tmp_path), classes=7)
    assert splits(listing) == [("train", i) for i in (*range(7), *range(7))] + [("test", i) for i in range(7)]
    assert listing.labels == LABEL_SPACES["affectnet-7"]
    assert "left out: 3 contempt" in listing.description


def test_columns_go_by_name_where_there_is_a_header(tmp_path):
    root = trees.affectnet_a(tmp_path)
    expected = listed(root).faces
    lines = [line.split(",") for line in (root / TRAINING).read_text().splitlines()]
    (root / TRAINING).write_text("".join(",".join([str(i), *reversed(line)]) + "\n" for i, line in enumerate(lines)))
    assert listed(root).faces == expected


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png"])
def test_pictures_whose_suffix_was_changed(tmp_path, suffix):
    root = trees.affectnet_a(tmp_path)
    folder = "Manually_Annotated/Manually_Annotated_Images"
    old = root / folder / FIRST
    old.rename(old.with_suffix(suffix))
    face = listed(root).faces[0]
    assert (face.source, face.picture) == (FIRST, f"{folder}/{FIRST.removesuffix('.jpg')}{suffix}")


def test_pictures_somewhere_else(tmp_path):
    root = trees.affectnet_a(tmp_path)
    (root / "Manually_Annotated/Manually_Annotated_Images").rename(root / "pictures")
    with Source(root, affectnet.EXPECTED) as source:
        assert affectnet.list_faces(source).faces[0].picture == f"pictures/{FIRST}"


def test_a_missing_picture_keeps_its_line(tmp_path):
    root = trees.affectnet_a(tmp_path)
    (root / "Manually_Annotated/Manually_Annotated_Images" / FIRST).unlink()
    assert listed(root).faces[0].picture == FIRST


def test_the_automatically_annotated_part_is_not_read(tmp_path):
    root = trees.affectnet_a(tmp_path)
    trees.write_picture(root / "Automatically_Annotated/Automatically_Annotated_Images" / FIRST)
    trees.write_text(root / "Automatically_Annotated_file_lists/training.csv", trees.AFFECTNET_HEADER + "\n")
    listing = listed(root)
    assert listing.malformed == []
    assert len(listing.faces) == 24


@pytest.mark.parametrize("box", [("8", "9", "-1", "-1"), ("NULL", "NULL", "NULL", "NULL"), ("8", "9", "40", "0")])
def test_a_face_without_a_box_is_left_out(tmp_path, box):
    root = trees.affectnet_a(tmp_path)
    edit(root / TRAINING, f"{FIRST},8,9,40,39", f"{FIRST},{','.join(box)}")
    listing = listed(root)
    assert len(listing.faces) == 23
    assert listing.warnings == [f"without a face box, so left out, are 1 picture, the first: {FIRST}"]


def test_no_face_may_have_no_box_and_no_landmarks(tmp_path):
    root = trees.affectnet_a(tmp_path)
    with (root / TRAINING).open("a") as file:
        file.write("1/nothing.jpg,NULL,NULL,NULL,NULL,NULL,10,-2,-2\n")
    assert listed(root).malformed == []


def test_a_face_without_landmarks(tmp_path):
    root = trees.affectnet_a(tmp_path)
    lines = (root / TRAINING).read_text().splitlines()
    lines[1] = f"{FIRST},8,9,40,39,NULL,0,0,0"
    (root / TRAINING).write_text("\n".join(lines))
    assert listed(root).faces[0].landmarks is None


def test_repeated_rows(tmp_path):
    root = trees.affectnet_a(tmp_path)
    with (root / TRAINING).open("a") as file:
        file.write(trees.affectnet_row(FIRST, 0) + trees.affectnet_row(FIRST, 1))
    listing = listed(root)
    assert len(listing.faces) == 24
    assert listing.warnings == [f"named twice with the same label, used once, are 1 picture, the first: {FIRST}"]
    assert listing.malformed == [
        f"line 25 of {TRAINING} gives {FIRST} another label or split than an earlier line does"
    ]


def test_a_picture_of_both_lists(tmp_path):
    root = trees.affectnet_a(tmp_path)
    with (root / VALIDATION).open("a") as file:
        file.write(trees.affectnet_row(FIRST, 0))
    assert "another label or split than an earlier line does" in listed(root).malformed[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (trees.affectnet_row("1/a.jpg", 11), "has picture '1/a.jpg' and expression '11'"),
        (trees.affectnet_row("1/a.jpg", -1), "has picture '1/a.jpg' and expression '-1'"),
        (trees.affectnet_row("", 1), "has picture '' and expression '1'"),
        ("1/a.jpg,1,2,3,4,5;6,1,0,0\n", "has facial_landmarks that are not 68 points x;y"),
        (trees.affectnet_row("1/a.jpg", 1).replace(";22;38;", ";22;?;"), "has facial_landmarks that are not 68 points"),
        ("1/a.jpg,1,2\n", "has 3 fields instead of 9"),
    ],
)
def test_malformed_rows(tmp_path, row, message):
    root = trees.affectnet_a(tmp_path)
    with (root / TRAINING).open("a") as file:
        file.write(row)
    (malformed,) = listed(root).malformed
    assert malformed.startswith(f"line 24 of {TRAINING} {message}")


def test_a_table_without_labels(tmp_path):
    root = trees.affectnet_a(tmp_path)
    edit(root / TRAINING, ",expression,", ",emotion,")
    assert listed(root).malformed == [f"{TRAINING} has no column expression"]


def test_two_tables(tmp_path):
    root = trees.affectnet_a(tmp_path)
    trees.write_text(root / "old/training.csv", trees.AFFECTNET_HEADER)
    with pytest.raises(DataError, match=r"has .*training.csv.*; expected one training.csv and one validation.csv"):
        listed(root)


def test_lists_without_pictures(tmp_path):
    trees.write_text(tmp_path / TRAINING, trees.AFFECTNET_HEADER)
    with pytest.raises(DataError, match=r"has no pictures: unpack Manually_Annotated.part"):
        listed(tmp_path)


# Release B


@pytest.mark.parametrize("valid", ["val_set", "valid_set"])
@pytest.mark.parametrize("as_text", [True, False])
def test_release_b(tmp_path, valid, as_text):
    listing = listed(trees.affectnet_b(tmp_path, valid=valid, as_text=as_text))
    assert listing.malformed == []
    assert listing.warnings == []
    assert sorted(splits(listing)) == sorted(
        [("train", i) for i in (*range(8), *range(8))] + [("test", i) for i in range(8)]
    )
    face = next(face for face in listing.faces if face.source == f"{valid}/images/23.jpg")
    assert (face.split, face.picture, face.label, face.box) == ("test", face.source, 3, None)
    assert face.landmarks == pytest.approx([x + (23, 0)[i % 2] for i, x in enumerate(trees.FIVE)])
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert listing.protocol == "release=B classes=8 test=official validation"
    assert set(listing.inputs) == {"annotations/*.npy"}


def test_release_b_with_seven_classes_in_a_zip(tmp_path):
    root = trees.affectnet_b(tmp_path / "tree")
    listing = listed(trees.write_zip(tmp_path / "b.zip", root, "AffectNet/"), classes=7)
    assert len(listing.faces) == 21
    assert listing.faces[0].source == "train_set/images/0.jpg"
    assert listing.faces[0].picture == "AffectNet/train_set/images/0.jpg"
    assert "left out: 3 contempt" in listing.description


@pytest.mark.parametrize(
    "value", [np.array(3), np.array([3]), np.array("3"), np.array(b"3"), np.array(3.0), np.int8(3)]
)
def test_the_forms_of_a_label(tmp_path, value):
    root = trees.affectnet_b(tmp_path)
    np.save(root / "train_set/annotations/0_exp.npy", value)
    assert listed(root).faces[0].label == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array("happy"), "holds no label of 0 to 10"),
        (np.array([1, 2]), "holds no label of 0 to 10"),
        (np.array(2.5), "holds no label of 0 to 10"),
        (np.array(11), "holds no label of 0 to 10"),
        (np.array(-2), "holds no label of 0 to 10"),
        (np.zeros(0), "holds no label of 0 to 10"),
        (b"", "is not a readable .npy (EOF"),
        (b"PK\x03\x04", "is not a readable .npy"),
        (
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1"
            + b"0" * 60
            + b",)}".ljust(58),
            "is",
        ),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': ", "is not a readable .npy"),
        (pickle.dumps(3), "is not a readable .npy"),
        (np.array({"a": 1}, object), "is not a readable .npy (Object arrays cannot be loaded"),
    ],
)
def test_a_label_that_is_none(tmp_path, value, message):
    root = trees.affectnet_b(tmp_path)
    path = root / "train_set/annotations/0_exp.npy"
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        np.save(path, value, allow_pickle=True)
    listing = listed(root)
    (malformed,) = listing.malformed
    assert malformed.startswith(f"train_set/annotations/0_exp.npy {message}")
    assert len(listing.faces) == 23


@pytest.mark.parametrize("value", [np.zeros(10), np.array("x"), np.full(136, np.nan)])
def test_landmarks_that_are_none(tmp_path, value):
    root = trees.affectnet_b(tmp_path)
    np.save(root / "train_set/annotations/0_lnd.npy", value)
    listing = listed(root)
    assert listing.malformed == ["train_set/annotations/0_lnd.npy does not hold 68 points"]
    assert listing.faces[0].landmarks is None


def test_landmarks_may_be_absent_or_in_pairs(tmp_path):
    root = trees.affectnet_b(tmp_path)
    (root / "train_set/annotations/0_lnd.npy").unlink()
    np.save(root / "train_set/annotations/1_lnd.npy", np.reshape(trees.points68(), (68, 2)))
    faces = {face.source: face for face in listed(root).faces}
    assert faces["train_set/images/0.jpg"].landmarks is None
    assert faces["train_set/images/1.jpg"].landmarks == pytest.approx(trees.FIVE)


def test_no_expression_in_release_b(tmp_path):
    root = trees.affectnet_b(tmp_path)
    np.save(root / "train_set/annotations/0_exp.npy", np.array("9"))
    listing = listed(root)
    assert "left out: 1 uncertain" in listing.description
    assert listing.warnings == []


def test_pictures_and_annotations_that_miss_each_other(tmp_path):
    root = trees.affectnet_b(tmp_path)
    (root / "val_set/images/20.jpg").unlink()
    (root / "val_set/annotations/21_exp.npy").unlink()
    listing = listed(root)
    assert [f.picture for f in listing.faces if not (root / f.picture).exists()] == ["val_set/images/20.jpg"]
    assert listing.warnings == ["without an annotation, so not used, are 1 picture, the first: val_set/images/21.jpg"]


def test_annotations_without_pictures(tmp_path):
    trees.affectnet_b(tmp_path)
    for picture in tmp_path.rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(DataError, match="has labels but no pictures in train_set/images/ or val_set/images/"):
        listed(tmp_path)


# Copies with a list of labels


@pytest.mark.parametrize(("written", "wanted", "train", "test"), [(7, 7, 14, 7), (8, 8, 16, 8), (8, 7, 14, 7)])
def test_lists_of_labels(tmp_path, written, wanted, train, test):
    listing = listed(trees.affectnet_text(tmp_path, classes=written), classes=wanted)
    assert listing.malformed == []
    assert [f.split for f in listing.faces].count("train") == train
    assert [f.split for f in listing.faces].count("test") == test
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert "read in AffectNet's order" in listing.warnings[0]


def test_a_list_of_seven_has_no_contempt(tmp_path):
    with pytest.raises(DataError, match="only a list for 7 classes: choose classes 7"):
        listed(trees.affectnet_text(tmp_path), classes=8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train0.jpg", "is 'train0.jpg'; expected <id>.jpg <label>"),
        ("train0.jpg happy", "is 'train0.jpg happy'; expected"),
        ("train0.jpg 11", "is 'train0.jpg 11'; expected"),
        ("train1.jpg 0", "names train1.jpg a second time"),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    root = trees.affectnet_text(tmp_path)
    edit(root / "train_set/train_annotations_7class.txt", "train0.jpg 0", line)
    assert any(message in malformed for malformed in listed(root, classes=7).malformed)


# Any of them


def test_both_releases(tmp_path):
    trees.affectnet_a(tmp_path)
    trees.affectnet_b(tmp_path)
    with pytest.raises(DataError, match=r"training.csv of release A and train_set/.* of release B: give one release"):
        listed(tmp_path)


def test_other_numbers_of_classes(tmp_path):
    with pytest.raises(DataError, match="classes 7 or 8, not 6"):
        listed(trees.affectnet_a(tmp_path), classes=6)


@pytest.mark.parametrize(("classes", "train", "test"), [(8, 287651, 4000), (7, 283901, 3500)])
def test_published_counts(tmp_path, classes, train, test):
    published = listed(trees.affectnet_b(tmp_path), classes=classes).published
    assert sum(published["train"].per_class.values()) == train
    assert sum(published["test"].per_class.values()) == test


def test_another_dataset(tmp_path):
    trees.write_text(tmp_path / "training.csv", "emotion,pixels")
    root = trees.raf_db(tmp_path)
    with Source(root, affectnet.EXPECTED) as source:
        assert not affectnet.recognises(source)
    (root / "training.csv").unlink()
    with Source(root, affectnet.EXPECTED) as source, pytest.raises(DataError, match="is not AffectNet; expected"):
        affectnet.list_faces(source)
