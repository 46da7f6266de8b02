from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from tests.data import trees

from apvit.data import raf_db
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source


def listed(root: Path, **options) -> Listing:
    with Source(root, raf_db.EXPECTED) as source:
        assert raf_db.recognises(source)
        return raf_db.list_faces(source, **options)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


LIST = "basic/EmoLabel/list_patition_label.txt"


# The official layout


@pytest.mark.parametrize(
    ("pictures", "name"),
    [
        ("aligned", "basic/Image/aligned/train_00001_aligned.jpg"),
        ("original", "basic/Image/original/train_00001.jpg"),
        ("aligned_224", "basic/Image/aligned_224/train_00001.jpg"),
    ],
)
def test_pictures_of_each_folder(tmp_path, pictures, name):
    listing = listed(trees.raf_db(tmp_path, pictures=("aligned", "original", "aligned_224")), pictures=pictures)
    assert listing.malformed == []
    assert listing.warnings == []
    first = listing.faces[0]
    assert (first.split, first.source, first.picture) == ("train", "train_00001.jpg", name)
    assert listing.labels.expressions[first.label] == "fear"  # the file says 2
    assert listing.protocol == f"pictures={pictures}"
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert [face.label + 1 for face in listing.faces] == list(trees.RAF_LABELS.values())
    assert [face.split for face in listing.faces] == ["train"] * 14 + ["test"] * 7
    assert all(face.group is None for face in listing.faces)


def test_realigned_pictures_may_keep_the_official_names(tmp_path):
    root = trees.raf_db(tmp_path)
    (root / "basic/Image/aligned").rename(root / "basic/Image/aligned_224")
    assert listed(root, pictures="aligned_224").faces[0].picture == "basic/Image/aligned_224/train_00001_aligned.jpg"


def test_box_and_landmarks_belong_to_the_original_pictures_only(tmp_path):
    root = trees.raf_db(tmp_path)
    original, aligned = listed(root, pictures="original"), listed(root)
    assert original.faces[0].box == (4.5, 5.0, 40.25, 44.0)
    assert original.faces[0].landmarks == (10, 15, 30, 15.5, 20, 24, 12, 33, 28, 33)  # parted by spaces
    assert original.faces[1].landmarks == (11, 15, 30, 15.5, 20, 24, 12, 33, 28, 33)  # parted by tabs
    assert all(face.box is None and face.landmarks is None for face in aligned.faces)


def test_attributes(tmp_path):
    listing = listed(trees.raf_db(tmp_path))
    assert listing.attribute_names == ("gender", "race", "age")
    assert [face.attributes for face in listing.faces[:5]] == [
        ("male", "caucasian", "0-3"),
        ("female", "african-american", "4-19"),
        ("unsure", "asian", "20-39"),
        ("male", "caucasian", "40-69"),
        ("female", "african-american", "70+"),
    ]


def test_without_annotations(tmp_path):
    listing = listed(trees.raf_db(tmp_path, annotations=False), pictures="original")
    assert listing.attribute_names is None
    assert listing.faces[0].attributes is None
    assert any("there is no Annotation/manual" in warning for warning in listing.warnings)
    assert any("without a face box in Annotation/boundingbox are 21 faces" in w for w in listing.warnings)


def test_some_annotations_are_missing(tmp_path):
    root = trees.raf_db(tmp_path)
    (root / "basic/Annotation/manual/train_00003_manu_attri.txt").unlink()
    listing = listed(root)
    assert listing.faces[2].attributes is None
    assert listing.warnings == ["without gender, race and age group are 1 face, the first: train_00003"]


def test_inputs(tmp_path):
    root = trees.raf_db(tmp_path)
    listing = listed(root)
    assert listing.inputs[LIST] == hashlib.sha256((root / LIST).read_bytes()).hexdigest()
    files = sorted((root / "basic/Annotation/manual").iterdir())
    together = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert listing.inputs["Annotation/manual/*"] == together


@pytest.mark.parametrize("prefix", ["", "RAF-DB/"])
def test_in_a_zip(tmp_path, prefix):
    root = trees.raf_db(tmp_path / "tree")
    packed = trees.write_zip(tmp_path / "raf.zip", root / "basic", prefix)
    assert [face.label for face in listed(packed).faces] == [face.label for face in listed(root).faces]


def test_a_list_without_its_folder_and_with_its_name_corrected(tmp_path):
    root = trees.raf_db(tmp_path)
    (root / LIST).rename(root / "basic/list_partition_label.txt")
    assert len(listed(root).faces) == 21


def test_the_compound_subset_beside_it_is_not_read(tmp_path):
    root = trees.raf_db(tmp_path)
    shutil.copytree(root / "basic", root / "compound")
    edit(root / "compound/EmoLabel/list_patition_label.txt", "train_00001.jpg 2", "train_00001.jpg 11")
    listing = listed(root)
    assert listing.malformed == []
    assert listing.faces[0].picture.startswith("basic/")


def test_the_compound_subset_alone_is_named(tmp_path):
    root = trees.raf_db(tmp_path)
    (root / "basic").rename(root / "compound")
    edit(root / "compound/EmoLabel/list_patition_label.txt", "train_00001.jpg 2", "train_00001.jpg 11")
    assert "label 11, as of the compound subset; those of RAF-DB are 1 to 7" in listed(root).malformed[0]


def test_two_copies(tmp_path):
    trees.raf_db(tmp_path / "a")
    trees.raf_db(tmp_path / "b")
    with pytest.raises(DataError, match="RAF-DB's list more than once"):
        listed(tmp_path)


def test_pictures_that_are_not_there(tmp_path):
    root = trees.raf_db(tmp_path)
    with pytest.raises(
        DataError, match=r"no pictures in a folder 'aligned_224' .*; there are some in .*Image/original"
    ):
        listed(root, pictures="aligned_224")
    shutil.rmtree(root / "basic/Image")
    with pytest.raises(DataError, match=r"no pictures in a folder 'aligned' .*; unpack aligned.zip"):
        listed(root)


def test_a_missing_picture_keeps_its_line(tmp_path):
    root = trees.raf_db(tmp_path)
    missing = "basic/Image/aligned/test_0003_aligned.jpg"
    (root / missing).unlink()
    listing = listed(root)
    assert [face.picture for face in listing.faces if not (root / face.picture).exists()] == [missing]


def test_pictures_that_no_line_names(tmp_path):
    root = trees.raf_db(tmp_path)
    trees.write_picture(root / "basic/Image/aligned/test_0099_aligned.jpg")
    warning = "does not name 1 picture, the first: basic/Image/aligned/test_0099_aligned.jpg; not used"
    assert warning in listed(root).warnings[0]


def test_an_archive_unpacked_twice(tmp_path):
    root = trees.raf_db(tmp_path)
    shutil.copytree(root / "basic/Image/aligned", root / "basic/Image/aligned/aligned")
    assert "in two places stand 21 pictures" in listed(root).malformed[0]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("train_00001.jpg 0", "line 1 of {} has the label 0; those of RAF-DB are 1 to 7"),
        ("train_00001.jpg 8", "line 1 of {} has the label 8, as of the compound subset"),
        ("train_00001.jpg happy", "line 1 of {} is 'train_00001.jpg happy'; expected a picture's name and its label"),
        ("train_00001.jpg\ttrain\t2", "line 1 of {} is 'train_00001.jpg\\ttrain\\t2'; expected a picture's name"),
        ("train_00001.jpg", "line 1 of {} is 'train_00001.jpg'; expected"),
        ("../train_00001.txt.jpg 2", "line 1 of {} names ../train_00001.txt.jpg; expected a name such as"),
        ("train_00002.jpg 2", "line 2 of {} names train_00002.jpg a second time"),
    ],
)
def test_malformed_lines(tmp_path, new, message):
    root = trees.raf_db(tmp_path)
    edit(root / LIST, "train_00001.jpg 2", new)
    listing = listed(root)
    assert listing.malformed[0].startswith(message.format(LIST))
    assert len(listing.faces) == 20


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("manual/train_00001_manu_attri.txt", "1 2\n3 4\n", "manu_attri.txt does not hold 13 numbers"),
        ("manual/train_00001_manu_attri.txt", "1 x\n" * 5 + "0\n0\n0\n", "does not hold 13 numbers"),
        ("manual/train_00001_manu_attri.txt", "1 nan\n" * 5 + "0\n0\n0\n", "does not hold 13 numbers"),
        (
            "manual/train_00001_manu_attri.txt",
            "1 2\n" * 5 + "0\n0\n5\n",
            "gender, race and age group 0, 0, 5; expected",
        ),
        ("manual/train_00001_manu_attri.txt", "1 2\n" * 5 + "0.5\n0\n1\n", "gender, race and age group 0.5, 0, 1"),
        ("boundingbox/train_00001_boundingbox.txt", "4 5 6\n", "boundingbox.txt does not hold 4 numbers"),
        ("boundingbox/train_00001_boundingbox.txt", "4 5 4 9\n", "has an empty box 4, 5, 4, 9"),
    ],
)
def test_malformed_annotations(tmp_path, file, text, message):
    root = trees.raf_db(tmp_path)
    (root / "basic/Annotation" / file).write_text(text)
    (malformed,) = listed(root, pictures="original").malformed
    assert message in malformed


# Class folders


@pytest.mark.parametrize("tables", [True, False])
def test_class_folders(tmp_path, tables):
    listing = listed(trees.raf_db_class_folders(tmp_path, tables=tables))
    assert listing.malformed == []
    assert {f.source: f.label + 1 for f in listing.faces} == {f"{s}.jpg": n for s, n in trees.RAF_LABELS.items()}
    assert {face.split for face in listing.faces} == {"train", "test"}
    assert "class folders made by others" in listing.warnings[0]
    assert listing.attribute_names is None


def test_a_test_set_that_was_called_validation_is_still_test(tmp_path):
    listing = listed(trees.raf_db_class_folders(tmp_path, train="train_set", test="val_set"))
    assert {face.split for face in listing.faces if face.source.startswith("test_")} == {"test"}


def test_a_validation_set_carved_from_train(tmp_path):
    root = trees.raf_db_class_folders(tmp_path, tables=False)
    (root / "DATASET/valid").mkdir()
    (root / "DATASET/train/7").rename(root / "DATASET/valid/7")
    assert {f.source for f in listed(root).faces if f.split == "valid"} == {"train_00006.jpg", "train_00013.jpg"}


def test_class_folders_with_a_leak(tmp_path):
    root = trees.raf_db_class_folders(tmp_path, tables=False)
    (root / "DATASET/test/2/test_0001_aligned.jpg").rename(root / "DATASET/train/2/test_0001_aligned.jpg")
    assert "stands in train/ but is of RAF-DB's other split" in listed(root).malformed[0]


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        (
            "train",
            "train_00001_aligned.jpg,2",
            "train_00001_aligned.jpg,3",
            "stands in the folder 2, but its label is 3",
        ),
        ("test", "test_0001_aligned.jpg,2", "test_0001_aligned.jpg", "line 2 of test_labels.csv is 'test_0001_aligned"),
        ("train", "train_00001", "train_99999", "but in no folder are 1 face, the first: train_99999"),
    ],
)
def test_class_folders_and_their_tables_disagree(tmp_path, table, old, new, message):
    root = trees.raf_db_class_folders(tmp_path)
    edit(root / f"{table}_labels.csv", old, new)
    (malformed,) = listed(root).malformed
    assert message in malformed


def test_class_folders_with_other_files(tmp_path):
    root = trees.raf_db_class_folders(tmp_path, tables=False)
    trees.write_picture(root / "DATASET/train/3/copy.jpg")
    trees.write_picture(root / "DATASET/train/3/train_00001_aligned.jpg")
    first, second = listed(root).malformed
    assert first == "DATASET/train/3/copy.jpg is not called as a picture of RAF-DB, such as train_00001_aligned.jpg"
    assert second == ("DATASET/train/3/train_00001_aligned.jpg stands in DATASET/train/2/train_00001_aligned.jpg too")


def test_class_folders_have_no_original_pictures(tmp_path):
    with pytest.raises(DataError, match="class folders, which hold only aligned pictures, not 'original'"):
        listed(trees.raf_db_class_folders(tmp_path), pictures="original")


# Any of them


def test_published_counts():
    assert {split: sum(counts) for split, counts in raf_db._COUNTS.items()} == {"train": 12271, "test": 3068}


def test_published_counts_are_in_the_listing(tmp_path):
    published = listed(trees.raf_db(tmp_path)).published
    assert published["train"].per_class["happiness"] == 4772
    assert published["test"].per_class["neutral"] == 680
    assert published["train"].certain


def test_another_dataset(tmp_path):
    root = trees.sfew(tmp_path)
    with Source(root, raf_db.EXPECTED) as source:
        assert not raf_db.recognises(source)
        with pytest.raises(DataError, match="is not RAF-DB; expected RAF-DB's basic subset"):
            raf_db.list_faces(source)
