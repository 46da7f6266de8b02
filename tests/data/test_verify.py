from __future__ import annotations

import json

import pytest

from apvit.data import DataError, verify
from apvit.data.verify import Identified, find_duplicates


def kinds(report) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in report.findings}


def finding(report, kind: str):
    return next(f for f in report.findings if f.kind == kind)


@pytest.fixture(params=["folders", "tables"])
def root(request, tmp_path, faces, write_folders, write_tables):
    return (write_folders if request.param == "folders" else write_tables)(tmp_path / "root", faces)


def test_report(root):
    report = verify("ferplus", root)
    assert kinds(report) == {
        "counts": "warning",
        "duplicates": "warning",
        "leaks": "warning",
        "contradictions": "warning",
    }
    assert not report.failed()
    assert report.failed(strict=True)
    train, valid, test = report.splits
    assert (train.split, train.faces, train.labelled, train.per_class["neutral"]) == ("train", 6, 4, 1)
    assert (valid.faces, valid.labelled, test.faces, test.labelled) == (2, 1, 1, 1)
    assert finding(report, "duplicates").message == "2 groups of equal pictures, 4 faces in all"
    leaks = [f.message for f in report.findings if f.kind == "leaks"]
    assert leaks == [
        "shared by train and valid: 1 group of equal pictures, with 1 face of valid, 1 of its 1 labelled ones",
        "shared by train and test: 1 group of equal pictures, with 1 face of test, 1 of its 1 labelled ones",
    ]
    assert finding(report, "contradictions").details == (
        "FER2013Train/fer0000002.png (happiness), FER2013Valid/fer0028709.png (surprise)",
        "FER2013Train/fer0000005.png (sadness), FER2013Test/fer0032298.png (contempt)",
    )
    counts = [f.message for f in report.findings if f.kind == "counts"]
    assert [message.split()[0] for message in counts] == ["train", "valid", "test"]
    assert json.loads(json.dumps(report.to_dict()))["splits"][0]["per_class"]["anger"] == 1


def test_published_counts_stand_beside(root):
    report = verify("ferplus", root)
    expected = (28561, 25060) if "votes of fer2013new.csv" in report.description else (28558, 25045)
    assert (report.splits[0].published_faces, report.splits[0].published_labelled) == expected


def test_progress(root):
    calls = []
    verify("ferplus", root, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 9) for i in range(1, 10)]


def test_broken_pictures_and_lines(tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    (root / "FER2013Train" / "fer0000000.png").unlink()
    (root / "FER2013Train" / "fer0000003.png").write_bytes(b"broken")
    (root / "FER2013Test" / "fer0099999.png").write_bytes(b"anything")
    with (root / "FER2013Valid" / "label.csv").open("a") as file:
        file.write("fer1.png\n")
        file.write('fer2.png,"(0, 0, 48, 48)",1,0,0,0,0,0,0,0,0,-1\n')
    report = verify("ferplus", root)
    assert report.failed()
    errors = {f.kind: f for f in report.findings if f.severity == "error"}
    assert errors["malformed"].message == "malformed: 2 lines"
    assert errors["malformed"].details == (
        "line 3 of FER2013Valid/label.csv has 1 fields instead of 12",
        "line 4 of FER2013Valid/label.csv has votes that are not counts: 1,0,0,0,0,0,0,0,0,-1",
    )
    assert errors["unreadable"].message == "missing or unreadable: 2 pictures"
    assert errors["unreadable"].details[0].startswith("FER2013Train/fer0000000.png is missing in")
    assert errors["unreadable"].details[1].startswith("FER2013Train/fer0000003.png is not a readable picture")
    assert finding(report, "unlisted").severity == "warning"
    assert finding(report, "unlisted").details == ("FER2013Test/fer0099999.png",)


def test_rows_without_a_name_are_counted(tmp_path, faces, write_tables):
    faces["FER2013Train"] += [("", (0,) * 9 + (10,), 7)] * 2
    report = verify("ferplus", write_tables(tmp_path, faces))
    assert "2 rows without an image name instead of 148" in finding(report, "counts").message


def test_an_empty_split(tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    (root / "FER2013Valid" / "label.csv").write_text("")
    valid = verify("ferplus", root).splits[1]
    assert (valid.faces, valid.labelled) == (0, 0)


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ([], {}),
        ([("train", "a", "anger", "1"), ("train", "b", "anger", "2")], {}),
        # Equal within a split, labels agree: a face without a label contradicts nothing.
        (
            [("train", "a", "anger", "1"), ("train", "b", None, "1")],
            {"duplicates": "1 group of equal pictures, 2 faces in all: a (anger), b (no label)"},
        ),
        (
            [("train", "a", "fear", "1"), ("train", "b", "anger", "1"), ("train", "c", "anger", "1")],
            {
                "duplicates": "1 group of equal pictures, 3 faces in all: a (fear), b (anger), c (anger)",
                "contradictions": "contradictory labels in 1 group of equal pictures: a (fear), b (anger), c (anger)",
            },
        ),
        (
            [
                ("train", "a", "fear", "1"),
                ("valid", "b", None, "1"),
                ("valid", "c", "fear", "1"),
                ("valid", "d", "fear", "2"),
            ],
            {
                "duplicates": "1 group of equal pictures, 3 faces in all: a (fear), b (no label), c (fear)",
                "leaks": "shared by train and valid: 1 group of equal pictures, with 2 faces of valid, "
                "1 of its 2 labelled ones: a (fear), b (no label), c (fear)",
            },
        ),
    ],
)
def test_find_duplicates(faces, expected):
    found = find_duplicates([Identified(*face) for face in faces])
    assert {f.kind: f"{f.message}: {'; '.join(f.details)}" for f in found} == expected
    assert all(f.severity == "warning" for f in found)


def test_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match=r"is not FER\+; expected"):
        verify("ferplus", tmp_path)
    with pytest.raises(DataError, match=r"unknown dataset 'raf-db'; known are ferplus"):
        verify("raf-db", tmp_path)


def test_the_real_data(ferplus_zip):
    report = verify("ferplus", ferplus_zip)
    assert kinds(report) == {"duplicates": "warning", "leaks": "warning", "contradictions": "warning"}
    assert finding(report, "duplicates").message == "1,270 groups of equal pictures, 2,789 faces in all"
    assert finding(report, "leaks").message == (
        "shared by train and valid: 269 groups of equal pictures, with 279 faces of valid, "
        "245 of its 3,191 labelled ones"
    )
    assert finding(report, "contradictions").message == "contradictory labels in 100 groups of equal pictures"
    assert [(counts.faces, counts.labelled) for counts in report.splits] == [(28558, 25045), (3579, 3191)]
    assert all(counts.per_class == counts.published_per_class for counts in report.splits)
