"""Annotated pictures keep their names, and nothing is overwritten that is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from apvit.recognition.album import Album

RED = Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a.jpg", "b.png"], ["a.jpg", "b.png"]),
        (["a.webp", "a.JPEG", "no suffix"], ["a.png", "a.JPEG", "no suffix.png"]),
        (["x/a.jpg", "y/a.jpg", "z/a.jpg"], ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        (["x/a.jpg", "y/A.JPG"], ["a.jpg", "A-2.JPG"]),
        (["x/a.jpg", "y/a.jpg", "a-2.jpg"], ["a.jpg", "a-2.jpg", "a-2-2.jpg"]),
        (["a-2.jpg", "x/a.jpg", "y/a.jpg"], ["a-2.jpg", "a.jpg", "a-3.jpg"]),
        (["x/a.png", "y/a.webp"], ["a.png", "a-2.png"]),
    ],
)
def test_names(tmp_path: Path, sources: list[str], names: list[str]) -> None:
    for _ in range(2):  # a second run replaces the first one's pictures
        album = Album(tmp_path / "new" / "folder")
        assert [album.save(source, RED).name for source in sources] == names
    assert sorted(p.name for p in album.folder.iterdir()) == sorted(names)
    for name in names:
        assert Image.open(album.folder / name).format == ("PNG" if name.endswith("png") else "JPEG")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_photograph_is_never_overwritten(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8), "blue").save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    saved = Album(tmp_path).save(tmp_path / name, RED)
    assert saved.stem == "photo-2"
    assert (tmp_path / name).read_bytes() == before
    assert Album(tmp_path).save(tmp_path / name, RED) == saved


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_another_file_is_never_overwritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert Album(tmp_path).save("a.jpg", RED).name == "a-2.jpg"
    assert (tmp_path / "a.jpg").read_bytes() == content


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="JPEG"):
        Album(tmp_path).save("a.jpg", RED.convert("RGBA"))
    assert list(tmp_path.iterdir()) == []
