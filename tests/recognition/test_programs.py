"""A recognizer inside a program: copied, pickled, forked, and with torch set as the program likes it."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.recognition.clips import write_clip

import apvit
from apvit.engines.export import export_onnx, prove
from apvit.engines.torch_engine import TorchEngine
from apvit.evaluation.metrics import expression_metrics
from apvit.expressions import get_label_space
from apvit.faces.yunet import FILE
from apvit.recognition import Face, Recognizer
from apvit.weights import read_card

pytest.importorskip("onnxscript", reason="needs apvit[export]")
pytest.importorskip("openvino", reason="needs apvit[openvino]")
pytest.importorskip("av", reason="needs apvit[video]")

KINDS = ["torch mtcnn", "torch yunet", "torch none", "onnx mtcnn", "onnx yunet", "openvino mtcnn", "openvino none"]
"""Every engine and every detector; MTCNN runs in ONNX Runtime beside an exported file."""
SEARCH: dict[str, dict[str, Any]] = {"mtcnn": {"min_face": 50}, "yunet": {}, "none": {}}


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "random.onnx"
    export_onnx(weights, path)
    return path


@pytest.fixture(scope="module")
def picture(photographs: dict[str, Path]) -> np.ndarray:
    return np.asarray(Image.open(photographs["astronaut"]).convert("RGB").crop((90, 0, 350, 260)).resize((160, 160)))


@pytest.fixture(scope="module")
def clip(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "two.mp4", [picture] * 2)


def everything(recognizer: Recognizer, picture: np.ndarray, clip: Path) -> list[list[Face]]:
    """The faces by every way there is."""
    found = [recognizer(picture)]
    for _, faces in recognizer.many([picture] * 2):
        assert isinstance(faces, list)
        found.append(faces)
    found += [[face.face for face in frame.tracks] for frame in recognizer.video(clip)]
    if isinstance(recognizer._engine, TorchEngine):
        found.append([face for face, _ in recognizer.explain(picture)])
    assert all(len(faces) == 1 for faces in found)
    return found


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: default_device("meta"),  # a tensor made there has no values
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
}


def state() -> tuple[Any, ...]:
    return (
        *(torch.get_default_dtype(), torch.get_default_device(), torch.is_autocast_enabled("cpu")),
        *(torch.is_inference_mode_enabled(), torch.is_grad_enabled()),
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_program_sets_in_torch_changes_nothing(
    setting: str, weights: Path, picture: np.ndarray, clip: Path
) -> None:
    recognizer = Recognizer(weights, device="cpu", workers=2, min_face=50)
    expected = everything(recognizer, picture, clip)
    ((_, why),) = recognizer.explain(picture)
    random = np.random.default_rng(0)
    measured = random.dirichlet(np.ones(7), 20).astype(np.float32), random.integers(0, 7, 20), get_label_space("raf-db")
    figures = expression_metrics(*measured)
    with SETTINGS[setting]():
        before = state()
        made = Recognizer(weights, device="cpu", workers=2, min_face=50)
        for one in (recognizer, made):
            assert everything(one, picture, clip) == expected
            ((_, other),) = one.explain(picture)
            assert other.to_dict() == why.to_dict()
        model, _ = apvit.load_weights(weights)
        assert expression_metrics(*measured) == figures
        assert state() == before
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert not any(tensor.is_inference() or tensor.is_meta for tensor in model.state_dict().values())
    assert everything(made, picture, clip) == expected


def test_nor_does_it_change_exports_and_what_is_imported(weights: Path, tmp_path: Path) -> None:
    paper = apvit.create_model("apvit_base", stem_stages=((8, 1), (8, 1)), image_size=48, dim=32, depth=2, num_heads=2,
                               stem_width=8, patch_keep=100, token_keep=(1, 0.9))  # fmt: skip
    from apvit.weights.official import official_name

    official = {official_name(name): tensor for name, tensor in paper.state_dict().items()}
    faces = np.random.default_rng(0).integers(0, 255, (2, 48, 48), np.uint8)
    path = tmp_path / "odd.onnx"
    with ExitStack() as stack:
        for setting in ("float64", "meta", "autocast", "inference"):
            stack.enter_context(SETTINGS[setting]())
        model = apvit.from_official(official, num_heads=2, patch_keep=100, token_keep=(1, 0.9))
        export_onnx(weights, path)
        parities = prove(weights, path, faces)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert not any(tensor.is_inference() or tensor.is_meta for tensor in model.state_dict().values())
    assert parities
    assert all(one.largest_difference < 1e-5 and one.patches_agreement == 1 for one in parities)
    assert read_card(weights).labels == Recognizer(path, "none").card.labels


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What hangs in a fork hangs only where there are several threads."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=KINDS)
def make(request: pytest.FixtureRequest, weights: Path, exported: Path) -> Callable[[], Recognizer]:
    engine, detector = request.param.split()
    model = request.getfixturevalue("shared") / "models" / FILE if detector == "yunet" else None
    source = weights if engine == "torch" else exported
    return lambda: Recognizer(
        source, detector, engine, "cpu", detector_model=model, workers=2, embeddings=True, **SEARCH[detector]
    )


@pytest.mark.parametrize(
    "copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, copy.copy], ids=["pickle", "deep", "shallow"]
)
def test_a_copy_gives_the_same(
    make: Callable[[], Recognizer], copied: Callable[[Recognizer], Recognizer], picture: np.ndarray, clip: Path
) -> None:
    recognizer = make()
    other = copied(recognizer)
    assert everything(other, picture, clip) == everything(recognizer, picture, clip)
    assert other.card == recognizer.card


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_exported_file_may_go_or_change_once_it_was_opened(
    exported: Path, engine: str, picture: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(exported.read_bytes())
    recognizer = Recognizer(path, "none", engine)
    other = tmp_path / "other"
    other.write_text("what another export wrote")
    other.replace(path)
    assert pickle.loads(pickle.dumps(recognizer))(picture) == recognizer(picture)


def test_a_compiled_engine_is_compiled_again(weights: Path) -> None:
    other = pickle.loads(pickle.dumps(TorchEngine(weights, device="cpu", compile=True)))
    assert other.compiled
    assert other._forward is not other.model


def test_what_is_found_can_be_pickled(weights: Path, picture: np.ndarray, clip: Path) -> None:
    recognizer = Recognizer(weights, device="cpu")
    (found,) = recognizer.recognitions([picture])
    ((_, why),) = recognizer.explain(picture)
    frame = next(recognizer.video(clip))
    for one in (found, why, frame, recognizer.card):
        other = pickle.loads(pickle.dumps(one))
        assert other == one if one is recognizer.card else other.to_dict() == one.to_dict()
    (bad,) = recognizer.recognitions([b""])
    assert str(pickle.loads(pickle.dumps(bad)).error) == str(bad.error)


def in_a_fork(function: Callable[[], Any], seconds: float = 60) -> Any:
    """What the function gives in a forked process."""
    theirs, ours = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            ours.send(function())
        except BaseException as error:
            ours.send(error)
        finally:
            os._exit(0)
    try:
        assert theirs.poll(seconds), "no answer"
        return theirs.recv()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_answers(
    make: Callable[[], Recognizer], two_threads: None, picture: np.ndarray, clip: Path
) -> None:
    recognizer = make()
    expected = everything(recognizer, picture, clip)

    def replaced() -> list[list[Face]]:
        nonlocal recognizer
        recognizer = make()  # which lets go of the one from before the fork
        return everything(recognizer, picture, clip)

    for answer in (lambda: everything(recognizer, picture, clip), replaced):
        for faces, others in zip(in_a_fork(answer), expected, strict=True):
            assert [face.expression for face in faces] == [face.expression for face in others]
            np.testing.assert_allclose(faces[0].box, others[0].box, atol=0.01)
            np.testing.assert_allclose(faces[0].embedding, others[0].embedding, atol=1e-4)
    assert everything(recognizer, picture, clip) == expected
