from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data import trees

from apvit.data import folder
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source
from apvit.expressions import EXPRESSIONS


def listed(root: Path, **options) -> Listing:
    with Source(root, folder.EXPECTED) as source:
        assert folder.recognises(source)
        return folder.list_faces(source, **options)


def named(listing: Listing) -> dict[str, str | None]:
    return {f.source: None if f.label is None else listing.labels.expressions[f.label] for f in listing.faces}


# Class folders


def test_splits_and_expressions(tmp_path):
    listing = listed(trees.class_folders(tmp_path))
    assert listing.malformed == []
    assert listing.warnings == []
    # In the canonical order, not the folders'.
    assert listing.labels.expressions == ("neutral", "happiness", "sadness", "anger")
    assert Counter(face.split for face in listing.faces) == {"train": 12, "valid": 12, "test": 12}
    assert named(listing)["val/Sad/0.png"] == "sadness"
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert listing.inputs == {}


@pytest.mark.parametrize(("prefix", "split"), [("", "train"), ("mine/v2", "train"), ("mine/Testing", "test")])
def test_without_splits_all_is_train(tmp_path, prefix, split):
    assert {face.split for face in listed(trees.class_folders(tmp_path, splits=(prefix,))).faces} == {split}


def test_folders_within_a_class(tmp_path):
    root = trees.class_folders(tmp_path, splits=("",))
    trees.write_picture(root / "Sad/subject 3/day 1/x.png")
    assert named(listed(root))["Sad/subject 3/day 1/x.png"] == "sadness"


@pytest.mark.parametrize(
    ("word", "expression"),
    [
        ("angry", "anger"), ("Happy", "happiness"), ("SAD", "sadness"), ("surprised", "surprise"),
        ("fearful", "fear"), ("disgusted", "disgust"), ("contemptuous", "contempt"), ("other", "other"),
        *((name, name) for name in EXPRESSIONS),
    ],
)  # fmt: skip
def test_synonyms(tmp_path, word, expression):
    trees.write_picture(tmp_path / "a" / word / "0.png")
    trees.write_picture(tmp_path / "a" / ("fear" if expression == "neutral" else "neutral") / "0.png")
    assert expression in listed(tmp_path).labels.expressions


@pytest.mark.parametrize(
    ("word", "hint"),
    [("calm", "known are neutral"), ("hapiness", "did you mean happiness?")],
)
def test_unknown_folders(tmp_path, word, hint):
    root = trees.class_folders(tmp_path, splits=("train",))
    trees.write_picture(root / "train" / word / "0.png")
    (malformed,) = listed(root).malformed
    assert malformed.startswith(f"the folder train/{word} has 1 picture but is called as no expression; ")
    assert hint in malformed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.png", "the top folder has 1 picture but is called as no expression"),
        ("train/happy/sad/x.png", "train/happy/sad/x.png stands in folders of happiness and sadness"),
        ("train/test/sad/x.png", "train/test/sad/x.png stands in folders of test and train"),
    ],
)
def test_unclear_places(tmp_path, name, message):
    root = trees.class_folders(tmp_path)
    trees.write_picture(root / name)
    (malformed,) = listed(root).malformed
    assert malformed.startswith(message)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["happy"], "has only happiness, and at least two are needed"),
        (["calm", "bored"], r"has no expression \(the folder bored has 1 picture but is called as no expression"),
        ([], "has no expression, and at least two are needed; expected your own pictures"),
    ],
)
def test_too_few_expressions(tmp_path, folders, message):
    for name in folders:
        trees.write_picture(tmp_path / name / "0.png")
    with Source(tmp_path, folder.EXPECTED) as source, pytest.raises(DataError, match=message):
        folder.list_faces(source)


# A CSV


def test_a_table(tmp_path):
    listing = listed(trees.labels_csv(tmp_path, ["a.png,happy", "b/c.png,Sadness", "d.png,"]))
    assert listing.malformed == []
    assert named(listing) == {"a.png": "happiness", "b/c.png": "sadness", "d.png": None}
    assert {face.split for face in listing.faces} == {"train"}
    assert set(listing.inputs) == {"labels.csv"}


def test_all_columns_in_any_order(tmp_path):
    header = "split,path,x1,y1,x2,y2,group,label,note"
    lines = ["a.png,val,1,2,30,20.5,anna,happy,x", "b.png,test,,,,,,sad,", "c.png,,0,0,9,9,ben,sad,"]
    trees.labels_csv(tmp_path, lines, header="path,split,x1,y1,x2,y2,group,label,note")
    swapped = [",".join([line.split(",")[1], line.split(",")[0], *line.split(",")[2:]]) for line in lines]
    trees.write_text(tmp_path / "labels.csv", "\ufeff" + "\r\n".join([header, *swapped]) + "\r\n")
    faces = listed(tmp_path).faces
    assert [(f.split, f.source, f.group, f.box) for f in faces] == [
        ("valid", "a.png", "anna", (1, 2, 30, 20.5)),
        ("test", "b.png", None, None),
        ("train", "c.png", "ben", (0, 0, 9, 9)),
    ]


def test_several_faces_of_a_picture(tmp_path):
    lines = ["a.png,happy,1,2,9,9", "b.png,sad,0,0,5,5", "a.png,sad,11,2,19,9"]
    listing = listed(trees.labels_csv(tmp_path, lines, header="path,label,x1,y1,x2,y2"))
    assert named(listing) == {"a.png#1": "happiness", "b.png": "sadness", "a.png#2": "sadness"}
    assert [face.picture for face in listing.faces] == ["a.png", "b.png", "a.png"]
    assert [face.group for face in listing.faces] == ["a.png", None, "a.png"]


def test_another_name_and_place(tmp_path):
    trees.labels_csv(tmp_path / "sub", ["./a.png,happy", "b.png,sad"])
    (tmp_path / "sub/labels.csv").rename(tmp_path / "sub/mine.csv")
    with Source(tmp_path, folder.EXPECTED) as source:
        listing = folder.list_faces(source, table="sub/mine.csv")
        assert [(face.source, face.picture) for face in listing.faces] == [
            ("a.png", "sub/a.png"),
            ("b.png", "sub/b.png"),
        ]
        with pytest.raises(DataError, match=r"other.csv is not in "):
            folder.list_faces(source, table="other.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png", "has 1 fields instead of 8"),
        ("a.png,calm,,,,,,", "has the label 'calm'; known are neutral"),
        ("a.png,3,,,,,,", "has the label '3'; a number means something else in every dataset"),
        ("a.png,supprise,,,,,,", "has the label 'supprise'; did you mean surprise? known are"),
        ("a.png,happy,dev,,,,,", "has the split 'dev'; known are train, training"),
        ("missing,happy,,,,,,", "names 'missing', which is not beside labels.csv"),
        ("../a.png,happy,,,,,,", "names '../a.png', which is not beside labels.csv"),
        ("/etc/passwd,happy,,,,,,", "names '/etc/passwd', which is not beside labels.csv"),
        ("b.png,happy,,,,,,", "names b.png a second time"),
        ("c.png,happy,,,1,1,5,5", "names c.png a second time with the same box"),
        ("a.png,happy,,,1,1,1,5", "has the box 1,1,1,5"),
        ("a.png,happy,,,1,1,5,", "has the box 1,1,5,"),
        ("a.png,happy,,,1,1,nan,5", "has the box 1,1,nan,5"),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    first = ["b.png,happy,,,,,,", "c.png,sad,,,1,1,5,5"]
    root = trees.labels_csv(tmp_path / "data", [*first, line], header="path,label,split,group,x1,y1,x2,y2")
    listing = listed(root)
    (malformed,) = listing.malformed
    assert malformed.startswith(f"line 4 of labels.csv {message}")
    assert len(listing.faces) == 2


@pytest.mark.parametrize("header", ["file,label", "path", "path,label,x1,y1", "path,label,label", ""])
def test_headers(tmp_path, header):
    root = trees.labels_csv(tmp_path, ["a.png,happy", "b.png,sad"], header=header)
    with pytest.raises(DataError, match=r"labels.csv has the header .*; expected path,label and, if you like, split"):
        listed(root)


@settings(deadline=None, max_examples=50)  # it writes files
@given(st.text(max_size=400))
def test_any_text_is_listed_or_refused(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("any")
    trees.write_picture(root / "a.png")
    (root / "labels.csv").write_text(f"path,label\na.png,happy\n{text}", encoding="utf-8", errors="replace", newline="")
    try:
        listing = listed(root)
    except DataError:
        return
    assert all((root / face.picture).is_file() for face in listing.faces)


def test_nothing_of_its_kind(tmp_path):
    trees.write_text(tmp_path / "notes/readme.txt", "nothing")
    with Source(tmp_path, folder.EXPECTED) as source:
        assert not folder.recognises(source)
