"""Files that appear whole or not at all; links, pipes and devices stay what they are."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.files import (
    SHORT_NAME,
    OutputError,
    OutputFile,
    beside,
    check_output,
    completing,
    counted,
    did_you_mean,
    extended,
    is_special,
    partial_name,
    reason,
    sentence,
    sha256,
    unknown,
    write_whole,
)


def stream(path: Path, content: bytes, *, whole: bool = True) -> None:
    file = OutputFile(path)
    file.write(content)
    file.close(whole=whole)


def at_once(path: Path, content: bytes, *, whole: bool = True) -> None:
    with completing(path, whole=whole) as temporary:
        temporary.write_bytes(content)


WRITERS = [stream, at_once]
Writer = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of an earlier run."""
    earlier = tmp_path / "a.b.srt"
    earlier.write_text("an earlier run's")
    return earlier


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("whole", "left"),
    [(True, {"a.b.srt": "new"}), (False, {"a.b.srt": "an earlier run's", "a.b.srt.partial": "new"})],
)
def test_what_is_where(path: Path, write: Writer, whole: bool, left: dict[str, str]) -> None:
    write(path, b"new", whole=whole)
    assert contents(path.parent) == left
    write(path, b"newer")
    assert contents(path.parent) == {"a.b.srt": "newer"}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(path: Path, whole: bool, error: type[BaseException]) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        assert path.read_text() == "an earlier run's"
        raise error

    with pytest.raises(error), completing(path, whole=whole) as temporary:
        fail(temporary)
    assert contents(path.parent) == {"a.b.srt": "an earlier run's"}


def test_an_error_before_anything_was_written(path: Path) -> None:
    with pytest.raises(ValueError, match="no frame"), completing(path):
        raise ValueError("no frame")
    assert contents(path.parent) == {"a.b.srt": "an earlier run's"}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("links", [1, 2])
def test_a_links_target_is_written(tmp_path: Path, write: Writer, exists: bool, links: int) -> None:
    target, link = tmp_path / "real" / "r.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    if links == 2:
        (tmp_path / "between").symlink_to(Path("real", "r.csv"))
        link.symlink_to("between")
    else:
        link.symlink_to(target)
    check_output(link)
    write(link, b"new")
    assert link.is_symlink()
    assert contents(target.parent) == {"r.csv": "new"}


@pytest.mark.parametrize("write", WRITERS)
def test_links_in_a_circle(tmp_path: Path, write: Writer) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a", b"new")


@pytest.mark.parametrize("write", WRITERS)
def test_a_pipe_stays_a_pipe(tmp_path: Path, write: Writer) -> None:
    pipe, read = tmp_path / "pipe.mp4", []
    os.mkfifo(pipe)
    reader = Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_output(pipe)
    write(pipe, b"new")
    reader.join(10)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert read == [b"new"]
    assert os.listdir(tmp_path) == ["pipe.mp4"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_device_stays_a_device(tmp_path: Path, write: Writer) -> None:
    device = tmp_path / "null"  # a copy: a mistake here would break the machine's own
    with suppress(PermissionError):
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    if not device.exists():
        pytest.skip("making a device needs root")
    try:
        write(device, b"new")
    except PermissionError:
        pytest.skip("this file system has no devices")
    assert stat.S_ISCHR(device.lstat().st_mode)


SCRIPT = """
import sys
from apvit.files import OutputFile, check_output, completing
print("before")
check_output(sys.argv[2])
if sys.argv[1] == "stream":
    file = OutputFile(sys.argv[2]); file.write(b"new\\n"); file.close()
else:
    with completing(sys.argv[2]) as temporary:
        temporary.write_bytes(b"new\\n")
print("after")
"""


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="this system has no descriptors as files")
@pytest.mark.parametrize("writer", ["stream", "at once"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_descriptors(tmp_path: Path, writer: str, name: str) -> None:
    """Also where they lead to a file that is being added to: it is neither replaced nor cut."""
    if name == "link":
        name = str(tmp_path / "link")
        os.symlink("/dev/stdout", name)
    if not os.path.exists(name):
        pytest.skip(f"this system has no {name}")
    log = tmp_path / "log"
    log.write_text("earlier\n")
    with log.open("a") as file:
        subprocess.run([sys.executable, "-c", SCRIPT, writer, name], stdout=file, check=True)
    assert log.read_text() == "earlier\nbefore\nnew\nafter\n"


def test_process_substitution(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -c "$0" stream >(cat > {tmp_path}/out); sleep 0.2; wait'
    subprocess.run(["bash", "-c", command, SCRIPT], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out").read_text() == "new\n"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_gives_the_mode(path: Path, write: Writer, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(path, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "é" * 125 + ".csv", "n" * 255])
def test_the_longest_names(tmp_path: Path, write: Writer, name: str) -> None:
    write(tmp_path / name, b"half", whole=False)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"half"]
    write(tmp_path / name, b"new")
    assert contents(tmp_path) == {name: "new"}


@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300),
    st.sampled_from([".partial", ".unfinished.jsonl", "-2.png"]),
)
def test_a_longer_name_is_legal_where_the_name_is(name: str, suffix: str) -> None:
    longer = extended(name, suffix)
    assert len(os.fsencode(longer)) <= max(SHORT_NAME, len(os.fsencode(name)))
    assert longer.endswith(suffix)
    assert longer == name + suffix or len(os.fsencode(name + suffix)) > SHORT_NAME


def test_long_names_stay_apart() -> None:
    names = [extended("n" * 200 + end, ".partial") for end in "abc"]
    assert len(set(names)) == 3
    assert beside("a/b.csv", ".partial") == Path("a/b.csv.partial") == partial_name("a/b.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no name"),
        (".", "is a folder"),
        ("folder", "is a folder"),
        ("missing/a.csv", "missing of the output does not exist; make it first"),
        ("dangling", "elsewhere of the output does not exist"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("dangling").symlink_to("elsewhere/a.csv")
    with pytest.raises(OutputError, match=message):
        check_output(name)


def test_folders_and_files_are_not_special(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    assert not any(map(is_special, (tmp_path, tmp_path / "a", tmp_path / "none")))


@pytest.mark.parametrize("name", ["table.csv", "link.csv"])
def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").symlink_to("table.csv")
    file = OutputFile(tmp_path / name)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            file.write(b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        file.close(whole=False)
    assert sentence(caught.value).endswith("table.csv.partial")


def test_small_ones(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", "é\udcff")  # the folder is made; a name may be no valid Unicode
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é".encode() + rb"\udcff"
    write_whole(tmp_path / "empty", b"")
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("error", "whole", "without_file"),
    [
        (OSError(28, "No space left on device", "a.csv"), "No space left on device: a.csv", "No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device", "No space left on device"),
        (OSError("of a library"), "of a library", "of a library"),
        (MemoryError(), "not enough memory", "not enough memory"),
        (ValueError("two\n  lines"), "two lines", "two lines"),
        (ValueError(), "ValueError", "ValueError"),
    ],
)
def test_errors_in_one_sentence(error: Exception, whole: str, without_file: str) -> None:
    assert (sentence(error), reason(error)) == (whole, without_file)


def test_unknown_names() -> None:
    assert unknown("engine", "steam", ("torch", "onnx")) == "unknown engine 'steam'; known are torch, onnx"
    assert did_you_mean("apvit_tinny", ["apvit_small", "apvit_tiny"]) == " (did you mean 'apvit_tiny'?)"


@pytest.mark.parametrize(("number", "text"), [(0, "0 pictures"), (1, "1 picture"), (1200, "1,200 pictures")])
def test_counts(number: int, text: str) -> None:
    assert counted(number, "picture") == text
