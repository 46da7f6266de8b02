"""A file has its name only when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from apvit.recognition.files import completing, partial_name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of an earlier run."""
    earlier = tmp_path / "a.b.srt"
    earlier.write_text("an earlier run's")
    return earlier


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("whole", "left"),
    [(True, {"a.b.srt": "new"}), (False, {"a.b.srt": "an earlier run's", "a.b.srt.partial": "new"})],
)
def test_what_stands_where(path: Path, whole: bool, left: dict[str, str]) -> None:
    with completing(path, whole=whole) as partial:
        assert partial == partial_name(path)
        partial.write_text("new")
        assert path.read_text() == "an earlier run's"
    assert contents(path.parent) == left


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(path: Path, whole: bool, error: type[BaseException]) -> None:
    def fail(partial: Path) -> None:
        partial.write_text("ne")
        raise error

    with pytest.raises(error), completing(path, whole=whole) as partial:
        fail(partial)
    assert contents(path.parent) == {"a.b.srt": "an earlier run's"}


def test_an_error_before_anything_was_written(path: Path) -> None:
    with pytest.raises(ValueError, match="no frame"), completing(path):
        raise ValueError("no frame")
    assert contents(path.parent) == {"a.b.srt": "an earlier run's"}
