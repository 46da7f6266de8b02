"""Files, folders, patterns and lists become pictures in a fixed order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apvit.recognition.sources import expand_sources

TREE = (
    *("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "photo[1].jpg", "no suffix"),
    *("sub/c.jpg", "sub/deep/d.webp", "sub/notes.txt", ".git/e.jpg", "empty/readme", "out/f.jpg"),
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (tmp_path / "linked.jpg").symlink_to(tmp_path / "b.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL = ["./a.PNG", "./b.jpg", "./linked.jpg", "./photo[1].jpg", "./sub/c.jpg", "./sub/deep/d.webp"]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["b.jpg", "a.PNG", "b.jpg"], ["b.jpg", "a.PNG", "b.jpg"]),
        (["notes.txt"], ["notes.txt"]),
        (["missing.jpg"], ["missing.jpg"]),
        ([".hidden.jpg"], [".hidden.jpg"]),
        (["."], ALL),
        (["sub"], ["sub/c.jpg", "sub/deep/d.webp"]),
        (["sub/"], ["sub/c.jpg", "sub/deep/d.webp"]),
        ([".git"], [".git/e.jpg"]),
        (["out"], ["out/f.jpg"]),
        (["*.jpg"], ["b.jpg", "linked.jpg", "photo[1].jpg"]),
        (["photo[1].jpg"], ["photo[1].jpg"]),
        (["[ab].*"], ["a.PNG", "b.jpg"]),
        (["?.jpg"], ["b.jpg"]),
        (["*.txt"], ["notes.txt"]),
        ([".h*"], [".hidden.jpg"]),
        (["*.gif"], ["*.gif"]),
        (["**/*.jpg"], ["b.jpg", "linked.jpg", "photo[1].jpg", "sub/c.jpg"]),
        (["**/*.webp"], ["sub/deep/d.webp"]),
        (["**/d*"], ["sub/deep/d.webp"]),
        (["su*/*"], ["sub/c.jpg", "sub/deep/d.webp", *(f"sub/loop/{n[2:]}" for n in ALL), "sub/notes.txt"]),
        (["su*/c.jpg"], ["sub/c.jpg"]),
        (["sub/**"], ["sub/c.jpg", "sub/deep/d.webp"]),
        (["s?b"], ["sub/c.jpg", "sub/deep/d.webp"]),
        (["o?t"], ["o?t"]),
        (["nowhere/*/x.jpg"], ["nowhere/*/x.jpg"]),
    ],
)
def test_inputs_become_pictures(tree: Path, inputs: list[str], expected: list[str]) -> None:
    assert list(expand_sources(inputs, skip="out" if inputs != ["out"] else None)) == expected


def test_an_absolute_pattern(tree: Path) -> None:
    assert list(expand_sources([f"{tree}/sub/**/*.webp"])) == [str(tree / "sub/deep/d.webp")]


def test_the_output_folder_is_passed_over(tree: Path) -> None:
    assert list(expand_sources(["."], skip=tree / "out")) == ALL
    assert "./out/f.jpg" in list(expand_sources(["."]))


def test_a_list_on_standard_input(tree: Path) -> None:
    lines = [b"b.jpg\n", b"\n", b"sub\r\n", b" spaced.jpg\n", b"*.PNG\n", b"last.jpg", b"caf\xe9.jpg\n"]
    expected = [
        "b.jpg",
        "sub/c.jpg",
        "sub/deep/d.webp",
        " spaced.jpg",
        "a.PNG",
        "last.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
    ]
    assert list(expand_sources(["-"], stdin=lines)) == expected


@pytest.mark.parametrize(
    ("inputs", "warning"),
    [(["empty"], "no pictures in the folder empty"), (["-"], "standard input named no picture"), (["b.jpg"], None)],
)
def test_nothing_to_do_is_a_warning(tree: Path, inputs: list[str], warning: str | None) -> None:
    warnings: list[str] = []
    list(expand_sources(inputs, stdin=[b"\n"], warn=warnings.append))
    assert warnings == ([] if warning is None else [warning])


def test_a_folder_that_cannot_be_listed_is_an_input_with_an_error(tree: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list every folder")
    (tree / "sub/deep").chmod(0)
    try:
        assert list(expand_sources(["sub"])) == ["sub/c.jpg", "sub/deep"]
    finally:
        (tree / "sub/deep").chmod(0o755)


def test_expansion_is_lazy(tree: Path) -> None:
    def lines():
        yield b"b.jpg\n"
        raise AssertionError("the second line was read before it was needed")

    assert next(expand_sources(["-"], stdin=lines())) == "b.jpg"
