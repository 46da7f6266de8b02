"""An archive's list, its shards and their files, without Ray: a worker is run where the test runs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.recognition.clips import write_clip

from apvit.faces.pictures import PictureError
from apvit.files import sha256
from apvit.recognition.archive import Archive, ArchiveError
from apvit.recognition.archive.folder import MANIFEST, Job, ResultFolder
from apvit.recognition.archive.inputs import Inputs, Rows, Shard, gather_inputs
from apvit.recognition.archive.locations import is_uri, join, kind, locate
from apvit.recognition.archive.pictures import pictures
from apvit.recognition.archive.pool import check_address
from apvit.recognition.archive.videos import frames
from apvit.recognition.archive.worker import GIVEN_UP_AFTER, ShardWorker, Task
from apvit.recognition.video.errors import VideoError
from apvit.recognition.video.sampling import Every

BAD_ADDRESSES = ("", "not an address", "127.0.0.1", "host:", ":6379", "host:port", "http://host:80", "a:1:2", "[::1:6")
JOB = Job(25, "a" * 64, 10, "b" * 64, {"detector": "none", "min_face": None})


def png(seed: int = 0, size: int = 48) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def make_tar(path: Path, members: list[tuple[str, bytes | tarfile.TarInfo]]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(content, bytes) else content
            member.name = name
            if isinstance(content, bytes):
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)


def names(inputs: Inputs) -> list[str]:
    return [os.fsdecode(name) for name in inputs.pictures.to_pylist()]


def contents(inputs: Inputs, size: int) -> list[Any]:
    """What the shards hold, one after the other: names, and (file, row)."""
    flat: list[Any] = []
    for number in range(-(-len(inputs) // size)):
        shard = inputs.shard(number, size)
        assert shard.number == number
        assert len(shard) == min(size, len(inputs) - number * size)
        flat += shard.pictures
        flat += [(rows.path, row) for rows in shard.rows for row in rows.numbers]
    return flat


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, a list and two Parquet files in the current folder, and what must be passed over."""
    monkeypatch.chdir(tmp_path)
    for path in (
        "in/b.png",
        "in/a b.JPG",
        "in/.hidden.png",
        "in/.git/x.png",
        "in/sub/c.png",
        "in/out/part.png",
        "d.png",
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(png())
    Path("in/notes.md").touch()
    Path("in/circle").symlink_to(Path("in").absolute())
    Path("list.txt").write_bytes(
        b"d.png\r\n\ns3://bucket/a b.png\n/elsewhere/e.png\nd.png\nhttps://host/f.png?size=1\ns3://bucket/g.tar"
    )
    make_tar(Path("in/tar.tgz"), [("x.png", png())])
    pq.write_table(pa.table({"image": [png(1), None, b"no picture"], "source": ["x", "y", "z"]}), "in/bytes.parquet")
    pq.write_table(pa.table({"path": ["d.png", None, "in/b.png"]}), "paths.parquet")
    return tmp_path


def test_all_that_can_be_named(tree: Path) -> None:
    warnings: list[str] = []
    named = ["in", "list.txt", "paths.parquet", "d.png", "in/**/*.png", "in/tar.tgz"]
    inputs = gather_inputs(named, skip="in/out", warn=warnings.append)
    local = ("in/a b.JPG", "in/sub/c.png")
    remote = ("/elsewhere/e.png", "s3://bucket/a b.png", "https://host/f.png?size=1")
    assert names(inputs) == sorted([*remote, *(str(tree / name) for name in local)])
    here = os.getcwd()
    assert inputs.tables == (
        Rows(str(tree / "in/bytes.parquet"), "image", range(3), False, here),
        Rows(str(tree / "paths.parquet"), "path", range(3), True, here),
    )
    assert inputs.tars == (str(tree / "in/tar.tgz"), "s3://bucket/g.tar")
    assert len(inputs) == 11
    assert inputs.columns.names == ["source"]
    # in/b.png of the folder and the pattern, in/sub/c.png of the pattern, d.png twice in the list and once alone, a tar
    assert warnings == ["what is named more than once is done once: left out 7 repetitions"]


def test_order_and_repetition_of_what_is_named_do_not_matter(tree: Path) -> None:
    first = gather_inputs(["in", "list.txt"])
    second = gather_inputs([str(tree / "list.txt"), "in/sub", "./in"])
    assert second.digest() == first.digest()
    assert contents(second, 2) == contents(first, 2)
    assert gather_inputs(["in"]).digest() != first.digest()


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=3),
    st.lists(st.sampled_from("abcdef"), max_size=6),
)
def test_each_once_across_tables_and_lists(tables: list[list[str]], listed: list[str]) -> None:
    with TemporaryDirectory() as folder:
        for number, column in enumerate(tables):
            pq.write_table(
                pa.table({"path": pa.array([f"/{c}" for c in column], pa.string())}), f"{folder}/{number}.parquet"
            )
        Path(folder, "list.txt").write_text("/z\n" + "".join(f"/{c}\n" for c in listed))
        inputs = gather_inputs([folder, f"{folder}/list.txt"])
        whole = [row for table in tables for row in table]
        shard = inputs.shard(0, 100)
        found = [name.removeprefix("/") for name, _ in pictures(shard)]
    assert Counter(found) == dict.fromkeys({*whole, *listed, "z"}, 1)
    assert [name for name in found if name in whole] == list(dict.fromkeys(whole)), (
        "tables keep their order and come first"
    )
    assert inputs.repeated == len(whole) + len(listed) + 1 - len(found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_lists_are_read_as_everywhere(encoding: str, tmp_path: Path) -> None:
    text = "# faces of 1999\r\n\r\n/a/é.png\r\nhttp://host/x.jpg\n \n/shards/0.tar"
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (tmp_path / "list.txt").write_bytes((mark + text).encode(encoding))
    inputs = gather_inputs([str(tmp_path / "list.txt")])
    assert (names(inputs), inputs.tars) == (["/a/é.png", "http://host/x.jpg"], ("/shards/0.tar",))


def test_a_name_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Path(path).write_bytes(png())
    inputs = gather_inputs([str(tmp_path)])
    assert names(inputs) == [path]
    ((name, read),) = pictures(inputs.shard(0, 5))
    assert (name, read().shape) == (path, (48, 48, 3))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("missing.txt", "missing.txt cannot be read .*check the name"),
        ("missing.parquet", "missing.parquet cannot be read"),
        ("broken.parquet", "broken.parquet cannot be read"),
        ("other.parquet", "other.parquet has the columns face, label, and none of image, path, uri; rename"),
        ("numbers.parquet", "the column image of .*numbers.parquet is int64; it must hold encoded pictures"),
        ("empty", "there is no picture or video in empty; name"),
        ("nothing.txt", "there is no picture or video in nothing.txt"),
        ("zz://bucket/folder", "pyarrow cannot open 'zz://bucket/folder' .*check the URI"),
    ],
)
def test_inputs_that_cannot_be_listed(
    named: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("nothing.txt").write_text("\n\n")
    Path("broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"face": [b""], "label": [0]}), "other.parquet")
    pq.write_table(pa.table({"image": [1]}), "numbers.parquet")
    with pytest.raises(ArchiveError, match=message) as caught:
        gather_inputs([named])
    assert "\n" not in str(caught.value)


@given(
    st.lists(st.binary(min_size=1, max_size=3), unique=True).map(sorted),
    st.lists(st.integers(1, 30), max_size=4),
    st.integers(1, 12),
)
def test_shards_are_a_partition(pictures: list[bytes], lengths: list[int], size: int) -> None:
    tables = tuple(Rows(f"{i}.parquet", "image", range(n)) for i, n in enumerate(lengths))
    inputs = Inputs(pa.array(pictures, pa.large_binary()), tables, ("a.tar", "b.tar"))
    assert contents(inputs, size) == [*pictures, *((t.path, row) for t in tables for row in t.numbers)]
    shards = -(-len(inputs) // size)
    assert [inputs.shard(shards + i, size) for i in (0, 1)] == [
        Shard(shards + i, (), (), tar) for i, tar in enumerate(inputs.tars)
    ]


@pytest.mark.parametrize(
    ("name", "uri", "joined"),
    [
        ("photos/a", False, "photos/a/x/y.png"),
        ("s3://bucket", True, "s3://bucket/x/y.png"),
        ("s3://bucket/a b/", True, "s3://bucket/a b/x/y.png"),
        ("s3://b/a?region=r&endpoint_override=h:1", True, "s3://b/a/x/y.png?region=r&endpoint_override=h:1"),
        ("s3://b/what?.png", True, "s3://b/what?.png/x/y.png"),
        ("C:/photos", False, "C:/photos/x/y.png"),
    ],
)
def test_names_and_uris(name: str, uri: bool, joined: str) -> None:
    assert is_uri(name) == uri
    assert join(name, "x/y.png") == joined


def test_file_uris(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/c 100%.png").write_bytes(png())
    inputs = gather_inputs([f"file://{tmp_path}/a%20b"])
    ((name, read),) = pictures(inputs.shard(0, 1))
    assert read().shape == (48, 48, 3)
    assert locate(name)[1] == str(tmp_path / "a b/c 100%.png")


# --- tar files


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


def read_all(shard: Shard) -> dict[str, str]:
    """What became of each input: "ok", or its error."""
    found: dict[str, str] = {}
    for name, read in pictures(shard):
        assert name not in found
        try:
            found[name] = "ok" if read().shape == (48, 48, 3) else "?"
        except PictureError as error:
            found[name] = str(error)
            assert len(found[name].splitlines()) == 1
    return found


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".tar.gz"])
def test_a_tar_with_odd_members(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apvit.recognition.archive.pictures.MAX_PICTURE_BYTES", 20_000)
    path = tmp_path / f"shard-0{suffix}"
    make_tar(
        path,
        [
            ("folder", special(tarfile.DIRTYPE)),
            ("folder.png", special(tarfile.DIRTYPE)),
            ("./0.png", png(0)),
            ("0.cls", b"3"),
            ("0.json", b"{}"),
            ("folder/a é b.face.JPG", png(1)),
            ("/root/../etc/1.png", png(2)),
            ("../../2.png", png(3)),
            (f"{'long/' * 60}3.png", png(4)),
            ("bad.jpg", b"no picture"),
            ("empty.png", b""),
            ("huge.png", bytes(20_001)),
            ("._0.png", b"AppleDouble"),
            (".cache/4.png", png(5)),
            ("soft.png", special(tarfile.SYMTYPE, "/etc/passwd")),
            ("hard.png", special(tarfile.LNKTYPE, "0.png")),
            ("pipe.png", special(tarfile.FIFOTYPE)),
            ("device.png", special(tarfile.CHRTYPE)),
            ("clip.mp4", b"video"),
        ],
    )
    found = {name.removeprefix(f"{path}/"): what for name, what in read_all(Shard(0, (), (), str(path))).items()}
    good = ("0.png", "folder/a é b.face.JPG", "etc/1.png", "2.png", f"{'long/' * 60}3.png")
    assert {name for name, what in found.items() if what == "ok"} == set(good)
    errors = {
        "bad.jpg": "is not a picture in a known format",
        "empty.png": "holds no picture; leave it out or fill it",
        "huge.png": "has 20,001 bytes, more than the 20,000 allowed",
        "soft.png": "is a link to '/etc/passwd', which is not followed",
        "hard.png": "is a link to '0.png', which is not followed",
        "clip.mp4": "is a video, which is not read inside a tar; unpack it",
    }
    assert found.keys() == {*good, *errors}
    assert all(text in found[name] for name, text in errors.items())


def damaged(content: bytes, how: str) -> bytes:
    header = 3 * 512 + 3 * -(-len(png()) // 512) * 512  # of the fourth of equal members
    return {
        "nothing": b"",
        "no tar": b"something else" * 100,
        "cut in a header": content[: header + 100],
        "cut in a picture": content[: header + 1000],
        "cut between pictures": content[:header],
        "a header of noise": content[:header] + b"\xa5" * 512 + content[header + 512 :],
    }[how]


@pytest.mark.parametrize(
    ("how", "pictures"),
    [
        *(("nothing", 0), ("no tar", 0), ("cut in a header", 3), ("cut in a picture", 3)),
        *(("cut between pictures", 3), ("a header of noise", 3)),
    ],
)
def test_a_damaged_tar_gives_what_is_whole_and_an_error(how: str, pictures: int, tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    make_tar(path, [(f"{i}.png", png()) for i in range(6)])
    path.write_bytes(damaged(path.read_bytes(), how))
    found = read_all(Shard(0, (), (), str(path)))
    error = found.pop(str(path))
    assert f"cannot be read beyond {pictures} pictures" in error
    assert found == {f"{path}/{i}.png": "ok" for i in range(pictures)}


def test_a_tar_that_is_not_there_or_holds_no_picture(tmp_path: Path) -> None:
    make_tar(tmp_path / "notes.tar", [("notes.md", b"")])
    assert "cannot be read" in read_all(Shard(0, (), (), str(tmp_path / "gone.tar")))[str(tmp_path / "gone.tar")]
    assert "holds no picture" in read_all(Shard(0, (), (), str(tmp_path / "notes.tar")))[str(tmp_path / "notes.tar")]


# --- the folder of results


def test_a_job_finds_its_finished_shards_again(tmp_path: Path) -> None:
    folder = ResultFolder(str(tmp_path / "new/out"))
    assert folder.start(JOB) == set()
    folder.publish(1, b"one")
    folder.write("_work/part-000002.trail", b"{}")
    (tmp_path / "new/out/_work/part-000000.parquet.0123").write_bytes(b"half of")
    assert folder.start(JOB) == {1}
    folder.tidy()
    folder.tidy()
    assert {path.name for path in (tmp_path / "new/out").rglob("*")} == {MANIFEST, "part-000001.parquet"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Job(26, "a" * 64, 10, "b" * 64, JOB.options), r"\(inputs 25 there and 26 here\)"),
        (Job(25, "c" * 64, 10, "b" * 64, JOB.options), r"\(inputs sha256 aaaaaaaa... there and cccccccc... here\)"),
        (Job(25, "a" * 64, 10, "d" * 64, JOB.options), r"\(weights sha256 bbbbbbbb... there and dddddddd... here\)"),
        (
            Job(25, "a" * 64, 5, "b" * 64, {"detector": "mtcnn", "min_face": None}),
            r"\(detector none there and mtcnn here, shard size 10 there and 5 here\)",
        ),
    ],
)
def test_another_job_is_refused_in_one_sentence(other: Job, message: str, tmp_path: Path) -> None:
    folder = ResultFolder(str(tmp_path))
    folder.start(JOB)
    folder.start(other)  # nothing was done yet, so nothing is lost
    folder.start(JOB)
    folder.publish(0, b"")
    with pytest.raises(ArchiveError, match=rf"holds the results of another job {message}; choose another output"):
        folder.start(other)
    assert folder.start(JOB) == {0}


@pytest.mark.parametrize(("manifest", "message"), [(None, "no _manifest.json"), (b"{", "is damaged")])
def test_a_folder_that_is_no_job_is_left_alone(manifest: bytes | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(b"mine")
    if manifest is not None:
        (tmp_path / MANIFEST).write_bytes(manifest)
    with pytest.raises(ArchiveError, match=message):
        ResultFolder(str(tmp_path)).start(JOB)


# --- a worker


@pytest.fixture
def worker(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ShardWorker]]:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads = cv2.getNumThreads()

    def make(columns: Any = None, *, videos: bool = False, every: str = "1", **options: Any) -> ShardWorker:
        made = ShardWorker()
        assert os.environ["OMP_NUM_THREADS"] == "1"
        options = {"device": "cpu", **options}
        made.load(Task(str(weights), sha256(weights), options, str(tmp_path / "out"), columns, videos, every))
        return made

    yield make
    cv2.setNumThreads(threads)


def results(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(tmp_path / "out").to_table().to_pylist()
    return rows


def test_each_input_ends_as_faces_as_no_face_or_as_an_error(
    worker: Callable[..., ShardWorker], photographs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(photographs["astronaut"], tmp_path / "in/a.png")
    shutil.copy(photographs["cat"], tmp_path / "in/c.png")
    (tmp_path / "in/bad.jpg").write_text("no picture")
    hugging_face = [
        {"bytes": photographs["astronaut"].read_bytes(), "path": "a.png"},
        {"bytes": None, "path": str(photographs["cat"])},
        {"bytes": None, "path": None},
    ]
    pq.write_table(pa.table({"image": hugging_face}), tmp_path / "in/rows.parquet")
    (tmp_path / "list.txt").write_text("zz://no/such.png\n")
    inputs = gather_inputs(
        [str(tmp_path / p) for p in ("in", "missing.png", "list.txt")] + [f"file://{tmp_path}/gone.png"]
    )
    reports = [worker().run(inputs.shard(number, 5)) for number in range(2)]
    assert [(r.number, r.pictures, r.faces, r.errors) for r in reports] == [(0, 5, 1, 3), (1, 4, 1, 2)]
    assert all(r.pid == os.getpid() and r.seconds > 0 and r.peak_memory > 50e6 for r in reports)
    found = {Path(row["source"]).name: row for row in results(tmp_path)}
    assert len(results(tmp_path)) == len(found) == 9
    kinds = {
        name: "error" if row["error"] else "no face" if row["face"] is None else "face" for name, row in found.items()
    }
    assert kinds == {
        **{"a.png": "face", "c.png": "no face", "bad.jpg": "error"},
        **{"missing.png": "error", "gone.png": "error", "such.png": "error"},
        **{"rows.parquet#0": "face", "rows.parquet#1": "no face", "rows.parquet#2": "error"},
    }
    assert (found["c.png"]["width"], found["c.png"]["expression"]) == (451, None)
    assert found["rows.parquet#0"]["expression"] == found["a.png"]["expression"]
    for name in ("x1", "nose_x", "probability", "p_fear"):
        assert found["rows.parquet#0"][name] == pytest.approx(found["a.png"][name], abs=1e-5)
    assert "does not exist" in found["gone.png"]["error"]
    assert "holds no picture" in found["rows.parquet#2"]["error"]


def test_other_columns_are_carried(
    worker: Callable[..., ShardWorker], photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photographs["astronaut"], "astronaut.png")
    Path("noise.png").write_bytes(png(9))
    when = pa.array([1, None, 3], pa.timestamp("ns", "UTC"))
    bytes_table = pa.table(
        {
            "id": pa.array([10, 11, 12], pa.int16()),
            "image": [photographs["astronaut"].read_bytes(), b"bad", png()],
            "source": ["x", "y", "z"],
            "input_source": ["u", "v", "w"],
            "taken": when,
            "tags": [["a", "b"], [], None],
            "depth": [b"1", b"2", b"3"],
            "city": pa.array(["Rome", "Oslo", "Rome"]).dictionary_encode(),
        }
    )
    pq.write_table(bytes_table, "bytes.parquet", row_group_size=2)
    pq.write_table(
        pa.table({"path": ["noise.png", "astronaut.png", None, "noise.png"], "id": [1, 2**40, 3, 4]}), "paths.parquet"
    )
    Path("plain.png").write_bytes(png(8))
    warnings: list[str] = []
    inputs = gather_inputs(["bytes.parquet", "paths.parquet", "plain.png", "astronaut.png"], warn=warnings.append)
    assert warnings == [
        "columns of bytes are not carried to the results: depth",
        "what is named more than once is done once: left out 2 repetitions",
    ]
    work = worker(columns=inputs.columns)
    assert [work.run(inputs.shard(number, 3)).pictures for number in range(3)] == [3, 3, 1]
    assert [work.run(inputs.shard(0, 3), carefully=True).pictures] == [3]
    table = ds.dataset(tmp_path / "out").to_table()
    added = table.column_names[table.column_names.index("warning") + 1 :]
    assert added == ["id", "input_source", "input_input_source", "taken", "tags", "city"]
    assert table.schema.field("id").type == pa.int64(), "the wider of two"
    assert table.schema.field("taken").type == when.type
    rows = {
        row["source"].removeprefix(f"{tmp_path}/"): row for row in table.select([*added, "source", "error"]).to_pylist()
    }
    assert {name: row["id"] for name, row in rows.items()} == {
        **{"plain.png": None, "bytes.parquet#0": 10, "bytes.parquet#1": 11, "bytes.parquet#2": 12},
        **{"noise.png": 1, "astronaut.png": 2**40, "paths.parquet#2": 3},
    }
    assert rows["bytes.parquet#1"]["error"] is not None
    assert [rows["bytes.parquet#1"][name] for name in added] == [11, "y", "v", None, [], "Oslo"]
    assert [rows["noise.png"][name] for name in added] == [1, None, None, None, None, None]


def test_columns_that_do_not_go_together(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"], "label": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"path": ["b"], "label": ["fear"]}), tmp_path / "b.parquet")
    with pytest.raises(
        ArchiveError, match=r"do not go together \(.*label.*int64 vs string\); rename one of them"
    ) as caught:
        gather_inputs([str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_a_careful_worker_finds_the_same(worker: Callable[..., ShardWorker], tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [*map(png, range(5)), b"bad"]}), tmp_path / "a.parquet", row_group_size=4)
    shard = gather_inputs([str(tmp_path / "a.parquet")]).shard(0, 9)
    work = worker(detector="none", embeddings=True)
    work.run(shard)
    first = results(tmp_path)
    assert len(first[0]["embedding"]) == 32
    report = work.run(shard, carefully=True)
    again = results(tmp_path)
    assert (report.faces, report.errors) == (5, 1)
    for one, other in zip(first, again, strict=True):
        for name in one:
            expected = pytest.approx(one[name], abs=1e-5) if isinstance(one[name], float | list) else one[name]
            assert other[name] == expected


def test_a_picture_that_kills_its_workers_is_given_up(worker: Callable[..., ShardWorker], tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [png(0), png(1), png(2)]}), tmp_path / "a.parquet")
    shard = Shard(7, (), (Rows(str(tmp_path / "a.parquet"), "image", range(3)),))
    # What the second worker leaves that died at the second picture.
    note = {"at": 1, "deaths": {"1": GIVEN_UP_AFTER - 1}}
    ResultFolder(str(tmp_path / "out")).write("_work/part-000007.trail", json.dumps(note).encode())
    report = worker(detector="none").run(shard, carefully=True)
    assert (report.pictures, report.faces, report.errors) == (3, 2, 1)
    rows = results(tmp_path)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "a.parquet#1' was given up: 2 workers died at it" in rows[1]["error"]


def test_a_file_that_became_shorter_gives_errors_and_loses_nothing(
    worker: Callable[..., ShardWorker], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [png(i) for i in range(6)]}), path)
    shard = gather_inputs([str(path)]).shard(0, 6)
    pq.write_table(pa.table({"image": [png(i) for i in range(4)]}), path)
    report = worker(detector="none").run(shard)
    assert (report.pictures, report.faces, report.errors) == (6, 4, 2)
    path.write_bytes(b"PAR1")
    report = worker(detector="none").run(shard)
    assert (report.pictures, report.errors) == (6, 6)
    assert Counter(row["source"] for row in results(tmp_path)) == {f"{path}#{i}": 1 for i in range(6)}


def test_other_weights_on_another_machine_are_noticed(
    worker: Callable[..., ShardWorker], weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=r"have the SHA-256 .* give all machines the same file"):
        worker(detector="none").load(Task(str(weights), "0" * 64, {}, str(tmp_path)))


def grey_clip(path: Path, frames: int) -> Path:
    return write_clip(path, (np.full((48, 64, 3), 20 * i, np.uint8) for i in range(frames)))


def test_a_video_is_a_shard(
    worker: Callable[..., ShardWorker], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    grey_clip(Path("in/a.mp4"), 6)
    grey_clip(Path("in/b.MKV"), 5)
    Path("in/bad.mp4").write_bytes(b"no video")
    Path("in/p.png").write_bytes(png())
    pq.write_table(
        pa.table({"path": ["in/b.MKV", "in/q.png", "in/b.MKV"], "frame": ["x", "y", "z"]}), "in/rows.parquet"
    )
    Path("in/q.png").write_bytes(png(1))
    warnings: list[str] = []
    arguments = {"weights": str(weights), "options": {"detector": "none"}, "every": "2", "warn": warnings.append}
    archive = Archive(["in", "in/a.mp4"], "out", **arguments)
    assert (archive.job.inputs, archive.job.videos, archive.job.shards) == (2, 3, 4)
    assert warnings == ["what is named more than once is done once: left out 4 repetitions"]
    work = worker(archive.inputs.columns, videos=True, every="2", detector="none")
    reports = [work.run(archive.inputs.shard(number, 1000)) for number in range(4)]
    assert [(r.pictures, r.videos, r.frames, r.faces, r.errors) for r in reports] == [
        *((2, 0, 0, 2, 0), (0, 1, 3, 3, 0), (0, 1, 3, 3, 0), (0, 1, 0, 0, 1)),
    ]
    files = [pq.read_table(path) for path in sorted(Path("out").glob("part-*.parquet"))]
    assert len({str(file.schema) for file in files}) == 1, "one data set"
    rows = pa.concat_tables(files).to_pylist()
    found = [(Path(row["source"]).name, row["frame"], row["face"], row["track"], row["input_frame"]) for row in rows]
    assert found == [
        *(("p.png", None, 1, None, None), ("q.png", None, 1, None, "y")),
        *(("a.mp4", number, None, 1, None) for number in (0, 2, 4)),
        *(("b.MKV", number, None, 1, "x") for number in (0, 2, 4)),
        ("bad.mp4", None, None, None, None),
    ]
    assert f"{tmp_path}/in/bad.mp4" in rows[-1]["error"]
    assert all(row["smoothed_expression"] for row in rows[2:-1])
    before = Path("out/part-000001.parquet").read_bytes()
    work.run(archive.inputs.shard(1, 1000), carefully=True)
    assert pq.read_table("out/part-000001.parquet").equals(pq.read_table(io.BytesIO(before)))
    assert len(Archive(["in"], "out", **arguments).finished) == 4
    with pytest.raises(ArchiveError, match=r"another job \(every 2 there and 1 here\)"):
        Archive(["in"], "out", **arguments | {"every": 1})


def test_content_tells_what_a_file_is_where_the_suffix_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "code.ts").write_text("const a = 1")
    (folder / "photo").write_bytes(png())
    grey_clip(tmp_path / "a.mp4", 3).rename(folder / "clip")
    shutil.copy(folder / "clip", tmp_path / "named.jpg")
    inputs = gather_inputs([str(folder), str(tmp_path / "named.jpg")])
    assert names(inputs) == [str(folder / "photo")]
    assert inputs.videos == ((str(folder / "clip"), None), (str(tmp_path / "named.jpg"), None))


def test_a_video_that_ends_early_or_kills_its_workers(worker: Callable[..., ShardWorker], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8)
    whole = write_clip(tmp_path / "a.mkv", noise).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 3])
    work = worker(videos=True, detector="none")
    report = work.run(Shard(0, video=str(cut)))
    assert (report.videos, report.errors) == (1, 1)
    assert 0 < report.frames < 30
    rows = results(tmp_path)
    assert [row["error"] is not None for row in rows] == [False] * report.frames + [True]
    note = {"at": 0, "deaths": {"0": GIVEN_UP_AFTER - 1}}
    ResultFolder(str(tmp_path / "out")).write("_work/part-000000.trail", json.dumps(note).encode())
    report = work.run(Shard(0, video=str(tmp_path / "a.mkv")), carefully=True)
    assert (report.frames, report.errors) == (0, 1)
    assert "a.mkv' was given up: 2 workers died at it" in results(tmp_path)[0]["error"]


def test_a_tar_is_a_shard(worker: Callable[..., ShardWorker], weights: Path, tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", [("0.png", png(0)), ("1.png", b"bad"), ("2.png", png(2))])
    pq.write_table(pa.table({"image": [png()], "key": ["k"]}), tmp_path / "a.parquet")
    archive = Archive([str(tmp_path)], str(tmp_path / "out"), weights=str(weights), options={"detector": "none"})
    assert (archive.job.inputs, archive.job.tars, archive.job.shards) == (1, 1, 2)
    work = worker(archive.inputs.columns, detector="none")
    work.run(archive.inputs.shard(0, 1000))
    reports = [work.run(archive.inputs.shard(1, 1000), carefully=carefully) for carefully in (False, True)]
    assert [(r.pictures, r.faces, r.errors) for r in reports] == [(3, 2, 1), (3, 2, 1)]
    assert [(row["source"].removeprefix(f"{tmp_path}/"), row["key"]) for row in results(tmp_path)] == [
        *(("a.parquet#0", "k"), *((f"a.tar/{i}.png", None) for i in range(3))),
    ]


def test_the_archive_says_what_is_wrong_before_any_work(tree: Path, weights: Path) -> None:
    with pytest.raises(ArchiveError, match="shard_size must be at least 1, got 0"):
        Archive(["in"], "out", weights=str(weights), shard_size=0)
    with pytest.raises(ValueError, match="no weights 'nosuch'"):
        Archive(["in"], "out", weights="nosuch")
    archive = Archive(["in"], "out", weights=str(weights), shard_size=4, options={"batch_size": 3, "keep": "0.5"})
    assert (archive.job.inputs, archive.job.shards, archive.finished) == (7, 3, set())
    assert archive.job.options == {"keep": "0.5"}, "how fast it is done is no matter of the job"
    assert (Path("out") / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:1",
            r"no Ray cluster answers at '127.0.0.1:1' \(Connection refused\); start one .* name 'local'",
        ),
        ("ray://127.0.0.1:1", r"no Ray cluster answers at 'ray://127.0.0.1:1' \(Connection refused\)"),
        ("127.0.0.1:99999", "no Ray cluster answers at '127.0.0.1:99999'"),
        ("nosuch.invalid:6379", "no Ray cluster answers at 'nosuch.invalid:6379'"),
        *((bad, "is not the address of a Ray cluster; give HOST:PORT .* auto or local$") for bad in BAD_ADDRESSES),
    ],
)
def test_wrong_addresses(address: str, message: str) -> None:
    with pytest.raises(ArchiveError, match=message) as caught:
        check_address(address)
    assert "\n" not in str(caught.value)


def test_importing_is_light() -> None:
    code = (
        "import sys, pkgutil, importlib, apvit.recognition.archive as a\n"
        "for m in pkgutil.iter_modules(a.__path__): importlib.import_module(a.__name__ + '.' + m.name)\n"
        "print(*sorted({'torch', 'ray', 'pyarrow', 'cv2'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"cv2"}


# --- S3


class Store(BaseHTTPRequestHandler):
    """As much of S3 as pyarrow asks for to list, read and write: a dictionary of keys, with a page size of 2."""

    objects: dict[str, bytes]
    parts: dict[str, list[bytes]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def do_HEAD(self) -> None:
        data = self.objects.get(self.key())
        if data is None:
            self.answer(404 if self.key() else 200)
        else:
            self.answer(200, Content_Length=str(len(data)), Last_Modified="Tue, 24 Nov 2026 00:00:00 GMT")

    def do_GET(self) -> None:
        query = self.query()
        if "list-type" in query:
            return self.list(query)
        data = self.objects.get(self.key())
        if data is None:
            return self.answer(404)
        if reach := self.headers.get("Range"):
            low, _, high = reach.removeprefix("bytes=").partition("-")
            return self.answer(206, data[int(low) : int(high) + 1])
        return self.answer(200, data)

    def list(self, query: dict[str, list[str]]) -> None:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        keys, groups = [], set()
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                rest = key[len(prefix) :]
                if delimiter and delimiter in rest:
                    groups.add(prefix + rest.split(delimiter)[0] + delimiter)
                else:
                    keys.append(key)
        page, more = (keys[:2], len(keys) > 2)
        found = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(self.objects[k])}</Size>"
            "<LastModified>2026-11-24T00:00:00.000Z</LastModified></Contents>"
            for k in page
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(g)}</Prefix></CommonPrefixes>" for g in groups if not after)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = (
            f"<?xml version='1.0'?><ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"<KeyCount>{len(page)}</KeyCount>{token}{found}</ListBucketResult>"
        )
        self.answer(200, text.encode(), Content_Type="application/xml")

    def do_PUT(self) -> None:
        if source := self.headers.get("x-amz-copy-source"):
            self.objects[self.key()] = self.objects[unquote(source).removeprefix("/").removeprefix("bucket/")]
            self.answer(200, b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>")
            return
        data = self.body()
        if "partNumber" in self.query():
            self.parts.setdefault(self.key(), []).append(data)
        else:
            self.objects[self.key()] = data
        self.answer(200, ETag='"x"')

    def do_POST(self) -> None:
        query, data = self.query(), self.body()
        if "uploads" in query:
            return self.answer(
                200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            )
        if "uploadId" in query:
            self.objects[self.key()] = b"".join(self.parts.pop(self.key()))
            return self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        for key in re.findall(r"<Key>(.*?)</Key>", data.decode()):
            self.objects.pop(unescape(key), None)
        return self.answer(200, b"<DeleteResult></DeleteResult>")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked" and "aws-chunked" not in self.headers.get(
            "Content-Encoding", ""
        ):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        if "Content-Length" in self.headers:
            file: Any = io.BytesIO(self.rfile.read(int(self.headers["Content-Length"])))
        else:
            file = io.BytesIO(b"".join(iter(self.chunk, b"")))
        while size := int(file.readline().split(b";")[0] or b"0", 16):
            whole += file.read(size)
            file.readline()
        return whole

    def chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def do_DELETE(self) -> None:
        self.objects.pop(self.key(), None)
        self.answer(204)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Options of a URI that lead to a store on this machine, and its objects."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "k"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    objects: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Store,), {"objects": objects, "parts": {}}))
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"?region=r&scheme=http&endpoint_override=127.0.0.1:{server.server_port}", objects
    server.shutdown()
    server.server_close()


def test_from_a_bucket_into_a_bucket(
    store: tuple[str, dict[str, bytes]], weights: Path, worker: Callable[..., ShardWorker], tmp_path: Path
) -> None:
    options, objects = store
    objects |= {f"in/sub/{i} é.png": png(i) for i in range(4)} | {"in/x.png": b"bad", "in/.hidden/y.png": png()}
    rows = io.BytesIO()
    pq.write_table(pa.table({"image": [png(8), png(9)]}), rows)
    objects["in/rows.parquet"] = rows.getvalue()
    (tmp_path / "list.txt").write_text(f"s3://bucket/in/sub/0 é.png{options}\ns3://bucket/in/gone.png{options}\n")
    output = f"s3://bucket/out{options}"
    named = [f"s3://bucket/in{options}", str(tmp_path / "list.txt")]
    archive = Archive(named, output, weights=str(weights), shard_size=5, options={"detector": "none"})
    assert (archive.job.inputs, archive.inputs.repeated) == (8, 1)
    work = ShardWorker()
    work.load(Task(str(weights), sha256(weights), {"detector": "none"}, output))
    reports = [work.run(archive.inputs.shard(number, 5)) for number in range(2)]
    assert [(r.pictures, r.faces, r.errors) for r in reports] == [(5, 4, 1), (3, 2, 1)]
    assert Archive(named, output, weights=str(weights), shard_size=5, options={"detector": "none"}).finished == {0, 1}
    archive.folder.tidy()
    assert {key for key in objects if key.startswith("out/") and not key.endswith("/")} == {
        *("out/_manifest.json", "out/part-000000.parquet", "out/part-000001.parquet"),
    }
    make_tar(tmp_path / "a.tar", [("a.png", png())])
    objects |= {"a.tar": (tmp_path / "a.tar").read_bytes(), "a.png": png()}
    server = options.rpartition("=")[2]
    (tmp_path / "list.txt").write_text(
        f"s3://bucket/a.tar{options}\nhttp://{server}/bucket/a.png\nhttp://{server}/bucket/gone.png\n"
    )
    objects["a b.mp4"] = grey_clip(tmp_path / "c.mp4", 3).read_bytes()
    objects["bad.mp4"] = b"no video"
    good, bad = (f"s3://bucket/{name}{options}" for name in ("a b.mp4", "bad.mp4"))
    assert (kind(good), kind(bad)) == ("video", "video")
    assert [frame.source for frame in frames(work._recognizer, good, Every(1), 0.0)] == [good] * 3
    with pytest.raises(VideoError, match=re.escape(bad)):
        list(frames(work._recognizer, bad, Every(1), 0.0))
    listed = gather_inputs([str(tmp_path / "list.txt")])
    found = read_all(listed.shard(0, 2)) | read_all(listed.shard(1, 2))
    assert [what.partition(" (")[0] for what in found.values()] == [
        *("ok", f"http://{server}/bucket/gone.png cannot be downloaded", "ok"),
    ]
    assert list(found)[2] == f"s3://bucket/a.tar/a.png{options}"
    table = pq.read_table(io.BytesIO(objects["out/part-000001.parquet"])).to_pylist()
    assert [row["source"].partition("?")[0] for row in table][:1] == ["s3://bucket/in/x.png"]
