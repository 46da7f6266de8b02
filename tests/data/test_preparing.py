"""The one way from every owner's layout to prepared splits."""

from __future__ import annotations

import csv
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.data import trees

from apvit.data import Alignment, DataError, open_split, prepare, read_split, verify
from apvit.data.splitting import carve
from apvit.faces.alignment import TEMPLATES

DATASETS = {
    # builder, options, faces of each split, and how pictures are cut. The films and videos are few and large.
    "raf-db": (trees.raf_db, {}, {"train": 7, "valid": 7, "test": 7}, "as shipped"),
    "affectnet": (trees.affectnet_a, {}, {"train": 8, "valid": 8, "test": 8}, "cropped to the given box"),
    "sfew": (trees.sfew, {"valid_share": 0.4}, {"train": 12, "valid": 16, "test": 14}, "as shipped"),
    "expw": (trees.expw, {}, {"train": 48, "valid": 6, "test": 10}, "cropped to the given box"),
    "aff-wild2": (trees.aff_wild2, {"valid_share": 0.4}, {"train": 8, "valid": 10, "test": 7}, "as shipped"),
    "folder": (trees.class_folders, {}, {"train": 12, "valid": 12, "test": 12}, "as shipped"),
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset(tmp_path, load, name):
    build, options, expected, framing = DATASETS[name]
    root = build(tmp_path / "root")
    splits = load(root, name, **options).splits
    assert {split: len(faces) for split, faces in splits.items()} == expected
    seen: set[str] = set()
    for split, faces in splits.items():
        metadata = faces.metadata
        assert (metadata.dataset, metadata.split) == (name, split)
        assert metadata.counts["rows"] == len(faces) == sum(metadata.counts["per_class"].values())
        assert set(faces.framing) == {framing}
        # The same as opening the folder without preparing it.
        if not options:
            opened = open_split(root, split)
            assert (opened.sources, opened.images) == (faces.sources, faces.images)
            assert (opened.metadata.protocol, opened.metadata.counts) == (metadata.protocol, metadata.counts)
        assert not seen & set(faces.groups)
        seen |= set(faces.groups)
    report = verify(name, root, **options)
    assert not report.failed(), report.findings
    assert sum(counts.faces for counts in report.splits) == sum(expected.values())


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_in_a_zip(tmp_path, load, name):
    build, options, expected, _ = DATASETS[name]
    archive = trees.write_zip(tmp_path / "data.zip", build(tmp_path / "root"))
    assert {split: len(faces) for split, faces in load(archive, name, **options).splits.items()} == expected


def test_groups_may_be_too_large_for_a_valid_split(tmp_path, load):
    lines = [f"{i}.png,{'happy' if i % 2 else 'sad'},subject{i // 20}" for i in range(40)]
    with pytest.raises(DataError, match=r"the 2 groups of train are too large for a valid split of 0.1 .* larger val"):
        load(trees.labels_csv(tmp_path, lines, header="path,label,group"), "folder")


def test_pictures_stay_as_they_are_shipped(tmp_path, load):
    root = trees.raf_db(tmp_path)
    test = load(root, "raf-db").splits["test"]
    for source, image in zip(test.sources, test.images, strict=True):
        path = root / "basic" / "Image" / "aligned" / source.replace(".jpg", "_aligned.jpg")
        assert image == path.read_bytes()
    assert test.metadata.attribute_names == ("gender", "race", "age")
    assert len(set(test.attributes)) > 1


def test_crops_are_the_pixels_of_the_box(tmp_path, load):
    root = trees.expw(tmp_path)
    splits = load(root, "expw").splits.values()
    ((_, image),) = (
        pair for split in splits for pair in zip(split.sources, split.images, strict=True) if "_113.jpg#1" in pair[0]
    )
    with Image.open(root / "data" / "image" / "origin" / "angry_actor_113.jpg") as whole:
        expected = np.asarray(whole)[10:26, 20:34]  # top 10, left 20, right 34, bottom 26
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image))), expected)


def write(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture
def train_only(tmp_path):
    """A folder of 40 and 20 pictures without splits; four of each class are equal."""
    for label, count in (("happy", 40), ("sad", 20)):
        for i in range(count):
            write(tmp_path / "mine" / label / f"{i:02d}.png", (label == "sad") * 1000 + max(i, 3))
    return tmp_path / "mine"


def test_valid_is_carved_by_class_and_groups(train_only, load):
    splits = load(train_only, "folder", valid_share=0.2, seed=3).splits
    train, valid = splits["train"], splits["valid"]
    assert list(splits) == ["train", "valid"]
    assert valid.metadata.counts["per_class"] == {"happiness": 8, "sadness": 4}
    assert train.metadata.counts["per_class"] == {"happiness": 32, "sadness": 16}
    assert train.metadata.counts["carved"] == {"rows": 12, "labelled": 12}
    assert train.metadata.leaks == {
        "before": {"rows": 60, "labelled": 60}, "dropped": 0, "after": {"rows": 60, "labelled": 60},
    }  # fmt: skip
    assert valid.metadata.leaks["also_in_train"] == {"rows": 0, "labelled": 0}
    assert not set(train.groups) & set(valid.groups)
    for metadata in (train.metadata, valid.metadata):
        assert metadata.protocol.endswith("valid=0.2 of train, seed=3")
    assert load(train_only, "folder", valid_share=0.2, seed=3).splits["valid"].sources == valid.sources
    assert load(train_only, "folder", valid_share=0.2, seed=4).splits["valid"].sources != valid.sources
    assert list(load(train_only, "folder", valid_share=0).splits) == ["train"]


def test_a_carved_split_depends_on_what_was_kept_only(train_only, load):
    split = load(train_only, "folder").splits
    faces = [(split[s].labels[i], split[s].groups[i]) for s in split for i in range(len(split[s]))]
    mask = carve(*zip(*faces, strict=True), 0.1, 0)
    assert {g for (_, g), goes in zip(faces, mask, strict=True) if goes} == set(split["valid"].groups)


def test_leaks_are_dropped_before_valid_is_carved(tmp_path, load):
    for i in range(40):
        write(tmp_path / "train" / "happy" / f"{i}.png", i)
        write(tmp_path / "train" / "sad" / f"{i}.png", 100 + i)
    for i in range(10):
        write(tmp_path / "test" / "sad" / f"{i}.png", i)
    splits = load(tmp_path, "folder").splits
    train = splits["train"].metadata
    assert train.leaks["also_in_test"] == {"rows": 10, "labelled": 10}
    assert (train.leaks["dropped"], train.leaks["after"]["rows"]) == (10, 70)
    assert splits["valid"].metadata.counts["per_class"] == {"happiness": 3, "sadness": 4}
    assert len(splits["train"]) + len(splits["valid"]) == 70
    assert splits["test"].metadata.leaks["also_in_train"] == {"rows": 10, "labelled": 10}
    groups = [set(split.groups) for split in splits.values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    kept = load(tmp_path, "folder", drop_leaks=False).splits
    assert len(kept["train"]) + len(kept["valid"]) == 80


def test_subjects_do_not_straddle_a_carved_valid(tmp_path, load):
    lines = [f"{i}.png,{'happy' if i % 3 else 'sad'},subject{i % 12}" for i in range(120)]
    trees.labels_csv(tmp_path, lines, header="path,label,group")
    splits = load(tmp_path, "folder", valid_share=0.25).splits
    assert {len(set(split.groups)) for split in splits.values()} == {9, 3}
    assert not set(splits["train"].groups) & set(splits["valid"].groups)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("raf-db", {"protocol": "majority"}, "raf-db has no option protocol; its own are pictures"),
        ("ferplus", {"min_confidence": 3}, "ferplus has no option min_confidence; its own are protocol, also_in_test"),
        ("folder", {"valid_share": 0.2}, "the splits of folder in .* are given, none is drawn: leave out valid_share"),
        ("folder", {"seed": 1}, "the splits of folder in .* are given, none is drawn: leave out seed"),
        ("expw", {"valid_share": 0.1}, "the splits of expw in .* are given, none is drawn: leave out valid_share"),
        ("raf-db", {"valid_share": 1.0}, "the share of train that becomes valid is 0 or more and below 1, not 1.0"),
        ("raf-db", {"pictures": "gone"}, "has no pictures in a folder 'gone'"),
    ],
)
def test_options_that_mean_nothing(tmp_path, name, options, message):
    root = tmp_path / "root"
    if name != "ferplus":
        DATASETS[name][0](root)
    else:
        root.mkdir()
    with pytest.raises(DataError, match=message):
        prepare(name, root, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_seed_draws_the_splits_of_expw(tmp_path, load):
    root = trees.expw(tmp_path)
    tests = [load(root, "expw", seed=seed).splits["test"].sources for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_only_one_split_is_opened(tmp_path, load):
    root = trees.raf_db(tmp_path)
    (root / "basic" / "Image" / "aligned" / "train_00003_aligned.jpg").unlink()
    assert len(open_split(root, "test")) == 7  # train is not read for it
    with pytest.raises(DataError, match=r"1 of 21 pictures cannot be used, the first: .*train_00003_aligned.jpg is mi"):
        open_split(root, "valid")
    shutil.rmtree(root)
    trees.class_folders(root, splits=("val", "test"))
    with pytest.raises(DataError, match="has no split 'train'; it has valid, test"):
        open_split(root, "train")


def test_boxes_outside_their_picture_leave_a_face_out(tmp_path, capsys):
    lines = [f"{i}.png,{'happy' if i % 2 else 'sad'},1,1,20,20" for i in range(8)]
    root = trees.labels_csv(tmp_path / "root", [*lines, "x.png,sad,50,1,60,20"], header="path,label,x1,y1,x2,y2")
    out = tmp_path / "out"
    prepared = prepare("folder", root, out, valid_share=0)
    assert len(read_split(out / "train.parquet")) == 8
    assert prepared.splits["train"].counts["left_out"] == 1
    expected = "which holds nothing of 40x30 pixels"
    assert any(warning.startswith("1 of 9 faces are left out") and expected in warning for warning in prepared.warnings)
    with (out / "left_out.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert (header, row[:2]) == (["split", "source", "reason"], ["train", "x.png"])
    assert expected in row[2]
    # A later run that leaves none out leaves no list either.
    (root / "labels.csv").write_text("\n".join(["path,label,x1,y1,x2,y2", *lines]))
    prepare("folder", root, out, valid_share=0)
    assert not (out / "left_out.csv").exists()
    (finding,) = (f for f in verify("folder", trees.labels_csv(tmp_path / "other", ["a.png,sad,50,1,60,20",
        "b.png,happy,1,1,9,9"], header="path,label,x1,y1,x2,y2")).findings if f.kind == "boxes")  # fmt: skip
    assert finding.severity == "warning"


def test_a_source_without_faces(tmp_path):
    trees.labels_csv(tmp_path, ["a.png,happy,50,1,60,2", "b.png,sad,50,1,60,2"], header="path,label,x1,y1,x2,y2")
    with pytest.raises(DataError, match="no picture of any of 2 faces could be cut, the first: "):
        prepare("folder", tmp_path, tmp_path / "out")


def test_what_a_killed_run_left_is_removed(tmp_path):
    root, out = trees.class_folders(tmp_path / "root"), tmp_path / "out"
    (out / ".prepare-dead").mkdir(parents=True)
    (out / ".prepare-dead" / "train.parquet").write_text("half")
    prepare("folder", root, out)
    assert sorted(path.name for path in out.iterdir()) == ["test.parquet", "train.parquet", "valid.parquet"]


@pytest.fixture
def portraits(tmp_path, photographs):
    """Two portraits and a cat, in class folders without splits."""
    for label, name in (("happy", "astronaut"), ("neutral", "grace_hopper"), ("sad", "cat")):
        (tmp_path / "root" / label).mkdir(parents=True)
        shutil.copy(photographs[name], tmp_path / "root" / label)
    return tmp_path / "root"


def test_aligned(portraits, tmp_path):
    out = tmp_path / "out"
    alignment = Alignment(TEMPLATES["arcface-112"], size=96)
    calls = []
    prepared = prepare(
        "folder", portraits, out, valid_share=0, align=alignment, progress=lambda *counts: calls.append(counts)
    )
    train = read_split(out / "train.parquet")
    assert [source.rpartition("/")[2] for source in train.sources] == ["astronaut.png", "grace_hopper.jpg"]
    assert train.pixels("rgb").shape == (2, 96, 96, 3)
    assert train.metadata.alignment == "arcface-112"
    assert train.metadata.alignment_template == TEMPLATES["arcface-112"].to_dict()
    assert train.metadata.counts["left_out"] == 1
    expected = (np.asarray(TEMPLATES["arcface-112"].points) + 0.5) * 96 / 112 - 0.5
    np.testing.assert_allclose(train.landmarks, [expected, expected], atol=6)
    assert set(train.framing) == {"only face"}
    assert [face.source for face in prepared.left_out] == ["sad/cat.png"]
    assert (out / "left_out.csv").is_file()
    assert calls[-1] == (3, 3)
    assert sorted(path.name for path in out.iterdir()) == ["left_out.csv", "train.parquet"]


def test_a_bad_picture_is_refused_before_faces_are_looked_for(portraits, tmp_path):
    (portraits / "sad" / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 4 pictures cannot be used, the first: sad/x.png is not a picture"):
        prepare("folder", portraits, tmp_path / "out", align=Alignment(TEMPLATES["arcface-112"]))
    assert not (tmp_path / "out").exists()
