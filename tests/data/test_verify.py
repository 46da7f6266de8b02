from __future__ import annotations

import json

import pytest
from PIL import Image
from tests.data import trees

from apvit.data import DataError, verify


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
    assert errors["unreadable"].details[1].startswith("FER2013Train/fer0000003.png is not a picture in a known")
    notes = [f.message for f in report.findings if f.kind == "notes"]
    assert notes == ["named by no label.csv, so not used, are 1 picture, the first: FER2013Test/fer0099999.png"]


def test_rows_without_a_name_are_counted(tmp_path, faces, write_tables):
    faces["FER2013Train"] += [("", (0,) * 9 + (10,), 7)] * 2
    report = verify("ferplus", write_tables(tmp_path, faces))
    assert "2 rows have no image name instead of 148" in finding(report, "counts").message


def test_an_empty_split(tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    (root / "FER2013Valid" / "label.csv").write_text("")
    report = verify("ferplus", root)
    assert [counts.split for counts in report.splits] == ["train", "test"]
    assert finding(report, "malformed").details == ("FER2013Valid/label.csv names no picture",)


@pytest.fixture
def subjects(tmp_path, photographs):
    """anna in train and test; a photograph in train, encoded anew in test; one equal picture; one note."""
    lines = ["a.png,happy,train,anna", "b.png,sad,train,ben", "c.png,happy,test,anna", "d.png,sad,test,carl"]
    root = trees.labels_csv(tmp_path / "root", lines, header="path,label,split,group")
    with Image.open(photographs["astronaut"]) as picture:
        picture.convert("RGB").resize((128, 128)).save(root / "b.png")
        picture.convert("RGB").resize((100, 100)).save(root / "d.jpg", quality=50)
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("d.png", "d.jpg"))
    (root / "d.png").unlink()
    return root


def test_near_duplicates_and_straddling_subjects(subjects):
    report = verify("folder", subjects, valid_share=0)
    found = {f.kind: (f.message, f.details) for f in report.findings}
    assert found["near-duplicates"] == (
        "shared by train and test: 1 pair of nearly equal pictures, with 1 face of test; 0 have different labels",
        ("b.png (sadness), d.jpg (sadness)",),
    )
    assert found["groups"] == (
        "shared by train and test: 1 group (a subject, video or picture), with 1 face of test",
        ("anna: 1 face in train, 1 in test",),
    )
    assert not report.failed()
    assert report.failed(strict=True)


@pytest.mark.parametrize(
    ("line", "kind", "detail"),
    [
        ("a.png,smug,train,x", "malformed", "smug"),
        ("a.png,happy,trial,x", "malformed", "trial"),
    ],
)
def test_errors_of_any_dataset(subjects, line, kind, detail):
    with (subjects / "labels.csv").open("a") as file:
        file.write(line)
    (subjects / "c.png").write_bytes(b"broken")
    report = verify("folder", subjects)
    assert report.failed()
    (unreadable,) = finding(report, "unreadable").details
    assert unreadable.startswith("c.png is not a picture in a known format")
    assert detail in finding(report, kind).details[0]


def test_counts_of_another_dataset_stand_beside_the_published_ones(tmp_path):
    report = verify("raf-db", trees.raf_db(tmp_path))
    train, test = report.splits
    assert (train.published_labelled, train.published_per_class["happiness"], test.published_labelled) == (
        12271, 4772, 3068,
    )  # fmt: skip
    counts = [f.message for f in report.findings if f.kind == "counts"]
    assert counts[0].startswith("train differs from the published counts (the official list has exactly these;")
    assert "14 labelled instead of 12,271" in counts[0]


def test_uncertain_published_counts_say_so(tmp_path):
    report = verify("sfew", trees.sfew(tmp_path), pictures="frames")
    assert "train differs from the published counts, which are not certain (" in finding(report, "counts").message


def test_an_option_that_the_dataset_does_not_have(tmp_path):
    with pytest.raises(DataError, match="sfew has no option classes; its own are pictures"):
        verify("sfew", trees.sfew(tmp_path), classes=7)


def test_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match=r"is not FER\+; expected"):
        verify("ferplus", tmp_path)
    with pytest.raises(DataError, match=r"unknown dataset 'rafdb' \(did you mean 'raf-db'\?\); known are raf-db"):
        verify("rafdb", tmp_path)


def test_the_real_data(ferplus_zip):
    report = verify("ferplus", ferplus_zip)
    expected = ("duplicates", "leaks", "contradictions", "near-duplicates")
    assert kinds(report) == dict.fromkeys(expected, "warning")
    assert finding(report, "near-duplicates").message == (
        "shared by train and valid: 349 pairs of nearly equal pictures, with 243 faces of valid; "
        "16 have different labels"
    )
    assert finding(report, "duplicates").message == "1,270 groups of equal pictures, 2,789 faces in all"
    assert finding(report, "leaks").message == (
        "shared by train and valid: 269 groups of equal pictures, with 279 faces of valid, "
        "245 of its 3,191 labelled ones"
    )
    assert finding(report, "contradictions").message == "contradictory labels in 100 groups of equal pictures"
    assert [(counts.faces, counts.labelled) for counts in report.splits] == [(28558, 25045), (3579, 3191)]
    assert all(counts.per_class == counts.published_per_class for counts in report.splits)
