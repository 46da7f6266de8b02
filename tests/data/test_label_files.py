from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from apvit.data.label_files import LabelFiles, decimal, is_picture, some, stem_of
from apvit.data.sources import Source


@pytest.fixture
def files(tmp_path: Path) -> LabelFiles:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone 1\r\n\n  \ntwo \xff\n")
    (tmp_path / "b.csv").write_bytes(b'a, "b,c"\n\n"d\ne", f \n')
    return LabelFiles(Source(tmp_path, "two files"))


def test_lines_keep_their_numbers(files):
    # What is not UTF-8 is replaced, for the line to be reported as it reads.
    assert list(files.lines("a.txt")) == [(1, "one 1"), (4, "two \ufffd")]


def test_rows_keep_their_numbers(files):
    assert list(files.rows("b.csv")) == [(1, ["a", '"b', 'c"']), (4, ["d\ne", "f"])]


def test_a_table_that_is_none(files):
    (files.source.path / "b.csv").write_text("a," + "x" * 200_000)
    assert list(files.rows("b.csv")) == []
    assert files.malformed == ["line 1 of b.csv is not a line of a table (field larger than field limit (131072))"]


def test_digests(files):
    both = b"".join(files.read(name, one_of="*") or b"" for name in ("a.txt", "b.csv"))
    list(files.lines("a.txt"))
    first = (files.source.path / "a.txt").read_bytes()
    assert files.inputs == {
        "*": hashlib.sha256(both).hexdigest(),
        "a.txt": hashlib.sha256(first).hexdigest(),
    }


def test_a_file_that_cannot_be_read(files):
    assert files.read("c.txt") is None
    assert list(files.lines("c.txt")) == []
    assert files.malformed[0].startswith("c.txt is missing in ")
    assert files.inputs == {}


def test_pictures_in_two_places(files):
    index = files.index(["a/x.jpg", "b/x.jpg", "b/y.jpg", "b/z.txt"], lambda n: stem_of(n) if is_picture(n) else None)
    assert index == {"x": "a/x.jpg", "y": "b/y.jpg"}
    assert files.malformed == [
        "in two places stand 1 picture, the first: a/x.jpg and b/x.jpg: give a folder with one of them"
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.JPG", True),
        ("b.tiff", True),
        ("b.npy", False),
        ("jpg", False),
        ("a/._b.jpg", False),
        ("__MACOSX/a/b.jpg", False),
    ],
)
def test_is_picture(name, expected):
    assert is_picture(name) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("-1", -1), ("", None), ("-", None), ("3.0", None), ("٣", None)]
)
def test_decimal(text, expected):
    assert decimal(text) == expected


def test_some():
    assert some(["a"], "face") == "1 face, the first: a"
    assert some(["a"] * 1234, "face") == "1,234 faces, the first: a"
