from __future__ import annotations

import os
import zipfile

import pytest

from apvit.data import DataError
from apvit.data.sources import Source


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path, write_zip):
    root = tmp_path / "root"
    for name in ("a/b/table.csv", "a/b/x.png", "other/x.png", "mytable.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    path = root if request.param == "folder" else write_zip(tmp_path / "root.zip", root)
    with Source(path, "something") as opened:
        yield opened


def test_names_and_contents(source):
    assert source.names == ["a/b/table.csv", "a/b/x.png", "mytable.csv", "other/x.png"]
    assert source.read("a/b/x.png") == b"a/b/x.png"


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("b/table.csv", "a/b/table.csv"), ("table.csv", "a/b/table.csv"), ("mytable.csv", "mytable.csv"), ("c.csv", None)],
)
def test_find(source, ending, expected):
    assert source.find(ending) == expected


def test_find_refuses_to_guess(source):
    with pytest.raises(DataError, match=r"holds x.png more than once \(a/b/x.png, other/x.png\)"):
        source.find("x.png")


def test_read_errors(source):
    with pytest.raises(DataError, match=r"c.png is missing in"):
        source.read("c.png")
    with pytest.raises(DataError, match=r"mytable.csv in .* has 11 bytes, more than the 10"):
        source.read("mytable.csv", most=10)


def test_neither_folder_nor_zip(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; expected a dataset"):
        Source(tmp_path / "nowhere", "a dataset")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"text.zip is not a readable zip .*; expected a dataset"):
        Source(tmp_path / "text.zip", "a dataset")


def test_a_damaged_member_is_named(tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", b"good" * 10)
        archive.writestr("bad.txt", b"unique-content")
    data = path.read_bytes().replace(b"unique-content", b"unique-kontent")
    path.write_bytes(data)
    with Source(path, "") as source:
        assert source.read("good.txt") == b"good" * 10
        with pytest.raises(DataError, match=r"bad.txt in .* cannot be read \(Bad CRC-32"):
            source.read("bad.txt")


def test_there_is_no_limit_of_depth(tmp_path):
    deep = tmp_path.joinpath(*"abcdefghij")
    deep.mkdir(parents=True)
    (deep / "x.png").write_text("x")
    with Source(tmp_path, "") as source:
        assert source.names == ["a/b/c/d/e/f/g/h/i/j/x.png"]
        assert source.find("i/j/x.png") == "a/b/c/d/e/f/g/h/i/j/x.png"


def test_a_whole_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("apvit.data.sources.MAX_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    with pytest.raises(DataError, match="holds more than 2 files: give the dataset's own folder"):
        Source(tmp_path, "")


def test_pipes_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    with Source(tmp_path, "") as source:
        assert source.names == ["file"]


def test_links_are_followed_and_loops_end(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (real / "x.csv").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(real)
    (root / "loop").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "gone")
    with Source(root, "") as source:
        assert "linked/x.csv" in source.names
        # What is linked under another name is listed under it too; what holds itself is not.
        assert source.names == ["linked/x.csv"]


def test_shadows_of_macos_are_not_found(tmp_path):
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/label.csv", "1")
        archive.writestr("__MACOSX/a/label.csv", "2")
    with Source(path, "") as source:
        assert source.find("a/label.csv") == "a/label.csv"
