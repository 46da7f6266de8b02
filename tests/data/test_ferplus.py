from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from apvit.data import PROTOCOLS, DataError, Split, ferplus
from apvit.data.preparing import load_split
from apvit.data.votes import LABELS, VOTE_NAMES

SOURCES = {
    "train": [f"FER2013Train/fer000000{i}.png" for i in (0, 2, 3, 4, 5, 6)],
    "valid": ["FER2013Valid/fer0028709.png", "FER2013Valid/fer0028710.png"],
    "test": ["FER2013Test/fer0032298.png"],
}
EXPRESSIONS = {
    "train": ["neutral", "happiness", None, None, "sadness", "anger"],
    "valid": ["surprise", None],
    "test": ["contempt"],
}


def expressions_of(split: Split) -> list[str | None]:
    return [None if label < 0 else LABELS.expressions[label] for label in split.labels]


@pytest.fixture(params=["folders", "zip", "zip-prefix", "tables", "kaggle", "tables-labels", "tables-zip"])
def form(request, tmp_path, faces, write_folders, write_tables, write_zip):
    """The same faces in each form that is understood."""
    root = tmp_path / "root"
    if request.param in ("folders", "zip", "zip-prefix"):
        write_folders(root, faces)
    else:
        write_tables(root, faces, kaggle=request.param == "kaggle", labels=request.param == "tables-labels")
    if "zip" in request.param:
        return write_zip(tmp_path / "data.zip", root, "data/" if request.param == "zip-prefix" else "")
    return root


def test_every_form_gives_the_same_faces(load, form, faces):
    splits = load(form, drop_leaks=False).splits
    assert {name: split.sources for name, split in splits.items()} == SOURCES
    assert {name: expressions_of(split) for name, split in splits.items()} == EXPRESSIONS
    for split, folder in (("train", "FER2013Train"), ("valid", "FER2013Valid"), ("test", "FER2013Test")):
        rows = faces[folder]
        assert splits[split].votes.tolist() == [list(votes) for _, votes, _ in rows]
        expected = [np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8) for _, _, seed in rows]
        np.testing.assert_array_equal(splits[split].pixels(), expected)
        with Image.open(io.BytesIO(splits[split].images[0])) as picture:
            assert picture.format == "PNG"


def test_metadata(load, form):
    prepared = load(form)
    metadata = prepared.splits["train"].metadata
    assert (metadata.dataset, metadata.split, metadata.protocol) == ("ferplus", "train", "majority")
    assert metadata.labels == LABELS
    assert metadata.vote_names == VOTE_NAMES
    assert metadata.alignment == "ferplus-48-v1"
    assert metadata.counts["rows"] == metadata.leaks["after"]["rows"] == 4
    assert metadata.counts["labelled"] == 2
    assert metadata.counts["unlabelled"] == 2
    assert metadata.counts["per_class"] == dict.fromkeys(LABELS.expressions, 0) | {"neutral": 1, "anger": 1}
    assert all(len(digest) == 64 for digest in metadata.inputs.values())


@pytest.mark.parametrize(
    ("kind", "labels", "vote_source", "inputs"),
    [
        ("folders", None, "label.csv", ["FER2013Train/label.csv", "pictures of train"]),
        ("zip", None, "label.csv", ["data.zip", "pictures of train"]),
        ("tables", False, "fer2013new.csv", ["fer2013.csv", "fer2013new.csv"]),
        ("tables", True, "label.csv", ["fer2013.csv", "fer2013new.csv", "data/FER2013Train/label.csv"]),
    ],
)
def test_vote_source_and_inputs(
    load, tmp_path, faces, write_folders, write_tables, write_zip, kind, labels, vote_source, inputs
):
    faces = {folder: faces[folder] for folder in ("FER2013Train", "FER2013Valid")}
    root = tmp_path / "root"
    root = write_tables(root, faces, labels=labels) if kind == "tables" else write_folders(root, faces)
    path = write_zip(tmp_path / "data.zip", root) if kind == "zip" else root
    metadata = load(path).splits["train"].metadata
    assert metadata.vote_source == vote_source
    assert [name for name in metadata.inputs if "alid" not in name] == inputs
    for name in inputs:
        if name.startswith("pictures"):
            data = b"".join((root / source).read_bytes() for source in SOURCES["train"])
        else:
            data = (path if kind == "zip" else root / name).read_bytes()
        assert metadata.inputs[name] == hashlib.sha256(data).hexdigest()


def test_leaks_are_dropped_from_train_only(load, form):
    prepared = load(form)
    splits = prepared.splits
    assert splits["train"].sources == [SOURCES["train"][i] for i in (0, 2, 3, 5)]
    assert splits["valid"].sources == SOURCES["valid"]
    assert splits["test"].sources == SOURCES["test"]
    one = {"rows": 1, "labelled": 1}
    assert splits["train"].metadata.leaks == {
        "also_in_valid": one,
        "also_in_test": one,
        "before": {"rows": 6, "labelled": 4},
        "dropped": 2,
        "after": {"rows": 4, "labelled": 2},
    }
    assert splits["valid"].metadata.leaks == {
        "also_in_train": one,
        "also_in_test": {"rows": 0, "labelled": 0},
        "before": {"rows": 2, "labelled": 1},
        "dropped": 0,
        "after": {"rows": 2, "labelled": 1},
    }
    kept = load(form, drop_leaks=False).splits["train"]
    assert len(kept) == 6
    assert kept.metadata.leaks["dropped"] == 0
    assert kept.metadata.leaks["also_in_test"] == one


def test_groups_are_pictures(load, form):
    splits = load(form, drop_leaks=False).splits
    assert splits["train"].groups[1] == splits["valid"].groups[0]
    assert splits["train"].groups[4] == splits["test"].groups[0]
    assert len({*splits["train"].groups, *splits["valid"].groups, *splits["test"].groups}) == 7


def test_a_leak_is_found_however_the_file_is_encoded(load, tmp_path, faces, write_folders):
    root = write_folders(tmp_path, faces)
    path = root / "FER2013Valid" / "fer0028709.png"
    with Image.open(path) as picture:
        picture.load()
    picture.convert("RGB").save(path, "PNG", compress_level=1)
    assert len(load(root).splits["train"]) == 4


def listed(path, *lines):
    path.write_text("\n".join(["split,image", *lines]) + "\n")
    return path


def test_faces_listed_as_also_in_test(load, tmp_path, faces, write_folders):
    del faces["FER2013Test"]
    root = write_folders(tmp_path / "root", faces)
    file = listed(
        tmp_path / "also.csv",
        "FER2013Train,fer0000005.png",
        "FER2013Train,fer0000002.png",
        "FER2013Valid,fer0028710.png",
    )
    prepared = load(root, also_in_test=file)
    splits = prepared.splits
    assert splits["train"].sources == [SOURCES["train"][i] for i in (0, 2, 3, 5)]
    assert splits["train"].metadata.leaks["also_in_test"] == {"rows": 2, "labelled": 2}
    assert splits["train"].metadata.leaks["dropped"] == 2
    # A validation face that stands in test too is counted, but stays.
    assert splits["valid"].sources == SOURCES["valid"]
    assert splits["valid"].metadata.leaks["also_in_test"] == {"rows": 1, "labelled": 0}
    assert splits["train"].metadata.inputs["also.csv"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any("also_in_test" in warning for warning in prepared.warnings)


def test_a_list_for_other_data_is_reported(load, tmp_path, faces, write_folders):
    root = write_folders(tmp_path / "root", faces)
    file = listed(tmp_path / "also.csv", "FER2013Train,fer0000005.png", "FER2013Train,fer0000777.png")
    warnings = load(root, also_in_test=file).warnings
    expected = "1 of 2 faces listed as also in test are not here, the first: FER2013Train/fer0000777.png"
    assert expected in warnings


@pytest.mark.parametrize(
    "text", ["", "image,split\nfer1.png,FER2013Train\n", "split,image\ntrain,fer1.png\n", "split,image\nFER2013Train\n"]
)
def test_no_such_list(load, tmp_path, faces, write_folders, text):
    root = write_folders(tmp_path / "root", faces)
    (tmp_path / "also.csv").write_text(text)
    with pytest.raises(
        DataError, match="is not a list of faces that are also in test; expected the header split,image"
    ):
        load(root, also_in_test=tmp_path / "also.csv")
    with pytest.raises(DataError, match="cannot read the list"):
        load(root, also_in_test=tmp_path / "gone.csv")


def test_without_a_test_split_a_warning_says_what_could_not_be_looked_for(load, tmp_path, faces, write_folders):
    del faces["FER2013Test"]
    root = write_folders(tmp_path, faces)
    prepared = load(root)
    assert list(prepared.splits) == ["train", "valid"]
    assert any("no test split" in warning for warning in prepared.warnings)
    assert not any("no test split" in warning for warning in load(root, drop_leaks=False).warnings)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols(load, tmp_path, faces, write_folders, protocol):
    splits = load(write_folders(tmp_path, faces), protocol=protocol, drop_leaks=False).splits
    evaluated = protocol if protocol in ("majority", "argmax8", "argmax10", "unique-argmax8") else "majority"
    assert splits["train"].metadata.protocol == protocol
    assert splits["valid"].metadata.protocol == evaluated
    tie = None if protocol in ("majority", "unique-argmax8") else "neutral"
    assert expressions_of(splits["train"]) == ["neutral", "happiness", tie, None, "sadness", "anger"]
    weak = "neutral" if evaluated in ("argmax8", "argmax10") else None
    assert expressions_of(splits["valid"]) == ["surprise", weak]


def test_unknown_protocol(load, tmp_path):
    with pytest.raises(DataError, match="unknown vote protocol 'max'; known are"):
        load(tmp_path, protocol="max")


@pytest.mark.parametrize("split", SOURCES)
def test_only_one_split(load, form, split):
    alone, _ = load_split(ferplus, form, split)
    whole = load(form).splits[split]
    assert alone.sources == whole.sources
    assert alone.images == whole.images
    assert alone.labels.tolist() == whole.labels.tolist()


def test_only_a_split_that_is_not_there(tmp_path, faces, write_folders):
    del faces["FER2013Test"]
    with pytest.raises(DataError, match="has no split 'test'; it has train, valid"):
        load_split(ferplus, write_folders(tmp_path, faces), "test")


def test_progress(load, tmp_path, faces, write_folders):
    calls = []
    load(write_folders(tmp_path, faces), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 9) for i in range(1, 10)]


# The real data


@pytest.fixture(scope="module")
def real(load, ferplus_zip):
    listed = ferplus_zip.with_name("ferplus_faces_also_in_test.csv")
    return load(ferplus_zip, also_in_test=listed)


def test_real_counts_and_leaks(real):
    assert real.warnings == []
    train, valid = real.splits["train"].metadata, real.splits["valid"].metadata
    assert valid.counts["rows"] == 3579
    assert tuple(valid.counts["per_class"].values()) == (1180, 862, 411, 348, 289, 25, 60, 16)
    assert valid.leaks["also_in_train"] == {"rows": 279, "labelled": 245}
    assert valid.leaks["also_in_test"] == {"rows": 46, "labelled": 42}
    assert valid.leaks["dropped"] == 0
    assert train.leaks == {
        "also_in_valid": {"rows": 340, "labelled": 303},
        "also_in_test": {"rows": 387, "labelled": 333},
        "before": {"rows": 28558, "labelled": 25045},
        "dropped": 692,
        "after": {"rows": 27866, "labelled": 24438},
    }
    assert train.inputs["ferplus_train_valid.zip"].startswith("44c6ca86")


def test_real_train_shares_no_picture_with_validation(real):
    train, valid = real.splits.values()
    assert not set(train.groups) & set(valid.groups)
    # By file bytes too, which in this zip are equal exactly where the pixels are.
    assert not {hashlib.sha256(i).digest() for i in train.images} & {hashlib.sha256(i).digest() for i in valid.images}
