from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from apvit.data import DataError, FaceRow, Split, SplitMetadata, read_split, write_split
from apvit.expressions import LABEL_SPACES

METADATA = SplitMetadata(
    dataset="folder",
    split="train",
    labels=LABEL_SPACES["raf-db"],
    protocol="majority",
    vote_source="votes.csv",
    vote_names=("surprise", "fear"),
    alignment="ferplus-48-v1",
    counts={"rows": 2},
    inputs={"a.zip": "00ff"},
    leaks={"dropped": 1},
    attribute_names=("gender", "age"),
    alignment_template={"name": "ferplus-48-v1", "size": 48, "points": [[1.0, 2.0]]},
)


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def grey(value: int, size: int = 4) -> bytes:
    return encode(np.full((size, size), value, np.uint8))


def make_row(**changes: object) -> FaceRow:
    row = FaceRow(
        image=grey(1),
        source="a.png",
        label=3,
        group="g",
        votes=(1, 2),
        landmarks=tuple(range(10)),
        attributes=("female", "20-39"),
        framing="as shipped",
    )
    return dataclasses.replace(row, **changes)


UNKNOWN = {"label": None, "votes": None, "landmarks": None, "attributes": None, "framing": None}
ROWS = [make_row(), make_row(source="b.png", image=grey(2), group="h", **UNKNOWN)]


def assert_equal(a: Split, b: Split) -> None:
    for field in dataclasses.fields(Split):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        else:
            assert left == right


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "train.parquet"
    write_split(path, iter(ROWS), METADATA)
    split = read_split(path)
    assert split.metadata == METADATA
    assert len(split) == 2
    assert split.images == [row.image for row in ROWS]
    assert split.sources == ["a.png", "b.png"]
    assert split.groups == ["g", "h"]
    assert split.labels.tolist() == [3, -1]
    assert split.labels.dtype == np.int64
    assert split.votes.tolist() == [[1, 2], [0, 0]]
    assert split.votes.dtype == np.float32
    assert split.landmarks.shape == (2, 5, 2)
    assert split.landmarks[0, 1].tolist() == [2, 3]
    assert np.isnan(split.landmarks[1]).all()
    assert split.attributes == [("female", "20-39"), ("", "")]
    assert split.framing == ["as shipped", None]
    assert_equal(split, Split.from_rows(ROWS, METADATA))


rows = st.builds(
    FaceRow,
    image=st.binary(max_size=20),
    source=st.text(max_size=10).filter(lambda text: text.isprintable()),
    label=st.none() | st.integers(0, 6),
    group=st.sampled_from("abc"),
    votes=st.none() | st.tuples(st.integers(0, 10), st.integers(0, 10)),
    landmarks=st.none() | st.tuples(*[st.floats(-100, 100, width=32)] * 10),
    attributes=st.none() | st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x"])),
    framing=st.none() | st.sampled_from(["as shipped", "only face"]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, max_size=6))
def test_any_rows_come_back(tmp_path_factory, faces):
    path = tmp_path_factory.mktemp("split") / "train.parquet"
    write_split(path, faces, METADATA)
    assert_equal(read_split(path), Split.from_rows(faces, METADATA))


def test_what_other_programs_see(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    table = pq.read_table(path)
    assert {field.name: str(field.type) for field in table.schema} == {
        "image": "binary",
        "source": "string",
        "label": "int64",
        "votes": "list<element: int64>",
        "landmarks": "list<element: float>",
        "group": "string",
        "attributes": "list<element: string>",
        "framing": "string",
    }
    assert table.column("label").to_pylist() == [3, None]
    assert table.column("votes").to_pylist() == [[1, 2], None]
    stored = json.loads(table.schema.metadata[b"apvit"])
    assert stored["format"] == 1
    assert stored["labels"] == {"name": "raf-db", "expressions": list(LABEL_SPACES["raf-db"].expressions)}


def test_wider_types_of_other_programs_are_read(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    table = pq.read_table(path)
    wide = [("image", pa.large_binary()), ("source", pa.large_string()), ("votes", pa.large_list(pa.int32()))]
    for name, kind in wide:
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(kind))
    pq.write_table(table.append_column("extra", pa.array([1, 2])), path)
    assert_equal(read_split(path), Split.from_rows(ROWS, METADATA))


def test_files_from_before_attributes_and_framing_are_read(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    table = pq.read_table(path).drop_columns(["attributes", "framing"])
    old = json.loads(METADATA.to_json())
    del old["attribute_names"], old["alignment_template"]
    pq.write_table(table.replace_schema_metadata({b"apvit": json.dumps(old).encode()}), path)
    split = read_split(path)
    assert split.metadata == dataclasses.replace(METADATA, attribute_names=None, alignment_template=None)
    assert (split.attributes, split.framing) == (None, None)
    assert split.select([1]).attributes is None
    assert split.sources == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("count", "size", "groups"),
    [(0, 1, []), (4097, 1, [4096, 1]), (5, 30 << 20, [2, 2, 1]), (2, 70 << 20, [1, 1])],
)
def test_rows_are_streamed(tmp_path, count, size, groups):
    alive = []

    class Picture(bytes):
        def __del__(self):
            alive.pop()

    def faces():
        for i in range(count):
            alive.append(i)
            yield make_row(image=Picture(size), source=str(i))
            # A row group of at most 64 MB, what follows it, and what the generator itself holds.
            assert len(alive) * size <= (64 << 20) + 2 * size or size == 1

    path = tmp_path / "train.parquet"
    write_split(path, faces(), METADATA)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == groups
    assert json.loads(file.schema_arrow.metadata[b"apvit"])["dataset"] == "folder"


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([1], ["b.png"]),
        ([1, 0, 1], ["b.png", "a.png", "b.png"]),
        (np.array([True, False]), ["a.png"]),
        ([], []),
        (np.zeros(0, np.int64), []),
        ([-1], ["b.png"]),
    ],
)
def test_select(indices, expected):
    split = Split.from_rows(ROWS, METADATA)
    chosen = split.select(indices)
    assert chosen.sources == expected
    where = [split.sources.index(source) for source in expected]
    assert chosen.labels.tolist() == split.labels[where].tolist()
    assert chosen.votes.tolist() == split.votes[where].tolist()
    assert chosen.images == [split.images[i] for i in where]
    assert chosen.landmarks.shape == (len(where), 5, 2)
    assert chosen.attributes == [split.attributes[i] for i in where]
    assert chosen.framing == [split.framing[i] for i in where]


def test_pixels():
    colour = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    split = Split.from_rows([make_row(image=grey(7)), make_row(image=encode(colour))], METADATA)
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(split.pixels(), [np.full((4, 4), 7), luma])
    np.testing.assert_array_equal(split.pixels("rgb"), [np.full((4, 4, 3), 7), colour])
    assert split.pixels().dtype == np.uint8
    assert split.select([]).pixels().shape == (0, 0, 0)
    assert split.select([]).pixels("rgb").shape == (0, 0, 0, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((grey(1), b"no picture"), "the picture of 1.png in this split is unreadable"),
        ((grey(1), grey(1)[:-30]), "1.png in this split is unreadable"),
        ((grey(1), grey(1, size=5)), "1.png is 5x5 pixels and the first face is 4 pixels high"),
        ((encode(np.zeros((4, 6), np.uint8)),), "square and of one size, but 0.png is 6x4"),
    ],
)
def test_pictures_that_do_not_serve(images, message):
    faces = [make_row(image=image, source=f"{i}.png") for i, image in enumerate(images)]
    with pytest.raises(DataError, match=message):
        Split.from_rows(faces, METADATA).pixels()


def test_unknown_colour():
    with pytest.raises(DataError, match="unknown colour 'bgr'"):
        Split.from_rows(ROWS, METADATA).pixels("bgr")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 7}, "a.png has label 7, outside the 7 of 'raf-db'"),
        ({"label": -1}, "a.png has label -1"),
        ({"votes": (1, 2, 3)}, "a.png has 3 vote columns, but the split names 2"),
        ({"landmarks": (1.0, 2.0)}, "a.png has 2 landmark numbers instead of 10"),
        ({"attributes": ("female",)}, "a.png has 1 attributes, but the split names 2"),
    ],
)
def test_rows_that_contradict_the_metadata(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        write_split(tmp_path / "train.parquet", [make_row(**changes)], METADATA)
    assert list(tmp_path.iterdir()) == []


def store(path, metadata: bytes | None, **columns: object) -> None:
    plain = {"image": [b""], "source": ["a"], "label": [0], "votes": [None], "landmarks": [None], "group": ["g"]}
    table = pa.table(plain | columns)
    pq.write_table(table.replace_schema_metadata(None if metadata is None else {b"apvit": metadata}), path)


def changed(**changes: object) -> bytes:
    return json.dumps(json.loads(METADATA.to_json()) | changes).encode()


@pytest.mark.parametrize(
    ("metadata", "columns", "message"),
    [
        (None, {}, "was not written by `apvit data prepare`"),
        (b"{", {}, "metadata is damaged"),
        (b"[]", {}, "metadata is damaged"),
        (b'{"format": 1}', {}, "metadata is damaged .*dataset"),
        (b"\xff", {}, "metadata is damaged"),
        (changed(format=2), {}, "has format 2, this apvit reads up to 1: update apvit"),
        (changed(format="1"), {}, "has format 1"),
        (
            changed(labels={"name": "x", "expressions": ["happy", "sad"]}),
            {},
            "metadata is damaged .*unknown expression",
        ),
        (changed(), {"label": ["neutral"]}, "lacks the columns of a prepared split"),
        (changed(), {"image": [None]}, "faces without an image"),
        (changed(), {"label": [9]}, "a has label 9"),
    ],
)
def test_foreign_and_damaged_files(tmp_path, metadata, columns, message):
    path = tmp_path / "train.parquet"
    store(path, metadata, **columns)
    with pytest.raises(DataError, match=message):
        read_split(path)


def test_a_missing_column(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["group"]), path)
    with pytest.raises(DataError, match="lacks the columns of a prepared split"):
        read_split(path)


def test_not_parquet(tmp_path):
    with pytest.raises(DataError, match=r"gone.parquet is not a file"):
        read_split(tmp_path / "gone.parquet")
    for data in (b"", b"hello", b"PAR1" + b"\0" * 40 + b"PAR1"):
        (tmp_path / "x.parquet").write_bytes(data)
        with pytest.raises(DataError, match=r"x.parquet is not a readable Parquet file"):
            read_split(tmp_path / "x.parquet")


def test_truncated(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        read_split(path)


def test_a_refused_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "train.parquet"
    write_split(path, ROWS, METADATA)
    before = path.read_bytes()
    # A limit on file size is how a test can fill a disk.
    script = f"""
import resource
from pathlib import Path
from apvit.data import DataError, FaceRow, read_split, write_split
import numpy as np
path = Path({str(path)!r})
metadata = read_split(path).metadata
noise = np.random.default_rng(0).bytes(200_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_split(path, [FaceRow(noise, "a", 0, "g")], metadata)
except DataError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"cannot write {path}: ")
    assert result.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*train.parquet: (Not a directory|File exists)"):
        write_split(tmp_path / "file" / "train.parquet", ROWS, METADATA)


def test_datasets_without_votes_or_landmarks():
    plain = dataclasses.replace(METADATA, vote_names=None)
    split = Split.from_rows([make_row(votes=None, landmarks=None, attributes=None, framing=None)], plain)
    assert split.votes is None
    assert split.landmarks is None
    assert split.attributes is None
    assert split.framing is None
    assert split.select([0]).votes is None


def test_metadata_round_trip():
    assert SplitMetadata.from_json(METADATA.to_json()) == METADATA
    plain = SplitMetadata("x", "test", LABEL_SPACES["sfew"])
    assert SplitMetadata.from_json(plain.to_json()) == plain
