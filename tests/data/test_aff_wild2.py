from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest
from tests.data import trees

from apvit.data import aff_wild2
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES

FOLDER = "Third ABAW Annotations/EXPR_Classification_Challenge"
OLD_HEADER = trees.AFF_WILD2_HEADER.removesuffix(",Other")


def listed(root: Path, **options) -> Listing:
    with Source(root, aff_wild2.EXPECTED) as source:
        assert aff_wild2.recognises(source)
        return aff_wild2.list_faces(source, **options)


def frames(listing: Listing, video: str) -> list[tuple[int, int]]:
    """The frame numbers and labels of a video."""
    return [
        (int(Path(face.picture).stem), face.label)
        for face in listing.faces
        if face.source.startswith(f"{video}/") and face.label is not None
    ]


@pytest.mark.parametrize(
    "annotations",
    [
        FOLDER,
        "EXPR_Classification_Challenge",
        "6th ABAW Annotations/EXPR_Recognition_Challenge",
        "a/b/c/EXPR_Recognition_Challenge",
    ],
)
def test_both_names_of_the_annotations(tmp_path, annotations):
    listing = listed(trees.aff_wild2(tmp_path, annotations=annotations))
    assert listing.malformed == []
    assert listing.labels == LABEL_SPACES["aff-wild2"]
    assert listing.protocol == "classes=8 pictures=cropped_aligned every=1 test=official validation"
    assert listing.description.startswith(
        f"expression track, {annotations.rpartition('/')[2]}, cropped_aligned, 4 videos"
    )
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert set(listing.inputs) == {"EXPR/*.txt"}


def test_line_k_after_the_header_is_frame_k(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path))
    # Frame 2 has no picture, frame 9 no label.
    assert frames(listing, "1-30-1280x720") == [
        (1, 0), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 7), (10, 0), (11, 1), (12, 2),
    ]  # fmt: skip
    first = listing.faces[0]
    assert first.picture == "cropped_aligned/1-30-1280x720/00001.jpg"
    assert (first.source, first.split) == ("1-30-1280x720/00001.jpg", "train")


def test_the_later_fifty_videos(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path))
    held_out = [face for face in listing.faces if face.split == "test"]
    assert len(held_out) == 7
    assert {Path(face.picture).parts[0] for face in held_out} == {"cropped_aligned_new_50_vids"}


def test_two_people_of_a_video_are_two_subjects_and_one_group(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path))
    groups = {Path(face.source).parts[0]: face.group for face in listing.faces}
    assert groups == {
        "1-30-1280x720": "1-30-1280x720",
        "video10_1_left": "video10_1",
        "video10_1_right": "video10_1",
        "5-60-1920x1080-2": "5-60-1920x1080-2",
    }
    assert frames(listing, "video10_1_left") == [(1, 4), (2, 4), (3, 4), (4, 5)]
    assert frames(listing, "video10_1_right") == [(1, 0), (3, 0), (4, 0), (5, 7)]


def test_what_was_left_out_is_counted(tmp_path):
    warnings = listed(trees.aff_wild2(tmp_path)).warnings
    assert warnings[0] == "frames left out: 2 not labelled, 3 without a picture"
    assert warnings[1].startswith("train has 20 labelled frames, published are 597,361 for ABAW3")
    assert warnings[2].startswith("test has 8 labelled frames, published are 284,230 for ABAW3")


def test_seven_classes(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path), classes=7)
    assert listing.labels.expressions == LABEL_SPACES["aff-wild2"].expressions[:7]
    assert max(face.label for face in listing.faces if face.label is not None) == 6
    assert "3 other" in listing.warnings[0]


def test_every_nth_training_frame(tmp_path):
    everything, listing = listed(trees.aff_wild2(tmp_path)), listed(tmp_path, every=5)
    assert [frame for frame, _ in frames(listing, "1-30-1280x720")] == [1, 6, 11]
    assert frames(listing, "5-60-1920x1080-2") == frames(everything, "5-60-1920x1080-2")
    assert "skipped by every=5" in listing.warnings[0]
    assert "every=5" in listing.protocol


def test_crops_that_are_not_aligned(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path, pictures="cropped"), pictures="cropped")
    assert {Path(face.picture).parts[0] for face in listing.faces} == {"cropped", "cropped_new_50_vids"}


def test_a_video_whose_frames_were_not_unpacked(tmp_path):
    listing = listed(trees.aff_wild2(tmp_path, new_videos=()))
    assert len(listing.warnings) == 3
    for file in (tmp_path / "cropped_aligned/5-60-1920x1080-2").iterdir():
        file.unlink()
    listing = listed(tmp_path)
    assert listing.warnings[0] == (
        "of 4 annotated videos have no folder of frames: 1 video, the first: 5-60-1920x1080-2; unpack "
        "cropped_aligned_new_50_vids.zip too"
    )
    assert {face.split for face in listing.faces} == {"train"}


def test_more_labels_than_frames(tmp_path):
    root = trees.aff_wild2(tmp_path)
    with (root / FOLDER / "Train_Set/video10_1_right.txt").open("a") as file:
        file.write("3\n3\n")
    listing = listed(root)
    assert listing.malformed == []
    assert frames(listing, "video10_1_right")[-1] == (5, 7)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"train": 586_959}),
        ({"pictures": "cropped"}, {"train": 585_317, "test": 280_532}),
        ({"classes": 7}, {}),
        ({"every": 10}, {}),
    ],
)
def test_published_counts(tmp_path, options, expected):
    trees.aff_wild2(tmp_path, pictures=options.get("pictures", "cropped_aligned"))
    assert {split: p.total for split, p in listed(tmp_path, **options).published.items()} == expected


# Editions


@pytest.mark.parametrize("annotations", ["annotations/EXPR_Set", FOLDER])
def test_an_edition_of_seven_classes(tmp_path, annotations):
    root = trees.aff_wild2(tmp_path, annotations=annotations, header=OLD_HEADER)
    if annotations.endswith("EXPR_Set"):
        (root / annotations / "Train_Set").rename(root / annotations / "Training_Set")
    assert {face.label for face in listed(root, classes=7).faces} == set(range(7))
    with pytest.raises(DataError, match=r"is of an edition with seven classes \(no other\): choose classes 7"):
        listed(root)


def test_two_editions(tmp_path):
    trees.aff_wild2(tmp_path)
    trees.aff_wild2(tmp_path, annotations="6th ABAW Annotations/EXPR_Recognition_Challenge")
    with pytest.raises(DataError, match="annotations of several editions"):
        listed(tmp_path)


# What cannot be understood


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with ''; expected Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"),
        ("0\n1\n", "begins with '0'; expected Neutral"),
        ("valence,arousal\n0.1,0.2\n", "begins with 'valence,arousal'; expected"),
        (f"{trees.AFF_WILD2_HEADER}\n0\n8\n1\n\n-2\n1\n", "labels other than -1 to 7: 3 lines, the first: line 3, '8'"),
        (f"{trees.AFF_WILD2_HEADER}\n0\nhappy\n", "labels other than -1 to 7: 1 line, the first: line 3, 'happy'"),
    ],
)
def test_malformed_annotations(tmp_path, text, message):
    root = trees.aff_wild2(tmp_path)
    (root / FOLDER / "Train_Set/video10_1_left.txt").write_text(text)
    (malformed,) = listed(root).malformed
    assert malformed.startswith(f"{FOLDER}/Train_Set/video10_1_left.txt ")
    assert message in malformed


def test_a_blank_line_is_a_frame_and_trailing_ones_are_not(tmp_path):
    root = trees.aff_wild2(tmp_path)
    text = f"{trees.AFF_WILD2_HEADER}\r\n4\r\n\r\n5\r\n\r\n\r\n"
    (root / FOLDER / "Train_Set/video10_1_left.txt").write_text(text, newline="")
    listing = listed(root)
    assert frames(listing, "video10_1_left") == [(1, 4), (3, 5)]
    assert "labels other than -1 to 7: 1 line, the first: line 3, ''" in listing.malformed[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 6}, "classes 7 or 8, not 6"),
        ({"pictures": "videos"}, "pictures are cropped_aligned or cropped, not 'videos'"),
        ({"pictures": "cropped"}, "no frames in cropped/<video>/: unpack cropped.zip"),
        ({"every": 0}, "every is 1 for all frames or N for each Nth, not 0"),
    ],
)
def test_impossible_options(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        listed(trees.aff_wild2(tmp_path), **options)


def test_in_a_zip(tmp_path):
    root = trees.aff_wild2(tmp_path / "tree")
    packed = trees.write_zip(tmp_path / "affwild2.zip", root, "Aff-Wild2/")
    assert [face.source for face in listed(packed).faces] == [face.source for face in listed(root).faces]


def test_another_dataset(tmp_path):
    root = trees.raf_db(tmp_path)
    with Source(root, aff_wild2.EXPECTED) as source:
        assert not aff_wild2.recognises(source)
        with pytest.raises(DataError, match="is not Aff-Wild2; expected Aff-Wild2: EXPR_Classification_Challenge"):
            aff_wild2.list_faces(source)


@pytest.mark.slow
def test_many_frames_take_seconds(tmp_path):
    # A fifth of the real dataset: what grows with the square of the frames would not end.
    with zipfile.ZipFile(tmp_path / "affwild2.zip", "w") as archive:
        for video in range(100):
            labels = "\n".join(str(frame % 8) for frame in range(2000))
            name = f"{FOLDER}/{'Train_Set' if video % 4 else 'Validation_Set'}/v{video}.txt"
            archive.writestr(name, f"{trees.AFF_WILD2_HEADER}\n{labels}\n")
            for frame in range(1, 2001):
                archive.writestr(f"cropped_aligned/v{video}/{frame:05d}.jpg", b"")
    started = time.perf_counter()
    assert len(listed(tmp_path / "affwild2.zip").faces) == 200_000
    assert time.perf_counter() - started < 30
