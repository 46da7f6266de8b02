from __future__ import annotations

import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from apvit.data import DataError, Split, list_datasets, open_split, prepare, read_split


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_datasets():
    assert list_datasets() == ["raf-db", "ferplus", "affectnet", "sfew", "expw", "aff-wild2", "folder"]


def test_importing_the_room_is_cheap():
    script = "import sys, apvit.data; print([m for m in ('torch', 'pyarrow', 'lightning', 'cv2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"


def test_prepare_writes_the_splits_that_exist(tmp_path, faces, write_folders):
    root = write_folders(tmp_path / "root", faces)
    out = tmp_path / "new" / "out"
    prepared = prepare("ferplus", root, out)
    assert names(out) == ["test.parquet", "train.parquet", "valid.parquet"]
    for split, metadata in prepared.splits.items():
        assert read_split(out / f"{split}.parquet").metadata == metadata
        assert pq.read_metadata(out / f"{split}.parquet").num_rows == metadata.counts["rows"]


def test_prepare_is_deterministic(tmp_path, faces, write_folders):
    root = write_folders(tmp_path / "root", faces)
    for out in ("a", "b"):
        prepare("ferplus", root, tmp_path / out)
    for split in ("train", "valid", "test"):
        assert (tmp_path / "a" / f"{split}.parquet").read_bytes() == (tmp_path / "b" / f"{split}.parquet").read_bytes()


def test_prepare_names_a_split_from_an_earlier_run(tmp_path, faces, write_folders):
    out = tmp_path / "out"
    prepare("ferplus", write_folders(tmp_path / "a", faces), out)
    del faces["FER2013Test"]
    prepared = prepare("ferplus", write_folders(tmp_path / "b", faces), out)
    assert prepared.warnings[-1] == f"{out / 'test.parquet'} is from an earlier run: {tmp_path / 'b'} has no test split"
    assert names(out) == ["test.parquet", "train.parquet", "valid.parquet"]


def test_a_refused_source_leaves_nothing(tmp_path, faces, write_folders):
    root = write_folders(tmp_path / "root", faces)
    (root / "FER2013Train" / "fer0000000.png").unlink()
    with pytest.raises(DataError, match="pictures cannot be used"):
        prepare("ferplus", root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_cannot_be_a_folder(tmp_path, faces, write_folders):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*out: File exists"):
        prepare("ferplus", write_folders(tmp_path / "root", faces), tmp_path / "out")


def test_unknown_dataset(tmp_path):
    with pytest.raises(DataError, match="unknown dataset 'fer2013'; known are raf-db, ferplus"):
        prepare("fer2013", tmp_path, tmp_path / "out")


@pytest.fixture
def prepared(tmp_path, faces, write_folders):
    write_folders(tmp_path / "root", faces)
    prepare("ferplus", tmp_path / "root", tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("data", "split", "expected"),
    [
        ("out/test.parquet", None, "test"),
        ("out/test.parquet", "test", "test"),
        ("out", None, "valid"),
        ("out", "train", "train"),
        ("root", None, "valid"),
        ("root", "train", "train"),
        ("data.zip", "test", "test"),
    ],
)
def test_open_split(tmp_path, prepared, write_zip, data, split, expected):
    write_zip(tmp_path / "data.zip", tmp_path / "root")
    opened = open_split(str(tmp_path / data), split)
    stored = read_split(prepared / f"{expected}.parquet")
    assert isinstance(opened, Split)
    assert opened.metadata.split == expected
    assert opened.sources == stored.sources
    assert opened.labels.tolist() == stored.labels.tolist()
    assert opened.images == stored.images


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ("out", "validation", "unknown split 'validation'; known are train, valid, test"),
        ("out/test.parquet", "valid", "test.parquet is the split test, not valid"),
        ("out/gone.parquet", None, "gone.parquet is not a file"),
        (
            "gone",
            None,
            "gone does not exist; expected a Parquet file written by .*, or a dataset as its owner .* .raf-db, ferplus",
        ),
        ("empty", None, "empty holds no dataset that is known; expected a Parquet file"),
        ("half", "train", "half has no split 'train'; it has test"),
        ("file.txt", None, "file.txt is not a readable zip"),
    ],
)
def test_open_split_of_what_is_none(tmp_path, prepared, data, split, message):
    for folder in ("empty", "half"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file.txt").write_text("text")
    shutil.copy(prepared / "test.parquet", tmp_path / "half")
    with pytest.raises(DataError, match=message):
        open_split(tmp_path / data, split)


def test_open_split_logs_what_prepare_would_warn_of(tmp_path, faces, write_folders, caplog):
    open_split(write_folders(tmp_path, faces), "valid")
    assert "valid differs from the published counts" in caplog.text


def test_open_split_of_the_real_zip(ferplus_zip):
    split = open_split(ferplus_zip, "valid")
    assert len(split) == 3579
    assert (split.labels >= 0).sum() == 3191
    assert split.pixels().shape == (3579, 48, 48)
