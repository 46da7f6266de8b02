from __future__ import annotations

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from apvit.data import DataError, Split
from apvit.data.ferplus_layouts import is_ferplus, read_layout
from apvit.data.sources import Source
from apvit.data.votes import LABELS

TRAIN = [f"FER2013Train/fer000000{i}.png" for i in (0, 2, 3, 4, 5, 6)]
VALID = ["FER2013Valid/fer0028709.png", "FER2013Valid/fer0028710.png"]


def expressions_of(split: Split) -> list[str | None]:
    return [None if label < 0 else LABELS.expressions[label] for label in split.labels]


# Traps of fer2013new.csv


def test_rows_are_joined_by_order_not_by_the_number_in_the_name(load, tmp_path, faces, write_tables):
    # The names skip 1, so that from there on number and row differ.
    split = load(write_tables(tmp_path, faces), drop_leaks=False).splits["train"]
    expected = np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)
    np.testing.assert_array_equal(split.pixels()[split.sources.index("FER2013Train/fer0000002.png")], expected)


@pytest.mark.parametrize("labels", [False, True])
def test_rows_without_a_name_are_no_faces(load, tmp_path, faces, write_tables, labels):
    faces["FER2013Train"].insert(1, ("", (0,) * 9 + (10,), 7))
    splits = load(write_tables(tmp_path, faces, labels=labels), drop_leaks=False).splits
    assert splits["train"].sources == TRAIN
    assert splits["valid"].sources == VALID


def test_repeated_names(load, tmp_path, faces, write_tables):
    faces["FER2013Train"].append(("fer0000003.png", (0, 0, 0, 0, 0, 10, 0, 0, 0, 0), 8))
    split = load(write_tables(tmp_path, faces), drop_leaks=False).splits["train"]
    # Both are kept; the plain name means the later one, which the official export leaves.
    assert split.sources[2] == "FER2013Train/fer0000003.png#3"
    assert split.sources[6] == "FER2013Train/fer0000003.png"
    assert expressions_of(split)[2::4] == [None, "disgust"]
    assert split.groups[2] != split.groups[6]


def test_repeated_names_with_label_csv(load, tmp_path, faces, write_tables):
    root = write_tables(tmp_path, faces, labels=True)
    again = [*faces["FER2013Train"], ("fer0000003.png", (0,) * 10, 8)]
    write_tables(tmp_path, faces | {"FER2013Train": again})
    split = load(root, drop_leaks=False).splits["train"]
    assert split.sources == TRAIN
    # The picture is the later one, as the official export overwrites; the votes are those of label.csv.
    np.testing.assert_array_equal(split.pixels()[2], np.random.default_rng(8).integers(0, 256, (48, 48), np.uint8))
    assert split.votes[2].tolist() == [5, 0, 0, 5, 0, 0, 0, 0, 0, 0]


def test_label_csv_wins_over_fer2013new(load, tmp_path, faces, write_tables):
    root = write_tables(tmp_path, faces, labels=True)
    path = root / "data" / "FER2013Train" / "label.csv"
    path.write_text(path.read_text().replace("9,0,0,0,0,0,0,0,1,0", "0,9,0,0,0,0,0,0,1,0"))
    split = load(root, drop_leaks=False).splits["train"]
    assert expressions_of(split)[0] == "happiness"


def test_label_csv_with_a_name_that_the_tables_lack(load, tmp_path, faces, write_tables):
    root = write_tables(tmp_path, faces, labels=True)
    path = root / "data" / "FER2013Train" / "label.csv"
    path.write_text(path.read_text().replace("fer0000004.png", "fer0000400.png"))
    with pytest.raises(
        DataError, match=r"1 of 9 pictures .* fer2013.csv has no readable picture for FER2013Train/fer0000400"
    ):
        load(root)


def edit(path, old, new, count=1):
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, count).encode())


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("fer2013new.csv", "Training,fer0000000.png,9,0,0,0,0,0,0,0,1,0\r\n", "", "has 9 rows and fer2013new.csv 8"),
        ("fer2013new.csv", "Training,fer0000000", "PublicTest,fer0000000", "row 1 is 'Training' in fer2013.csv and"),
        ("fer2013new.csv", "Usage,", "Use,", "has the header 'use,image name.*expected Usage,Image name"),
        ("fer2013.csv", "pixels", "faces", "has the header 'emotion,faces,Usage'; expected emotion, pixels"),
        ("fer2013.csv", ",Training", ",Train", "row 1 is 'Train' in fer2013.csv and 'Training' in fer2013new.csv"),
        ("fer2013new.csv", "9,0,0,0,0,0,0,0,1,0", "9,0,0,0,0,0,0,0,1", "row 1 of fer2013new.csv has votes that"),
        ("fer2013new.csv", "9,0,0,0,0,0,0,0,1,0", "x,0,0,0,0,0,0,0,1,0", "row 1 of fer2013new.csv has votes"),
        ("fer2013new.csv", "9,0,0,0,0,0,0,0,1,0", "-9,0,0,0,0,0,0,0,1,0", "row 1 of fer2013new.csv has votes"),
    ],
)  # fmt: skip
def test_tables_that_do_not_belong_together(load, tmp_path, faces, write_tables, file, old, new, message):
    root = write_tables(tmp_path, faces)
    edit(root / file, old, new)
    with pytest.raises(DataError, match=message):
        load(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: pixels.rpartition(" ")[0], "line 2 of fer2013.csv has 2303 pixels instead of 2304"),
        (lambda pixels: pixels.replace(" ", " 256 ", 1), "line 2 of fer2013.csv has pixels that are not numbers of 0"),
        (lambda pixels: "x" + pixels, "line 2 of fer2013.csv has pixels that are not numbers"),
        (lambda pixels: "", "line 2 of fer2013.csv has 0 pixels"),
    ],
)
def test_malformed_pixels(load, tmp_path, faces, write_tables, change, message):
    root = write_tables(tmp_path, faces)
    with (root / "fer2013.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][1] = change(rows[1][1])
    with (root / "fer2013.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=f"malformed lines in .*: 1, the first: {message}"):
        load(root)


# Traps of label.csv


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"(0, 0, 48, 48)"', '"(0, 0, 47, 48)"', r"line 1 of FER2013Train/label.csv has the box \(0, 0, 47, 48\), but"),
        ('"(0, 0, 48, 48)"', "whole", "line 1 of FER2013Train/label.csv has the box whole"),
        ("9,0,0,0,0,0,0,0,1,0", "9,0,0,0,0,0,0,0,1", "line 1 of FER2013Train/label.csv has 11 fields instead of 12"),
        ("9,0,0,0,0,0,0,0,1,0", "9,0,0,0,0,0,0,0,1,0,0", "has 13 fields instead of 12"),
        ("9,0,0,0,0,0,0,0,1,0", "9.5,0,0,0,0,0,0,0,1,0", "line 1 .* has votes that are not counts: 9.5,0"),
        ("9,0,0,0,0,0,0,0,1,0", "-9,0,0,0,0,0,0,0,1,0", "line 1 .* has votes that are not counts"),
        ("9,0,0,0,0,0,0,0,1,0", ",0,0,0,0,0,0,0,1,0", "line 1 .* has votes that are not counts"),
        ("fer0000002.png", "fer0000000.png", "line 2 of FER2013Train/label.csv names fer0000000.png a second time"),
        ("fer0000000.png", "../secret.png", "line 1 of FER2013Train/label.csv names no picture: '../secret.png'"),
        ("fer0000000.png", "", "line 1 of FER2013Train/label.csv names no picture: ''"),
    ],
)
def test_malformed_lines(load, tmp_path, faces, write_folders, old, new, message):
    root = write_folders(tmp_path, faces)
    edit(root / "FER2013Train" / "label.csv", old, new)
    with pytest.raises(DataError, match=f"malformed lines in .*: 1, the first: .*{message}.*apvit data verify ferplus"):
        load(root)


def test_a_table_that_is_none(load, tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    (root / "FER2013Train" / "label.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"FER2013Train/label.csv is not a readable table"):
        load(root)


def test_an_empty_label_csv(load, tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    (root / "FER2013Valid" / "label.csv").write_text("\n")
    with pytest.raises(DataError, match=r"FER2013Valid/label.csv names no picture"):
        load(root)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "FER2013Train/fer0000003.png is missing in"),
        (b"", "FER2013Train/fer0000003.png is empty"),
        (b"text", "FER2013Train/fer0000003.png is not a picture in a known format"),
        (b"GIF89a", "FER2013Train/fer0000003.png is"),
        ("truncated", "FER2013Train/fer0000003.png is truncated or damaged"),
        ("large", "FER2013Train/fer0000003.png is 60x60 pixels instead of 48x48"),
        ("huge", "FER2013Train/fer0000003.png in .* has 268435457 bytes, more than the 268435456"),
    ],
)
def test_pictures_that_cannot_be_used(load, tmp_path, faces, write_folders, data, message):
    root = write_folders(tmp_path, faces)
    path = root / "FER2013Train" / "fer0000003.png"
    if data is None:
        path.unlink()
    elif data == "truncated":
        path.write_bytes(path.read_bytes()[:-900])
    elif data == "large":
        Image.new("L", (60, 60)).save(path)
    elif data == "huge":
        os.truncate(path, 268435457)
    else:
        path.write_bytes(data)
    with pytest.raises(DataError, match=f"1 of 9 pictures cannot be used, the first: {message}"):
        load(root)


# What is not FER+


def test_not_ferplus(load, tmp_path):
    with pytest.raises(DataError, match="gone does not exist; expected a folder or zip with FER2013Train"):
        load(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"is not FER\+; expected a folder or zip"):
        load(tmp_path)


@pytest.mark.parametrize("present", ["fer2013.csv", "fer2013new.csv"])
def test_half_of_the_tables(load, tmp_path, faces, write_tables, present):
    root = write_tables(tmp_path / "root", faces)
    shutil.copy(root / present, tmp_path)
    shutil.rmtree(root)
    with pytest.raises(DataError, match=f"holds only {present} of FER"):
        load(tmp_path)


def test_the_repository_without_pictures(load, tmp_path, faces, write_tables):
    root = write_tables(tmp_path, faces, labels=True)
    (root / "fer2013.csv").unlink()
    with pytest.raises(
        DataError, match=r"has label.csv but no PNG: .* put FER2013's fer2013.csv beside fer2013new.csv"
    ):
        load(root)


def test_two_copies_in_one_folder(load, tmp_path, faces, write_folders):
    write_folders(tmp_path / "a", faces)
    write_folders(tmp_path / "b", faces)
    with pytest.raises(DataError, match=r"holds FER2013Train/label.csv more than once"):
        load(tmp_path)


def test_the_form_is_recognised(tmp_path, faces, write_folders, write_tables):
    (tmp_path / "empty").mkdir()
    write_folders(tmp_path / "folders", faces)
    write_tables(tmp_path / "tables", faces)
    recognised = {}
    for name in ("empty", "folders", "tables"):
        with Source(tmp_path / name, "") as source:
            recognised[name] = is_ferplus(source) and read_layout(source).form
    assert recognised == {"empty": False, "folders": "folders", "tables": "tables"}
