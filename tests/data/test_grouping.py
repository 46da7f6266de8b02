"""Groups by the names of pictures: frames of a video and pictures of a person stay on one side of a carved split."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data import trees

from apvit.data import DataError, prepare, read_split, verify
from apvit.data.grouping import find_groups

KNOWN = {
    # pictures of a dataset, and their groups
    "CK+": (
        {"happy/S010_001_00000014.png": "S010", "anger/S010_004_00000017.png": "S010", "S501_001_00000001.png": "S501"}
    ),
    "CK+ as it is shipped": {
        "S005/001/S005_001_00000011.png": "S005",
        "S005/001/S005_001_00000010.png": "S005",
        "S999/003/S999_003_00000055.png": "S999",
    },
    "JAFFE": {"KA.AN1.39.tiff": "KA", "happy/KA.HA1.29.png": "KA", "YM.SU3.61.tiff": "YM"},
    "KDEF": {"AF01/AF01ANS.JPG": "F01", "BF01/BF01HAHL.JPG": "F01", "AM01/AM01SUFR.JPG": "M01"},
    "Oulu-CASIA": {
        "VL/Strong/P001/Anger/000.jpeg": "P001",
        "NI/Weak/P001/Happiness/003.jpeg": "P001",
        "VL/Strong/P080/Fear/001.jpeg": "P080",
    },
    "RaFD": {
        "Rafd090_01_Caucasian_female_angry_frontal.jpg": "01",
        "Rafd045_01_Caucasian_female_sad_left.jpg": "01",
        "Rafd090_73_Moroccan_male_fearful_left.jpg": "73",
    },
    "BU-3DFE": {"F0001_AN01WH_F2D.bmp": "F0001", "F0001_HA04WH_F2D.bmp": "F0001", "M0044_SU02LA_F2D.bmp": "M0044"},
    "NimStim": {"01F_AN_C.BMP": "01F", "01F_HA_O.BMP": "01F", "45M_SP_O.BMP": "45M"},
    "FACES": {"004_o_m_a_a.jpg": "004", "004_o_m_h_b.jpg": "004", "140_y_f_n_a.jpg": "140"},
    "RAVDESS": {
        "03-01-05-01-02-01-12_001.jpg": "12",
        "03-01-03-02-01-02-12_044.jpg": "12",
        "Actor_01/01-01-03-01-01-01-01.png": "01",
    },
    "CREMA-D": {"1001_DFA_ANG_XX_12.png": "1001", "1001_IEO_HAP_HI.png": "1001", "1091_WSI_SAD_XX.png": "1091"},
    "SFEW": {
        "Angry/Airheads_000519240_00000005.png": "Airheads",
        "Sad/Airheads_000519240_00000025.png": "Airheads",
        "Sad/Bridesmaids_2_001000000_00000001.png": "Bridesmaids_2",
    },
    "folders of people": {
        "happy/subject 3/day 1/x.png": "subject 3",
        "sad/subject 3/y.png": "subject 3",
        "sad/subject 12/x.png": "subject 12",
    },
    "people in names": {
        "subject3_happy_1.jpg": "subject3",
        "subject3_sad_1.jpg": "subject3",
        "sad/Person-04.sad.jpg": "Person-04",
    },
    "folders of clips": {
        "happy/clip3/0001.jpg": "clip3",
        "happy/clip3/0002.jpg": "clip3",
        "sad/clip4/0001.jpg": "clip4",
    },
    "frames": {
        "a/video12_frame_0034.jpg": "video12",
        "b/video12_frame_0035.jpg": "video12",
        "b/lecture frame 3.jpg": "lecture",
    },
    "numbered frames": {**{f"happy/clip-{i}_{f:06d}.png": f"clip-{i}" for i in range(5) for f in range(3)}},
    "frames of cameras": {**{f"GOPR{i:04d}-{f:03d}.jpg": f"GOPR{i:04d}" for i in range(3) for f in range(2)}},
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_names(name):
    expected = KNOWN[name]
    found = find_groups(list(expected), ["anger", "fear"] * (len(expected) // 2) + ["fear"] * (len(expected) % 2))
    assert dict(zip(expected, found.names, strict=True)) == expected
    assert found.described.startswith(
        f"{len(set(expected.values()))} groups of {len(expected)} pictures by the pattern"
    )


UNKNOWN = {
    # Each picture by itself, one word for all, or the label: these say nothing of groups.
    "counted": [f"happy/{i:05d}.png" for i in range(20)],
    "FER2013": [f"Training_{i:07d}.jpg" for i in range(20)],
    "FER+": [f"fer{i:07d}.png" for i in range(20)],
    "RAF-DB": [f"train_{i:05d}_aligned.jpg" for i in range(20)],
    "telephones": [f"IMG_{i:04d}.JPG" for i in range(20)],
    "counted words": [f"image-{i:04d}.png" for i in range(20)],
    "labels": [f"{i % 2}_{i:04d}.png" for i in range(20)],
    "labels with words": [f"class{i % 2}-{i:04d}.png" for i in range(20)],
    "mostly one": [f"set{max(i - 14, 0)}_{i:04d}.png" for i in range(20)],
    "one of each": [f"s{i}_a.png" for i in range(20)],
    "one of each frame": [f"v{i}_frame.png" for i in range(20)],
    "hashes": [f"{i * 7919:040x}.jpg" for i in range(20)],
    "few of many": [*(f"clip-{i}_{f:03d}.png" for i in range(3) for f in range(2)), *(f"{i}.png" for i in range(14))],
    "one folder for all": [f"subject1/{i}.png" for i in range(20)],
    "a version": [f"mine/v{i % 2}/{i}.png" for i in range(20)],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_names_that_say_nothing(name):
    found = find_groups(UNKNOWN[name], ["anger", "fear"] * 10)
    assert (set(found.names), found.described) == ({None}, "")


def test_datasets_in_one_folder():
    paths = [*KNOWN["CK+"], *KNOWN["JAFFE"], "other.png"]
    found = find_groups(paths, ["anger"] * len(paths))
    assert found.names == [*KNOWN["CK+"].values(), *KNOWN["JAFFE"].values(), None]
    assert found.described.startswith("4 groups of 6 of 7 pictures by the patterns ")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^(S\d+)_", ["S1", "S1", "S2"]),  # searched for in the file's name
        ("(happy|sad)/", ["happy", "sad", "sad"]),  # and in the path where it has a slash
        (r"(?P<person>\d)_.*(2)", [None, "1", None]),
        ("none", [None, None, None]),
        ("auto", ["S1", "S1", "S2"]),
    ],
)
def test_given_patterns(pattern, expected):
    assert find_groups(["happy/S1_a.png", "sad/S1_2.png", "sad/S2_a.png"], ["x"] * 3, pattern).names == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^(S", "the group pattern ^(S is no regular expression: missing ), unterminated subpattern at position 1"),
        ("^S", "the group pattern ^S captures nothing: put ( ) around the part that names the group"),
        ("^(S)?", "the group pattern ^(S)? fits none of 2 pictures, such as happy/a.png"),
        ("(T)", "the group pattern (T) fits none of 2 pictures, such as happy/a.png"),
        ("()", "the group pattern () fits none of 2 pictures"),
    ],
)
def test_patterns_that_mean_nothing(pattern, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        find_groups(["happy/a.png", "sad/b.png"], ["x"] * 2, pattern)
    assert "\n" not in str(error.value)


@given(st.lists(st.text("aS01_-./ frame", max_size=20), max_size=12))
def test_any_names(paths):
    found = find_groups(paths, [None] * len(paths))
    sizes = Counter(name for name in found.names if name)
    assert len(found.names) == len(paths)
    assert not sizes or 1 < len(sizes) < sizes.total()


CARVED = {
    # names of the pictures; whether they are known; a pattern that says what they are
    "CK+48": ("{expression}/S{subject:03d}_{sequence:03d}_{frame:08d}.png", True, r"(S\d+)_"),
    "frames": ("{expression}/video{subject}_frame_{frame:04d}.jpg", True, r"(video\d+)"),
    "folders": ("{expression}/person{subject}/{sequence}-{frame}.png", True, r"/(person\d+)/"),
    "own": ("{expression}/x{subject:02d}{sequence}f{frame:02d}.png", False, r"/(x\d\d)"),
}


@pytest.mark.parametrize("name", CARVED)
def test_carved_splits(tmp_path, name):
    names, known, pattern = CARVED[name]
    root, out = trees.ck(tmp_path / "root", names), tmp_path / "out"
    shared = {}
    for choice in ("auto", "none", pattern):
        prepared = prepare("folder", root, out, valid_share=0.25, group_pattern=choice)
        report = verify("folder", root, valid_share=0.25, group_pattern=choice)
        splits = [read_split(out / f"{split}.parquet") for split in ("train", "valid")]
        people = [{re.search(pattern, source)[1] for source in split.sources} for split in splits]
        shared[choice] = len(people[0] & people[1])
        # Both say the same of it.
        assert prepared.description == report.description
        near = [f.message for f in report.findings if f.kind == "near-duplicates"]
        assert [warning.partition("; the first: ")[0] for warning in prepared.warnings if "nearly" in warning] == near
        assert bool(near) == (shared[choice] > 0)
        assert not near or near[0].endswith(
            "valid is carved from train: name a person or a video as a group with group_pattern"
        )
        assert not report.failed()
        assert report.failed(strict=True) == bool(report.findings)
        assert ("12 groups of 72 pictures by the pattern" in prepared.description) == (shared[choice] == 0)
        protocol = splits[1].metadata.protocol
        assert protocol.startswith(f"groups={choice} ") == (shared[choice] == 0), protocol
        assert abs(len(splits[1]) - 18) <= 6
    assert shared["none"] > 0
    assert shared[pattern] == 0
    assert (shared["auto"] == 0) == known


def test_a_column_of_groups_goes_before_names(tmp_path):
    root = trees.ck(tmp_path / "root")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    lines = [f"{path},{path.split('/')[0]},{path[-12:-4]}" for path in paths]
    trees.write_text(root / "labels.csv", "\n".join(["path,label,group", *lines]))
    out = tmp_path / "out"
    prepared = prepare("folder", root, out, valid_share=0.3)
    assert prepared.description == "labels.csv"
    assert set(read_split(out / "train.parquet").groups) < {"00000009", "00000010", "00000011"}
    near = next(warning for warning in prepared.warnings if "nearly equal" in warning)
    assert "group_pattern" not in near
    with pytest.raises(DataError, match=r"labels.csv has a column group: leave out group_pattern"):
        prepare("folder", root, out, group_pattern="(S)")
    trees.write_text(root / "labels.csv", "\n".join(["path,label", *(line.rpartition(",")[0] for line in lines)]))
    assert "12 groups of 72 pictures" in prepare("folder", root, out).description


def test_groups_that_are_too_large(tmp_path):
    root, out = trees.ck(tmp_path / "root"), tmp_path / "out"
    message = (
        r"the 12 groups of train are too large for a valid split of 0.02 of its faces: give a larger valid_share, or 0 "
        r"for none; these are 12 groups of 72 pictures by the pattern .*: group_pattern names others, or none"
    )
    with pytest.raises(DataError, match=message) as error:
        prepare("folder", root, out, valid_share=0.02)
    report = verify("folder", root, valid_share=0.02)
    assert [(f.kind, f.message) for f in report.findings if f.severity == "error"] == [("groups", str(error.value))]
    assert not out.exists()


def test_what_few_groups_do_not_hold_is_said(tmp_path):
    root = trees.ck(tmp_path / "root")
    warnings = prepare("folder", root, tmp_path / "out").warnings
    missing, few = warnings
    assert re.match(r"valid, carved from train in whole groups, has no face of .*: a larger valid_share takes", missing)
    assert few.startswith("valid, carved from train, holds 1 group (a person, video or picture), so figures and")
    assert [finding.message for finding in verify("folder", root).findings] == warnings
    assert prepare("folder", root, tmp_path / "out", valid_share=0.5).warnings == []
