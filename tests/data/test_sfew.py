from __future__ import annotations

from pathlib import Path

import pytest
from tests.data import trees

from apvit.data import sfew
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source


def listed(root: Path, **options) -> Listing:
    with Source(root, sfew.EXPECTED) as source:
        assert sfew.recognises(source)
        return sfew.list_faces(source, **options)


@pytest.mark.parametrize(
    "folders",
    [
        {},
        {"val": "Val/Val_Aligned_Faces"},
        {"val": "Val/Val_Aligned_Faces_new"},
        {"train": "Train_Aligned_Faces", "val": "Val_Aligned_Faces_new"},  # each zip unpacked beside the other
        {"train": "SFEW_2/Train/Train_Aligned_Faces/Train_Aligned_Faces", "val": "SFEW_2/Val/Val_Aligned_Faces"},
    ],
)
def test_aligned_faces(tmp_path, folders):
    listing = listed(trees.sfew(tmp_path, **folders))
    assert listing.malformed == []
    assert [face.split for face in listing.faces] == ["train"] * 28 + ["test"] * 14
    assert listing.protocol == "pictures=aligned test=official validation"
    assert all("Aligned" in face.picture and (tmp_path / face.picture).is_file() for face in listing.faces)
    expected = dict(zip(trees.SFEW_FOLDERS, listing.labels.expressions, strict=True))
    assert all(
        expected[Path(face.picture).parent.name] == listing.labels.expressions[face.label] for face in listing.faces
    )
    assert len({face.source for face in listing.faces}) == len(listing.faces)


@pytest.mark.parametrize(
    "folders",
    [{}, {"train_frames": "Train/imgs", "val_frames": "Val/imgs"}, {"aligned": False}],
)
def test_frames(tmp_path, folders):
    listing = listed(trees.sfew(tmp_path, **folders), pictures="frames")
    assert listing.malformed == []
    assert len(listing.faces) == 42
    assert not any("Aligned" in face.picture for face in listing.faces)


def test_the_name_is_read_without_regard_to_case(tmp_path):
    root = trees.sfew(tmp_path, aligned=False, train_frames="train", val_frames="val")
    (root / "train/Happy").rename(root / "train/happy")
    assert len(listed(root, pictures="frames").faces) == 42


def test_films_are_groups(tmp_path):
    listing = listed(trees.sfew(tmp_path))
    assert {face.group for face in listing.faces if face.split == "train"} == set(trees.FILMS["Train"])
    assert {face.group for face in listing.faces if face.split == "test"} == set(trees.FILMS["Val"])


def test_another_name_has_no_film(tmp_path):
    root = trees.sfew(tmp_path)
    trees.write_picture(root / "Train/Train_Aligned_Faces/Sad/mine.png")
    assert [face.group for face in listed(root).faces if face.source == "Train/Sad/mine.png"] == [None]


def test_the_test_set_is_ignored(tmp_path):
    listing = listed(trees.sfew(tmp_path))
    assert listing.warnings == [
        "the test set's labels were never published; ignored are 1 picture, the first: "
        "Test/Test_Aligned_Faces/Labyrinth_000000001_00000001.png"
    ]


def test_both_zips_of_the_validation_faces(tmp_path):
    trees.sfew(tmp_path, val="Val/Val_Aligned_Faces")
    trees.sfew(tmp_path, val="Val/Val_Aligned_Faces_new")
    (tmp_path / "Val/Val_Aligned_Faces_new/Sad/Juno_000005000_00000000.png").unlink()
    listing = listed(tmp_path)
    held_out = [face.picture for face in listing.faces if face.split == "test"]
    assert len(held_out) == 14
    assert [name for name in held_out if "_new" not in name] == [
        "Val/Val_Aligned_Faces/Sad/Juno_000005000_00000000.png"
    ]
    assert any("standing in two folders, used once, are 13 faces" in warning for warning in listing.warnings)


def test_a_folder_that_is_no_expression(tmp_path):
    root = trees.sfew(tmp_path)
    (root / "Train/Train_Aligned_Faces/Happy").rename(root / "Train/Train_Aligned_Faces/Joyful")
    assert listed(root).malformed == [
        "Train/Train_Aligned_Faces/Joyful with 4 pictures is called as no expression of SFEW (Angry to Surprise); "
        "state what it means: `apvit data prepare --labels Joyful=EXPRESSION`"
    ]


@pytest.mark.parametrize(("there", "wanted"), [("frames", "aligned"), ("aligned", "frames")])
def test_the_other_pictures_are_there(tmp_path, there, wanted):
    root = trees.sfew(tmp_path, frames=there == "frames", aligned=there == "aligned")
    with pytest.raises(DataError, match=f"none of SFEW's {wanted} but {there}: choose pictures {there}"):
        listed(root, pictures=wanted)


def test_unknown_pictures(tmp_path):
    with pytest.raises(DataError, match="pictures are aligned or frames, not 'faces'"):
        listed(trees.sfew(tmp_path), pictures="faces")


@pytest.mark.parametrize(
    ("pictures", "train", "test", "certain"), [("aligned", 891, 431, True), ("frames", 958, 436, False)]
)
def test_published_counts(tmp_path, pictures, train, test, certain):
    published = listed(trees.sfew(tmp_path), pictures=pictures).published
    assert sum(published["train"].per_class.values()) == train
    assert sum(published["test"].per_class.values()) == test
    assert published["test"].certain is certain


def test_the_counts_miss_67_and_5_faces_of_the_frames(tmp_path):
    assert "aligned faces are 431 and frames 436" in listed(trees.sfew(tmp_path)).published["test"].cause


def test_in_a_zip_from_macos(tmp_path):
    root = trees.sfew(tmp_path / "tree")
    trees.write_text(root / "Train/Train_Aligned_Faces/Sad/._Airheads_000005000_00000000.png", "shadow")
    trees.write_text(root / "__MACOSX/Val/Val_Aligned_Faces/Sad/Juno_000005000_00000000.png", "shadow")
    assert len(listed(trees.write_zip(tmp_path / "sfew.zip", root)).faces) == 42


def test_anyone_elses_class_folders_are_not_sfew(tmp_path):
    root = trees.class_folders(tmp_path)
    with Source(root, sfew.EXPECTED) as source:
        assert not sfew.recognises(source)
        with pytest.raises(DataError, match="none of SFEW's aligned"):
            sfew.list_faces(source)
