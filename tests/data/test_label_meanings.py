"""Numbers that are not the published ones are refused, in every layout whose labels are numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data import trees

from apvit.data import DataError, affectnet, expw, prepare, raf_db, read_split, verify
from apvit.data.datasets import get_dataset, list_source
from apvit.data.label_meanings import Numbering, parse_labels, stated_meanings
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES

ABC = "anger disgust fear happiness neutral sadness surprise"


def suggested(message: str) -> list[dict[int, str]]:
    """What a message says to give to --labels."""
    texts = re.findall(r"--labels (\d+=\w+(?:,\d+=\w+)*)", message)
    return [{int(word): name for word, name in parse_labels(text).items()} for text in texts]


@dataclass(frozen=True)
class Copy:
    """A layout, and where its numbers stand."""

    dataset: str
    build: Callable[[Path], Path]
    pattern: str
    published: dict[int, str]
    options: dict[str, object] = field(default_factory=dict)


def numbered(name: str, first: int = 0) -> dict[int, str]:
    return dict(enumerate(LABEL_SPACES[name].expressions, first))


RAF, AFFECTNET = numbered("raf-db", 1), numbered("affectnet-8")
COPIES = {
    "RAF-DB's list": Copy("raf-db", trees.raf_db, r"^(?:train|test)_\d+\.jpg (\d)$", RAF),
    "RAF-DB in folders": Copy(
        "raf-db", lambda root: trees.raf_db_class_folders(root, tables=False), r"(?:train|test)/(\d)/", RAF
    ),
    "RAF-DB in folders with tables": Copy(
        "raf-db", trees.raf_db_class_folders, r"(?:(?:train|test)/|_aligned\.jpg,)(\d)(?=/|$)", RAF
    ),
    "AffectNet A": Copy("affectnet", trees.affectnet_a, r",(\d+),-?[\d.]+,-?[\d.]+$", AFFECTNET),
    "AffectNet B": Copy("affectnet", trees.affectnet_b, r"^(\d)$", AFFECTNET),
    "AffectNet's text for 7": Copy(
        "affectnet", trees.affectnet_text, r"\.jpg (\d)$", numbered("affectnet-7"), {"classes": 7}
    ),
    "ExpW": Copy("expw", trees.expw, r" (\d)$", numbered("expw")),
    "Aff-Wild2": Copy(
        "aff-wild2", trees.aff_wild2, r"^(\d)$", numbered("aff-wild2"), {"valid_share": 0}
    ),
}  # fmt: skip


def expressions(root: Path, copy: Copy, out: Path, **options: object) -> dict[str, str]:
    """{face: expression} as prepared."""
    prepared = prepare(copy.dataset, root, out, **copy.options | options)
    found = {}
    for split in prepared.splits:
        faces = read_split(out / f"{split}.parquet")
        names = faces.metadata.labels.expressions
        found |= {source: names[label] for source, label in zip(faces.sources, faces.labels, strict=True)}
        if "labels" in options:
            assert " labels=0=" in f" {faces.metadata.protocol}" or " labels=1=" in f" {faces.metadata.protocol}"
    return found


def without_faces_of_none(root: Path) -> None:
    """Copies of AffectNet hold expressions only: none, uncertain and no face are left out."""
    for path in root.rglob("Manually_Annotated_file_lists/*.csv"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not re.search(r",(?:8|9|10),-?[\d.]+,-?[\d.]+$", line)))


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("order", ["published", "alphabetical"])
def test_copies_that_count_from_elsewhere(tmp_path, name, order):
    copy = COPIES[name]
    root = copy.build(tmp_path / "root")
    without_faces_of_none(root)
    truth = expressions(root, copy, tmp_path / "truth")
    base = 1 - min(copy.published)
    names = list(copy.published.values()) if order == "published" else sorted(copy.published.values())
    trees.renumber(root, copy.pattern, {n: names.index(name) + base for n, name in copy.published.items()})
    numbers = f"{base} to {base + len(names) - 1}, the published ones are {1 - base} to"
    with pytest.raises(DataError, match=numbers) as refused:
        prepare(copy.dataset, root, tmp_path / "out", **copy.options)
    with pytest.raises(DataError, match=re.escape(str(refused.value))):
        verify(copy.dataset, root, **copy.options)
    assert not (tmp_path / "out").exists()
    # So few faces tell nothing of the order: two are named, and either can be pasted.
    labels = suggested(str(refused.value))[order == "alphabetical"]
    assert labels == dict(enumerate(names, base))
    assert expressions(root, copy, tmp_path / "out", labels=labels) == truth
    assert not verify(copy.dataset, root, labels=labels, **copy.options).failed()


@pytest.mark.parametrize("name", COPIES)
def test_the_published_numbering_may_be_stated(tmp_path, name):
    copy = COPIES[name]
    root = copy.build(tmp_path / "root")
    truth = expressions(root, copy, tmp_path / "truth")
    assert expressions(root, copy, tmp_path / "out", labels=copy.published) == truth


@pytest.mark.parametrize("name", COPIES)
def test_numbers_that_are_not_stated_are_errors(tmp_path, name):
    copy = COPIES[name]
    root = copy.build(tmp_path / "root")
    (missing, _), *rest = copy.published.items()
    with pytest.raises(DataError, match="malformed lines in") as caught:
        expressions(root, copy, tmp_path / "out", labels=dict(rest))
    assert str(missing) in str(caught.value)
    assert verify(copy.dataset, root, labels=dict(rest), **copy.options).failed()


def test_a_header_in_another_order(tmp_path):
    header = ",".join(sorted(trees.AFF_WILD2_HEADER.split(",")))
    root = trees.aff_wild2(tmp_path / "root", header=header)
    with pytest.raises(DataError, match=r"begins with 'anger,disgust,.*'; expected Neutral.*; if that is") as caught:
        prepare("aff-wild2", root, tmp_path / "out", valid_share=0)
    (labels,) = suggested(str(caught.value))
    assert list(labels.values()) == header.lower().split(",")
    prepare("aff-wild2", root, tmp_path / "out", valid_share=0, labels=labels)
    faces = read_split(tmp_path / "out" / "test.parquet")
    assert [faces.metadata.labels.expressions[label] for label in faces.labels] == list(labels.values())[:7]


@pytest.mark.parametrize("header", ["0", ""])
def test_a_text_without_a_header(tmp_path, header):
    root = trees.aff_wild2(tmp_path / "root", header=header)
    with pytest.raises(DataError, match="begins with"):
        prepare("aff-wild2", root, tmp_path / "out", labels=numbered("aff-wild2"))


def numbered_folders(root: Path) -> None:
    for number in range(7):
        trees.write_picture(root / "train" / str(number) / "0.png")


def numbered_table(root: Path) -> None:
    trees.labels_csv(root, [f"{i}.png,{i % 7}" for i in range(14)])


def numbered_sfew(root: Path) -> None:
    for path in [path for path in trees.sfew(root).rglob("*") if path.name in trees.SFEW_FOLDERS]:
        path.rename(path.with_name(str(trees.SFEW_FOLDERS.index(path.name))))


NUMBERED_FOLDERS = {"folder": numbered_folders, "folder, a table": numbered_table, "sfew": numbered_sfew}


@pytest.mark.parametrize("name", NUMBERED_FOLDERS)
def test_names_that_are_numbers_have_to_be_stated(tmp_path, name):
    root, dataset = tmp_path / "root", name.split(",")[0]
    NUMBERED_FOLDERS[name](root)
    for refuse in (lambda: prepare(dataset, root, tmp_path / "out"), lambda: verify(dataset, root)):
        with pytest.raises(DataError, match="state it: `apvit data prepare --labels 0=EXPRESSION"):
            refuse()
    labels = dict(enumerate(ABC.split()))
    prepare(dataset, root, tmp_path / "out", labels=labels, valid_share=0)
    faces = read_split(tmp_path / "out" / "train.parquet")
    assert faces.metadata.labels.expressions[faces.labels[0]] == "anger"
    assert set(faces.metadata.counts["per_class"]) == set(ABC.split())
    assert len(set(faces.metadata.counts["per_class"].values())) == 1
    assert "labels=0=anger,1=disgust" in faces.metadata.protocol
    assert not verify(dataset, root, labels=labels, valid_share=0).failed()


def test_names_may_be_stated_too(tmp_path):
    for word in ("Freude", "wut", "calm", "sad"):
        trees.write_picture(tmp_path / "root" / word / "0.png")
    with pytest.raises(DataError, match="is called as no expression"):
        prepare("folder", tmp_path / "root", tmp_path / "out")
    labels = {"freude": "joy", "Wut": "angry", "calm": "neutral"}
    prepare("folder", tmp_path / "root", tmp_path / "out", labels=labels, valid_share=0)
    assert read_split(tmp_path / "out" / "train.parquet").metadata.counts["per_class"] == dict.fromkeys(
        ("neutral", "happiness", "sadness", "anger"), 1
    )


RAF_TOTALS = [sum(counts) for counts in zip(*raf_db._COUNTS.values(), strict=True)]
PUBLISHED = {
    name: (LABEL_SPACES[space], first, dict(zip(LABEL_SPACES[space].expressions, counts, strict=True)))
    for name, space, first, counts in (
        ("raf-db", "raf-db", 1, RAF_TOTALS),
        ("affectnet", "affectnet-8", 0, affectnet._TRAIN_COUNTS),
        ("expw", "expw", 0, expw._COUNTS),
    )
}
"""Label space, first number, and faces of each expression."""


def refusal(name: str, counts: dict[int, int], extra: tuple[int, ...] = ()) -> str | None:
    space, first, published = PUBLISHED[name]
    numbering = Numbering(name, space, None, first=first, without_expression=extra)
    numbering._found.update(counts)
    try:
        numbering.check(Path("SRC"), published)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", PUBLISHED)
@given(data=st.data())
def test_whole_datasets_in_any_order_are_recognized_by_their_counts(name, data):
    space, first, published = PUBLISHED[name]
    base = data.draw(st.sampled_from([0, 1]))
    order = data.draw(st.permutations(space.expressions))
    share = data.draw(st.sampled_from([1, 10]))
    counts = {number: published[expression] // share for number, expression in enumerate(order, base)}
    message = refusal(name, counts)
    if base == first and [*counts.values()] == [count // share for count in published.values()]:
        assert message is None
        return
    confused = 0.05 * sum(counts.values())
    if message is None:  # only classes of nearly equal size were swapped, and not every face is here
        assert share > 1
        assert base == first
        meanings = dict(enumerate(space.expressions, base))
    else:
        meanings = suggested(message)[0]
    assert all(abs(published[meanings[n]] / share - count) < confused for n, count in counts.items())


def raf_counts(order: str, first: int) -> dict[int, int]:
    """RAF-DB's counts by number, in the order of a label space."""
    return {n: PUBLISHED["raf-db"][2][name] for n, name in enumerate(order.split(), first)}


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("raf-db", raf_counts(ABC, 1), "but fit alphabetical order counted from 1"),
        ("raf-db", raf_counts(ABC, 0), "fit alphabetical order counted from 0 best"),
        ("raf-db", raf_counts(" ".join(RAF.values()), 0), "fit the published order counted from 0 best"),
        ("raf-db", raf_counts(" ".join(LABEL_SPACES["expw"].expressions), 0), "fit FER2013's order counted from 0"),
        ("raf-db", raf_counts(" ".join(AFFECTNET.values()).removesuffix(" contempt"), 0), "fit AffectNet's order"),
        ("affectnet", {n + 1: c for n, c in enumerate(affectnet._TRAIN_COUNTS)}, "the published order counted from 1"),
        # Balanced, capped and small subsets speak for no order, and those of no expression are not counted.
        ("raf-db", dict.fromkeys(range(1, 8), 300), None),
        ("raf-db", {n: min(c, 700) for n, c in enumerate(PUBLISHED["raf-db"][2].values(), 1)}, None),
        ("raf-db", {1: 3, 2: 1, 4: 2, 7: 8}, None),
        ("raf-db", {}, None),
        ("affectnet", dict(enumerate((*affectnet._TRAIN_COUNTS, 33088, 11645, 82414))), None),
        ("affectnet", {8: 33088, 9: 11645}, None),
    ],
)  # fmt: skip
def test_what_counts_say(name, counts, expected):
    message = refusal(name, counts, tuple(affectnet.NO_EXPRESSION) if name == "affectnet" else ())
    assert message is None if expected is None else expected in message


def whole_raf_list(root: Path, order: tuple[str, ...]) -> Path:
    """RAF-DB's list with as many lines as published, numbered from 1 in `order`, and one picture."""
    lines = [
        f"{split}_{i:05d}.jpg {1 + order.index(expression)}\n"
        for split, counts in raf_db._COUNTS.items()
        for i, expression in enumerate(
            (e for e, count in zip(RAF.values(), counts, strict=True) for _ in range(count)), 1
        )
    ]
    trees.write_text(root / "EmoLabel" / "list_patition_label.txt", "".join(lines))
    trees.write_picture(root / "Image" / "aligned" / "train_00001_aligned.jpg")
    return root


def expw_list(root: Path, order: tuple[str, ...]) -> Path:
    """A hundredth of ExpW, numbered from 0 in `order`, with one picture."""
    faces = [e for e, count in PUBLISHED["expw"][2].items() for _ in range(count // 100)]
    lines = [f"{i}.jpg 0 1 3 20 15 50 {order.index(expression)}\n" for i, expression in enumerate(faces)]
    trees.write_text(root / "label" / "label.lst", "".join(lines))
    trees.write_picture(root / "image" / "origin" / "0.jpg")
    return root


def affectnet_list(root: Path, order: tuple[str, ...]) -> Path:
    """A hundredth of AffectNet's train as a copy's text, numbered from 0 in `order`, with one picture."""
    faces = [e for e, count in PUBLISHED["affectnet"][2].items() for _ in range(count // 100)]
    lines = [f"{i}.jpg {order.index(expression)}\n" for i, expression in enumerate(faces)]
    trees.write_text(root / "train_set" / "train_annotations_8class.txt", "".join(lines))
    trees.write_picture(root / "train_set" / "images" / "0.jpg")
    return root


@pytest.mark.parametrize(
    ("dataset", "build"), [("raf-db", whole_raf_list), ("expw", expw_list), ("affectnet", affectnet_list)]
)
def test_alphabetical_lists_with_the_published_numbers(tmp_path, dataset, build):
    order = tuple(sorted(PUBLISHED[dataset][0].expressions))
    with Source(build(tmp_path, order), "") as source:
        with pytest.raises(DataError, match=r"do not fit the published numbering .* but fit alphabetical") as error:
            list_source(get_dataset(dataset), source, {})
        alphabetical, published = suggested(str(error.value))
        assert tuple(alphabetical.values()) == order
        listing = list_source(get_dataset(dataset), source, {"labels": alphabetical})
        counts = [sum(face.label == label for face in listing.faces) for label in range(len(order))]
        share = 1 if dataset == "raf-db" else 100
        assert counts == [count // share for count in PUBLISHED[dataset][2].values()]
        assert len(list_source(get_dataset(dataset), source, {"labels": published}).faces) == len(listing.faces)
    with Source(build(tmp_path, PUBLISHED[dataset][0].expressions), "") as source:
        assert len(list_source(get_dataset(dataset), source, {}).faces) == len(listing.faces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0=anger,1=disgust", {"0": "anger", "1": "disgust"}),
        (" 0 = anger , happy face=joy", {"0": "anger", "happy face": "joy"}),
        ("0", "labels are stated like 0=anger,1=disgust, not '0'"),
        ("", "labels are stated like 0=anger,1=disgust, not ''"),
        ("0=anger,", "labels are stated like 0=anger,1=disgust, not ''"),
        ("0=anger,0=fear", "labels say that 0 is anger and fear: state one of them"),
    ],
)
def test_parse_labels(text, expected):
    if isinstance(expected, dict):
        assert parse_labels(text) == expected
    else:
        with pytest.raises(DataError, match=re.escape(expected)):
            parse_labels(text)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, {}),
        ({0: "Angry", "Joie": "happy"}, {"0": "anger", "joie": "happiness"}),
        ({"laugh": "happy", "smile": "happy"}, {"laugh": "happiness", "smile": "happiness"}),
        ({0: "angr"}, "labels say that 0 is 'angr', which is no expression; did you mean angry? known are"),
        ({0: "fear", 1: "afraid"}, "labels say that 0 and 1 are both fear"),
        ({7: "contempt"}, "labels say that 7 is contempt, which raf-db does not have; it has surprise, fear"),
    ],
)
def test_stated_meanings(labels, expected):
    space = LABEL_SPACES["raf-db"]
    if isinstance(expected, dict):
        assert stated_meanings(labels, space) == expected
    else:
        with pytest.raises(DataError, match=re.escape(expected)):
            stated_meanings(labels, space)


def test_a_numbered_dataset_has_no_names():
    with pytest.raises(DataError, match="the labels of RAF-DB are numbers, not 'happy'"):
        Numbering("RAF-DB", LABEL_SPACES["raf-db"], {"happy": "happiness"})
