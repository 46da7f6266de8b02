"""Files, folders, patterns and lists become pictures and videos in a fixed order, each once, known by their content."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apvit.faces.pictures import PictureError, read_picture
from apvit.recognition import sources
from apvit.recognition.sources import PICTURE_SUFFIXES, download, expand_sources, kind_of, read_list, read_source

TREE = (
    *("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "photo[1].jpg", "no suffix", "program.ts"),
    *("sub/c.jpg", "sub/deep/d.webp", "sub/notes.txt", ".git/e.jpg", "empty/readme", "out/f.jpg"),
)
JPEG, MP4 = b"\xff\xd8\xff\xe0\0\x10JFIF", b"\0\0\0\x20ftypisom"


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
        (["b.jpg", "a.PNG", "b.jpg"], ["b.jpg", "a.PNG"]),
        (
            ["./b.jpg", "sub/../b.jpg", "sub//c.jpg", "sub", "sub/loop/b.jpg"],
            ["./b.jpg", "sub//c.jpg", "sub/deep/d.webp", "sub/loop/b.jpg"],
        ),
        (["s*/**/**/*.jpg"], ["sub/c.jpg"]),
        (
            ["https://host/a?b=*.jpg", "webcam:0", "s3://bucket//a"],
            ["https://host/a?b=*.jpg", "webcam:0", "s3://bucket//a"],
        ),
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


def test_videos_and_files_that_only_their_content_tells(tree: Path) -> None:
    (tree / "sub/clip.MKV").touch()
    (tree / "sub/clip").write_bytes(MP4)
    (tree / "sub/photo").write_bytes(JPEG)
    (tree / "sub/stream.ts").write_bytes(b"G" + bytes(187) + b"G")
    (tree / "sub/program.ts").write_text("let a = 1;")
    assert list(expand_sources(["sub"], videos=False)) == ["sub/c.jpg", "sub/photo", "sub/deep/d.webp"]
    assert list(expand_sources(["sub"])) == [
        *("sub/c.jpg", "sub/clip", "sub/clip.MKV", "sub/photo", "sub/stream.ts", "sub/deep/d.webp"),
    ]


def test_a_link_to_a_folder_leads_elsewhere(tree: Path) -> None:
    """Behind a link ".." is not where the link stands: other files."""
    (tree / "elsewhere/inner").mkdir(parents=True)
    (tree / "elsewhere/b.jpg").touch()
    (tree / "link").symlink_to(tree / "elsewhere/inner")
    names = ["b.jpg", "link/../b.jpg", "elsewhere/b.jpg"]
    assert list(expand_sources(names)) == names[:2]


def test_millions_of_names_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_RECENT", 100)
    seen = sources._Seen()
    names = [f"{number}.jpg" for number in range(1050)]
    assert all(map(seen.add, names))
    assert not any(map(seen.add, names))
    assert seen._sorted.nbytes == 8 * 1000


LIST = ["b.jpg", "sub", " spaced.jpg", "caf\u00e9.jpg", "last.jpg"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", pytest.param("utf-16-be", id="utf-16-be with its mark")]
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_list_in_every_encoding(tree: Path, encoding: str, end: str, piece: int) -> None:
    lines = ["\ufeff" * (encoding == "utf-16-be") + "# a comment", "", "  ", *LIST[:3], "#.jpg", *LIST[3:]]
    (tree / "#.jpg").touch()  # a file of that name is meant, not a comment
    for last in ("", end):
        content = (end.join(lines) + last).encode(encoding)
        assert list(read_list(Pieces(content, piece))) == [*LIST[:3], "#.jpg", *LIST[3:]]


class Pieces(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, piece: int) -> None:
        super().__init__(content)
        self.piece = piece

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.piece)


@pytest.mark.skipif(os.name == "nt", reason="names there are Unicode")
@given(
    st.lists(
        st.binary(min_size=1).filter(lambda name: b"\0" not in name and not name.startswith(b"\xef\xbb")), max_size=5
    )
)
def test_names_of_any_bytes_pass_through_a_list_that_is_separated_by_nul(names: list[bytes]) -> None:
    if names and names[0][:2] in (b"\xff\xfe", b"\xfe\xff"):
        names[0] = b"a"
    content = b"".join(name + b"\0" for name in names)
    assert [os.fsencode(name) for name in read_list(io.BytesIO(content), null=True)] == names


def test_a_list_on_standard_input(tree: Path) -> None:
    lines = b"b.jpg\n\nsub\r\n spaced.jpg\n*.PNG\nhttp://host/photo.jpg\ncaf\xe9.jpg\nsub/c.jpg\nlast.jpg"
    expected = ["b.jpg", "sub/c.jpg", "sub/deep/d.webp", " spaced.jpg", "a.PNG", "http://host/photo.jpg"]
    expected += [os.fsdecode(b"caf\xe9.jpg"), "last.jpg"]
    assert list(expand_sources(["-"], stdin=io.BytesIO(lines))) == expected
    assert list(expand_sources(["-"], null=True, stdin=io.BytesIO(b"#\0sub\0a\nb.jpg\0"))) == [
        *("#", "sub/c.jpg", "sub/deep/d.webp", "a\nb.jpg"),
    ]


@pytest.mark.parametrize(
    ("inputs", "warning"),
    [
        (["empty"], "no pictures or videos in the folder empty"),
        (["-"], "standard input named no picture"),
        (["b.jpg"], None),
        (["b.jpg", "*.jpg", "b.jpg"], "what is named more than once is done once: left out 2 repetitions"),
    ],
)
def test_nothing_to_do_is_a_warning(tree: Path, inputs: list[str], warning: str | None) -> None:
    warnings: list[str] = []
    list(expand_sources(inputs, stdin=io.BytesIO(b"\n"), warn=warnings.append))
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
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() == len(self.getvalue()):
                raise AssertionError("more was read before it was needed")
            return super().read1(size)

    assert next(expand_sources(["-"], stdin=Endless(b"b.jpg\na.PNG\n"))) == "b.jpg"


def picture(form: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(content, form)
    return content.getvalue()


def video(form: str, codec: str) -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format=form) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    return content.getvalue()


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.jpg"))
    return content.getvalue()


def table() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.jpg"]}), content)
    return content.getvalue()


PICTURES = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "ICO", "PPM", "AVIF", "MPO")
VIDEOS = (
    *(("mp4", "libx264"), ("mov", "libx264"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")),
    *(("mpegts", "libx264"), ("mpeg", "mpeg2video"), ("flv", "libx264"), ("asf", "mpeg4"), ("3gp", "libx264")),
    *(("mxf", "mpeg2video"),),
)


@pytest.mark.parametrize("name", ["named", "named.jpg", "named.mp4", "named.txt"])
def test_content_tells_what_a_file_is_whatever_its_name(tmp_path: Path, name: str) -> None:
    contents = [(form, picture(form), "picture") for form in PICTURES if form in Image.SAVE]
    contents += [(form, video(form, codec), "video") for form, codec in VIDEOS]
    contents += [("tar", tar(), "tar"), ("parquet", table(), "table")]
    for form, content, kind in contents:
        (tmp_path / name).write_bytes(content)
        assert (form, kind_of(str(tmp_path / name))) == (form, kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            ("photo.jpg", "picture"),
            ("clip.MP4", "video"),
            ("names.txt", "list"),
            ("a.parquet", "table"),
            ("a", "picture"),
        ),
        *(("a.tar", "tar"), (".", "folder"), ("webcam:0", "video"), ("webcam", "picture"), ("rtsp://h/live", "video")),
        *(("https://h/clip.mp4?a=b.jpg", "video"), ("http://h/photo.JPG", "picture"), ("s3://bucket/a.mp4", "store")),
        ("\0", "picture"),
    ],
)
def test_where_there_is_no_content_the_suffix_counts(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["s3://bucket/a b.png", "gs://bucket", "file:///a.png", "a.parquet", "a.tar", "a.txt"])
def test_what_only_an_archive_reads_is_named_with_the_option_for_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"image": [b""]}), "a.parquet")
    with tarfile.open("a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    Path("a.txt").write_text("b.png\n")
    with pytest.raises(
        PictureError, match=r"archive run(?: reads)?: `apvit recognize INPUT --ray local --output FOLDER`"
    ) as caught:
        read_source(name)
    assert str(caught.value).startswith(f"{name} is a")
    with pytest.raises(PictureError, match="does not exist"):
        read_source(Path("gone.tar"))


def test_a_folder_of_shards_alone_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/0.tar").touch()
    warnings: list[str] = []
    assert not list(expand_sources([str(tmp_path)], warn=warnings.append))
    assert warnings == [
        f"no pictures or videos in the folder {tmp_path}; its tar and Parquet files are read by "
        "`apvit recognize INPUT --ray local --output FOLDER`"
    ]


def test_a_pipe_is_not_read_to_know_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert kind_of(str(tmp_path / "pipe.mp4")) == "video"


def test_every_suffix_of_the_formats_that_are_read_counts_as_a_picture() -> None:
    readable = {suffix for suffix, form in Image.registered_extensions().items() if form in PICTURES}
    assert {*readable, ".tga", ".hif", ".heic"} <= set(PICTURE_SUFFIXES)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A photograph at /photo.png and at /photo, a video at /clip, a page that is missing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = {"/photo.png": picture("PNG"), "/photo": picture("JPEG"), "/clip": MP4}.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + (self.path == "/cut")))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_video_where_a_picture_is_needed_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(MP4)
    with pytest.raises(PictureError, match=r"photo.jpg is a video, where a picture is needed; .*Recognizer.video"):
        read_source(tmp_path / "photo.jpg")


def test_pictures_by_their_url(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [kind_of(f"{server}/{name}") for name in ("photo.png", "photo", "clip", "missing")] == [
        *("picture", "picture", "video", "picture"),
    ]
    assert read_source(f"{server}/photo").shape == (16, 16, 3)
    with pytest.raises(PictureError, match=r"missing cannot be downloaded \(HTTP Error 404: Not Found\); check"):
        read_source(f"{server}/missing")
    monkeypatch.setattr(sources, "MAX_DOWNLOAD", 10)
    with pytest.raises(PictureError, match="more than the 10 bytes allowed"):
        download(f"{server}/photo")
    with pytest.raises(PictureError):
        read_picture(f"{server}/photo")  # what the service calls: it fetches nothing
