from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data import trees

from apvit.data import expw
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.sources import Source

LIST = "data/label/label.lst"


def listed(root: Path, **options) -> Listing:
    with Source(root, expw.EXPECTED) as source:
        assert expw.recognises(source)
        return expw.list_faces(source, **options)


def without_counts(listing: Listing) -> list[str]:
    """The warnings but the one on counts, which a small tree always gets."""
    return [warning for warning in listing.warnings if "published are 91,793" not in warning]


@pytest.mark.parametrize("prefix", ["data/", "", "ExpW/data/"])
def test_the_official_layout(tmp_path, prefix):
    listing = listed(trees.expw(tmp_path, prefix=prefix))
    assert listing.malformed == []
    assert without_counts(listing) == []
    assert len(listing.faces) == 64
    assert all((tmp_path / face.picture).is_file() for face in listing.faces)
    assert listing.inputs.keys() == {f"{prefix}label/label.lst"}


def test_the_box_is_top_left_right_bottom(tmp_path):
    first = listed(trees.expw(tmp_path)).faces[0]
    # The readme's example in small: top 2, left 11, right 23, bottom 14.
    assert first.box == (11, 2, 23, 14)
    assert first.source == "angry_actor_104.jpg"
    assert first.label == 0


def test_several_faces_of_a_picture(tmp_path):
    faces = [face for face in listed(trees.expw(tmp_path)).faces if "113" in face.source]
    assert [face.source for face in faces] == [f"angry_actor_113.jpg#{i}" for i in range(3)]
    assert {face.picture for face in faces} == {"data/image/origin/angry_actor_113.jpg"}
    assert {face.group for face in faces} == {"angry_actor_113.jpg"}
    assert len({face.split for face in faces}) == 1
    assert [face.label for face in faces] == [6, 3, 0]


def test_exact_duplicates_are_used_once(tmp_path):
    listing = listed(trees.expw(tmp_path, lines=[*trees.EXPW_LINES, *trees.EXPW_LINES[:2]]))
    assert len(listing.faces) == 64
    assert listing.malformed == []
    assert without_counts(listing) == [
        f"exact duplicates of an earlier line, used once, are 2 lines, the first: {trees.EXPW_LINES[0]}"
    ]


def test_names_with_a_space(tmp_path):
    root = trees.expw(tmp_path, lines=[*trees.EXPW_LINES, "sad old man 1.jpg 0 2 11 23 14 22.9 4"])
    assert (root / listed(root).faces[-1].picture).name == "sad old man 1.jpg"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "a.jpg 0 2 11 23 14 22.9",
            "is 'a.jpg 0 2 11 23 14 22.9'; expected name, face id, top, left, right, bottom",
        ),
        ("a.jpg x 2 11 23 14 22.9 0", "; expected name, face id"),
        ("a.jpg 0 2 11 23 y 22.9 0", "; expected name, face id"),
        ("a.jpg 0 2 11 23 14 22.9 z", "; expected name, face id"),
        ("a.jpg 0 2 11 23 14 22.9 7", "has the label 7; those of ExpW are 0 to 6"),
        ("a.jpg 0 2 23 11 14 22.9 0", "has an empty box: left 23, right 11, top 2, bottom 14"),
        ("a.jpg 0 2 nan 11 14 22.9 0", "has an empty box: left nan"),
        ("angry_actor_104.jpg 0 2 11 23 14 22.9362 1", "contradicts an earlier line on face 0 of angry_actor_104.jpg"),
        ("angry_actor_104.jpg 0 2 11 23 15 22.9362 0", "contradicts an earlier line on face 0 of angry_actor_104.jpg"),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    root = trees.expw(tmp_path)
    with (root / LIST).open("a") as file:
        file.write(f"{line}\n")
    listing = listed(root)
    (malformed,) = listing.malformed
    assert malformed.startswith(f"line 65 of {LIST} ")
    assert message in malformed
    assert len(listing.faces) == 64


def test_a_missing_picture_keeps_its_line(tmp_path):
    root = trees.expw(tmp_path)
    (root / "data/image/origin/angry_actor_104.jpg").unlink()
    assert listed(root).faces[0].picture == "angry_actor_104.jpg"


def test_archives_that_are_not_unpacked(tmp_path):
    root = trees.expw(tmp_path)
    for picture in root.rglob("*.jpg"):
        picture.unlink()
    (root / "data/image/origin.7z.001").write_bytes(b"7z")
    with pytest.raises(DataError, match=r"no pictures: unpack data/image/origin.7z.001 \(7z x"):
        listed(root)


# The split


def split_of(listing: Listing) -> dict[str, str]:
    return {face.source: face.split for face in listing.faces}


def test_shares(tmp_path):
    count = Counter(face.split for face in listed(trees.expw(tmp_path)).faces)
    assert abs(count["train"] - 48) <= 2  # a picture of three may stand across the cut
    assert abs(count["valid"] - 6.4) <= 2
    assert abs(count["test"] - 9.6) <= 2


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_lines(tmp_path):
    first = listed(trees.expw(tmp_path / "a"))
    again = listed(trees.expw(tmp_path / "b", lines=reversed(trees.EXPW_LINES)))
    assert split_of(first) == split_of(again)
    assert split_of(first) != split_of(listed(tmp_path / "a", seed=1))
    assert first.protocol == "split by picture, seed=0 shares=0.75/0.1/0.15"


def test_the_split_is_the_same_for_ever(tmp_path):
    # What seed 0 gives must never change: published figures rest on it.
    listing = listed(trees.expw(tmp_path))
    valid = sorted(face.source for face in listing.faces if face.split == "valid")
    assert valid == [f"happy_woman_{i}.jpg" for i in (27, 30, 31, 33, 40, 42)]


def test_other_shares(tmp_path):
    listing = listed(trees.expw(tmp_path), shares=(0.9, 0.1, 0))
    assert {face.split for face in listing.faces} == {"train", "valid"}
    assert "shares=0.9/0.1/0" in listing.protocol


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.5, 0.5), "three fractions of 1"),
        ((0.5, 0.6, -0.1), "three fractions of 1"),
        ((0, 0.5, 0.5), "three fractions of 1"),
        ((75, 10, 15), "three fractions of 1"),
        ((0.5, 0.2, 0.2), "sum to 0.9 instead of 1"),
    ],
)
def test_shares_that_make_no_split(tmp_path, shares, message):
    with pytest.raises(DataError, match=message):
        listed(trees.expw(tmp_path), shares=shares)


def test_low_confidence_is_left_out_and_moves_no_other_face(tmp_path):
    root = trees.expw(tmp_path)
    listing, everything = listed(root, min_confidence=20), split_of(listed(root))
    assert 0 < len(listing.faces) < 64
    assert "angry_actor_113.jpg#1" not in split_of(listing)
    assert "angry_actor_113.jpg#0" in split_of(listing)
    assert all(everything[source] == split for source, split in split_of(listing).items())
    assert listing.protocol.endswith(" min_confidence=20")
    assert without_counts(listing) == [f"left out for a confidence below 20: {64 - len(listing.faces)} of 64 faces"]


@settings(deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 9), min_size=1, max_size=60),
    st.integers(0, 5),
    st.sampled_from([(0.75, 0.10, 0.15), (1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.34, 0.33, 0.33)]),
)
def test_every_split_has_its_share_to_within_one_picture(faces_in, seed, shares):
    splits = expw._draw(Counter(faces_in), seed, shares)
    assert set(splits) == set(faces_in)
    total, largest = sum(faces_in.values()), max(faces_in.values())
    for split, share in zip(("train", "valid", "test"), shares, strict=True):
        count = sum(n for name, n in faces_in.items() if splits[name] == split)
        assert abs(count - share * total) <= 2 * largest + 1
        assert share or not count


# Counts


def test_published_counts_are_of_all_splits_together(tmp_path):
    assert sum(expw._COUNTS) == 91793
    listing = listed(trees.expw(tmp_path))
    assert listing.published == {}
    assert "has 64 faces (" in listing.warnings[0]
    assert "published are 91,793 (3,671 anger" in listing.warnings[0]


def test_another_dataset(tmp_path):
    root = trees.raf_db(tmp_path)
    with Source(root, expw.EXPECTED) as source:
        assert not expw.recognises(source)
        with pytest.raises(DataError, match="is not ExpW; expected ExpW"):
            expw.list_faces(source)
