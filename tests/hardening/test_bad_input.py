"""Bad input, everywhere: each works with a stated result or gives one sentence that says what to do, and loses nothing.

The list of the design as one table. A case runs in a folder that holds all the inputs and results of earlier runs; when
it is over, every file there is as before, and no new one is left but those that the case names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import apvit
from apvit.engines import EngineError, Keep
from apvit.expressions import LabelSpaceError, get_label_space, label_map
from apvit.faces.alignment import TEMPLATES, AlignmentError, AlignmentTemplate, align
from apvit.faces.pictures import PictureError, read_picture
from apvit.recognition.recognizer import RecognizerError
from apvit.weights import CardError, Preprocessing, WeightsError, read_card

ONE = "recognize --weights good.safetensors --device cpu --format jsonl --detector none"
"""The picture is the face; the network runs."""
FIND = "recognize --weights good.safetensors --device cpu --format jsonl"
"""MTCNN looks for faces."""
NO_ROOM = "File too large|No space"
CONVERT = "convert {} old.safetensors --heads 2 --patch-keep 16 --token-keep 1"
MEASURE = "evaluate --weights good.safetensors --device cpu --data"


@dataclass(frozen=True)
class Case:
    """What is wrong, the command, a regular expression, and the exit status.

    says: is found in standard output where the status is 0, else in the one line of standard error that is an error
    makes: what the command may leave that was not there
    file_limit: no file may grow beyond so many bytes, as on a full disk
    without: a package that is not installed
    """

    input: str
    command: str
    says: str
    status: int = 1
    makes: tuple[str, ...] = ()
    file_limit: int | None = None
    without: str | None = None


def one_face(width: int, height: int) -> str:
    box = rf"\[0\.0, 0\.0, {width}\.0, {height}\.0\]"
    return rf'"width": {width}, "height": {height}, "faces": \[{{"box": {box}.*"error": null'


PICTURES = (
    Case("no picture", f"{ONE} text.jpg", r"'text.jpg' is not a picture in a known format; save it as"),
    Case("another format", f"{ONE} page.svg", r"'page.svg' is not a picture in a known format; save it as"),
    Case("a program", f"{ONE} script.eps", r"'script.eps' is not a picture in a known format; save it as"),
    Case("a pickle", f"{ONE} pickle.png", r"'pickle.png' is not a picture in a known format; save it as"),
    Case("empty", f"{ONE} empty.png", r"'empty.png' is empty; copy or download the picture again"),
    Case("truncated JPEG", f"{ONE} truncated.jpg", r"'truncated.jpg' is truncated or damaged .*; copy or download"),
    Case("truncated PNG", f"{ONE} truncated.png", r"'truncated.png' is truncated or damaged .*; copy or download"),
    Case("a flipped byte", f"{ONE} flipped.png", r"'flipped.png' is truncated or damaged .*; copy or download"),
    Case("unreadable: a loop of links", f"{ONE} loop.jpg", r"'loop.jpg' (cannot be opened|does not exist).*; check"),
    Case("unreadable: a dead link", f"{ONE} gone.jpg", r"'gone.jpg' is a link to '.*', which does not exist"),
    Case("unreadable: not there", f"{ONE} nowhere.jpg", r"'nowhere.jpg' does not exist; check the path"),
    Case("a pipe", f"{ONE} pipe.jpg", r"'pipe.jpg' is not a regular file; save the picture to a file first"),
    Case("an empty folder", f"{ONE} album.png", r"^$", 0),
    Case("huge BMP, a header", f"{ONE} huge.bmp", r"'huge.bmp' has more than the 178,000,000 pixels .*; shrink it"),
    Case("huge PNG, a header", f"{ONE} huge.png", r"'huge.png' has more than the 178,000,000 pixels .*; shrink it"),
    Case("above the limit", f"{ONE} large.bmp", r"'large.bmp' has 13,360 x 13,360 pixels, more than .*; shrink it"),
    Case("above the limit, GIF", f"{ONE} large.gif", r"'large.gif' has 13,360 x 13,360 pixels, more .*; shrink it"),
    Case("animated GIF", f"{ONE} animated.gif", one_face(40, 50), 0),
    Case("animated WebP", f"{ONE} animated.webp", one_face(40, 50), 0),
    Case("animated PNG", f"{ONE} animated.png", one_face(40, 50), 0),
    Case("CMYK", f"{ONE} cmyk.jpg", one_face(40, 50), 0),
    Case("16-bit", f"{ONE} grey16.png", one_face(40, 50), 0),
    Case("float", f"{ONE} float.tif", one_face(40, 50), 0),
    Case("palette", f"{ONE} palette.png", one_face(40, 50), 0),
    Case("palette with a clear colour", f"{ONE} palette-clear.gif", one_face(40, 50), 0),
    Case("alpha", f"{ONE} alpha.png", one_face(40, 50), 0),
    Case("grey and alpha", f"{ONE} grey-alpha.png", one_face(40, 50), 0),
    Case("black and white", f"{ONE} bilevel.png", one_face(40, 50), 0),
    Case("EXIF-rotated", f"{ONE} rotated.jpg", one_face(50, 40), 0),
    Case("damaged EXIF", f"{ONE} bad-exif.jpg", one_face(40, 50), 0),
    Case("one pixel", f"{ONE} dot.png", one_face(1, 1), 0),
    Case("a line", f"{ONE} line.png", one_face(3000, 1), 0),
    Case("NaN in a picture", f"{ONE} nan.tif", r"'nan.tif' holds values that are not finite numbers; replace them"),
    Case("infinity in a picture", f"{ONE} infinite.tif", r"'infinite.tif' holds values that are not finite numbers;"),
    Case("values out of range", f"{ONE} far.tif", r"'far.tif' holds values from .*; scale them to 0..255"),
    Case("zero faces", f"{FIND} nobody.png", r'"faces": \[\], "error": null', 0),
    Case("many faces", f"{FIND} crowd.png", r'("detection_score".*){12}"error": null', 0),
    Case("a crop that already is a face", f"{ONE} crop.png", one_face(48, 48), 0),
    Case("a crop, searched for faces", f"{FIND} crop.png", r'"width": 48, .*"error": null', 0),
    Case("one pixel, searched for faces", f"{FIND} dot.png", r'"faces": \[\], "error": null', 0),
    Case("a line, searched for faces", f"{FIND} line.png", r'"faces": \[\], "error": null', 0),
    Case("bad among good", f"{ONE} face.png text.jpg dot.png", r"2 faces, 1 could not be used"),
    Case(
        "no picture to explain",
        "explain text.jpg --weights good.safetensors --save-dir new",
        r"'text.jpg' is not a picture",
        makes=("new",),
    ),
)

W = "recognize face.png --device cpu --format csv -o old.csv --weights"
WEIGHTS = (
    Case("empty weights", f"{W} w-empty.safetensors", r"w-empty.safetensors is empty \(0 bytes\); get it again"),
    Case("text", f"{W} w-text.safetensors", r"is not a safetensors file; `apvit convert official.pth out"),
    Case("a picture as weights", f"{W} w-picture.safetensors", r"is not a safetensors file; `apvit convert"),
    Case("foreign", f"{W} w-foreign.safetensors", r"without an apvit card, so nobody knows how to use it; `apvit"),
    Case("cut in the header", f"{W} w-short.safetensors", r"is truncated, or not a safetensors file; get it again"),
    Case("truncated", f"{W} w-truncated.safetensors", r"is truncated or damaged \(.*\); get it again"),
    Case("a lie about the header's length", f"{W} w-header.safetensors", r"is not a safetensors file; `apvit convert"),
    Case("tampered: a tensor", f"{W} w-tampered.safetensors", r"was changed after it was written .*; get it again"),
    Case("tampered: the label order", f"{W} w-relabelled.safetensors", r"unknown expression|was changed after"),
    Case("a folder", f"{W} w-folder.safetensors", r"is a folder; give the .safetensors file"),
    Case("a pickle as weights", f"{W} w-pickle.pth", r"is a pickle, which may run code .* and is not read; `apvit"),
    Case("torch.save's pickle", f"{W} w-torch.pth", r"is a pickle, which may run code .* and is not read; `apvit"),
    Case("NaN in weights", f"{W} w-nan.safetensors", r"tensor 'head.bias' has values that are NaN or infinite"),
    Case("a newer card", f"{W} w-newer.safetensors", r"has format 99, but this release reads up to \d+; update apvit"),
    Case("a vast shape", f"{W} w-vast.safetensors", r"parameters cannot be built|must be \["),
    Case(
        "a vast depth", f"{W} w-deep.safetensors", r"describes 1000000\d+ blocks, units and local CNNs, but there are"
    ),
    Case("not there", f"{W} nobody", r"no weights 'nobody': there is no such file, the bundled weights are"),
    Case("no graph", f"{W} w.onnx", r"w.onnx cannot be opened as an ONNX file"),
    Case("card of a pickle", "models w-pickle.pth", r"is a pickle, which may run code"),
    Case("card of a cut file", "models w-truncated.safetensors", r"is truncated or damaged"),
    Case("hostile pickle to convert", CONVERT.format("w-pickle.pth"), r"is not opened because it may run code; where"),
    Case("torch file of another model", CONVERT.format("w-torch.pth"), r"is not an official APViT checkpoint: none of"),
    Case("truncated checkpoint", CONVERT.format("cut.pth"), r"cut.pth is damaged, or holds more than tensors"),
    Case("text as checkpoint", CONVERT.format("text.jpg"), r"text.jpg is damaged, or holds more than tensors"),
    Case("checkpoint that lacks tensors", CONVERT.format("lacking.pth"), r"lacks .*without which the model computes"),
    Case("NaN in a checkpoint", CONVERT.format("nan.pth"), r"has values that are NaN or infinite in"),
    Case("keep of NaN", f"{ONE} face.png --keep nan", r"'nan' is no keep setting; write a rate or count"),
    Case("keep above what there is", f"{ONE} face.png --keep 9999", r"keep 9999 does not fit .*: .*must lie in 1..144"),
)

DATA = (
    Case("no table", f"{MEASURE} text.parquet", r"text.parquet is not a readable Parquet file"),
    Case("truncated table", f"{MEASURE} cut.parquet", r"cut.parquet is not a readable Parquet file"),
    Case("injured table", f"{MEASURE} injured.parquet", r"injured.parquet is not a readable Parquet file"),
    Case("foreign table", f"{MEASURE} foreign.parquet", r"was not written by `apvit data prepare`"),
    Case("no such table", f"{MEASURE} nowhere.parquet", r"nowhere.parquet is not a file: give a Parquet file written"),
    Case("broken faces", f"{MEASURE} broken-faces.parquet", r"0.png .*unreadable|'0.png' is not a picture"),
    Case(
        "wrong label space",
        "evaluate --weights w-moods.safetensors --device cpu --data good.parquet",
        "label spaces do not fit: 'moods' lacks .*surprise",
    ),
    Case("unknown class folder", "data prepare folder unknown-class new-data", r"hungry"),
    Case(
        "broken picture in a dataset",
        "data prepare folder bad-picture new-data",
        r"1 of 2 pictures cannot be used, the first: .*; `apvit data verify",
    ),
    Case("verify finds it", "data verify folder bad-picture", r"missing or unreadable: 1 picture"),
    Case(
        "weights that know nothing",
        "calibrate good.safetensors old.safetensors --device cpu --data good.parquet",
        r"no temperature .* fits these \d+ faces",
    ),
    Case("the wrong dataset", "data verify ferplus faces", r"is not FER\+; expected"),
    Case("wrong classes to convert", CONVERT.format("official.pth") + " --labels ferplus", r"7.*8|8.*7"),
    Case(
        "an unknown label space",
        CONVERT.format("official.pth") + " --labels moods",
        r"unknown label space 'moods'; known are",
    ),
    Case(
        "calibrated on a cut table",
        "calibrate good.safetensors old.safetensors --data cut.parquet",
        r"is not a readable Parquet file",
    ),
)

FULL = (
    Case(
        "full disk: JSON lines", f"{ONE} face.png -o old.jsonl", NO_ROOM, file_limit=100, makes=("old.jsonl.partial",)
    ),
    Case(
        "full disk: CSV", f"{ONE} face.png --format csv -o old.csv", NO_ROOM, file_limit=100, makes=("old.csv.partial",)
    ),
    Case(
        "full disk: Parquet",
        f"{ONE} face.png --format parquet -o old.parquet",
        NO_ROOM,
        file_limit=100,
        makes=("old.parquet.partial",),
    ),
    Case("full disk: annotated pictures", f"{ONE} face.png --save-dir new", NO_ROOM, file_limit=500, makes=("new",)),
    Case(
        "full disk: convert",
        CONVERT.format("official.pth"),
        "cannot write old.safetensors: File too large",
        file_limit=1000,
    ),
    Case(
        "full disk: data prepare",
        "data prepare folder faces new-data --valid-share 0",
        "cannot write|File too large|No space",
        file_limit=50,
    ),
)

EXTRAS = (
    Case(
        "no onnxruntime",
        "recognize face.png --weights w.onnx --engine onnx",
        r"pip install 'apvit\[onnx\]'",
        without="onnxruntime",
    ),
    Case(
        "no openvino",
        "recognize face.png --weights w.onnx --engine openvino",
        r"pip install 'apvit\[openvino\]'",
        without="openvino",
    ),
    Case(
        "no onnx to export with", "export good.safetensors new.onnx", r"pip install 'apvit\[export\]'", without="onnx"
    ),
    Case(
        "no Ray",
        "recognize album.png --ray local --format parquet -o new-out",
        r"pip install 'apvit\[archive\]'",
        without="ray",
    ),
    Case("no PyAV", "recognize webcam:0 --weights good.safetensors", r"pip install 'apvit\[video\]'", without="av"),
    Case("no FastAPI", "serve --port 0", r"the service needs fastapi: pip install 'apvit\[serve\]'", without="fastapi"),
    Case(
        "no Lightning",
        "train --data good.parquet --output new-run",
        r"pip install 'apvit\[train\]'",
        without="lightning",
    ),
    Case("no torchmetrics", f"{MEASURE} good.parquet", r"pip install 'apvit\[train\]'", without="torchmetrics"),
)

CASES = (*PICTURES, *WEIGHTS, *DATA, *FULL, *EXTRAS)


@pytest.fixture(autouse=True)
def in_the_folder(bad_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bad_inputs)


def contents(folder: Path) -> dict[str, str]:
    """What stands where: every path with a digest of its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else str(stat.S_IFMT(mode)).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


@contextmanager
def limited_files(most: int | None) -> Iterator[None]:
    """No file grows beyond `most` bytes, which is how a test fills a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def run_without(package: str, arguments: list[str]) -> tuple[int, str, str]:
    """`apvit` in a process in which `package` is not installed."""
    code = f"import sys; sys.modules[{package!r}] = None; from apvit.cli import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


# A process of its own for each missing package takes a second or two.
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.input, marks=[pytest.mark.slow] * (case.without is not None)) for case in CASES]
)
def test_bad_input(case: Case, bad_inputs: Path, run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    before = contents(bad_inputs)
    arguments = shlex.split(case.command)
    with limited_files(case.file_limit):
        status, out, err = run(arguments) if case.without is None else run_without(case.without, arguments)
    assert status == case.status, err
    assert "Traceback" not in err
    if case.status == 0:
        assert re.search(case.says, out), out
        assert "error" not in err
    else:
        said = [line for line in (out + err).splitlines() if re.search(case.says, line)]
        assert said, err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) <= 1, err
    after = contents(bad_inputs)
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after if name not in before]
    assert [name for name in new if name.split("/")[0] not in case.makes] == []
    for name in reversed(new):
        (bad_inputs / name).rmdir() if (bad_inputs / name).is_dir() else (bad_inputs / name).unlink()


def grey(size: int = 48) -> np.ndarray:
    return np.zeros((size, size, 3), np.uint8)


NAN = float("nan")
FACE = np.array(TEMPLATES["ferplus-48-v1"].points)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: read_picture(grey() * np.float32(NAN)), PictureError, "must be uint8 .*, not float32; convert it"),
        (
            lambda: read_picture(grey()[..., 0]),
            PictureError,
            r"must have shape \[H, W, 3\], .*; repeat the gray channel",
        ),
        (lambda: read_picture(None), PictureError, "cannot read a picture from NoneType; give a path"),  # type: ignore[arg-type]
        (lambda: read_picture(b""), PictureError, "is empty; copy or download"),
        (lambda: align(grey(), FACE * NAN, TEMPLATES["arcface-112"]), AlignmentError, "not finite numbers .*; detect"),
        (lambda: align(grey(), FACE * 1e200, TEMPLATES["arcface-112"]), AlignmentError, "beyond .* pixels; detect"),
        (lambda: AlignmentTemplate("mine", 9, ((NAN, 0),) * 5), AlignmentError, "needs five finite points"),
        (lambda: Preprocessing(None, 48, "grey", (NAN,), (1.0,)), CardError, "mean must be a finite number, got nan"),
        (lambda: Preprocessing(None, 48, "grey", (0.0,), (0.0,)), CardError, "std must be above 0"),
        (lambda: Keep.parse("nan"), EngineError, "is no keep setting; write a rate or count"),
        (
            lambda: apvit.Recognizer(min_probability=NAN),
            RecognizerError,
            r"min_probability must lie in 0\.\.1, got nan",
        ),
        (lambda: apvit.Recognizer(batch_size=0), RecognizerError, "batch_size must be a positive whole number, got 0"),
        (lambda: get_label_space("moods"), LabelSpaceError, "unknown label space 'moods'; known are raf-db"),
        (
            lambda: label_map(get_label_space("ferplus"), type(get_label_space("sfew"))("m", ("neutral", "anger"))),
            LabelSpaceError,
            "label spaces do not fit: 'm' lacks happiness",
        ),
        (lambda: apvit.load_weights("w-pickle.pth"), WeightsError, "is a pickle, which may run code"),
        (lambda: read_card("w-tampered.safetensors"), WeightsError, "was changed after it was written"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[ValueError], says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert not os.path.exists("ran")


def test_no_pickle_ever_ran(bad_inputs: Path) -> None:
    """Opened the careless way the hostile pickles make a folder, so that the cases above mean something."""
    import pickle

    assert not (bad_inputs / "ran").exists()
    pickle.loads((bad_inputs / "w-pickle.pth").read_bytes())
    (bad_inputs / "ran").rmdir()


def test_bad_among_good_gives_every_good_result(run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    status, out, _ = run(shlex.split(f"{ONE} text.jpg face.png empty.png crop.png"))
    assert status == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [(len(record["faces"]), record["error"] is None) for record in records] == [(0, False), (1, True)] * 2


def test_a_picture_for_which_there_is_no_memory(tmp_path: Path) -> None:
    """Below the limit on pixels, but more than this process may have: no word of damage, but what to do."""
    Image.new("1", (13_000, 13_000)).save(tmp_path / "large.png")
    code = """
import resource, sys
from apvit.faces.pictures import PictureError, read_picture
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    read_picture(sys.argv[1])
except PictureError as error:
    print(error)
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "large.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert re.fullmatch(
        r"'.*large.png' has 13,000 x 13,000 pixels, for which there is not enough memory; shrink it first\n",
        done.stdout,
    ), done.stderr
